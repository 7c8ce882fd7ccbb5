//! The TLS handshake in both roles: a TCP connection becomes an [`Established`] one.
//!
//! The ClientHello decides which configuration serves: Linkerd's when it offers ALPN
//! `transport.l5d.io/v1`, else the plain one by server name. No type of rustls leaves this module.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use tokio::net::TcpStream;
use tokio_rustls::{StartHandshake, TlsConnector};

use super::end::End;
use super::identify::{self, IdentifyError};
use crate::model::header::ALPN;
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::net::socket;
use crate::tls::credentials::Credentials;
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
    /// True when `transport.l5d.io/v1` was negotiated: a transport header comes first.
    pub transport_header: bool,
    /// The server name that the client asked for, lower-case.
    pub sni: Option<Box<str>>,
    /// Application bytes that came with the end of the handshake.
    pub early_bytes: Vec<u8>,
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
}

/// Reads until the ClientHello is complete.
///
/// # Errors
/// As [`accept`].
pub async fn client_hello(stream: TcpStream) -> Result<Hello, Refused> {
    let mut acceptor = Acceptor::default();
    let mut seen = false;
    loop {
        // An error shows in the read that follows.
        let _ = stream.readable().await;
        match read_hello(&stream, &mut acceptor) {
            Ok(0) if seen => return Err(HandshakeError::Closed.into()),
            Ok(0) => return Err(HandshakeError::ClosedBeforeFirstByte.into()),
            Ok(_) => seen = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) if seen => return Err(HandshakeError::Closed.into()),
            Err(_) => return Err(HandshakeError::ClosedBeforeFirstByte.into()),
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(Hello { accepted, stream }),
            Ok(None) => {}
            Err((error, alert)) => {
                let alerted = write_alert(&stream, alert).then_some(stream);
                return Err(Refused { error: HandshakeError::Tls(error), alerted });
            }
        }
    }
}

/// Accepts a client that has said `hello`.
///
/// # Errors
/// See [`HandshakeError`]. Whatever alert there is has been written; [`Refused::part`] lets it
/// arrive. Dropping the socket resets it.
pub async fn accept(
    hello: Hello,
    credentials: &Credentials,
    require_header: bool,
) -> Result<Established, Refused> {
    let (wants_header, sni) = (hello.offers_header(), hello.server_name());
    let Hello { accepted, stream } = hello;
    if require_header && !wants_header {
        let _ = stream.try_write(&NO_APPLICATION_PROTOCOL);
        return Err(Refused { error: HandshakeError::HeaderRequired, alerted: Some(stream) });
    }
    let config = if wants_header { &credentials.linkerd } else { &credentials.plain };
    let start = StartHandshake::from_parts(accepted, stream);
    let mut stream = match start.into_stream(Arc::clone(config)).into_fallible().await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            let error = classify(error);
            // Nothing is said to who has closed or has sent an alert himself.
            let silent = matches!(
                error,
                HandshakeError::Closed | HandshakeError::Tls(rustls::Error::AlertReceived(_))
            );
            return Err(Refused { error, alerted: (!silent).then_some(stream) });
        }
    };
    let session = stream.get_mut().1;
    let transport_header = session.alpn_protocol() == Some(ALPN);
    let mut early_bytes = Vec::new();
    // What is decrypted already lies in memory: this reads no socket and ends in WouldBlock.
    let _ = io::Read::read_to_end(&mut session.reader(), &mut early_bytes);
    let presented = Presented::new(session.peer_certificates().unwrap_or_default());
    let identity = identify::identify(credentials, Role::Client, &presented, SystemTime::now())?;
    let end = End::Tls(TlsStream::new(stream));
    Ok(Established { end, identity, transport_header, sni, early_bytes })
}

/// One read from the socket into the acceptor. The buffer lies on the stack, not in the future.
fn read_hello(stream: &TcpStream, acceptor: &mut Acceptor) -> io::Result<usize> {
    let mut buffer = [0; HELLO_READ];
    let count = stream.try_read(&mut buffer)?;
    let mut bytes = buffer.get(..count).unwrap_or_default();
    while !bytes.is_empty() {
        if acceptor.read_tls(&mut bytes)? == 0 {
            // It takes no more: asking again would never end.
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(count)
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
) -> Result<Established, HandshakeError> {
    let name = match expected.dns_name().and_then(|name| ServerName::try_from(name).ok()) {
        Some(name) => name.to_owned(),
        // A SPIFFE ID is no server name; rustls sends none for an address.
        None => ServerName::IpAddress(peer.into()),
    };
    let connector = TlsConnector::from(Arc::clone(&credentials.onward));
    let stream = connector.connect(name, stream).await.map_err(classify)?;
    let session = stream.get_ref().1;
    let transport_header = session.alpn_protocol() == Some(ALPN);
    let presented = Presented::new(session.peer_certificates().unwrap_or_default());
    let identity = identify::identify(credentials, Role::Server, &presented, SystemTime::now())?;
    identify::expect(&identity, expected)?;
    let end = End::Tls(TlsStream::new(stream));
    Ok(Established { end, identity, transport_header, sni: None, early_bytes: Vec::new() })
}

fn classify(error: io::Error) -> HandshakeError {
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
