//! Clients: the session of a Linkerd proxy, HTTP/2 behind mTLS and a transport header, and plain
//! TLS clients that negotiate HTTP by ALPN.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode, request};
use hyper_util::rt::TokioIo;
use linkerd_gateway::model::header::SessionProtocol;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::super::client::{Client, header_for};
use super::{TARGET, run, runtime};

/// The client's end of mTLS.
pub type Tls = tokio_rustls::client::TlsStream<TcpStream>;

/// A connection whose handshake is complete.
pub async fn connect(client: &Client, address: SocketAddr) -> std::io::Result<Tls> {
    let (config, name) = client.parts();
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    TlsConnector::from(config).connect(name, tcp).await
}

/// The same; a header for `target` with `session` has been written.
pub async fn connect_session(
    client: &Client,
    address: SocketAddr,
    target: &str,
    session: SessionProtocol,
) -> std::io::Result<Tls> {
    let mut stream = connect(client, address).await?;
    stream.write_all(&header_for(target, Some(session))).await?;
    stream.flush().await?;
    Ok(stream)
}

/// One HTTP/2 session.
pub struct Session {
    pub requests: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// A response that has come completely.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// A header's value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// A trailer's value; empty when there is none.
    pub fn trailer(&self, name: &str) -> &str {
        let trailers = self.trailers.as_ref();
        trailers.and_then(|t| t.get(name)).map_or("", |value| value.to_str().expect("text"))
    }
}

/// A request as a Linkerd proxy sends it that was HTTP/1.1 at its client.
pub fn marked(method: &str, path: &str) -> request::Builder {
    unmarked(method, path).header("l5d-orig-proto", "HTTP/1.1")
}

/// A request that has been HTTP/2 from the start.
pub fn unmarked(method: &str, path: &str) -> request::Builder {
    Request::builder().method(method).uri(format!("http://{TARGET}{path}"))
}

impl Session {
    /// The session of a Linkerd proxy for [`TARGET`].
    pub async fn open(client: &Client, address: SocketAddr) -> Self {
        Self::open_to(client, address, TARGET).await
    }

    /// The same for any target.
    pub async fn open_to(client: &Client, address: SocketAddr, target: &str) -> Self {
        let stream = connect_session(client, address, target, SessionProtocol::Http2).await;
        Self::over(stream.expect("a handshake")).await
    }

    /// The session of a plain TLS client that offers `h2`.
    pub async fn plain(client: Client, address: SocketAddr) -> Self {
        let stream = connect(&client.alpn(&[b"h2"]), address).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        Self::over(stream).await
    }

    /// Over any stream, with the settings that Linkerd's proxies send.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let mut builder = Builder::new();
        builder.enable_push(false).initial_window_size(65_535).max_header_list_size(16_384);
        builder.initial_connection_window_size(1_048_576);
        Self::built(&builder, stream).await
    }

    /// With settings of its own.
    pub async fn built(
        builder: &Builder,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let (requests, connection) = builder.handshake(stream).await.expect("a session");
        Self { requests, driver: runtime().spawn(connection) }
    }

    /// Begins a request; with `ends` it has no body.
    pub async fn begin(
        &self,
        request: Request<()>,
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.requests.clone().ready().await?.send_request(request, ends)
    }

    /// A whole exchange.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Answer, h2::Error> {
        exchange(self.requests.clone(), request).await
    }

    /// The same, while the test goes on; [`finished`] gives the answer.
    pub fn spawn(&self, request: Request<Bytes>) -> JoinHandle<Result<Answer, h2::Error>> {
        runtime().spawn(exchange(self.requests.clone(), request))
    }

    /// A GET that has been HTTP/1.1.
    pub async fn get(&self, path: &str) -> Result<Answer, h2::Error> {
        self.send(marked("GET", path).body(Bytes::new()).expect("a request")).await
    }

    /// Drops the connection where it is.
    pub fn abort(self) {
        self.driver.abort();
    }

    /// Waits for the server to end the connection.
    pub async fn wait_for_end(&mut self) -> Result<(), h2::Error> {
        (&mut self.driver).await.expect("no panic")
    }
}

async fn exchange(
    requests: SendRequest<Bytes>,
    request: Request<Bytes>,
) -> Result<Answer, h2::Error> {
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts, ());
    let (response, mut stream) = requests.ready().await?.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        // The answer may come, and the stream end, before the upload does.
        let _ = upload(&mut stream, body, true).await;
    }
    answer(response).await
}

/// What a spawned exchange has come to.
pub fn finished<T>(exchange: JoinHandle<T>) -> T {
    run(exchange).expect("no panic")
}

/// Sends as much as the windows allow, until all is sent; the error that stopped it.
pub async fn upload(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    ends: bool,
) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let Some(room) = poll_fn(|context| stream.poll_capacity(context)).await else {
            return Err(h2::Reason::STREAM_CLOSED.into());
        };
        let part = bytes.split_to(room?.min(bytes.len()));
        stream.send_data(part, ends && bytes.is_empty())?;
    }
    Ok(())
}

/// The whole response.
pub async fn answer(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, mut stream) = response.await?.into_parts();
    let (body, trailers) = download(&mut stream).await?;
    Ok(Answer { status: parts.status, headers: parts.headers, body, trailers })
}

/// A body to its clean end, and its trailers.
pub async fn download(stream: &mut RecvStream) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok((body.into(), stream.trailers().await?))
}

/// A plain TLS client that offers `http/1.1`; what sends its requests.
pub async fn plain_http1(
    client: Client,
    address: SocketAddr,
) -> hyper::client::conn::http1::SendRequest<http_body_util::Full<Bytes>> {
    let stream = connect(&client.alpn(&[b"http/1.1"]), address).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    let (requests, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a session");
    runtime().spawn(connection);
    requests
}
