//! Requests over HTTP/2 to an endpoint: h2c in plaintext, or onward mTLS to a Linkerd proxy.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};

use super::body::{BodyFault, Piece, RequestBody, poll_http2};
use super::exchange::MOST_INTERIM;
use super::windows::Window;
use super::wire::Wire;
use crate::observe::metrics::Transport;
use crate::runtime::{now_millis, spawn_here};

/// Frames that an endpoint may send us.
const MAX_FRAME: u32 = 64 * 1024;
/// Bytes of a response's header list, as of an HTTP/1 response's head.
const MAX_HEADERS: u32 = 64 * 1024;
/// What small frames may cost that wait for clients, in bytes as the library counts: some 400,000.
/// Beyond it the library gives up the connection, and with it requests of clients that do read.
const SMALL_FRAMES: usize = 64 << 20;
/// Bytes of the client's that wait for the endpoint's window, per stream.
const MOST_BUFFERED: usize = 128 * 1024;

/// Why there is no response, or no end of it.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The request's own body ended before its end.
    #[error("the client gave up")]
    Body(BodyFault),
    /// The endpoint reset the stream.
    #[error("the endpoint reset the request: {0}")]
    Reset(Reason),
    /// The connection broke.
    #[error("the endpoint's connection broke: {0}")]
    Connection(h2::Error),
}

/// A connection that many requests share.
#[derive(Clone)]
pub struct Http2 {
    send: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

struct Shared {
    in_flight: AtomicUsize,
    /// On the clock of [`now_millis`].
    used_at: AtomicU64,
    is_closed: AtomicBool,
    /// Of the credentials that it was made with; `None` without TLS.
    generation: Option<u64>,
}

impl Http2 {
    /// Begins HTTP/2 on `wire`; its frames move in a task of the worker's.
    ///
    /// # Errors
    /// When the endpoint is gone.
    pub async fn open(
        wire: Wire,
        window: Window,
        transport: Transport,
        generation: Option<u64>,
    ) -> Result<Self, h2::Error> {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(window.stream())
            .initial_connection_window_size(window.session())
            .max_frame_size(MAX_FRAME)
            .max_header_list_size(MAX_HEADERS)
            .data_frame_budget(SMALL_FRAMES)
            .max_send_buffer_size(MOST_BUFFERED);
        let (send, mut connection) = builder.handshake::<_, Bytes>(wire.clone()).await?;
        let shared = Arc::new(Shared {
            in_flight: AtomicUsize::new(0),
            used_at: AtomicU64::new(now_millis()),
            is_closed: AtomicBool::new(false),
            generation,
        });
        let this = Arc::clone(&shared);
        spawn_here(async move {
            let ended = poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx);
                match wire.poll_send(cx) {
                    // The library reads the fault itself, when it reads.
                    Poll::Ready(Err(_)) if polled.is_pending() => Poll::Ready(Ok(())),
                    _ => polled,
                }
            })
            .await;
            this.is_closed.store(true, Ordering::Relaxed);
            let errno = match ended {
                Ok(()) => "",
                Err(_) => wire.fault().map_or("EPROTO", super::super::end::Fault::errno),
            };
            if let Some((end, _)) = wire.into_end().filter(|_| errno.is_empty()) {
                end.disarm();
            }
            transport.close(errno);
            drop(window);
        });
        Ok(Self { send, shared })
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// True while it takes requests and was made with current credentials.
    pub fn is_usable(&self, generation: u64) -> bool {
        let is_current = self.shared.generation.is_none_or(|made_with| made_with == generation);
        is_current && !self.shared.is_closed.load(Ordering::Relaxed)
    }

    /// It takes no more requests: its endpoint says goodbye.
    fn retire(&self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
    }

    /// True when it has carried nothing for this long, or has ended.
    pub fn is_idle_for(&self, idle: Duration) -> bool {
        let unused = now_millis().saturating_sub(self.shared.used_at.load(Ordering::Relaxed));
        self.shared.is_closed.load(Ordering::Relaxed)
            || (self.in_flight() == 0 && u128::from(unused) > idle.as_millis())
    }

    /// Sends a request; its body follows as the endpoint takes it.
    ///
    /// # Errors
    /// With the body, unused, when the connection takes no more requests.
    pub async fn send(
        &self,
        request: Request<()>,
        body: RequestBody,
    ) -> Result<Box<Transfer>, (h2::Error, RequestBody)> {
        let place = InFlight::new(&self.shared);
        let mut send = match self.send.clone().ready().await {
            Ok(send) => send,
            Err(error) => {
                self.retire();
                return Err((error, body));
            }
        };
        match send.send_request(request, body.is_end()) {
            Ok((response, stream)) => Ok(Box::new(Transfer {
                response: Some(response),
                interim: 0,
                upload: Upload { body, stream, pending: Bytes::new(), is_done: false },
                incoming: None,
                data_ended: false,
                ended: false,
                _place: place,
            })),
            Err(error) => {
                self.retire();
                Err((error, body))
            }
        }
    }
}

/// Counts a request in flight.
struct InFlight(Arc<Shared>);

impl InFlight {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.used_at.store(now_millis(), Ordering::Relaxed);
    }
}

/// A request under way.
pub struct Transfer {
    response: Option<ResponseFuture>,
    interim: usize,
    upload: Upload,
    incoming: Option<RecvStream>,
    data_ended: bool,
    ended: bool,
    _place: InFlight,
}

/// A head that came back.
pub enum Head {
    /// There is another one to come.
    Interim(StatusCode, HeaderMap),
    /// The response itself.
    Final(http::response::Parts),
}

impl Transfer {
    /// The next head that comes back.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn head(&mut self) -> Result<Head, TransferError> {
        poll_fn(|cx| self.poll_head(cx)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, TransferError>> {
        self.poll_upload(cx)?;
        let Some(response) = &mut self.response else { return Poll::Pending };
        if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx)
            && self.interim < MOST_INTERIM
        {
            self.interim += 1;
            let (parts, ()) = interim.into_parts();
            return Poll::Ready(Ok(Head::Interim(parts.status, parts.headers)));
        }
        let response = ready!(Pin::new(response).poll(cx));
        let (parts, stream) = response.map(Response::into_parts).map_err(broken)?;
        self.response = None;
        self.upload.body.forget();
        self.ended = stream.is_end_stream();
        self.incoming = Some(stream);
        Poll::Ready(Ok(Head::Final(parts)))
    }

    /// Takes the body back, for another connection.
    pub fn into_body(self: Box<Self>) -> RequestBody {
        self.upload.body
    }

    /// Bytes of the request's body so far.
    pub fn request_bytes(&self) -> u64 {
        self.upload.body.received()
    }

    /// True when the response has ended.
    pub fn is_end(&self) -> bool {
        self.ended
    }

    /// So many bytes of the response have gone on: the endpoint may send as many more.
    pub fn release(&mut self, count: usize) {
        if let Some(stream) = &mut self.incoming {
            // It fails only when the stream is gone.
            let _ = stream.flow_control().release_capacity(count);
        }
    }

    /// The next piece of the response; `None` at its end.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, TransferError>>> {
        if let Err(error) = self.poll_upload(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let Some(stream) = &mut self.incoming else { return Poll::Ready(None) };
        let piece = ready!(poll_http2(stream, &mut self.data_ended, cx));
        self.ended = match &piece {
            Some(Ok(Piece::Data(_))) => stream.is_end_stream(),
            Some(Ok(Piece::Trailers(_)) | Err(_)) | None => true,
        };
        Poll::Ready(piece.map(|piece| piece.map_err(broken)))
    }

    /// The request's body goes on, whether or not the response is taken.
    ///
    /// # Errors
    /// [`TransferError::Body`].
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), TransferError> {
        match self.upload.poll(cx) {
            Poll::Ready(Err(fault)) => Err(TransferError::Body(fault)),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

fn broken(error: h2::Error) -> TransferError {
    match error.reason() {
        Some(reason) if error.is_reset() => TransferError::Reset(reason),
        _ => TransferError::Connection(error),
    }
}

impl TransferError {
    /// True when the endpoint says that it has not begun to serve the request.
    pub fn is_unserved(&self) -> bool {
        match self {
            Self::Reset(reason) => *reason == Reason::REFUSED_STREAM,
            // A stream that a GOAWAY does not cover ends with the GOAWAY's own reason.
            Self::Connection(error) => {
                error.is_go_away() && error.reason() == Some(Reason::NO_ERROR)
            }
            Self::Body(_) => false,
        }
    }
}

/// A request's body on its way out.
struct Upload {
    body: RequestBody,
    stream: SendStream<Bytes>,
    pending: Bytes,
    is_done: bool,
}

impl Upload {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyFault>> {
        while !self.is_done {
            while !self.pending.is_empty() {
                if self.stream.capacity() == 0 {
                    self.stream.reserve_capacity(self.pending.len());
                    match ready!(self.stream.poll_capacity(cx)) {
                        Some(Ok(_)) => continue,
                        // The endpoint wants no more of it; its response says why.
                        Some(Err(_)) | None => {
                            self.is_done = true;
                            return Poll::Ready(Ok(()));
                        }
                    }
                }
                let count = self.stream.capacity().min(self.pending.len());
                let piece = self.pending.split_to(count);
                let ends = self.pending.is_empty() && self.body.is_end();
                self.is_done = self.stream.send_data(piece, ends).is_err() || ends;
                self.body.release(count);
            }
            if self.is_done {
                break;
            }
            if self.body.is_end() {
                self.is_done = true;
                let _ = self.stream.send_data(Bytes::new(), true);
                break;
            }
            match ready!(self.body.poll_piece(cx)) {
                Some(Ok(Piece::Data(data))) => self.pending = data,
                Some(Ok(Piece::Trailers(trailers))) => {
                    self.is_done = true;
                    let _ = self.stream.send_trailers(trailers);
                }
                Some(Err(fault)) => {
                    self.is_done = true;
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(fault));
                }
                None => {
                    self.is_done = true;
                    let _ = self.stream.send_data(Bytes::new(), true);
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
