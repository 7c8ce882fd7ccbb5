//! The client side for one-off connections (`linkerd-gateway connect`): own anchors, an optional
//! certificate, and a report of what was negotiated.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::configs;
use super::credentials::{CredentialsError, FileContent, certified_key, trust_anchors, unix_time};
use super::verify::{Presented, Role, Verifier, VerifyError};
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
        let name = match server_name.and_then(|name| ServerName::try_from(name).ok()) {
            Some(name) => name.to_owned(),
            // rustls sends no server name for an address.
            None => ServerName::IpAddress(
                stream.peer_addr().map_err(ClientError::Handshake)?.ip().into(),
            ),
        };
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
        let now = unix_time(std::time::SystemTime::now());
        let presented = Presented::new(certificates);
        let verified = self.verifier.verify_presented(Role::Server, &presented, now)?;
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
