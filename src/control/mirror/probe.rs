//! Probes one gateway address directly: a GET to its admin port over mTLS, with the gateway's
//! identity expected. Success is status 200 and nothing else.
//!
//! Linkerd's controller asks a probe Service instead, whose one connection stands for all addresses
//! and whose port must be 4191 (linkerd2#14451, #15670). Here each address has a [`Prober`], run by
//! `control::mirror::gateway`, with one connection that is kept. HTTP/1.1 without ALPN is what every
//! admin port speaks, Linkerd's included.
//!
//! A kept connection that ends is no failure: gateways end them when they drain, and the answer
//! that counts is the next connection's. Our own credentials, if they do not serve, are never the
//! gateway's fault.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::model::identity::Identity;
use crate::model::mirror::probe::{Failure, Probed, Unasked};
use crate::net::socket;
use crate::tls::client::{self, ClientError, Fault};
use crate::tls::credentials::Credentials;

/// Bytes of an answer's body for which its connection is still worth keeping.
const MAX_BODY: usize = 16 * 1024;
/// How long the rest of such an answer may take.
const BODY_TIMEOUT: Duration = Duration::from_millis(500);
/// Bytes of an answer's head.
const MAX_HEAD: usize = 16 * 1024;
/// Of our own making: the kernel has nothing left to connect with.
const OWN_ERRORS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];

/// What is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// An address of the gateway, with its probe port.
    pub address: SocketAddr,
    /// What is asked for.
    pub path: PathAndQuery,
    /// Who must answer; `None` is plain HTTP.
    pub identity: Option<Identity>,
    /// From the connect to the head of the answer.
    pub timeout: Duration,
}

/// A `probeSpec.path`; `None` for what is no path of HTTP.
pub fn path(text: &str) -> Option<PathAndQuery> {
    PathAndQuery::try_from(text).ok().filter(|_| text.starts_with('/'))
}

/// Probes one address, again and again.
pub struct Prober {
    target: Target,
    kept: Option<Kept>,
}

/// An HTTP/1 connection to the gateway.
struct Kept {
    sender: SendRequest<Empty<Bytes>>,
    /// Moves its bytes; `None` once it has ended.
    driver: Option<Driver>,
    /// Of the credentials that it was made with; `None` without TLS.
    generation: Option<u64>,
}

type Driver = Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>;

/// How far a probe has come.
#[derive(Clone, Copy)]
enum Step {
    Connect,
    Handshake,
    Answer,
}

/// A connection with the head of an answer.
struct Answered {
    status: u16,
    after: Duration,
    body: Incoming,
    kept: Kept,
}

impl Prober {
    /// Not connected yet.
    pub fn new(target: Target) -> Self {
        Self { target, kept: None }
    }

    /// Waits, and notices meanwhile when the kept connection ends.
    pub async fn wait(&mut self, duration: Duration) {
        let pause = sleep(duration);
        match &mut self.kept {
            Some(kept) => drive(&mut kept.driver, pause).await,
            None => pause.await,
        }
    }

    /// One probe, with the credentials in use. It ends within the target's timeout, and half a
    /// second for the rest of an answer.
    pub async fn probe(&mut self, credentials: Option<Arc<Credentials>>) -> Probed {
        let credentials = match (&self.target.identity, credentials) {
            (None, _) => None,
            (Some(_), None) => return Probed::Unknown(Unasked::NoCredentials),
            (Some(_), Some(own)) if own.leaf_not_after <= SystemTime::now() => {
                return Probed::Unknown(Unasked::Expired);
            }
            (Some(_), own) => own,
        };
        let begun = Instant::now();
        let mut step = Step::Connect;
        let answer = self.answer(credentials.as_deref(), begun, &mut step);
        let answered = timeout_at(begun + self.target.timeout, answer).await;
        match answered {
            Ok(Ok(answered)) => {
                let (status, after) = (answered.status, answered.after);
                if status != 200 {
                    return Probed::Failed(Failure::Status(status));
                }
                self.kept = answered.rest().await;
                Probed::Alive(after)
            }
            Ok(Err(probed)) => probed,
            Err(_) => Probed::Failed(match step {
                Step::Connect => Failure::ConnectTimeout,
                Step::Handshake => Failure::HandshakeTimeout,
                Step::Answer => Failure::AnswerTimeout,
            }),
        }
    }

    /// The head of an answer, on the kept connection or a new one.
    fn answer<'p>(
        &mut self,
        credentials: Option<&'p Credentials>,
        begun: Instant,
        step: &'p mut Step,
    ) -> impl Future<Output = Result<Answered, Probed>> + use<'p> {
        let (target, kept) = (self.target.clone(), self.kept.take());
        async move {
            let generation = credentials.map(|own| own.generation);
            if let Some(kept) = kept.filter(|kept| kept.is_usable(generation)) {
                *step = Step::Answer;
                // It may end just as it is asked: then a new one tells.
                if let Ok(answered) = kept.ask(&target, begun).await {
                    return Ok(answered);
                }
                *step = Step::Connect;
            }
            let kept = connect(&target, credentials, step).await?;
            kept.ask(&target, begun).await.map_err(|error| of_http(&error))
        }
    }
}

impl Kept {
    async fn new<T>(stream: T, generation: Option<u64>) -> Result<Self, Probed>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let builder = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream));
        let (sender, connection) = builder.await.map_err(|error| of_http(&error))?;
        Ok(Self { sender, driver: Some(Box::pin(connection)), generation })
    }

    /// True while it is open, and made with the credentials in use: a gateway must prove itself
    /// anew to others.
    fn is_usable(&self, generation: Option<u64>) -> bool {
        self.driver.is_some() && self.generation == generation && !self.sender.is_closed()
    }

    async fn ask(mut self, target: &Target, begun: Instant) -> Result<Answered, hyper::Error> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = target.path.clone().into();
        if let Ok(host) = HeaderValue::try_from(target.address.to_string()) {
            request.headers_mut().insert(HOST, host);
        }
        let agent =
            HeaderValue::from_static(concat!("linkerd-gateway/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        let sent = self.sender.send_request(request);
        let (head, body) = drive(&mut self.driver, sent).await?.into_parts();
        let (status, after) = (head.status.as_u16(), begun.elapsed());
        Ok(Answered { status, after, body, kept: self })
    }
}

impl Answered {
    /// Reads the rest, if it is short; the connection is then good for the next probe.
    async fn rest(self) -> Option<Kept> {
        let Self { body, mut kept, .. } = self;
        let rest = drive(&mut kept.driver, Limited::new(body, MAX_BODY).collect());
        let is_whole = timeout(BODY_TIMEOUT, rest).await.is_ok_and(|rest| rest.is_ok());
        (is_whole && kept.driver.is_some()).then_some(kept)
    }
}

/// Runs `work` on a connection that nobody else moves.
async fn drive<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        // Why it has ended is told to whoever waits for an answer.
        if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
            *driver = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

async fn connect(
    target: &Target,
    credentials: Option<&Credentials>,
    step: &mut Step,
) -> Result<Kept, Probed> {
    let stream = TcpStream::connect(target.address).await.map_err(|error| of_connect(&error))?;
    // On loopback the system may choose the destination's port, where nobody listens, as the source
    // port, and TCP then connects the socket to itself.
    if stream.local_addr().is_ok_and(|local| local == target.address) {
        return Err(Probed::Failed(Failure::Refused));
    }
    // It fails only for a socket that is gone, which the next step meets.
    let _ = stream.set_nodelay(true);
    let kept = match (&target.identity, credentials) {
        (Some(identity), Some(own)) => {
            *step = Step::Handshake;
            let shaken = client::probe(own, stream, identity).await;
            let stream = shaken.map_err(|error| of_tls(target, &error))?;
            Kept::new(stream, Some(own.generation)).await
        }
        _ => Kept::new(stream, None).await,
    };
    *step = Step::Answer;
    kept
}

fn of_connect(error: &io::Error) -> Probed {
    if socket::is_one_of(error, &OWN_ERRORS) {
        return Probed::Unknown(Unasked::NoSocket);
    }
    Probed::Failed(match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Failure::Closed,
        _ => Failure::Unreachable,
    })
}

fn of_tls(target: &Target, error: &ClientError) -> Probed {
    tracing::debug!(address = %target.address, %error, "a probe's handshake failed");
    of_fault(error.fault())
}

fn of_http(error: &hyper::Error) -> Probed {
    if error.is_parse() {
        return Probed::Failed(Failure::NotHttp);
    }
    let below = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    of_fault(below.map_or(Fault::Closed, client::fault))
}

fn of_fault(fault: Fault) -> Probed {
    Probed::Failed(match fault {
        Fault::OursRefused => return Probed::Unknown(Unasked::Refused),
        Fault::Expired => Failure::CertificateExpired,
        Fault::NotYetValid => Failure::CertificateNotYetValid,
        Fault::Untrusted => Failure::CertificateUntrusted,
        Fault::Invalid => Failure::CertificateInvalid,
        Fault::Unexpected => Failure::IdentityMismatch,
        Fault::NotTls => Failure::NotTls,
        Fault::Tls => Failure::Tls,
        Fault::Closed => Failure::Closed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_with_a_slash_and_holds_nothing_that_breaks_a_request() {
        for good in ["/ready", "/ready?a=b", "/"] {
            assert_eq!(path(good).expect("a path").as_str(), good);
        }
        for bad in ["", "ready", "/a b", "/a\r\nhost: x", "http://x/ready"] {
            assert_eq!(path(bad), None, "{bad:?}");
        }
    }
}
