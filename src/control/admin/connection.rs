//! One connection of the admin server: tell TLS from plain, serve HTTP, end in time.
//!
//! What a client may hold: a connection without a first request for 5 s, one without further
//! requests for at most two [`IDLE_WINDOW`]s, headers of 16 KiB, 64 HTTP/2 streams. Bodies: see
//! `admin/body.rs`.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{answer, wants_body};
use super::body::receive;
use super::slots::Slot;
use super::{Admin, Scope};
use crate::net::proxy_protocol::{self, is_required};
use crate::runtime::fault;

/// From accept to the first byte, PROXY header and TLS handshake included; again to the first
/// request.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// From the first byte of an HTTP/1 request to the end of its headers; also how long HTTP/1
/// connections stay idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection without a request in a whole window ends. Remote probers ask every 3 s.
const IDLE_WINDOW: Duration = Duration::from_secs(60);
/// What a graceful end may take: answers are small and ready at once.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an HTTP/1 request line and headers. A probe's are a few hundred.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Bytes of an HTTP/2 header list.
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// HTTP/1 header fields.
const MAX_HEADERS: usize = 64;
/// HTTP/2 streams at once.
const MAX_STREAMS: u32 = 64;
/// The first byte of every TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection that was just accepted.
pub(super) struct Connection {
    pub(super) admin: Arc<Admin>,
    pub(super) scope: Scope,
    /// Unmapped: an IPv4 peer of a dual-stack listener is an IPv4 address here.
    pub(super) peer: IpAddr,
    pub(super) slot: Arc<Slot>,
    pub(super) stop: CancellationToken,
    pub(super) tracker: TaskTracker,
}

impl Connection {
    /// Serves the connection to its end.
    pub(super) async fn run(self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        let slot = Arc::clone(&self.slot);
        tokio::select! {
            () = slot.evicted() => {}
            () = self.serve(stream, tls) => {}
        }
    }

    async fn serve(self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        // Answers are one small write each; waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let opened = tokio::select! {
            () = self.stop.cancelled() => return,
            opened = timeout(OPEN_TIMEOUT, self.open(stream, tls)) => opened,
        };
        match opened {
            Ok(Some(Opened::Plain(stream))) => self.http(stream).await,
            Ok(Some(Opened::Tls(stream))) => self.http(stream).await,
            Ok(None) | Err(_) => {}
        }
    }

    /// Takes the PROXY header where the peer's network must send one. What it says is of no
    /// consequence here: the TCP peer's address decides what a client may ask.
    async fn open(&self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Option<Opened> {
        let proxies = self.admin.state.admin_proxies.load_full();
        if self.scope == Scope::Full && is_required(&proxies, self.peer) {
            let received = proxy_protocol::receive(&stream).await;
            let peer = self.peer;
            received
                .inspect_err(|error| {
                    tracing::debug!(%peer, %error,
                        "an admin connection from a network of admin.proxy_protocol was refused");
                })
                .ok()?;
        }
        accept(stream, tls).await
    }

    async fn http(self, io: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let builder = builder(self.tracker.clone());
        // A prober that keeps its connection would count every 503 until it is gone; one that
        // connects from now on gets a single 503 and may find another replica.
        let draining = self.admin.state.draining.clone();
        let is_late = draining.is_cancelled();
        let session = Arc::new(Session {
            admin: self.admin,
            scope: self.scope,
            peer: self.peer,
            slot: self.slot,
            requests: AtomicU64::new(0),
            end: Notify::new(),
        });
        let shared = Arc::clone(&session);
        let service = service_fn(move |request| Arc::clone(&shared).respond(request));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
        let (mut wait, mut seen) = (OPEN_TIMEOUT, 0);
        loop {
            tokio::select! {
                // Errors are the client's own business: it broke the protocol or went away.
                _ = connection.as_mut() => return,
                () = self.stop.cancelled() => break,
                () = draining.cancelled(), if !is_late => break,
                () = session.end.notified() => break,
                () = sleep(wait) => {}
            }
            let requests = session.requests.load(Ordering::Relaxed);
            if requests == seen {
                break;
            }
            (wait, seen) = (IDLE_WINDOW, requests);
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(END_TIMEOUT, connection).await;
    }
}

enum Opened {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// Looks at the first byte and accepts TLS if it is TLS's. Nothing when the client went away, the
/// handshake failed, or there are no credentials to answer with.
async fn accept(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Option<Opened> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first != [TLS_HANDSHAKE] {
        return Some(Opened::Plain(stream));
    }
    let stream = TlsAcceptor::from(tls?).accept(stream).await.ok()?;
    Some(Opened::Tls(Box::new(stream)))
}

fn builder(tracker: TaskTracker) -> auto::Builder<Tracked> {
    let mut builder = auto::Builder::new(Tracked(tracker));
    builder
        .http1()
        .timer(TokioTimer::new())
        // `printf ... | nc` ends its direction before it reads.
        .half_close(true)
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST);
    builder
}

/// Runs HTTP/2 streams as tasks that the shutdown waits for.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// What the requests of one connection share.
struct Session {
    admin: Arc<Admin>,
    scope: Scope,
    peer: IpAddr,
    slot: Arc<Slot>,
    requests: AtomicU64,
    end: Notify,
}

impl Session {
    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.slot.used();
        fault::point("admin_connection");
        let is_wanted = wants_body(self.scope, self.peer, &request);
        let (head, body) = request.into_parts();
        let body = if is_wanted { receive(body).await } else { Ok(Bytes::new()) };
        let request = Request::from_parts(head, body);
        let response = answer(&self.admin, self.scope, self.peer, &request);
        // A prober that keeps its connection would stay with a replica that is not ready.
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            self.end.notify_one();
        }
        Ok(response)
    }
}
