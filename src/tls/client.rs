//! The client side outside of the data path: one-off connections (`linkerd-gateway connect`) with
//! own anchors, an optional certificate and a report of what was negotiated; and probes of other
//! gateways with the credentials in use.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::configs;
use super::credentials::{
    Credentials, CredentialsError, FileContent, certified_key, trust_anchors, unix_time,
};
use super::verify::{Presented, Role, VerifiedChain, Verifier, VerifyError};
use crate::model::identity::{Identity, TrustBindings};

/// Anchors, and what we present to servers.
#[derive(Debug)]
pub struct Client {
    verifier: Arc<Verifier>,
    certificate: Option<Arc<SingleCertAndKey>>,
}

/// What a handshake came to.
#[derive(Debug)]
pub struct Negotiated {
    /// TLS version and cipher suite.
    pub suite: String,
    /// Key exchange group.
    pub group: String,
    /// The protocol that the server chose.
    pub alpn: Option<String>,
    /// Who the server proved to be.
    pub identity: Identity,
    /// Certificates that the server presented.
    pub chain: usize,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's certificate names no single identity, or somebody else.
    #[error("the server's certificate is refused: {0}")]
    Identity(#[from] VerifyError),
    /// The handshake failed.
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    /// The server is somebody else.
    #[error("the server is {found}, expected {expected}")]
    Unexpected {
        /// Who it is.
        found: Identity,
        /// Who it should be.
        expected: Identity,
    },
    /// The TLS library refused the parameters.
    #[error("TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
}

/// Which rule a handshake or an established connection has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The peer's certificate has expired.
    Expired,
    /// The peer's certificate is not valid yet.
    NotYetValid,
    /// The peer's certificate leads to none of our anchors.
    Untrusted,
    /// The peer's certificate is malformed, or names no single identity.
    Invalid,
    /// The peer is somebody else.
    Unexpected,
    /// What came is no TLS.
    NotTls,
    /// The peer refuses our certificate.
    OursRefused,
    /// Anything else of TLS.
    Tls,
    /// The connection ended.
    Closed,
}

impl ClientError {
    /// Which rule was broken.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Identity(VerifyError::Chain(_)) => Fault::Untrusted,
            Self::Identity(_) => Fault::Invalid,
            Self::Handshake(error) => fault(error),
            Self::Unexpected { .. } => Fault::Unexpected,
            Self::Tls(_) => Fault::Tls,
        }
    }
}

/// Which rule a peer has broken, or says that we have, in an error of a handshake, a read or a
/// write. With TLS 1.3 a server refuses a certificate only after the client's handshake is over.
pub fn fault(error: &io::Error) -> Fault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(error) = inner else { return Fault::Closed };
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Fault::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Fault::NotYetValid
            }
            CertificateError::UnknownIssuer => Fault::Untrusted,
            _ => Fault::Invalid,
        },
        rustls::Error::InvalidMessage(_) => Fault::NotTls,
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA,
        ) => Fault::OursRefused,
        _ => Fault::Tls,
    }
}

impl Client {
    /// A client that trusts `anchors` and presents `certificate` with its key, if given. Whether
    /// servers will believe the certificate is not checked here.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub fn new(
        anchors: &[FileContent],
        certificate: Option<(&FileContent, &FileContent)>,
    ) -> Result<Self, CredentialsError> {
        let anchors = trust_anchors(anchors)?;
        let certificate = match certificate {
            Some((chain, key)) => {
                let certified = Arc::new(certified_key(chain, key)?);
                Some(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => None,
        };
        let verifier = Arc::new(Verifier::new(anchors, TrustBindings::default()));
        Ok(Self { verifier, certificate })
    }

    /// Shakes hands over `stream`; `expected` is who the server must be, if that matters.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn connect(
        &self,
        stream: TcpStream,
        server_name: Option<&str>,
        expected: Option<&Identity>,
        transport_header: bool,
    ) -> Result<(TlsStream<TcpStream>, Negotiated), ClientError> {
        let name = self::server_name(&stream, server_name)?;
        let config = Arc::new(self.config(transport_header)?);
        let connecting = TlsConnector::from(config).connect(name, stream);
        let stream = connecting.await.map_err(ClientError::Handshake)?;
        let negotiated = self.negotiated(stream.get_ref().1)?;
        if let Some(expected) = expected.filter(|expected| **expected != negotiated.identity) {
            let found = negotiated.identity.clone();
            return Err(ClientError::Unexpected { found, expected: expected.clone() });
        }
        Ok((stream, negotiated))
    }

    fn config(&self, transport_header: bool) -> Result<ClientConfig, rustls::Error> {
        match &self.certificate {
            Some(own) => configs::client(&self.verifier, Arc::clone(own) as _, transport_header),
            None => configs::client(&self.verifier, Arc::new(NoCertificate), transport_header),
        }
    }

    fn negotiated(&self, session: &ClientConnection) -> Result<Negotiated, ClientError> {
        let certificates = session.peer_certificates().unwrap_or_default();
        let verified = verified(&self.verifier, session)?;
        let text = |name: Option<String>| name.unwrap_or_else(|| "unknown".to_owned());
        Ok(Negotiated {
            suite: text(session.negotiated_cipher_suite().map(|s| format!("{:?}", s.suite()))),
            group: text(session.negotiated_key_exchange_group().map(|g| format!("{:?}", g.name()))),
            alpn: session.alpn_protocol().map(|p| p.escape_ascii().to_string()),
            identity: verified.identity.clone(),
            chain: certificates.len(),
        })
    }
}

/// Shakes hands with a gateway's admin port over `stream`, which must prove to be `expected`. As
/// Linkerd's probes do, it names that identity as the server name and offers no ALPN.
///
/// # Errors
/// See [`ClientError`].
pub async fn probe(
    credentials: &Credentials,
    stream: TcpStream,
    expected: &Identity,
) -> Result<TlsStream<TcpStream>, ClientError> {
    let name = server_name(&stream, expected.dns_name())?;
    let connecting = TlsConnector::from(Arc::clone(&credentials.probe)).connect(name, stream);
    let stream = connecting.await.map_err(ClientError::Handshake)?;
    let verified = verified(&credentials.verifier, stream.get_ref().1)?;
    if verified.identity != *expected {
        let (found, expected) = (verified.identity.clone(), expected.clone());
        return Err(ClientError::Unexpected { found, expected });
    }
    Ok(stream)
}

/// What to ask for; rustls sends no server name for an address.
fn server_name(stream: &TcpStream, name: Option<&str>) -> Result<ServerName<'static>, ClientError> {
    Ok(match name.and_then(|name| ServerName::try_from(name).ok()) {
        Some(name) => name.to_owned(),
        None => {
            ServerName::IpAddress(stream.peer_addr().map_err(ClientError::Handshake)?.ip().into())
        }
    })
}

/// Who a server has proved to be.
fn verified(
    verifier: &Verifier,
    session: &ClientConnection,
) -> Result<Arc<VerifiedChain>, VerifyError> {
    let presented = Presented::new(session.peer_certificates().unwrap_or_default());
    let now = unix_time(std::time::SystemTime::now());
    verifier.verify_presented(Role::Server, &presented, now)
}

/// Presents nothing.
#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
