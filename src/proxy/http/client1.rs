//! One request on one HTTP/1 connection to an endpoint: its body goes out while the response comes
//! in, neither is ever held whole.

use std::cell::RefCell;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};

use super::body::{BodyFault, Piece, RequestBody};
use super::exchange::MOST_INTERIM;
use super::pool::{Connection, Place};
use crate::model::http::chunked::{self, Decoder};
use crate::model::http::head::{Framing, HeadError, ResponseHead, read_response};
use crate::proxy::end::Fault;

/// Bytes per read, which is what one stream may hold when its client takes nothing.
const SCRATCH: usize = 128 * 1024;
mod upload;

use upload::{Upload, UploadState};

/// Bytes that an endpoint's kernel takes although the endpoint reads none: of a request that is no
/// longer nobody has to see whether it is taken.
const WATCHED: u64 = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Why there is no response, or no end of it.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The request's own body ended before its end.
    #[error("the client gave up")]
    Body(BodyFault),
    /// The endpoint's connection broke.
    #[error("the endpoint's connection broke: {0:?}")]
    Endpoint(Fault),
    /// The endpoint ended the connection.
    #[error("the endpoint closed before the end of its response")]
    Closed,
    /// What it said is no HTTP.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// Its body breaks the chunked coding.
    #[error("{0}")]
    Chunk(#[from] chunked::ChunkError),
    /// The body is longer or shorter than its head said.
    #[error("the body is not as long as its head said")]
    Length,
    /// It never stopped saying that there is more to come.
    #[error("the endpoint sent too many interim responses")]
    Interim,
}

/// A request under way.
pub struct Transfer {
    connection: Option<Connection>,
    place: Place,
    method: Method,
    upload: Upload,
    /// The beginning of a head, or body bytes that came with it.
    received: BytesMut,
    interim: usize,
    /// Anything has come back.
    answered: bool,
    body: Incoming,
    keeps_alive: bool,
}

/// What is left of the response.
enum Incoming {
    Head,
    Length(u64),
    Chunked(Decoder),
    UntilClose,
    /// Nothing but these.
    Trailers(HeaderMap),
    Done,
}

/// A head that came back.
pub enum Head {
    /// There is another one to come.
    Interim(StatusCode, HeaderMap),
    /// The response itself.
    Final(ResponseHead),
}

impl Transfer {
    /// Sends `head` and then `body` over `connection`, which goes back to `place` if all goes well.
    pub fn new(
        connection: Connection,
        place: Place,
        method: Method,
        head: Vec<u8>,
        body: RequestBody,
        framing: Framing,
        expects_continue: bool,
    ) -> Box<Self> {
        let upload = Upload::new(head, body, framing, expects_continue);
        Box::new(Self {
            connection: Some(connection),
            place,
            method,
            upload,
            received: BytesMut::new(),
            interim: 0,
            answered: false,
            body: Incoming::Head,
            keeps_alive: false,
        })
    }

    /// True when the endpoint cannot have begun to serve the request: nothing of it was accepted by
    /// the kernel. Or when it is as good as certain: a kept connection that the endpoint closed
    /// without a byte in answer, for a method that may be repeated.
    pub fn may_repeat(&self) -> bool {
        let reused = self.connection.as_ref().is_some_and(|c| c.reused);
        let is_safe = self.method.is_safe() || self.method.is_idempotent();
        !self.answered && (self.upload.sent == 0 || (reused && is_safe))
    }

    /// Takes the body back, for another endpoint.
    pub fn into_body(self: Box<Self>) -> RequestBody {
        self.upload.body
    }

    /// Bytes of the request's body so far.
    pub fn request_bytes(&self) -> u64 {
        self.upload.body.received()
    }

    /// The next head that comes back.
    pub async fn head(&mut self) -> Result<Head, TransferError> {
        std::future::poll_fn(|cx| self.poll_head(cx)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, TransferError>> {
        loop {
            self.poll_upload(cx)?;
            if !self.received.is_empty()
                && let Some(head) = read_response(&self.received, &self.method)?
            {
                return Poll::Ready(self.read(head));
            }
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Err(TransferError::Closed));
            };
            let received = &mut self.received;
            let count = BUFFER.with_borrow_mut(|buffer| {
                let count = ready!(connection.poll_read(cx, buffer))?;
                received.extend_from_slice(buffer.get(..count).unwrap_or_default());
                Poll::Ready(Ok(count))
            });
            match ready!(count) {
                Ok(0) => return Poll::Ready(Err(TransferError::Closed)),
                Ok(_) => self.answered = true,
                Err(fault) => return Poll::Ready(Err(TransferError::Endpoint(fault))),
            }
        }
    }

    fn read(&mut self, head: ResponseHead) -> Result<Head, TransferError> {
        self.received.advance(head.length);
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            self.interim += 1;
            if self.interim > MOST_INTERIM {
                return Err(TransferError::Interim);
            }
            self.upload.paused = None;
            return Ok(Head::Interim(head.status, head.headers));
        }
        // A body that was never asked for is not sent; the connection is of no use without it.
        if self.upload.paused.take().is_some() {
            self.upload.state = UploadState::Failed;
        }
        self.upload.body.forget();
        self.keeps_alive = head.keeps_alive;
        self.body = match head.framing {
            Framing::None | Framing::Length(0) => Incoming::Done,
            Framing::Length(length) => Incoming::Length(length),
            Framing::Chunked => Incoming::Chunked(Decoder::default()),
            Framing::UntilClose => Incoming::UntilClose,
        };
        let is_tunnel = self.method == Method::CONNECT && head.status.is_success();
        if head.status != StatusCode::SWITCHING_PROTOCOLS && !is_tunnel {
            self.settle();
        }
        Ok(Head::Final(head))
    }

    /// The connection after it changed its protocol, with what has already come of the new one.
    pub fn into_upgraded(mut self: Box<Self>) -> Option<(Connection, Vec<u8>)> {
        Some((self.connection.take()?, self.received.to_vec()))
    }

    /// True when the response has ended.
    pub fn is_end(&self) -> bool {
        matches!(self.body, Incoming::Done)
    }

    /// The next piece of the response; `None` at its end.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, TransferError>>> {
        loop {
            if self.is_end() {
                return Poll::Ready(None);
            }
            if let Incoming::Trailers(trailers) = &mut self.body {
                let trailers = std::mem::take(trailers);
                self.body = Incoming::Done;
                self.settle();
                return Poll::Ready(Some(Ok(Piece::Trailers(trailers))));
            }
            // An error of the request's body ends the response too: half a request is none.
            if let Err(error) = self.poll_upload(cx) {
                return Poll::Ready(Some(Err(error)));
            }
            let piece = if self.received.is_empty() {
                ready!(self.poll_read(cx))
            } else {
                let received = self.received.split().freeze();
                self.take(&received)
            };
            match piece {
                Ok(Some(piece)) => {
                    self.settle();
                    return Poll::Ready(Some(Ok(piece)));
                }
                Ok(None) => self.settle(),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, TransferError>> {
        BUFFER.with_borrow_mut(|buffer| {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Err(TransferError::Closed));
            };
            let count = ready!(connection.poll_read(cx, buffer));
            Poll::Ready(match count.map_err(TransferError::Endpoint)? {
                0 if matches!(self.body, Incoming::UntilClose) => {
                    self.body = Incoming::Done;
                    Ok(None)
                }
                0 => Err(TransferError::Closed),
                count => self.take(buffer.get(..count).unwrap_or_default()),
            })
        })
    }

    /// What `bytes` are of the response; what is beyond its end makes the connection useless.
    fn take(&mut self, mut bytes: &[u8]) -> Result<Option<Piece>, TransferError> {
        let piece = match &mut self.body {
            Incoming::Length(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let (now, beyond) = bytes.split_at(most);
                bytes = beyond;
                *left -= now.len() as u64;
                if *left == 0 {
                    self.body = Incoming::Done;
                }
                data(now)
            }
            Incoming::UntilClose => data(std::mem::take(&mut bytes)),
            Incoming::Chunked(decoder) => {
                let mut out = BytesMut::with_capacity(bytes.len());
                loop {
                    match decoder.next(&mut bytes)? {
                        chunked::Piece::Data(part) => out.extend_from_slice(part),
                        chunked::Piece::More => break data(&out.freeze()),
                        chunked::Piece::End(trailers) => {
                            self.body = Incoming::Done;
                            // Data and trailers at once: the trailers wait for the next call.
                            if let Some(trailers) = trailers {
                                if out.is_empty() {
                                    return Ok(Some(Piece::Trailers(trailers)));
                                }
                                self.body = Incoming::Trailers(trailers);
                            }
                            break data(&out.freeze());
                        }
                    }
                }
            }
            Incoming::Head | Incoming::Trailers(_) | Incoming::Done => None,
        };
        self.keeps_alive &= bytes.is_empty();
        Ok(piece)
    }

    /// The request's body goes on, whether or not the response is taken.
    ///
    /// # Errors
    /// Its own; a failed write is none.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), TransferError> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if let Poll::Ready(Err(error)) = self.upload.poll(cx, connection) {
            return Err(error);
        }
        if self.upload.sent > WATCHED {
            connection.poll_watch(cx).map_err(TransferError::Endpoint)?;
        }
        Ok(())
    }

    /// Gives the connection back once the response is complete.
    fn settle(&mut self) {
        if !self.is_end() {
            return;
        }
        let Some(connection) = self.connection.take() else { return };
        let whole = matches!(self.upload.state, UploadState::Done);
        if whole && self.keeps_alive && self.received.is_empty() {
            self.place.give_back(connection);
        } else if whole {
            connection.close();
        }
    }
}

fn data(bytes: &[u8]) -> Option<Piece> {
    (!bytes.is_empty()).then(|| Piece::Data(Bytes::copy_from_slice(bytes)))
}
