//! The services behind the demo's gateway: HTTP and echo, on loopback ports that the system
//! chooses.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::runtime;

/// Where the services listen.
pub(super) struct Services {
    pub(super) http: SocketAddr,
    pub(super) echo: SocketAddr,
}

impl Services {
    /// Starts both on one thread that ends with the process.
    pub(super) fn start() -> io::Result<Self> {
        let listen = || {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            io::Result::Ok((listener.local_addr()?, listener))
        };
        let ((http, http_listener), (echo, echo_listener)) = (listen()?, listen()?);
        runtime::spawn_thread("demo", async move {
            let result = tokio::try_join!(
                accept(http_listener, serve_http),
                accept(echo_listener, serve_echo)
            );
            if let Err(error) = result {
                tracing::error!(%error, "the demo's services ended");
            }
        })?;
        Ok(Self { http, echo })
    }
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: std::net::TcpListener,
    serve: fn(TcpStream) -> F,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let tasks = TaskTracker::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tasks.spawn(serve(stream))),
            // Out of descriptors: the clients that hold them will end.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

async fn serve_http(stream: TcpStream) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    // `printf ... | connect` ends its direction before it has the answer.
    server.http1().half_close(true);
    // A client that breaks off is its own affair.
    let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut text = format!(
        "Hello from web.demo.svc.cluster.local:80 behind linkerd-gateway.\nYou asked for {} {}.\n",
        request.method(),
        request.uri()
    );
    let client = request.headers().get("l5d-client-id").and_then(|client| client.to_str().ok());
    if let Some(client) = client {
        text.push_str(&format!("The gateway says that you are {client}.\n"));
    }
    Ok(Response::new(Full::from(text)))
}

async fn serve_echo(mut stream: TcpStream) {
    let (mut receive, mut send) = stream.split();
    // Ends with the client, cleanly or not.
    let _ = tokio::io::copy(&mut receive, &mut send).await;
}
