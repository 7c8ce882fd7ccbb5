//! What the peers do with the bytes inside TLS here: they relay them.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use crate::common::configuration::{self, Envoy};
use crate::common::site::Site;

/// What HAProxy is compared as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Haproxy {
    /// Ends mutual TLS.
    Tls,
    /// Copies bytes: what the kernel alone costs.
    Clear,
    /// Lets the kernel move them: the floor of every relay.
    Splice,
}

/// HAProxy in TCP mode.
///
/// # Errors
/// When the certificate's file cannot be written.
pub fn haproxy(kind: Haproxy, site: &Site, listen: SocketAddr) -> anyhow::Result<String> {
    let bind = match kind {
        Haproxy::Tls => configuration::haproxy_bind(site, listen)?,
        Haproxy::Clear | Haproxy::Splice => listen.to_string(),
    };
    let splice = match kind {
        Haproxy::Splice => "option splice-request\n  option splice-response",
        Haproxy::Tls | Haproxy::Clear => "",
    };
    Ok(configuration::haproxy("tcp", splice, &bind, &site.backend.to_string()))
}

/// nginx with its stream module, which Debian ships as a file of its own.
pub fn nginx(site: &Site, listen: SocketAddr) -> String {
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = match Path::new(module).exists() {
        true => format!("load_module {module};"),
        false => String::new(),
    };
    let (tls, backend) = (configuration::nginx_tls(site), site.backend);
    let block = format!(
        "stream {{
  server {{
    listen {listen} ssl backlog=4096;
    {tls}
    proxy_pass {backend};
    proxy_timeout 1h;
    proxy_half_close on;
  }}
}}"
    );
    configuration::nginx(site, &load, &block)
}

/// Envoy as a TCP proxy.
pub fn envoy(site: &Site, listen: SocketAddr) -> String {
    let relay = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "relay",
        "cluster": "out",
        "idle_timeout": "0s",
    });
    let filter = ("envoy.filters.network.tcp_proxy", relay);
    configuration::envoy(site, listen, &Envoy { alpn: &[], filter, cluster: json!({}) })
}
