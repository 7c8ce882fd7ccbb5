//! `get`, `get-rate` and `post`: requests in HTTP/2 on connections that stay open.
//!
//! With a transport header the client speaks as Linkerd's proxies do: the session's protocol in the
//! header, `:scheme` http, the service as `:authority`, and `l5d-orig-proto` on what was HTTP/1.1
//! before it was upgraded, which is what becomes HTTP/1.1 again. Without one it is any client of
//! HTTP/2 over TLS.

use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::header::{ACCEPT, CONTENT_LENGTH, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use tokio::task::JoinSet;

use super::client::Client;
use super::options::{Mode, Options, Upstream};
use super::origin::Asked;
use super::pace::Pace;
use super::pattern::{self, BLOCK};
use super::report::{self, Unit};
use super::windows::{Work, measure};

/// Flow control must not be what is measured: the largest body several times, for a stream and for
/// all streams of a connection.
pub const STREAM_WINDOW: u32 = 1 << 20;
/// See [`STREAM_WINDOW`].
pub const CONNECTION_WINDOW: u32 = 16 << 20;
/// Requests that may be open before the run counts as overloaded.
const OPEN: usize = 16_384;
/// Whose service peers are asked for, which do not care.
const AUTHORITY: &str = "web.test.svc.cluster.local";
/// How far apart streams begin in the pattern.
const STRIDE: usize = 1_000_003;

/// The next request goes when the answer is there, on each of `streams` streams per connection.
///
/// # Errors
/// A connection that breaks; wrong answers are counted.
pub async fn closed_loop(options: &Options, client: Client) -> anyhow::Result<serde_json::Value> {
    let work = Work::new()?;
    let requests = Rc::new(Requests::new(options)?);
    let mut tasks = JoinSet::new();
    let connections = open(options, &client, &mut tasks).await?;
    for (offset, connection) in (0..).step_by(STRIDE).zip(repeat(&connections, options)) {
        let (work, requests) = (Rc::clone(&work), Rc::clone(&requests));
        let mut asked = Asked { size: options.size, offset };
        tasks.spawn_local(async move {
            let mut connection = connection;
            while !work.stopping.get() {
                connection = connection.ready().await.context("a connection ended")?;
                let start = Instant::now();
                match requests.once(&mut connection, asked).await {
                    Ok(()) => work.finished(start),
                    Err(error) => work.failed(&error),
                }
                asked.offset += asked.size as u64;
            }
            Ok(())
        });
    }
    drop(connections);
    let measured = measure(options, &work, tasks, || work.units.get(), || ()).await?;
    Ok(report::windows(options, Unit::Request, &measured, &work))
}

/// Requests leave by the clock on the connections in turn, each on a stream of its own, whatever
/// becomes of the earlier ones.
///
/// # Errors
/// As [`closed_loop`], and when the gateway falls behind for good.
pub async fn fixed_rate(options: &Options, client: Client) -> anyhow::Result<serde_json::Value> {
    let work = Work::new()?;
    let requests = Rc::new(Requests::new(options)?);
    let mut tasks = JoinSet::new();
    let connections = open(options, &client, &mut tasks).await?;
    let (mut pace, pacing) = (Pace::new(options.rate)?, Rc::clone(&work));
    let mut asked = Asked { size: options.size, offset: 0 };
    tasks.spawn_local(async move {
        let mut open = JoinSet::new();
        for connection in connections.iter().cycle() {
            let intended = pace.next().await?;
            while let Some(ended) = open.try_join_next() {
                ended??;
            }
            if pacing.stopping.get() {
                break;
            }
            if open.len() >= OPEN {
                bail!("the gateway does not keep up with --rate");
            }
            let (work, requests) = (Rc::clone(&pacing), Rc::clone(&requests));
            let connection = connection.clone();
            open.spawn_local(async move {
                let mut connection = connection.ready().await.context("a connection ended")?;
                match requests.once(&mut connection, asked).await {
                    Ok(()) => work.finished(intended),
                    Err(error) => work.failed(&error),
                }
                anyhow::Ok(())
            });
            asked.offset += asked.size as u64;
        }
        while let Some(ended) = open.join_next().await {
            ended??;
        }
        Ok(())
    });
    let measured = measure(options, &work, tasks, || work.units.get(), || ()).await?;
    Ok(report::windows(options, Unit::Request, &measured, &work))
}

/// Every connection as often as it has streams.
fn repeat(
    connections: &[SendRequest<Bytes>],
    options: &Options,
) -> impl Iterator<Item = SendRequest<Bytes>> {
    (0..options.streams).flat_map(|_| connections.iter().cloned())
}

/// Opens connections one after the other, and lets each answer one request before the next opens.
async fn open(
    options: &Options,
    client: &Client,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Vec<SendRequest<Bytes>>> {
    let mut builder = Builder::new();
    builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    builder.enable_push(false);
    let requests = Requests::new(options)?;
    let mut connections = Vec::new();
    for _ in 0..options.connections() {
        let stream = client.connect(b"").await?;
        let (mut sender, connection) = builder.handshake(stream).await.context("HTTP/2")?;
        tasks.spawn_local(async move { connection.await.context("a connection broke") });
        let first = Asked { size: options.size, offset: 0 };
        requests.once(&mut sender, first).await.context("the first request")?;
        connections.push(sender);
    }
    Ok(connections)
}

/// What all requests of a run have in common.
struct Requests {
    method: Method,
    scheme: Scheme,
    authority: Authority,
    headers: HeaderMap,
}

impl Requests {
    fn new(options: &Options) -> anyhow::Result<Self> {
        if options.size > BLOCK {
            bail!("--size: at most {BLOCK} bytes");
        }
        let is_post = options.mode == Mode::Post;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("linkerd-gateway-load/1"));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if is_post {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(options.size));
        }
        if options.target.is_some() && options.upstream == Upstream::Http1 {
            headers.insert("l5d-orig-proto", HeaderValue::from_static("HTTP/1.1"));
        }
        let linkerd = options.target.is_some() || options.plaintext;
        Ok(Self {
            method: if is_post { Method::POST } else { Method::GET },
            scheme: if linkerd { Scheme::HTTP } else { Scheme::HTTPS },
            authority: options
                .target
                .as_deref()
                .unwrap_or(AUTHORITY)
                .parse()
                .context("--target")?,
            headers,
        })
    }

    /// One request and its answer.
    async fn once(&self, connection: &mut SendRequest<Bytes>, asked: Asked) -> anyhow::Result<()> {
        let is_post = self.method == Method::POST;
        let (answer, mut body) = connection.send_request(self.request(asked)?, !is_post)?;
        if is_post {
            let content = pattern::at(asked.offset, asked.size);
            body.send_data(Bytes::from_static(content), true)?;
        }
        let (head, body) = answer.await.context("no answer")?.into_parts();
        if head.status != StatusCode::OK {
            return Err(refusal(head.status, body).await);
        }
        if is_post { acknowledged(body, asked).await } else { content(body, asked).await }
    }

    fn request(&self, asked: Asked) -> anyhow::Result<Request<()>> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(Bytes::from(asked.path()))?);
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from_parts(parts)?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// The body must be what was asked for, to the last byte.
async fn content(mut body: RecvStream, asked: Asked) -> anyhow::Result<()> {
    let mut taken = 0;
    while let Some(part) = body.data().await {
        let part = part.context("an answer broke off")?;
        body.flow_control().release_capacity(part.len())?;
        pattern::verify(asked.offset + taken as u64, &part)?;
        taken += part.len();
    }
    if taken != asked.size {
        bail!("an answer of {taken} bytes");
    }
    Ok(())
}

/// The backend has compared the body, and says which one it was.
async fn acknowledged(body: RecvStream, asked: Asked) -> anyhow::Result<()> {
    let answer = text(body).await.context("an answer broke off")?;
    if asked.path().as_bytes().get(1..) != Some(&answer) {
        bail!("another request's answer: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

async fn refusal(status: StatusCode, body: RecvStream) -> anyhow::Error {
    let reason = text(body).await.unwrap_or_default();
    anyhow!("{status}: {}", String::from_utf8_lossy(&reason))
}

async fn text(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut text = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        text.extend_from_slice(&part);
    }
    Ok(text)
}
