//! What the peers do with the requests inside TLS: they forward them, to one backend, on
//! connections that stay open, and without storing bodies. Otherwise as they ship.

use std::net::SocketAddr;

use serde_json::json;

use crate::common::configuration::{self, Envoy};
use crate::common::site::Site;
use crate::load::options::Upstream;

/// HAProxy in HTTP mode.
///
/// # Errors
/// When the certificate's file cannot be written.
pub fn haproxy(upstream: Upstream, site: &Site, listen: SocketAddr) -> anyhow::Result<String> {
    let bind = format!("{} alpn h2", configuration::haproxy_bind(site, listen)?);
    let protocol = match upstream {
        Upstream::Http1 => "",
        Upstream::H2c => " proto h2",
    };
    let server = format!("{}{protocol}", site.backend);
    Ok(configuration::haproxy("http", "", &bind, &server))
}

/// nginx, whose upstreams speak HTTP/1.1 only. It closes connections after 1,000 requests and stores
/// large bodies in files unless told otherwise; both would be measured instead of the forwarding.
pub fn nginx(site: &Site, listen: SocketAddr) -> String {
    let (tls, backend) = (configuration::nginx_tls(site), site.backend);
    let directory = site.directory.display();
    let block = format!(
        "http {{
  access_log off;
  client_body_temp_path {directory}/nginx-bodies;
  proxy_temp_path {directory}/nginx-answers;
  upstream out {{
    server {backend};
    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen} ssl http2 backlog=4096;
    {tls}
    keepalive_requests 1000000000;
    location / {{
      proxy_pass http://out;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }}
  }}
}}"
    );
    configuration::nginx(site, "", &block)
}

/// Envoy with its HTTP connection manager and router.
pub fn envoy(upstream: Upstream, site: &Site, listen: SocketAddr) -> String {
    let router = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    });
    let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": "out" } });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP2",
        "route_config": {
            "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }],
        },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": router }],
    });
    let protocol = match upstream {
        Upstream::Http1 => "http_protocol_options",
        Upstream::H2c => "http2_protocol_options",
    };
    let cluster = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { protocol: {} },
        },
    });
    let filter = ("envoy.filters.network.http_connection_manager", manager);
    configuration::envoy(site, listen, &Envoy { alpn: &["h2"], filter, cluster })
}
