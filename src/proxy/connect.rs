//! A connection to one of a route's endpoints: the next one is tried when one fails.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::end::End;
use super::handshake::{self, Alpn, HandshakeError};
use crate::config::{RecordLayer, Settings};
use crate::model::balance::choose;
use crate::model::header::{Header, SessionProtocol, encode};
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::model::route::{Endpoint, Onward, Route};
use crate::model::service::{Port, Target};
use crate::net::socket;
use crate::observe::metrics::Metrics;
use crate::runtime::now_millis;
use crate::tls::credentials::Credentials;

/// Bounds of connecting, and where a connection must never lead.
#[derive(Clone, Debug)]
pub struct Connector {
    /// One attempt, onward TLS included.
    pub timeout: Duration,
    /// All attempts of one connection.
    pub total_timeout: Duration,
    /// Options of the new socket.
    pub options: socket::Options,
    /// Our own listeners.
    pub own_listeners: Vec<SocketAddr>,
    /// Who carries the bytes of TLS.
    pub record_layer: RecordLayer,
}

/// What an endpoint is told before the client's first byte.
#[derive(Debug, Default)]
pub struct Opening {
    /// The client's session protocol, which an onward header names again.
    pub session: Option<SessionProtocol>,
    /// A PROXY header: the first bytes, before any TLS.
    pub proxy_header: Option<Vec<u8>>,
}

/// A connected endpoint; it counts as open until this drops.
#[derive(Debug)]
pub struct Connected {
    /// Its bytes; a header has been written where one is due.
    pub end: End,
    /// Where.
    pub address: SocketAddr,
    /// Who it proved to be.
    pub identity: Option<Identity>,
    /// Its place in the balance.
    pub place: OpenCount,
}

/// Why no endpoint was reached; of several failures the last.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The route has none.
    #[error("the route has no endpoint")]
    NoEndpoints,
    /// It leads back to ourselves.
    #[error("{0} is a listener of this gateway")]
    OwnListener(SocketAddr),
    /// TLS failed, or it is not who it should be.
    #[error("onward TLS to {0}: {1}")]
    Tls(SocketAddr, HandshakeError),
    /// The endpoint did not take up the transport header.
    #[error("onward TLS to {0}: it did not negotiate transport.l5d.io/v1")]
    NoHeader(SocketAddr),
    /// TCP failed.
    #[error("{0}: {1}")]
    Tcp(SocketAddr, io::Error),
    /// It did not answer in time.
    #[error("{0} did not answer in time")]
    TimedOut(SocketAddr),
}

impl ConnectError {
    /// How the connection of the client ends with this.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NoEndpoints => Outcome::NoEndpoints,
            Self::OwnListener(_) => Outcome::OwnListener,
            Self::Tls(..) | Self::NoHeader(_) => Outcome::OnwardTlsFailed,
            Self::Tcp(_, error) if error.kind() == io::ErrorKind::TimedOut => {
                Outcome::ConnectTimeout
            }
            Self::Tcp(..) => Outcome::ConnectFailed,
            Self::TimedOut(_) => Outcome::ConnectTimeout,
        }
    }
}

/// Holds an endpoint's place in the balance.
#[derive(Debug)]
pub struct OpenCount(Arc<Endpoint>);

impl OpenCount {
    /// Counts one in at `endpoint`.
    pub fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.state.opened();
        Self(Arc::clone(endpoint))
    }
}

impl Drop for OpenCount {
    fn drop(&mut self) {
        self.0.state.closed();
    }
}

impl Connector {
    /// Bounds as configured.
    pub fn new(settings: &Settings, own_listeners: Vec<SocketAddr>) -> Self {
        let limits = &settings.limits;
        let options =
            socket::Options { keepalive: limits.keepalive, user_timeout: limits.tcp_user_timeout };
        Self {
            timeout: limits.connect_timeout,
            total_timeout: limits.connect_total_timeout,
            options,
            own_listeners,
            record_layer: settings.gateway.record_layer,
        }
    }

    /// Connects to an endpoint of `route`, trying each at most once within the total time; each is
    /// told `opening`. The last one that is left may take the rest of the time: when its first SYN
    /// is lost, the kernel repeats it only after a second.
    ///
    /// # Errors
    /// The last failure; see [`ConnectError`].
    pub async fn connect(
        &self,
        route: &Route,
        opening: Opening,
        credentials: &Credentials,
        metrics: &Metrics,
    ) -> Result<Connected, ConnectError> {
        let deadline = Instant::now() + self.total_timeout;
        let mut tried = Vec::new();
        let mut last = ConnectError::NoEndpoints;
        while let Some(index) =
            choose(&route.endpoints, |i| tried.contains(&i), now_millis(), || fastrand::u32(..))
        {
            let Some(endpoint) = route.endpoints.get(index) else { break };
            tried.push(index);
            let place = OpenCount::new(endpoint);
            let is_last = tried.len() == route.endpoints.len();
            let until =
                if is_last { deadline } else { deadline.min(Instant::now() + self.timeout) };
            let (target, opening) = (&route.target, &opening);
            match self.dial(target, endpoint, until, opening, credentials, metrics).await {
                Ok((end, identity)) => {
                    let address = endpoint.dial_address();
                    return Ok(Connected { end, address, identity, place });
                }
                Err(error) => last = error,
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(last)
    }

    /// Connects to `endpoint` before `until`, and remembers whether that worked.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn dial(
        &self,
        target: &Target,
        endpoint: &Endpoint,
        until: Instant,
        opening: &Opening,
        credentials: &Credentials,
        metrics: &Metrics,
    ) -> Result<(End, Option<Identity>), ConnectError> {
        let address = endpoint.dial_address();
        let attempt = timeout_at(until, self.attempt(endpoint, opening, credentials)).await;
        let result = attempt.unwrap_or(Err(ConnectError::TimedOut(address)));
        metrics.endpoint_connect(result.is_ok());
        match &result {
            Ok(_) => endpoint.state.succeeded(),
            Err(error) if endpoint.state.failed(now_millis()) => {
                metrics.endpoint_ejected();
                tracing::warn!(endpoint = %address, route = %target, %error,
                    "endpoint ejected after repeated connect failures");
            }
            Err(_) => {}
        }
        result
    }

    async fn attempt(
        &self,
        endpoint: &Endpoint,
        opening: &Opening,
        credentials: &Credentials,
    ) -> Result<(End, Option<Identity>), ConnectError> {
        let address = endpoint.dial_address();
        let tcp = |error| ConnectError::Tcp(address, error);
        let mut stream = TcpStream::connect(address).await.map_err(tcp)?;
        let local = socket::unmapped(stream.local_addr().map_err(tcp)?);
        let peer = socket::destination(address);
        // On loopback the system may choose the destination's port, where nobody listens, as the
        // source port, and TCP then connects the socket to itself.
        if local == peer {
            return Err(tcp(io::ErrorKind::ConnectionRefused.into()));
        }
        if self.is_own_listener(local, peer) {
            return Err(ConnectError::OwnListener(address));
        }
        socket::prepare(&stream, &self.options).map_err(tcp)?;
        if let Some(header) = &opening.proxy_header {
            stream.write_all(header).await.map_err(tcp)?;
        }
        let Some(onward) = &endpoint.onward else {
            return Ok((End::Tcp(stream), None));
        };
        let (mut end, identity) = self.onward(stream, address, onward, credentials).await?;
        if let Some(port) = Port::new(endpoint.address.port()) {
            let mut header = Vec::new();
            encode(&Header { name: None, port, session: opening.session }, &mut header);
            let reset = |_| tcp(io::ErrorKind::ConnectionReset.into());
            write_all(&mut end, &header).await.map_err(reset)?;
        }
        Ok((end, Some(identity)))
    }

    /// mTLS to a Linkerd proxy or another gateway, which must take our header.
    async fn onward(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        onward: &Onward,
        credentials: &Credentials,
    ) -> Result<(End, Identity), ConnectError> {
        let (identity, peer) = (&onward.identity, address.ip());
        let handshake = handshake::connect(stream, credentials, identity, peer, self.record_layer);
        let established = handshake.await.map_err(|error| ConnectError::Tls(address, error))?;
        if established.alpn != Alpn::TransportHeader {
            return Err(ConnectError::NoHeader(address));
        }
        Ok((established.end, established.identity))
    }

    /// True when a connection from `local` to `peer` leads to a listener of ours.
    fn is_own_listener(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        let mut same_port =
            self.own_listeners.iter().map(|own| socket::unmapped(*own)).filter(|own| {
                own.port() == peer.port() && (own.ip().is_unspecified() || own.ip() == peer.ip())
            });
        // Almost no endpoint has one of our ports: only those pay for the question.
        same_port.next().is_some() && (peer.ip() == local.ip() || socket::is_local(peer.ip()))
    }
}

async fn write_all(end: &mut End, mut bytes: &[u8]) -> Result<(), super::end::Fault> {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| end.poll_write(cx, bytes)).await?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    poll_fn(|cx| end.poll_flush(cx)).await
}
