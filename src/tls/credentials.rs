//! One immutable set of credentials, as new handshakes use it: all of it checked, or none.
//!
//! `control::credentials` reads the files and swaps the result into [`crate::state::State`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig};

use super::configs;
use super::facts::{CertificateFacts, Role};
use super::pem::{self, PemError};
use super::provider::provider;
use super::verify::{self, Anchor, Verifier, VerifyError};
use crate::model::certificate;
use crate::model::identity::{Identity, TrustBindings};

/// A file and what it held when it was read.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FileContent {
    /// Where it was read.
    pub path: PathBuf,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// Everything that credentials are made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Material {
    /// The name that the leaf must carry, when one is demanded.
    pub name: Option<Identity>,
    /// Our chain, leaf first.
    pub certificate: FileContent,
    /// The leaf's key.
    pub key: FileContent,
    /// Anchors that may vouch for any trust domain that no binding names.
    pub anchors: Vec<FileContent>,
    /// Anchors with the only trust domains that they may vouch for.
    pub bound_anchors: Vec<(FileContent, Vec<String>)>,
    /// Certificates that routes bring for their server names.
    pub routes: Vec<RouteMaterial>,
}

/// A certificate of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteMaterial {
    /// The server names that it answers for.
    pub sni: Vec<String>,
    /// Its chain, leaf first.
    pub certificate: FileContent,
    /// The leaf's key.
    pub key: FileContent,
}

/// Why material makes no credentials. Every message starts with the file it is about.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// No anchor at all.
    #[error("no trust anchor: name at least one file in identity.trust_anchors")]
    NoAnchor,
    /// An anchor file holds something that is no certificate.
    #[error("{path}: a certificate in it cannot be a trust anchor: {error}")]
    Anchor {
        /// The file.
        path: PathBuf,
        /// What webpki said.
        error: webpki::Error,
    },
    /// The key and the leaf do not belong together.
    #[error("{key}: is not the key of the leaf certificate in {certificate}")]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// Unusable PEM.
    #[error("{path}: {error}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: PemError,
    },
    /// The key is of a kind that we cannot sign with.
    #[error("{path}: its private key cannot be used: {error}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What rustls said.
        error: rustls::Error,
    },
    /// Our own chain would not be believed by a peer with our anchors.
    #[error("{path}: its chain does not verify against the trust anchors: {error}")]
    Chain {
        /// The file.
        path: PathBuf,
        /// Why.
        error: VerifyError,
    },
    /// The leaf carries another name than the configured one.
    #[error("{path}: names {found}, but identity.name is {expected}")]
    Name {
        /// The file.
        path: PathBuf,
        /// The name in the certificate.
        found: Identity,
        /// The configured name.
        expected: Identity,
    },
    /// A route's certificate is outside its validity, malformed, or does not cover a server name.
    #[error("{path}: cannot serve {sni}: {reason}")]
    Route {
        /// The file.
        path: PathBuf,
        /// The server name.
        sni: String,
        /// Why.
        reason: &'static str,
    },
    /// The TLS library refused the configuration.
    #[error("TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
}

/// Our identity and everything that handshakes need.
#[derive(Debug)]
pub struct Credentials {
    /// Who we are.
    pub identity: Identity,
    /// Grows with every accepted change.
    pub generation: u64,
    /// Every certificate in use.
    pub certificates: Vec<CertificateFacts>,
    /// When our own leaf expires.
    pub leaf_not_after: SystemTime,
    /// Tells who a peer is.
    pub verifier: Arc<Verifier>,
    /// For clients that offer ALPN `transport.l5d.io/v1`.
    pub linkerd: Arc<ServerConfig>,
    /// For all other clients of the data path; ignores their ALPN.
    pub plain: Arc<ServerConfig>,
    /// For those of them that offer HTTP to a route that serves it.
    pub plain_http: Arc<ServerConfig>,
    /// For the admin port; asks for no client certificate, because all that it serves off loopback
    /// is public.
    pub admin: Arc<ServerConfig>,
    /// For onward connections; offers ALPN `transport.l5d.io/v1`.
    pub onward: Arc<ClientConfig>,
    /// For probes of other gateways; offers no ALPN, as Linkerd's own probes do not.
    pub probe: Arc<ClientConfig>,
}

/// Without the bytes: it may be a key.
impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileContent({}, {} bytes)", self.path.display(), self.bytes.len())
    }
}

impl FileContent {
    /// Reads a file.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), bytes: std::fs::read(path)? })
    }
}

impl Credentials {
    /// Checks the material and builds every TLS configuration from it: chains verify, keys match,
    /// our name is present, nothing of ours has expired.
    ///
    /// `previous` lends its verifier, with the chains it knows, when trust is unchanged.
    ///
    /// # Errors
    /// The first fault found; see [`CredentialsError`].
    pub fn build(
        material: &Material,
        previous: Option<&Self>,
        now: SystemTime,
    ) -> Result<Self, CredentialsError> {
        let mut certificates = Vec::new();
        let verifier = trust(material, previous, &mut certificates)?;
        let own = certified_key(&material.certificate, &material.key)?;
        let verified = verify_own(material, &verifier, &own, now)?;
        let paths = &material.certificate.path;
        for (index, der) in own.cert.iter().enumerate() {
            let role = if index == 0 { Role::Leaf } else { Role::Intermediate };
            certificates.extend(CertificateFacts::read(role, paths, der));
        }
        let mut routes = Vec::new();
        for route in &material.routes {
            let certified = certified_key(&route.certificate, &route.key)?;
            check_route(route, &certified, now)?;
            let leaf = certified.end_entity_cert()?;
            certificates.extend(CertificateFacts::read(Role::Route, &route.certificate.path, leaf));
            let certified = Arc::new(certified);
            routes.extend(route.sni.iter().map(|sni| (sni.clone(), Arc::clone(&certified))));
        }
        let leaf = own.end_entity_cert()?;
        let (_, not_after) = certificate::validity(leaf).unwrap_or_default();
        let configs = configs::Configs::new(&verifier, own, routes)?;
        Ok(Self {
            identity: verified,
            generation: previous.map_or(0, |p| p.generation) + 1,
            certificates,
            leaf_not_after: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(not_after),
            verifier,
            linkerd: configs.linkerd,
            plain: configs.plain,
            plain_http: configs.plain_http,
            admin: configs.admin,
            onward: configs.onward,
            probe: configs.probe,
        })
    }
}

/// The verifier for the anchors of the material: a new one unless `previous` has the same.
fn trust(
    material: &Material,
    previous: Option<&Credentials>,
    certificates: &mut Vec<CertificateFacts>,
) -> Result<Arc<Verifier>, CredentialsError> {
    let mut anchors: Vec<Anchor> = Vec::new();
    let mut bindings = TrustBindings::default();
    let unbound = material.anchors.iter().map(|file| (file, [].as_slice()));
    let bound = material.bound_anchors.iter().map(|(file, domains)| (file, domains.as_slice()));
    for (file, domains) in unbound.chain(bound) {
        let path = &file.path;
        for der in parse(file, pem::certificates)? {
            let index = match anchors.iter().position(|a| a.der == der) {
                Some(known) => known,
                None => {
                    let facts = CertificateFacts::read(Role::Anchor, path, &der);
                    let mut anchor = anchor(file, der)?;
                    // An anchor that stays keeps its last use.
                    let known = previous.iter().flat_map(|p| p.verifier.anchors());
                    if let Some(known) = known.into_iter().find(|known| known.der == anchor.der) {
                        anchor.last_use = known.last_use.clone();
                    }
                    let last_use = Some(anchor.last_use.clone());
                    certificates.extend(facts.map(|facts| CertificateFacts { last_use, ..facts }));
                    anchors.push(anchor);
                    anchors.len() - 1
                }
            };
            domains.iter().for_each(|domain| bindings.bind(index, domain.as_str()));
        }
    }
    if anchors.is_empty() {
        return Err(CredentialsError::NoAnchor);
    }
    let verifier = Verifier::new(anchors, bindings);
    Ok(match previous.map(|p| &p.verifier) {
        Some(same) if same.trusts_as(&verifier) => Arc::clone(same),
        _ => Arc::new(verifier),
    })
}

/// Every certificate of the files as an anchor.
///
/// # Errors
/// When one is unusable, or there is none.
pub(super) fn trust_anchors(files: &[FileContent]) -> Result<Vec<Anchor>, CredentialsError> {
    let mut anchors = Vec::new();
    for file in files {
        for der in parse(file, pem::certificates)? {
            anchors.push(anchor(file, der)?);
        }
    }
    if anchors.is_empty() { Err(CredentialsError::NoAnchor) } else { Ok(anchors) }
}

fn anchor(file: &FileContent, der: CertificateDer<'static>) -> Result<Anchor, CredentialsError> {
    Anchor::new(der).map_err(|error| CredentialsError::Anchor { path: file.path.clone(), error })
}

fn parse<T>(
    file: &FileContent,
    parser: impl Fn(&[u8]) -> Result<T, PemError>,
) -> Result<T, CredentialsError> {
    parser(&file.bytes).map_err(|error| CredentialsError::Pem { path: file.path.clone(), error })
}

/// A chain with the key of its leaf.
///
/// # Errors
/// When either is unusable or they do not belong together.
pub(super) fn certified_key(
    certificate: &FileContent,
    key: &FileContent,
) -> Result<CertifiedKey, CredentialsError> {
    let chain = parse(certificate, pem::certificates)?;
    let der = parse(key, pem::private_key)?;
    match CertifiedKey::from_der(chain, der, &provider()) {
        Ok(certified) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(CredentialsError::KeyMismatch {
            key: key.path.clone(),
            certificate: certificate.path.clone(),
        }),
        Err(error) => Err(CredentialsError::Key { path: key.path.clone(), error }),
    }
}

/// Our own chain must convince a peer that trusts what we trust, in both roles.
fn verify_own(
    material: &Material,
    verifier: &Verifier,
    own: &CertifiedKey,
    now: SystemTime,
) -> Result<Identity, CredentialsError> {
    let path = || material.certificate.path.clone();
    let (leaf, intermediates) =
        own.cert.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
    let mut found = None;
    for role in [verify::Role::Server, verify::Role::Client] {
        let chain = verifier
            .verify(role, leaf, intermediates, unix_time(now))
            .map_err(|error| CredentialsError::Chain { path: path(), error })?;
        found = Some(chain.identity.clone());
    }
    let found = found.ok_or(rustls::Error::NoCertificatesPresented)?;
    match &material.name {
        Some(expected) if *expected != found => {
            Err(CredentialsError::Name { path: path(), found, expected: expected.clone() })
        }
        _ => Ok(found),
    }
}

/// A route's certificate may come from any CA that its clients trust, so no chain is checked.
fn check_route(
    route: &RouteMaterial,
    certified: &CertifiedKey,
    now: SystemTime,
) -> Result<(), CredentialsError> {
    let leaf: &CertificateDer<'_> = certified.end_entity_cert()?;
    let window = certificate::validity(leaf).unwrap_or_default();
    for sni in &route.sni {
        let problem = |reason| CredentialsError::Route {
            path: route.certificate.path.clone(),
            sni: sni.clone(),
            reason,
        };
        if !(window.0..=window.1).contains(&unix_time(now).as_secs()) {
            return Err(problem("the certificate has expired or is not valid yet"));
        }
        let name = sni.as_str().try_into().map_err(|_| problem("the name is not a DNS name"))?;
        webpki::EndEntityCert::try_from(leaf)
            .and_then(|leaf| leaf.verify_is_valid_for_subject_name(&name))
            .map_err(|_| problem("the certificate does not name it"))?;
    }
    Ok(())
}

/// A clock before 1970 reads as 1970, when nothing is valid.
pub fn unix_time(now: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
