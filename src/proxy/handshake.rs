//! The TLS handshake in both roles: a TCP connection becomes an [`Established`] one.
//!
//! The ClientHello decides which configuration serves: Linkerd's when it offers ALPN
//! `transport.l5d.io/v1`, else the plain one by server name. No type of rustls leaves this module.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{StartHandshake, TlsConnector};

use super::end::End;
use super::identify::{self, IdentifyError};
use super::inbound::Rules;
use crate::config::RecordLayer;
use crate::model::header::{ALPN, ALPN_HTTP1, ALPN_HTTP2, SessionProtocol};
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::net::socket;
use crate::tls::credentials::Credentials;
use crate::tls::handshake::Handshake;
use crate::tls::stream::TlsStream;
use crate::tls::verify::{Presented, Role};

/// How long a refused client may take to read its alert.
const ALERT_DEADLINE: Duration = Duration::from_millis(500);
/// The fatal alert no_application_protocol (120) as a record, before any key is agreed.
const NO_APPLICATION_PROTOCOL: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 120];
/// Bytes read at once while the ClientHello is incomplete; Linkerd's is 1.5 to 1.8 KB.
const HELLO_READ: usize = 2048;

/// A connection with a verified peer.
#[derive(Debug)]
pub struct Established {
    /// Its bytes.
    pub end: End,
    /// Who the peer is.
    pub identity: Identity,
    /// What was negotiated to come next.
    pub alpn: Alpn,
    /// The server name that the client asked for, lower-case.
    pub sni: Option<Box<str>>,
}

/// What the peers have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    /// A plain client that speaks HTTP to a route that serves it.
    Http(SessionProtocol),
    /// Nothing, or something that is the endpoint's business.
    None,
    /// `transport.l5d.io/v1`: a transport header comes first.
    TransportHeader,
}

impl Alpn {
    fn new(protocol: Option<&[u8]>) -> Self {
        match protocol {
            Some(ALPN) => Self::TransportHeader,
            Some(ALPN_HTTP1) => Self::Http(SessionProtocol::Http1),
            Some(ALPN_HTTP2) => Self::Http(SessionProtocol::Http2),
            _ => Self::None,
        }
    }
}

/// Why a handshake gave no connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer's certificate breaks a rule, or leads to no anchor.
    #[error("{0}")]
    Certificate(CertificateError),
    /// The peer closed or reset on the way.
    #[error("the peer closed during the handshake")]
    Closed,
    /// The peer closed or reset before its first byte.
    #[error("the peer closed before its first byte")]
    ClosedBeforeFirstByte,
    /// The header is required and the client did not offer its ALPN.
    #[error("the client did not offer ALPN transport.l5d.io/v1")]
    HeaderRequired,
    /// The certificate names nobody, or somebody that it must not.
    #[error(transparent)]
    Identify(#[from] IdentifyError),
    /// Anything else that TLS forbids.
    #[error("{0}")]
    Tls(rustls::Error),
}

impl HandshakeError {
    /// How the connection of a client ends with this.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Certificate(error) => certificate_outcome(error),
            Self::Closed => Outcome::HandshakeClosed,
            Self::ClosedBeforeFirstByte => Outcome::ClosedBeforeFirstByte,
            Self::HeaderRequired => Outcome::TransportHeaderRequired,
            Self::Identify(error) => error.outcome(),
            Self::Tls(error) => tls_outcome(error),
        }
    }
}

/// A client that was refused.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: HandshakeError,
    /// Its socket, when an alert was written that it has not read yet.
    alerted: Option<TcpStream>,
}

impl Refused {
    /// Gives the client time to read its alert, which the reset that follows could overtake.
    /// Outside the handshake's deadline, which must not hide why the client was refused.
    pub async fn part(self) {
        if let Some(stream) = self.alerted {
            let _ = tokio::time::timeout(ALERT_DEADLINE, socket::linger(stream)).await;
        }
    }
}

impl From<HandshakeError> for Refused {
    fn from(error: HandshakeError) -> Self {
        Self { error, alerted: None }
    }
}

impl From<IdentifyError> for Refused {
    fn from(error: IdentifyError) -> Self {
        HandshakeError::from(error).into()
    }
}

/// A complete ClientHello, not answered yet.
pub struct Hello {
    accepted: Accepted,
    /// Everything that has been read.
    bytes: Vec<u8>,
    stream: TcpStream,
}

impl Hello {
    /// The server name that the client asks for, lower-case.
    pub fn server_name(&self) -> Option<Box<str>> {
        self.accepted.client_hello().server_name().map(Into::into)
    }

    /// True when the client offers the transport header.
    fn offers_header(&self) -> bool {
        let hello = self.accepted.client_hello();
        hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ALPN))
    }

    /// True when the client offers HTTP.
    fn offers_http(&self) -> bool {
        let is_http = |protocol| matches!(protocol, ALPN_HTTP1 | ALPN_HTTP2);
        self.accepted.client_hello().alpn().is_some_and(|mut offered| offered.any(is_http))
    }
}

/// Reads until the ClientHello is complete.
///
/// # Errors
/// As [`accept`].
pub async fn client_hello(mut stream: TcpStream) -> Result<Hello, Refused> {
    let (mut acceptor, mut bytes) = (Acceptor::default(), Vec::new());
    let mut seen = false;
    loop {
        match poll_fn(|cx| poll_hello(cx, &mut stream, &mut acceptor, &mut bytes)).await {
            Ok(0) if seen => return Err(HandshakeError::Closed.into()),
            Ok(0) => return Err(HandshakeError::ClosedBeforeFirstByte.into()),
            Ok(_) => seen = true,
            Err(_) if seen => return Err(HandshakeError::Closed.into()),
            Err(_) => return Err(HandshakeError::ClosedBeforeFirstByte.into()),
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(Hello { accepted, bytes, stream }),
            Ok(None) => {}
            Err((error, alert)) => {
                let alerted = write_alert(&stream, alert).then_some(stream);
                return Err(Refused { error: HandshakeError::Tls(error), alerted });
            }
        }
    }
}

/// Accepts a client that has said `hello`. `serves_http` is whether its server name's route does.
///
/// # Errors
/// See [`HandshakeError`]. Whatever alert there is has been written; [`Refused::part`] lets it
/// arrive. Dropping the socket resets it.
pub async fn accept(
    hello: Hello,
    credentials: &Credentials,
    serves_http: bool,
    rules: &Rules,
) -> Result<Established, Refused> {
    let require_header = rules.require_transport_header;
    let record_layer = rules.connector.record_layer;
    let (wants_header, sni) = (hello.offers_header(), hello.server_name());
    let speaks_http = serves_http && hello.offers_http();
    let Hello { accepted, bytes, stream } = hello;
    if require_header && !wants_header {
        let _ = stream.try_write(&NO_APPLICATION_PROTOCOL);
        return Err(Refused { error: HandshakeError::HeaderRequired, alerted: Some(stream) });
    }
    let config = match wants_header {
        true => &credentials.linkerd,
        false if speaks_http => &credentials.plain_http,
        false => &credentials.plain,
    };
    let shaken = match record_layer {
        RecordLayer::Direct => {
            drop(accepted);
            direct(Handshake::server(Arc::clone(config), bytes), stream).await?
        }
        RecordLayer::Rustls => {
            drop(bytes);
            let start = StartHandshake::from_parts(accepted, stream);
            let shaking = start.into_stream(Arc::clone(config)).into_fallible();
            Shaken::rustls(shaking.await.map_err(|(error, stream)| refused(&error, stream))?)
        }
    };
    let identity =
        identify::identify(credentials, Role::Client, &shaken.presented, SystemTime::now())?;
    let Shaken { stream, alpn, .. } = shaken;
    Ok(Established { end: End::Tls(stream), identity, alpn, sni })
}

/// A complete handshake, whoever drove it.
struct Shaken {
    stream: TlsStream,
    presented: Presented,
    alpn: Alpn,
}

impl Shaken {
    fn rustls(stream: impl Into<tokio_rustls::TlsStream<TcpStream>>) -> Self {
        let stream = stream.into();
        let session = stream.get_ref().1;
        let presented = Presented::new(session.peer_certificates().unwrap_or_default());
        let alpn = Alpn::new(session.alpn_protocol());
        Self { presented, alpn, stream: TlsStream::Rustls(Box::new(stream)) }
    }
}

/// Drives a handshake to its end and puts our record layer on top.
async fn direct(
    handshake: Result<Handshake, rustls::Error>,
    mut stream: TcpStream,
) -> Result<Shaken, Refused> {
    let mut handshake = handshake.map_err(HandshakeError::Tls)?;
    if let Err(error) = handshake.complete(&mut stream).await {
        let error = classify(&error);
        let alerted = handshake.alert(&stream).then_some(stream);
        return Err(Refused { error, alerted });
    }
    let presented = handshake.presented();
    let alpn = Alpn::new(handshake.session().alpn_protocol());
    let stream = handshake.into_stream(stream).map_err(HandshakeError::Tls)?;
    Ok(Shaken { stream, presented, alpn })
}

fn refused(error: &io::Error, stream: TcpStream) -> Refused {
    let error = classify(error);
    // Nothing is said to who has closed or has sent an alert himself.
    let silent = matches!(
        error,
        HandshakeError::Closed | HandshakeError::Tls(rustls::Error::AlertReceived(_))
    );
    Refused { error, alerted: (!silent).then_some(stream) }
}

/// One read from the socket into the acceptor. The buffer lies on the stack, not in the future.
fn poll_hello(
    cx: &mut Context<'_>,
    stream: &mut TcpStream,
    acceptor: &mut Acceptor,
    all: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let mut buffer = [0; HELLO_READ];
    let mut buffer = ReadBuf::new(&mut buffer);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    let mut bytes = buffer.filled();
    let count = bytes.len();
    all.extend_from_slice(bytes);
    while !bytes.is_empty() {
        if acceptor.read_tls(&mut bytes)? == 0 {
            // It takes no more: asking again would never end.
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
    }
    Poll::Ready(Ok(count))
}

/// True when there was an alert to write: not every error has one.
fn write_alert(stream: &TcpStream, mut alert: AcceptedAlert) -> bool {
    let mut bytes = Vec::new();
    let written = alert.write_all(&mut bytes).is_ok() && !bytes.is_empty();
    // A socket that has sent nothing yet has room for these few bytes.
    written && stream.try_write(&bytes).is_ok()
}

/// Connects to an endpoint that must prove to be `expected`, and negotiates the transport header.
///
/// # Errors
/// See [`HandshakeError`].
pub async fn connect(
    stream: TcpStream,
    credentials: &Credentials,
    expected: &Identity,
    peer: IpAddr,
    record_layer: RecordLayer,
) -> Result<Established, HandshakeError> {
    let name = match expected.dns_name().and_then(|name| ServerName::try_from(name).ok()) {
        Some(name) => name.to_owned(),
        // A SPIFFE ID is no server name; rustls sends none for an address.
        None => ServerName::IpAddress(peer.into()),
    };
    let config = Arc::clone(&credentials.onward);
    let shaken = match record_layer {
        RecordLayer::Direct => {
            let handshake = Handshake::client(config, name);
            direct(handshake, stream).await.map_err(|refused| refused.error)?
        }
        RecordLayer::Rustls => {
            let connecting = TlsConnector::from(config).connect(name, stream);
            Shaken::rustls(connecting.await.map_err(|error| classify(&error))?)
        }
    };
    let now = SystemTime::now();
    let identity = identify::identify(credentials, Role::Server, &shaken.presented, now)?;
    identify::expect(&identity, expected)?;
    let Shaken { stream, alpn, .. } = shaken;
    Ok(Established { end: End::Tls(stream), identity, alpn, sni: None })
}

fn classify(error: &io::Error) -> HandshakeError {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return HandshakeError::Closed;
    };
    match inner.clone() {
        rustls::Error::InvalidCertificate(error) => HandshakeError::Certificate(error),
        other => HandshakeError::Tls(other),
    }
}

fn certificate_outcome(error: &CertificateError) -> Outcome {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Outcome::CertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Outcome::CertificateNotYetValid
        }
        CertificateError::UnknownIssuer => Outcome::CertificateUntrusted,
        // The verifier calls a chain's wrong signature UnknownIssuer; these are of the handshake's
        // own signature: the peer has not got the certificate's key.
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            Outcome::TlsFailed
        }
        _ => Outcome::CertificateInvalid,
    }
}

fn tls_outcome(error: &rustls::Error) -> Outcome {
    match error {
        rustls::Error::NoCertificatesPresented => Outcome::CertificateMissing,
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            Outcome::NotTls
        }
        rustls::Error::PeerIncompatible(
            // Missing in hellos of TLS 1.1 and older, mandatory in those of 1.3.
            PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        )
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => Outcome::TlsVersion,
        _ => Outcome::TlsFailed,
    }
}
