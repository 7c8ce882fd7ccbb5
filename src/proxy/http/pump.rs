//! A response's body on its way into a client's HTTP/2 session, at the pace of the client's windows.

use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

use super::body::Piece;
use super::record::Record;
use super::response::{Broken, NOTHING, ResponseBody, grpc_trailers};

/// A response's body on its way to the client.
pub struct Pump {
    stream: SendStream<Bytes>,
    /// Read from the endpoint, and waiting for the client's window: at most one piece.
    pending: Bytes,
    is_grpc: bool,
}

impl Pump {
    /// Nothing has been said on `stream` but the response's head.
    pub fn new(stream: SendStream<Bytes>, is_grpc: bool) -> Self {
        Self { stream, pending: NOTHING, is_grpc }
    }

    /// Ready when there is nothing more to say.
    pub fn poll(
        &mut self,
        cx: &mut TaskContext<'_>,
        body: &mut ResponseBody,
        record: &mut Record,
    ) -> Poll<()> {
        loop {
            while !self.pending.is_empty() {
                if ready!(self.poll_pending(cx, body, record)).is_err() {
                    return Poll::Ready(());
                }
                if self.pending.is_empty() && body.is_end() {
                    record.ended();
                    return Poll::Ready(());
                }
            }
            let piece = match body.poll_piece(cx) {
                Poll::Ready(piece) => piece,
                Poll::Pending => return self.stream.poll_reset(cx).map(|_| ()),
            };
            match piece {
                Some(Ok(Piece::Data(data))) => {
                    record.response_bytes += data.len() as u64;
                    self.pending = data;
                }
                Some(Ok(Piece::Trailers(trailers))) => {
                    record.trailed(&trailers);
                    self.end(Some(trailers), record);
                    return Poll::Ready(());
                }
                Some(Err(broken)) => {
                    self.broken(&broken, record);
                    return Poll::Ready(());
                }
                None => {
                    self.end(None, record);
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Gives the session as much as the client has room for.
    fn poll_pending(
        &mut self,
        cx: &mut TaskContext<'_>,
        body: &mut ResponseBody,
        record: &mut Record,
    ) -> Poll<Result<(), ()>> {
        self.stream.reserve_capacity(self.pending.len());
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(())),
                Poll::Pending => {
                    return match body.poll_upload(cx) {
                        Ok(()) => Poll::Pending,
                        Err(broken) => {
                            self.broken(&broken, record);
                            Poll::Ready(Err(()))
                        }
                    };
                }
            }
        }
        let count = self.stream.capacity().min(self.pending.len());
        let piece = self.pending.split_to(count);
        let ends = self.pending.is_empty() && body.is_end();
        let sent = self.stream.send_data(piece, ends);
        body.release(count);
        record.request_bytes = body.request_bytes();
        Poll::Ready(sent.map_err(|_| ()))
    }

    fn end(&mut self, trailers: Option<HeaderMap>, record: &mut Record) {
        let sent = match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(NOTHING, true),
        };
        if sent.is_ok() {
            record.ended();
        }
    }

    fn broken(&mut self, broken: &Broken, record: &mut Record) {
        if self.is_grpc && matches!(broken, Broken::Endpoint) {
            let trailers = grpc_trailers();
            record.trailed(&trailers);
            let _ = self.stream.send_trailers(trailers);
        } else {
            self.stream.send_reset(broken.reason());
        }
    }
}
