//! A request's body on its way to an endpoint, whoever sent it: in pieces, bounded, and kept for as
//! long as the request may have to be sent again.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use crate::model::http::chunked::forbid;

/// Bytes that are kept to be sent again when the first endpoint never took the request. A unary
/// call fits; what is longer is not repeated.
const MOST_KEPT: usize = 64 * 1024;

/// A part of a message's body.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes, never none.
    Data(Bytes),
    /// The end, with trailers.
    Trailers(HeaderMap),
}

/// Why a request's body ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// The client gave the request up, or its connection broke.
    Aborted(Reason),
    /// Nothing came for `http.body_timeout`.
    Timeout,
    /// Longer than `http.max_body_size`.
    TooLarge,
}

/// Where a body comes from.
#[derive(Debug)]
pub enum Source {
    /// There is none.
    Empty,
    /// An HTTP/1 connection.
    Http1(Incoming),
    /// A stream of an HTTP/2 session.
    Http2(RecvStream),
}

/// Bounds of a body.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// `http.max_body_size`.
    pub size: Option<u64>,
    /// `http.body_timeout`.
    pub timeout: Option<Duration>,
}

/// One request's body.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    bounds: Bounds,
    received: u64,
    /// Of these so many that the client may send as many more.
    released: u64,
    /// Released before the body began again, and still to be given out again.
    repeated: u64,
    timer: Option<Pin<Box<Sleep>>>,
    /// Everything that was given out, while it is little enough.
    kept: Option<Vec<Piece>>,
    kept_bytes: usize,
    /// Given out before and to be given out again.
    again: VecDeque<Piece>,
    data_ended: bool,
    ended: bool,
}

impl RequestBody {
    /// The body of a request whose head has been read.
    pub fn new(source: Source, bounds: Bounds) -> Self {
        let ended = match &source {
            Source::Empty => true,
            Source::Http1(body) => body.is_end_stream(),
            Source::Http2(stream) => stream.is_end_stream(),
        };
        Self {
            source,
            bounds,
            received: 0,
            released: 0,
            repeated: 0,
            timer: None,
            kept: Some(Vec::new()),
            kept_bytes: 0,
            again: VecDeque::new(),
            data_ended: ended,
            ended,
        }
    }

    /// True when nothing more comes.
    pub fn is_end(&self) -> bool {
        self.ended && self.again.is_empty()
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Starts from the beginning, for another endpoint; false when that is not possible any more.
    pub fn rewind(&mut self) -> bool {
        let Some(kept) = &mut self.kept else { return false };
        let mut again: VecDeque<_> = kept.drain(..).collect();
        again.append(&mut self.again);
        (self.again, self.kept_bytes, self.repeated) = (again, 0, self.released);
        true
    }

    /// The response has begun: the request will not be sent again.
    pub fn forget(&mut self) {
        self.kept = None;
    }

    /// The next piece; `None` at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyFault>>> {
        let piece = match self.again.pop_front() {
            Some(piece) => piece,
            None => match ready!(self.poll_source(cx)) {
                Some(Ok(piece)) => piece,
                other => return Poll::Ready(other),
            },
        };
        self.keep(&piece);
        Poll::Ready(Some(Ok(piece)))
    }

    fn keep(&mut self, piece: &Piece) {
        let Some(kept) = &mut self.kept else { return };
        if let Piece::Data(data) = piece {
            self.kept_bytes += data.len();
        }
        kept.push(piece.clone());
        if self.kept_bytes > MOST_KEPT {
            self.kept = None;
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyFault>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Http1(body) => poll_http1(body, cx),
            Source::Http2(stream) => poll_http2(stream, &mut self.data_ended, cx)
                .map_err(|error| BodyFault::Aborted(error.reason().unwrap_or(Reason::CANCEL))),
        };
        let Poll::Ready(piece) = polled else { return self.poll_timer(cx) };
        self.timer = None;
        match &piece {
            Some(Ok(Piece::Data(data))) => {
                self.received += data.len() as u64;
                if self.bounds.size.is_some_and(|most| self.received > most) {
                    return Poll::Ready(Some(Err(BodyFault::TooLarge)));
                }
                self.ended = match &self.source {
                    Source::Http2(stream) => stream.is_end_stream(),
                    Source::Http1(body) => body.is_end_stream(),
                    Source::Empty => true,
                };
            }
            _ => self.ended = true,
        }
        Poll::Ready(piece)
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyFault>>> {
        let Some(timeout) = self.bounds.timeout else { return Poll::Pending };
        if self.received > self.released {
            // The endpoint is waited for, and the client may have no room to send.
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyFault::Timeout)))
    }

    /// So many bytes have left for the endpoint: the client may send as many more.
    pub fn release(&mut self, count: usize) {
        let repeated = usize::try_from(self.repeated).unwrap_or(usize::MAX).min(count);
        self.repeated -= repeated as u64;
        let count = count - repeated;
        self.released += count as u64;
        if let Source::Http2(stream) = &mut self.source {
            // It fails only when the stream is gone.
            let _ = stream.flow_control().release_capacity(count);
        }
    }
}

fn poll_http1(body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyFault>>> {
    loop {
        let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let Ok(frame) = frame else {
            return Poll::Ready(Some(Err(BodyFault::Aborted(Reason::CANCEL))));
        };
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => return Poll::Ready(Some(Ok(Piece::Data(data)))),
            Err(frame) => {
                if let Ok(mut trailers) = frame.into_trailers() {
                    forbid(&mut trailers);
                    return Poll::Ready(Some(Ok(Piece::Trailers(trailers))));
                }
            }
        }
    }
}

/// The next piece of a stream, of a client's or an endpoint's; `None` at its end. `data_ended` is kept
/// by the caller.
pub fn poll_http2(
    stream: &mut RecvStream,
    data_ended: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Piece, h2::Error>>> {
    while !*data_ended {
        match ready!(stream.poll_data(cx)) {
            Some(Ok(data)) if data.is_empty() => {}
            Some(Ok(data)) => return Poll::Ready(Some(Ok(Piece::Data(data)))),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => *data_ended = true,
        }
    }
    match ready!(stream.poll_trailers(cx)) {
        Ok(Some(mut trailers)) => {
            forbid(&mut trailers);
            Poll::Ready(Some(Ok(Piece::Trailers(trailers))))
        }
        Ok(None) => Poll::Ready(None),
        Err(error) => Poll::Ready(Some(Err(error))),
    }
}
