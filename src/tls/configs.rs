//! The six TLS configurations that one set of credentials gives.
//!
//! TLS 1.3 only, no tickets, no resumption, no early data for anyone: a resumed handshake skips
//! the client verifier, so a removed anchor would live on. Secrets may be taken out, for our own
//! record layer (`record.rs`).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use super::provider::provider;
use super::verify::Verifier;
use crate::model::header::{ALPN, ALPN_HTTP1, ALPN_HTTP2};

/// See [`super::credentials::Credentials`] for what each is for.
pub(super) struct Configs {
    pub(super) linkerd: Arc<ServerConfig>,
    pub(super) plain: Arc<ServerConfig>,
    pub(super) plain_http: Arc<ServerConfig>,
    pub(super) admin: Arc<ServerConfig>,
    pub(super) onward: Arc<ClientConfig>,
    pub(super) probe: Arc<ClientConfig>,
}

impl Configs {
    pub(super) fn new(
        verifier: &Arc<Verifier>,
        own: CertifiedKey,
        routes: Vec<(String, Arc<CertifiedKey>)>,
    ) -> Result<Self, rustls::Error> {
        let own = Arc::new(own);
        let always_own = Arc::new(SingleCertAndKey::from(Arc::clone(&own)));
        let by_name = Arc::new(ByServerName { own, routes: routes.into_iter().collect() });
        let mut linkerd = server(Some(verifier), Arc::clone(&always_own) as _)?;
        linkerd.alpn_protocols = vec![ALPN.to_vec()];
        let plain = server(Some(verifier), by_name)?;
        let mut plain_http = plain.clone();
        plain_http.alpn_protocols = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        let onward = client(verifier, Arc::clone(&always_own) as _, true)?;
        let probe = client(verifier, Arc::clone(&always_own) as _, false)?;
        Ok(Self {
            linkerd: Arc::new(linkerd),
            plain: Arc::new(plain),
            plain_http: Arc::new(plain_http),
            admin: Arc::new(server(None, always_own)?),
            onward: Arc::new(onward),
            probe: Arc::new(probe),
        })
    }
}

/// A client configuration for connections to gateways and proxies, with or without the transport
/// header's ALPN.
///
/// # Errors
/// When the TLS library refuses its parameters.
pub fn client(
    verifier: &Arc<Verifier>,
    own: Arc<dyn rustls::client::ResolvesClientCert>,
    transport_header: bool,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as _)
        .with_client_cert_resolver(own);
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    if transport_header {
        config.alpn_protocols = vec![ALPN.to_vec()];
    }
    Ok(config)
}

fn server(
    verifier: Option<&Arc<Verifier>>,
    own: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, rustls::Error> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let mut config = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier) as _),
        None => builder.with_no_client_auth(),
    }
    .with_cert_resolver(own);
    config.enable_secret_extraction = true;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// The certificate that the server name's route brings, else the gateway's own.
struct ByServerName {
    own: Arc<CertifiedKey>,
    routes: HashMap<String, Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls gives the server name in lower case.
        let route = hello.server_name().and_then(|name| self.routes.get(name));
        Some(Arc::clone(route.unwrap_or(&self.own)))
    }
}

impl fmt::Debug for ByServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.keys()).finish()
    }
}
