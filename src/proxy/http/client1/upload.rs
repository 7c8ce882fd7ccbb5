//! A request on its way out: its head, and its body as the client sends it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use tokio::time::Sleep;

use super::TransferError;
use crate::model::http::chunked;
use crate::model::http::head::Framing;
use crate::proxy::end::Fault;
use crate::proxy::http::body::{Piece, RequestBody};
use crate::proxy::http::pool::Connection;

/// Bytes that are taken from the client before they are written.
const MOST_QUEUED: usize = 256 * 1024;
/// Pieces of one write; the kernel takes up to 1,024.
const MOST_PIECES: usize = 64;
/// How long a body waits for `100 Continue`: an endpoint need not know it.
const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);

/// A request on its way out.
pub struct Upload {
    /// The client's.
    pub body: RequestBody,
    framing: Framing,
    /// Bytes of a body of known length that are still to come.
    left: u64,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Bytes of the client's in the queue.
    owed: usize,
    /// Bytes that the kernel has accepted, the head's included.
    pub sent: u64,
    /// How far it is.
    pub state: UploadState,
    /// Waits for `100 Continue`.
    pub paused: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// The body goes on.
    Streaming,
    /// What is queued is the last.
    Ending,
    /// All of it has gone out.
    Done,
    /// The endpoint takes no more of it; it may have answered before.
    Failed,
}

impl Upload {
    /// `head` first, then `body`.
    pub fn new(head: Vec<u8>, body: RequestBody, framing: Framing, expects_continue: bool) -> Self {
        let queued = head.len();
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        let paused = expects_continue && framing != Framing::None;
        Self {
            body,
            framing,
            left,
            queue: VecDeque::from([Bytes::from(head)]),
            queued,
            owed: 0,
            sent: 0,
            state: if framing == Framing::None {
                UploadState::Ending
            } else {
                UploadState::Streaming
            },
            paused: paused.then(|| Box::pin(tokio::time::sleep(CONTINUE_TIMEOUT))),
        }
    }

    /// Moves what can be moved; ready when nothing more will.
    ///
    /// # Errors
    /// When the body breaks; that the endpoint takes no more is a state.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Poll<Result<(), TransferError>> {
        loop {
            if matches!(self.state, UploadState::Done | UploadState::Failed) {
                return Poll::Ready(Ok(()));
            }
            let more = self.poll_pieces(cx)?;
            if self.queue.is_empty() {
                let flushed = ready!(connection.poll_flush(cx));
                match (flushed, self.state) {
                    (Err(_), _) => self.state = UploadState::Failed,
                    (Ok(()), UploadState::Ending) => self.state = UploadState::Done,
                    (Ok(()), _) if more.is_pending() => return Poll::Pending,
                    (Ok(()), _) => {}
                }
                continue;
            }
            // An endpoint that has answered may take no more; the answer is worth reading.
            match ready!(self.poll_write(cx, connection)) {
                Ok(()) => {}
                Err(_) => self.state = UploadState::Failed,
            }
        }
    }

    /// Takes what the client has sent, up to what one write should carry.
    fn poll_pieces(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, TransferError> {
        if let Some(paused) = &mut self.paused {
            if paused.as_mut().poll(cx).is_pending() {
                return Ok(Poll::Pending);
            }
            self.paused = None;
        }
        while self.state == UploadState::Streaming && self.queued < MOST_QUEUED {
            if self.body.is_end() {
                self.end(None)?;
                continue;
            }
            match self.body.poll_piece(cx) {
                Poll::Ready(Some(Ok(Piece::Data(data)))) => self.push(data)?,
                Poll::Ready(Some(Ok(Piece::Trailers(trailers)))) => self.end(Some(&trailers))?,
                Poll::Ready(Some(Err(fault))) => return Err(TransferError::Body(fault)),
                Poll::Ready(None) => self.end(None)?,
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        Ok(Poll::Ready(()))
    }

    fn push(&mut self, data: Bytes) -> Result<(), TransferError> {
        self.owed += data.len();
        if self.framing == Framing::Chunked {
            self.enqueue(chunked::size_line(data.len()).into());
            self.enqueue(data);
            self.enqueue(Bytes::from_static(chunked::END_OF_CHUNK));
        } else {
            self.left = self.left.checked_sub(data.len() as u64).ok_or(TransferError::Length)?;
            self.enqueue(data);
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), TransferError> {
        if self.left > 0 {
            return Err(TransferError::Length);
        }
        if self.framing == Framing::Chunked {
            self.enqueue(chunked::end(trailers).into());
        }
        self.state = UploadState::Ending;
        Ok(())
    }

    fn enqueue(&mut self, bytes: Bytes) {
        self.queued += bytes.len();
        self.queue.push_back(bytes);
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Poll<Result<(), Fault>> {
        let mut pieces = [IoSlice::new(&[]); MOST_PIECES];
        let mut count = 0;
        for (place, bytes) in pieces.iter_mut().zip(&self.queue) {
            *place = IoSlice::new(bytes);
            count += 1;
        }
        let pieces = pieces.get(..count).unwrap_or_default();
        let mut written = ready!(connection.poll_write(cx, pieces))?;
        self.sent += written as u64;
        self.queued -= written;
        while let Some(front) = self.queue.front_mut() {
            if written < front.len() {
                front.advance(written);
                break;
            }
            written -= front.len();
            self.queue.pop_front();
        }
        if self.queue.is_empty() {
            self.body.release(std::mem::take(&mut self.owed));
        }
        Poll::Ready(Ok(()))
    }
}
