//! Whom we believe: one verification for clients and servers that also says who the peer is,
//! which anchor vouched for it and until when.
//!
//! rustls asks through [`ClientCertVerifier`] and [`ServerCertVerifier`] during the handshake;
//! `proxy::identify` asks again afterwards for the result, which the cache then holds.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::chain_cache::{self, ChainCache};
use super::provider::signature_algorithms;
use crate::model::certificate;
use crate::model::identity::{Identity, IdentityError, TrustBindings};
use crate::model::last_use::LastUse;

/// The last moment that RFC 3339 can write, 9999-12-31T23:59:59Z, in seconds since the epoch.
const LAST_MOMENT: u64 = 253_402_300_799;

/// The part that the peer plays in the handshake, and so the usage its certificate needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// It connected to us.
    Client,
    /// We connected to it.
    Server,
}

/// A chain that leads to one of our anchors, and what it proves.
#[derive(Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    /// Who the leaf names.
    pub identity: Identity,
    /// The index of the anchor that vouched for it.
    pub anchor: usize,
    /// Certificates on the verified path, without the anchor.
    pub length: usize,
    /// First second at which the whole path is valid, anchor included.
    pub not_before: u64,
    /// Last second at which the whole path is valid, anchor included.
    pub not_after: u64,
}

/// Why a chain is not believed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It leads to no anchor of ours, or breaks a rule on the way.
    #[error("{}", reason(.0))]
    Chain(webpki::Error),
    /// The leaf names no single identity.
    #[error("{0}")]
    Identity(IdentityError),
    /// The anchor may not vouch for this identity's trust domain.
    #[error("the anchor is not bound to the trust domain of {0}")]
    OutsideTrustDomain(Identity),
}

/// The library's own words for these name the moment of the check, so that each check of the same
/// file would look like a new problem.
fn reason(error: &webpki::Error) -> String {
    let at = |time: &UnixTime| {
        let time = Duration::from_secs(time.as_secs().min(LAST_MOMENT));
        humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + time)
    };
    match error {
        webpki::Error::CertExpired { not_after, .. } => {
            format!("a certificate has expired: it was valid until {}", at(not_after))
        }
        webpki::Error::CertNotValidYet { not_before, .. } => {
            format!("a certificate is not valid yet: it will be from {}", at(not_before))
        }
        webpki::Error::UnknownIssuer => "it leads to no trust anchor".to_owned(),
        other => other.to_string(),
    }
}

/// The chain that a peer presented, leaf first.
#[derive(Debug)]
pub struct Presented(Vec<CertificateDer<'static>>);

impl Presented {
    /// Keeps a copy: the connection forgets its own later.
    pub fn new(certificates: &[CertificateDer<'_>]) -> Self {
        Self(certificates.iter().map(|der| der.clone().into_owned()).collect())
    }
}

/// A trust anchor as loaded.
#[derive(Debug)]
pub struct Anchor {
    trusted: TrustAnchor<'static>,
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// When it last vouched for a peer that proved its key.
    pub last_use: LastUse,
    validity: (u64, u64),
}

impl Anchor {
    /// Takes a certificate as an anchor.
    ///
    /// # Errors
    /// When it is not a certificate.
    pub fn new(der: CertificateDer<'static>) -> Result<Self, webpki::Error> {
        let trusted = webpki::anchor_from_trusted_cert(&der)?.to_owned();
        let validity = certificate::validity(&der).ok_or(webpki::Error::BadDer)?;
        Ok(Self { trusted, der, last_use: LastUse::default(), validity })
    }

    fn check_valid(&self, now: UnixTime) -> Result<(), webpki::Error> {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (not_before, not_after) = self.validity;
        if now.as_secs() < not_before {
            return Err(webpki::Error::CertNotValidYet { time: now, not_before: at(not_before) });
        }
        if now.as_secs() > not_after {
            return Err(webpki::Error::CertExpired { time: now, not_after: at(not_after) });
        }
        Ok(())
    }
}

/// Verifies chains against one fixed set of anchors.
pub struct Verifier {
    anchors: Vec<Anchor>,
    trusted: Vec<TrustAnchor<'static>>,
    hints: Vec<DistinguishedName>,
    bindings: TrustBindings<usize>,
    algorithms: WebPkiSupportedAlgorithms,
    cache: ChainCache,
}

impl Verifier {
    /// A verifier for `anchors`; `bindings` name them by index.
    pub fn new(anchors: Vec<Anchor>, bindings: TrustBindings<usize>) -> Self {
        let trusted: Vec<_> = anchors.iter().map(|a| a.trusted.clone()).collect();
        let hints = trusted.iter().map(|a| DistinguishedName::in_sequence(&a.subject)).collect();
        let algorithms = signature_algorithms();
        Self { anchors, trusted, hints, bindings, algorithms, cache: ChainCache::default() }
    }

    /// The anchors in use.
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// True when both believe the same chains.
    pub fn trusts_as(&self, other: &Self) -> bool {
        let same = |(a, b): (&Anchor, &Anchor)| a.der == b.der;
        self.anchors.len() == other.anchors.len()
            && self.anchors.iter().zip(&other.anchors).all(same)
            && self.bindings == other.bindings
    }

    /// Verifies a presented chain, leaf first, at `now`.
    ///
    /// # Errors
    /// See [`VerifyError`]; failures are never remembered.
    pub fn verify(
        &self,
        role: Role,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Arc<VerifiedChain>, VerifyError> {
        let presented = std::iter::once(leaf).chain(intermediates).map(AsRef::as_ref);
        let key = chain_cache::key(role, presented);
        if let Some(known) = self.cache.find(&key, now.as_secs()) {
            return Ok(known);
        }
        let verified = Arc::new(self.build(role, leaf, intermediates, now)?);
        self.cache.insert(key, Arc::clone(&verified), now.as_secs());
        Ok(verified)
    }

    /// [`Verifier::verify`] for what a completed handshake has presented, whose signature has thus
    /// been checked: the use of the anchor counts, whether the chain was remembered or not.
    ///
    /// # Errors
    /// As there; an empty chain leads to no anchor.
    pub fn verify_presented(
        &self,
        role: Role,
        presented: &Presented,
        now: UnixTime,
    ) -> Result<Arc<VerifiedChain>, VerifyError> {
        let (leaf, intermediates) =
            presented.0.split_first().ok_or(VerifyError::Chain(webpki::Error::UnknownIssuer))?;
        let chain = self.verify(role, leaf, intermediates, now)?;
        if let Some(anchor) = self.anchors.get(chain.anchor) {
            anchor.last_use.mark(now.as_secs());
        }
        Ok(chain)
    }

    fn build(
        &self,
        role: Role,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<VerifiedChain, VerifyError> {
        let usage = match role {
            Role::Client => KeyUsage::client_auth(),
            Role::Server => KeyUsage::server_auth(),
        };
        // webpki takes anchors by key alone; an expired one vouches for nobody here.
        let anchor_is_valid = |path: &VerifiedPath<'_>| {
            let (_, anchor) = self.anchor_of(path).ok_or(webpki::Error::UnknownIssuer)?;
            anchor.check_valid(now)
        };
        let end_entity = EndEntityCert::try_from(leaf).map_err(VerifyError::Chain)?;
        let path = end_entity
            .verify_for_usage(
                self.algorithms.all,
                &self.trusted,
                intermediates,
                now,
                usage,
                None,
                Some(&anchor_is_valid),
            )
            .map_err(VerifyError::Chain)?;
        let (anchor, facts) =
            self.anchor_of(&path).ok_or(VerifyError::Chain(webpki::Error::UnknownIssuer))?;
        let identity = certificate::identity(leaf).map_err(VerifyError::Identity)?;
        if !self.bindings.allows(&anchor, &identity) {
            return Err(VerifyError::OutsideTrustDomain(identity));
        }
        let mut chain = VerifiedChain {
            identity,
            anchor,
            length: 1,
            not_before: facts.validity.0,
            not_after: facts.validity.1,
        };
        chain.bound_by(leaf)?;
        for intermediate in path.intermediate_certificates() {
            chain.bound_by(&intermediate.der())?;
            chain.length += 1;
        }
        Ok(chain)
    }

    fn anchor_of(&self, path: &VerifiedPath<'_>) -> Option<(usize, &Anchor)> {
        // By address: a renewed anchor with the same name and key equals the expired one.
        let index = self.trusted.iter().position(|a| std::ptr::eq(a, path.anchor()))?;
        self.anchors.get(index).map(|anchor| (index, anchor))
    }
}

impl VerifiedChain {
    fn bound_by(&mut self, certificate: &CertificateDer<'_>) -> Result<(), VerifyError> {
        let (from, until) = certificate::validity(certificate)
            .ok_or(VerifyError::Chain(webpki::Error::BadDerTime))?;
        self.not_before = self.not_before.max(from);
        self.not_after = self.not_after.min(until);
        Ok(())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} anchors)", self.anchors.len())
    }
}

/// The alert that a peer sees, and what the outcome is read from. A fault of identity alone does
/// not fail the handshake: `proxy::identify` refuses it with its own outcome.
fn handshake_verdict(result: Result<Arc<VerifiedChain>, VerifyError>) -> Result<(), Error> {
    let error = match result {
        Ok(_) | Err(VerifyError::Identity(_) | VerifyError::OutsideTrustDomain(_)) => return Ok(()),
        Err(VerifyError::Chain(error)) => error,
    };
    Err(Error::InvalidCertificate(match error {
        webpki::Error::CertExpired { time, not_after } => {
            CertificateError::ExpiredContext { time, not_after }
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        // Another anchor of the same name fails by its signature.
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            CertificateError::UnknownIssuer
        }
        webpki::Error::BadDer | webpki::Error::BadDerTime | webpki::Error::TrailingData(_) => {
            CertificateError::BadEncoding
        }
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }))
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        handshake_verdict(self.verify(Role::Client, leaf, intermediates, now))
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls13_only())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    /// The name is not looked at: `proxy::handshake` compares the identity itself, which may be a
    /// SPIFFE ID, before a byte is sent.
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        handshake_verdict(self.verify(Role::Server, leaf, intermediates, now))
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls13_only())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn tls13_only() -> Error {
    Error::General("only TLS 1.3 signatures are accepted".to_owned())
}
