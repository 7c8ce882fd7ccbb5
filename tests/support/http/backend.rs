//! Services that speak HTTP, by hyper: they record what reaches them and answer as a test says.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::super::backend::reserved_port;
use super::runtime;

/// What a service understands, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// Prior knowledge.
    H2c,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
    /// Which of the service's connections it came on, from 0.
    pub connection: usize,
}

impl Seen {
    /// A header's values; several are joined with `, `.
    pub fn header(&self, name: &str) -> String {
        let values = self.headers.get_all(name).iter();
        let values: Vec<_> = values.map(|value| value.to_str().expect("text")).collect();
        values.join(", ")
    }
}

/// What a service answers.
pub type Reply = Response<BoxBody<Bytes, Infallible>>;

/// A reply with a body.
pub fn reply(body: impl Into<Bytes>) -> Reply {
    Response::new(Full::new(body.into()).boxed())
}

/// A service. It goes on after the test's end of it, unless it is stopped.
pub struct Backend {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Backend {
    /// Starts one that answers each request, when its body is complete, with what `handler` gives.
    pub fn start<F, R>(protocol: Protocol, handler: F) -> Self
    where
        F: Fn(Seen) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        let (socket, address) = reserved_port();
        Self::start_on(socket, address, protocol, handler)
    }

    /// The same at a port that was reserved.
    pub fn start_on<F, R>(
        socket: socket2::Socket,
        address: SocketAddr,
        protocol: Protocol,
        handler: F,
    ) -> Self
    where
        F: Fn(Seen) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        socket.listen(1024).expect("listening");
        socket.set_nonblocking(true).expect("set");
        let backend = Self {
            address,
            seen: Arc::default(),
            connections: Arc::default(),
            stop: CancellationToken::new(),
        };
        let (seen, connections) = (Arc::clone(&backend.seen), Arc::clone(&backend.connections));
        let (stop, handler) = (backend.stop.clone(), Arc::new(handler));
        runtime().spawn(stop.clone().run_until_cancelled_owned(async move {
            let listener = TcpListener::from_std(socket.into()).expect("a listener");
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let _ = stream.set_nodelay(true);
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                let handler = move |request| record(number, request, seen.clone(), handler.clone());
                let served = serve(protocol, stream, handler);
                runtime().spawn(stop.clone().run_until_cancelled_owned(served));
            }
        }));
        backend
    }

    /// Everything that it has received so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("whole").clone()
    }

    /// The only request that it has received.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.into_iter().next().expect("one")
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Ends it and all its connections at once, in the middle of whatever they do; returns when the
    /// last one has ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        // Each connection holds one.
        while Arc::strong_count(&self.seen) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A service that answers everything with `body`.
pub fn saying(protocol: Protocol, body: &'static str) -> Backend {
    Backend::start(protocol, move |_| async move { reply(body) })
}

/// Records a request when it is complete, and answers it.
pub async fn record<F, R>(
    connection: usize,
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
    handler: Arc<F>,
) -> Result<Reply, hyper::Error>
where
    F: Fn(Seen) -> R + Send + Sync + 'static,
    R: Future<Output = Reply>,
{
    let (parts, body) = request.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    let (method, uri, version, headers) = (parts.method, parts.uri, parts.version, parts.headers);
    let body = body.to_bytes();
    let request = Seen { method, uri, version, headers, body, trailers, connection };
    seen.lock().expect("whole").push(request.clone());
    Ok(handler(request).await)
}

/// Serves one connection of any kind; for endpoints that are behind something else.
pub async fn serve<F, R>(
    protocol: Protocol,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    handler: F,
) where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Reply, hyper::Error>> + Send + 'static,
{
    let service = service_fn(handler);
    // Ends of all kinds are the test's to see at its own side.
    let _ = match protocol {
        Protocol::Http1 => {
            let builder = hyper::server::conn::http1::Builder::new();
            builder.serve_connection(TokioIo::new(stream), service).await
        }
        Protocol::H2c => {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.serve_connection(TokioIo::new(stream), service).await
        }
    };
}

/// The plain connection to an address, for a session with a service itself.
pub async fn direct(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    stream
}
