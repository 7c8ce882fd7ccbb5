//! HTTP/1 with a client: WebSocket sessions of Linkerd proxies, and plain clients such as curl.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request as HttpRequest, Response as HttpResponse, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::WaitForCancellationFuture;

use super::body::{Piece, RequestBody, Source};
use super::context::Context;
use super::exchange::{Answered, Interim, exchange};
use super::outgoing::Request;
use super::record::Record;
use super::response::{Broken, ResponseBody, Upgraded, close_http1};
use super::watch::Watch;
use super::wire::Wire;
use crate::model::sharded::lock;
use crate::proxy::connect::OpenCount;

/// From the last response to the end of the next request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// hyper reads with no smaller buffer; a head that does not fit into the buffer is refused.
const LEAST_BUFFER: usize = 8 * 1024;

/// How a session ended.
pub enum Ended {
    /// Both sides are done.
    Done,
    /// Its connection broke.
    Connection,
    /// The client broke HTTP/1, or a bound of it.
    Protocol,
    /// Client and endpoint have left HTTP: the endpoint's connection, and what came from it.
    Upgraded(Upgraded),
}

/// Where a request leaves the endpoint's connection when HTTP ends with its response.
type Slot = Arc<Mutex<Option<Upgraded>>>;

/// Serves `wire` to its end.
pub async fn serve(
    context: &Arc<Context>,
    wire: &Wire,
    stopping: WaitForCancellationFuture<'_>,
) -> Ended {
    let upgraded = Slot::default();
    let service = service_fn(|request| {
        let (context, upgraded) = (Arc::clone(context), Arc::clone(&upgraded));
        Box::pin(async move { Ok::<_, Infallible>(answer(context, request, upgraded).await) })
    });
    let most = context.rules.http.settings.max_header_list_size;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(most.max(LEAST_BUFFER))
        .half_close(false);
    let io = TokioIo::new(wire.clone());
    let mut connection = builder.serve_connection(io, service);
    let age = context.rules.http.age().unwrap_or(Duration::MAX / 4);
    let mut leave = pin!(tokio::time::timeout(age, stopping));
    let mut is_leaving = false;
    let mut watch = Watch::new(context.rules.timeouts.user);
    let result = poll_fn(|cx| {
        if !is_leaving && leave.as_mut().poll(cx).is_ready() {
            is_leaving = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        let result = connection.poll_without_shutdown(cx);
        let sent = wire.poll_send(cx);
        // While a request is served, nothing may be read.
        let is_served = context.http.in_flight() > 0;
        let watched = wire.poll_watch(cx, &mut watch, is_served);
        match (result, sent, watched) {
            (Poll::Pending, Poll::Ready(Err(_)), _) | (Poll::Pending, _, Err(_)) => {
                Poll::Ready(None)
            }
            (result, ..) => result.map(Some),
        }
    })
    .await;
    let endpoint = lock(&upgraded).take();
    if let Some(endpoint) = endpoint {
        // What hyper has read ahead belongs to the new protocol.
        let parts = connection.into_parts();
        wire.put_back(&parts.read_buf);
        // What has been said in HTTP comes before: the client may not have taken it yet.
        if poll_fn(|cx| wire.poll_send(cx)).await.is_err() {
            return Ended::Connection;
        }
        return Ended::Upgraded(endpoint);
    }
    match result {
        Some(Ok(())) => Ended::Done,
        // Nothing for a minute: an idle connection, or a head that does not end.
        Some(Err(error)) if error.is_timeout() => Ended::Done,
        Some(Err(error)) if error.is_parse() => Ended::Protocol,
        Some(Err(_)) | None => Ended::Connection,
    }
}

/// There is nobody to tell: hyper itself says `100 Continue` when the body is asked for.
struct Nobody;

impl Interim for Nobody {
    fn pass(&mut self, _: StatusCode, _: HeaderMap) {}
}

async fn answer(
    context: Arc<Context>,
    request: HttpRequest<Incoming>,
    upgraded: Slot,
) -> HttpResponse<OutBody> {
    let (head, incoming) = request.into_parts();
    let body = RequestBody::new(Source::Http1(incoming), context.rules.http.body());
    let request = Request::from_http1(head, body);
    let leaving =
        request.leaves_http().then(|| (request.method.clone(), request.asked_path().to_owned()));
    let mut record = Record::new(&context, &request);
    let Answered { response, place } = exchange(&context, request, &mut record, &mut Nobody).await;
    record.answered(response.status, &response.headers);
    let mut headers = response.headers;
    close_http1(&mut headers);
    if let Some(endpoint) = response.upgraded {
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some((method, path)) = leaving {
            context.http.left(method.as_str(), &path);
        }
        *lock(&upgraded) = Some(endpoint);
    }
    if response.body.is_end() {
        record.ended();
    }
    let body = OutBody { body: response.body, record, _place: place, release: 0 };
    let mut out = HttpResponse::new(body);
    *out.status_mut() = response.status;
    *out.headers_mut() = headers;
    out
}

/// A response's body as hyper asks for it.
struct OutBody {
    body: ResponseBody,
    record: Record,
    _place: Option<OpenCount>,
    /// Given out and not released yet: hyper has written it when it asks for more.
    release: usize,
}

/// The response ends before its end: hyper closes the connection, which says so.
#[derive(Debug, thiserror::Error)]
#[error("the response broke off: {0:?}")]
struct BrokenOff(Broken);

impl Body for OutBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        let released = std::mem::take(&mut this.release);
        this.body.release(released);
        let piece = ready!(this.body.poll_piece(cx));
        this.record.request_bytes = this.body.request_bytes();
        Poll::Ready(match piece {
            Some(Ok(Piece::Data(data))) => {
                this.release = data.len();
                this.record.response_bytes += data.len() as u64;
                if this.body.is_end() {
                    this.record.ended();
                }
                Some(Ok(Frame::data(data)))
            }
            Some(Ok(Piece::Trailers(trailers))) => {
                this.record.trailed(&trailers);
                this.record.ended();
                Some(Ok(Frame::trailers(trailers)))
            }
            Some(Err(broken)) => Some(Err(BrokenOff(broken))),
            None => {
                this.record.ended();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
