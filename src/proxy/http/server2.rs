//! HTTP/2 with a client: requests out of the session, pieces of responses into it.
//!
//! All requests of a session run within its own task: they end with it, and what they have to say
//! goes to the client in one write after all that were ready have run.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request as HttpRequest, Response as HttpResponse, StatusCode};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFuture;

use super::body::{RequestBody, Source};
use super::context::Context;
use super::exchange::{Answered, Interim, exchange};
use super::outgoing::Request;
use super::pump::Pump;
use super::record::Record;
use super::response::ResponseBody;
use super::windows::Window;
use super::wire::Wire;
use crate::model::sharded::lock;

/// Frames that a client may send us: large ones cost less.
const MAX_FRAME: u32 = 64 * 1024;
/// Bytes of one response that wait for the client's window.
const MOST_BUFFERED: usize = 64 * 1024;
/// Streams that a client has given up before we saw them; more at once is an attack.
const MOST_RESET: usize = 64;
/// Streams that we have given up because of the client, over the life of a session.
const MOST_BROKEN: usize = 1024;

/// How long a client may take to begin HTTP/2.
const BEGINNING: Duration = Duration::from_secs(10);

/// How a session ended.
#[derive(Debug)]
pub enum Ended {
    /// Both sides are done.
    Done,
    /// Its connection broke.
    Connection,
    /// The client broke HTTP/2, or a bound of it.
    Protocol(Reason),
}

/// Serves `wire` to its end.
pub async fn serve(
    context: &Arc<Context>,
    wire: &Wire,
    window: &Window,
    stopping: WaitForCancellationFuture<'_>,
) -> Ended {
    let mut stopping = pin!(stopping);
    wire.count_frames();
    let settings = &context.rules.http.settings;
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(window.stream())
        .initial_connection_window_size(window.session())
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(settings.max_header_list_size)
        .max_concurrent_streams(settings.max_concurrent_streams)
        .max_pending_accept_reset_streams(MOST_RESET)
        .max_local_error_reset_streams(Some(MOST_BROKEN))
        .max_send_buffer_size(MOST_BUFFERED);
    let mut handshake = pin!(builder.handshake::<_, Bytes>(wire.clone()));
    // The library waits for the client's preface, and would keep our settings to itself meanwhile.
    let begun = poll_fn(|cx| {
        let begun = handshake.as_mut().poll(cx);
        let _ = wire.poll_send(cx);
        if begun.is_pending() && stopping.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        begun.map(Some)
    });
    let connection = match tokio::time::timeout(BEGINNING, begun).await {
        Ok(Some(Ok(connection))) => connection,
        Ok(Some(Err(error))) => return flushed(wire, ended(&error)).await,
        Ok(None) | Err(_) => return Ended::Done,
    };
    let age = context.rules.http.age().map(|age| Box::pin(tokio::time::sleep(age)));
    let serve = move |request, respond| answer(Arc::clone(context), request, respond);
    let (idle, idle_timeout) = (None, context.rules.timeouts.idle);
    let mut session = Session {
        connection,
        wire,
        serve,
        requests: FuturesUnordered::new(),
        age,
        idle,
        idle_timeout,
        is_leaving: false,
        is_shown_out: false,
        is_cut: false,
    };
    let ended = poll_fn(|cx| {
        if !session.is_leaving && stopping.as_mut().poll(cx).is_ready() {
            session.leave();
        }
        session.poll(cx)
    })
    .await;
    drop(session.requests);
    flushed(wire, ended).await
}

/// What was said last goes out, as far as the socket takes it.
async fn flushed(wire: &Wire, ended: Ended) -> Ended {
    poll_fn(|cx| {
        let _ = wire.poll_send(cx);
        Poll::Ready(())
    })
    .await;
    ended
}

fn ended(error: &h2::Error) -> Ended {
    match error.reason() {
        Some(reason) if reason != Reason::NO_ERROR && !error.is_io() => Ended::Protocol(reason),
        Some(_) => Ended::Done,
        None => Ended::Connection,
    }
}

/// How long a client without requests may take to close after it was asked to.
const LEAVING: Duration = Duration::from_secs(5);

struct Session<'a, S, F> {
    connection: Connection<Wire, Bytes>,
    wire: &'a Wire,
    serve: S,
    requests: FuturesUnordered<F>,
    /// When it is asked to end.
    age: Option<Pin<Box<Sleep>>>,
    /// Since when it has been without requests.
    idle: Option<Pin<Box<Sleep>>>,
    idle_timeout: Option<Duration>,
    is_leaving: bool,
    /// It was told to end at once.
    is_shown_out: bool,
    /// It was told that it sends too many frames.
    is_cut: bool,
}

impl<S, F> Session<'_, S, F>
where
    S: Fn(HttpRequest<RecvStream>, SendResponse<Bytes>) -> F,
    F: Future<Output = ()>,
{
    /// No more requests: GOAWAY, and a second one when the client has seen it.
    fn leave(&mut self) {
        (self.is_leaving, self.idle) = (true, None);
        self.connection.graceful_shutdown();
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Ended> {
        if self.poll_timers(cx).is_ready() {
            return Poll::Ready(Ended::Done);
        }
        let mut ended = self.poll_accept(cx);
        if self.wire.is_flooded() && !self.is_cut {
            self.is_cut = true;
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            cx.waker().wake_by_ref();
        }
        let waiting = self.requests.len();
        while let Poll::Ready(Some(())) = Pin::new(&mut self.requests).poll_next(cx) {}
        // What requests have said becomes frames.
        if ended.is_pending() && waiting > 0 {
            let left = self.requests.len();
            ended = self.poll_accept(cx);
            if self.requests.len() > left {
                // New ones have to be polled once.
                cx.waker().wake_by_ref();
            }
        }
        // A fault of writing is met by the next read, unless nothing will be read any more.
        let sent = self.wire.poll_send(cx);
        match (ended, sent) {
            (Poll::Ready(_), _) if self.is_cut => {
                Poll::Ready(Ended::Protocol(Reason::ENHANCE_YOUR_CALM))
            }
            (Poll::Ready(ended), _) => Poll::Ready(ended),
            (Poll::Pending, Poll::Ready(Err(_))) => Poll::Ready(Ended::Connection),
            (Poll::Pending, _) => Poll::Pending,
        }
    }

    fn poll_accept(&mut self, cx: &mut TaskContext<'_>) -> Poll<Ended> {
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.requests.push((self.serve)(request, respond));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(ended(&error)),
                Poll::Ready(None) => return Poll::Ready(Ended::Done),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Who has been asked to go, and has nothing left to do here, is shown out.
    fn poll_left(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if !self.requests.is_empty() {
            self.idle = None;
            return Poll::Pending;
        }
        loop {
            let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(LEAVING)));
            ready!(idle.as_mut().poll(cx));
            if self.is_shown_out {
                // It does not even take the last word.
                return Poll::Ready(());
            }
            self.connection.abrupt_shutdown(Reason::NO_ERROR);
            (self.is_shown_out, self.idle) = (true, None);
        }
    }

    /// Ready when the session is over.
    fn poll_timers(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if !self.is_leaving && self.is_due(cx) {
            self.leave();
        }
        if self.is_leaving { self.poll_left(cx) } else { Poll::Pending }
    }

    /// True when it has become old, or has been without requests for long enough.
    fn is_due(&mut self, cx: &mut TaskContext<'_>) -> bool {
        if self.age.as_mut().is_some_and(|age| age.as_mut().poll(cx).is_ready()) {
            return true;
        }
        let Some(timeout) = self.idle_timeout else { return false };
        if !self.requests.is_empty() {
            self.idle = None;
            return false;
        }
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        idle.as_mut().poll(cx).is_ready()
    }
}

/// Passes interim responses on.
struct ToClient<'a>(&'a Mutex<SendResponse<Bytes>>);

impl Interim for ToClient<'_> {
    fn pass(&mut self, status: StatusCode, headers: HeaderMap) {
        let mut response = HttpResponse::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        crate::model::http::hop::strip_response(response.headers_mut());
        // A client that is gone is met by what comes next.
        let _ = lock(self.0).send_informational(response);
    }
}

/// One request, from its head to the last piece of its response.
async fn answer(
    context: Arc<Context>,
    request: HttpRequest<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (head, stream) = request.into_parts();
    let body = RequestBody::new(Source::Http2(stream), context.rules.http.body());
    let request = Request::from_http2(head, body, context.is_plain);
    let is_grpc = request.is_grpc;
    let mut record = Record::new(&context, &request);
    let respond = Mutex::new(respond);
    let mut to_client = ToClient(&respond);
    let answered = {
        let mut exchange = pin!(exchange(&context, request, &mut record, &mut to_client));
        poll_fn(|cx| {
            if let Poll::Ready(answered) = exchange.as_mut().poll(cx) {
                return Poll::Ready(Some(answered));
            }
            lock(&respond).poll_reset(cx).map(|_| None)
        })
        .await
    };
    // The client has given it up: what was on its way to the endpoint ends with it.
    let Some(Answered { mut response, place }) = answered else { return };
    let mut respond = respond.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let ResponseBody::Reset(reason) = response.body {
        return respond.send_reset(reason);
    }
    record.answered(response.status, &response.headers);
    let mut head = HttpResponse::new(());
    *head.status_mut() = response.status;
    *head.headers_mut() = response.headers;
    let is_end = response.body.is_end();
    let Ok(stream) = respond.send_response(head, is_end) else { return };
    if is_end {
        record.ended();
    } else {
        let mut pump = Pump::new(stream, is_grpc);
        poll_fn(|cx| pump.poll(cx, &mut response.body, &mut record)).await;
    }
    record.request_bytes = response.body.request_bytes();
    drop(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(
        _: impl Fn(Arc<Context>, HttpRequest<RecvStream>, SendResponse<Bytes>) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// What each request in flight holds, beside what is boxed.
    #[test]
    fn the_future_of_a_request_is_small() {
        let size = size(answer);
        eprintln!("{size} bytes per request's future");
        // 9,104 before connecting and transfers were boxed: what is moved about for each request.
        assert!(size <= 2480, "{size}");
    }
}
