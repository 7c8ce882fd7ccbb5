//! The generator's side of TLS: what it offers, presents and believes.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow};
use linkerd_gateway::cli::certs::authority::{Authority, LEAF, LEAF_KEY};
use linkerd_gateway::cli::certs::names::LeafNames;
use linkerd_gateway::model::identity::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::options::{Group, Options, Suite};

/// Whom `--leaves` are issued to.
const CLIENT: &str = "client.default.serviceaccount.identity.linkerd.cluster.local";

/// A configuration with one suite and one group, so that every gateway does the same arithmetic.
///
/// # Errors
/// Names the file that cannot be used.
pub fn config(options: &Options) -> anyhow::Result<ClientConfig> {
    let file = |name: &str| options.certs.join(name);
    let mut roots = RootCertStore::empty();
    for anchor in certificates(&file("ca.crt"))? {
        roots.add(anchor)?;
    }
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![match options.suite {
            Suite::Aes128 => cipher_suite::TLS13_AES_128_GCM_SHA256,
            Suite::Aes256 => cipher_suite::TLS13_AES_256_GCM_SHA384,
            Suite::Chacha20 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        }],
        kx_groups: vec![match options.group {
            Group::X25519 => kx_group::X25519,
            Group::Mlkem => kx_group::X25519MLKEM768,
            Group::P256 => kx_group::SECP256R1,
        }],
        ..default_provider()
    });
    let webpki =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()?;
    let verifier = Arc::new(Known { webpki, leaf: Mutex::default() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(Leaves::new(options)?));
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    chain.map_err(|error| anyhow!("--certs: {}: {error}", path.display()))
}

/// What the client presents: one certificate, or many of one identity in turn.
#[derive(Debug)]
struct Leaves {
    leaves: Vec<Arc<CertifiedKey>>,
    next: AtomicUsize,
}

impl Leaves {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let mut leaves = Vec::with_capacity(options.leaves);
        if options.leaves > 1 {
            let authority = Authority::load(&options.certs).context("--leaves")?;
            let names = LeafNames::Identity(Identity::parse(CLIENT)?);
            for _ in 0..options.leaves {
                let leaf = authority.issue(&names, 1)?;
                leaves.push(certified(leaf.chain.as_bytes(), leaf.key.as_bytes())?);
            }
        } else {
            let read = |name: &str| {
                let path = options.certs.join("client").join(name);
                let text = std::fs::read(&path);
                text.with_context(|| format!("--certs: {}: cannot be read", path.display()))
            };
            leaves.push(certified(&read(LEAF)?, &read(LEAF_KEY)?)?);
        }
        Ok(Self { leaves, next: AtomicUsize::new(0) })
    }
}

impl ResolvesClientCert for Leaves {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.leaves.len().max(1);
        self.leaves.get(turn).cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(chain: &[u8], key: &[u8]) -> anyhow::Result<Arc<CertifiedKey>> {
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>()?;
    let key = any_ecdsa_type(&PrivateKeyDer::from_pem_slice(key)?)?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// Verifies a gateway's chain once and its signature always: the generator must not spend more on a
/// handshake than the gateway does.
#[derive(Debug)]
struct Known {
    webpki: Arc<WebPkiServerVerifier>,
    leaf: Mutex<Option<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut known = self.leaf.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() == Some(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified =
            self.webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp, now)?;
        *known = Some(end_entity.clone().into_owned());
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
