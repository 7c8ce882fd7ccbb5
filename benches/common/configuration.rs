//! The peers' configurations: TLS 1.3 with a client certificate, one worker, no tickets (nobody
//! resumes here), and otherwise what each ships with. Ours has everything on that costs something
//! per connection: a policy, the access log, metrics. What is done with the bytes inside differs
//! from comparison to comparison and is filled in.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::site::Site;

/// The service that the generator asks ours for.
pub const TARGET: &str = "web.test.svc.cluster.local:80";
/// The same service, its HTTP sessions relayed as bytes.
pub const AS_BYTES: &str = "bytes.test.svc.cluster.local:80";
/// Open connections that each must be able to hold, with as many to the backend: what fits into
/// 20,000 descriptors.
const CONNECTIONS: usize = 9300;

/// Ours.
pub fn gateway(listen: SocketAddr, backend: SocketAddr, certs: &Path) -> String {
    let certs = certs.display();
    format!(
        r#"[runtime]
workers = 1
[gateway]
listen = ["{listen}"]
lame_duck = "0s"
[admin]
listen = "127.0.0.1:4191"
[identity]
certificate = "{certs}/gateway/tls.crt"
key = "{certs}/gateway/tls.key"
trust_anchors = ["{certs}/ca.crt"]
[[policy.rule]]
name = "nobody"
action = "deny"
identities = ["*.nobody.serviceaccount.identity.linkerd.cluster.local"]
[[policy.rule]]
name = "clients"
action = "allow"
identities = ["*.default.serviceaccount.identity.linkerd.cluster.local"]
targets = ["{TARGET}", "{AS_BYTES}"]
[[route]]
target = "{TARGET}"
default = true
endpoints = ["{backend}"]
[[route]]
target = "{AS_BYTES}"
session = "passthrough"
endpoints = ["{backend}"]
"#
    )
}

/// How HAProxy listens with TLS.
///
/// # Errors
/// When the file that it wants cannot be written.
pub fn haproxy_bind(site: &Site, listen: SocketAddr) -> anyhow::Result<String> {
    let (certs, pem) = (site.certs.display(), site.pem()?);
    Ok(format!("{listen} ssl crt {} ca-file {certs}/ca.crt verify required", pem.display()))
}

/// HAProxy, in this mode with these further defaults, from where it listens to a server.
pub fn haproxy(mode: &str, defaults: &str, bind: &str, server: &str) -> String {
    format!(
        "global
  nbthread 1
  maxconn {CONNECTIONS}
  maxpipes 400
  tune.ssl.cachesize 0
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
defaults
  mode {mode}
  timeout connect 3s
  timeout client 1h
  timeout server 1h
  {defaults}
frontend in
  bind {bind} backlog 4096
  default_backend out
backend out
  server one {server}
"
    )
}

/// nginx with one block, and before everything else what loads its modules.
pub fn nginx(site: &Site, load: &str, block: &str) -> String {
    let directory = site.directory.display();
    let descriptors = 2 * CONNECTIONS + 100;
    format!(
        "{load}
worker_processes 1;
worker_rlimit_nofile {descriptors};
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
events {{ worker_connections {descriptors}; }}
{block}
"
    )
}

/// How nginx ends TLS.
pub fn nginx_tls(site: &Site) -> String {
    let certs = site.certs.display();
    format!(
        "ssl_protocols TLSv1.3;
    ssl_certificate {certs}/gateway/tls.crt;
    ssl_certificate_key {certs}/gateway/tls.key;
    ssl_client_certificate {certs}/ca.crt;
    ssl_verify_client on;
    ssl_verify_depth 3;
    ssl_session_tickets off;"
    )
}

/// What differs between two Envoys.
pub struct Envoy<'e> {
    /// Protocols that TLS agrees on.
    pub alpn: &'e [&'e str],
    /// The network filter's name and configuration; its cluster is `out`.
    pub filter: (&'e str, Value),
    /// Options of the cluster by the name of their extension.
    pub cluster: Value,
}

/// Envoy; JSON is YAML.
pub fn envoy(site: &Site, listen: SocketAddr, envoy: &Envoy<'_>) -> String {
    let file = |name: &str| json!({ "filename": site.certs.join(name) });
    let address = |address: SocketAddr| {
        let (ip, port) = (address.ip().to_string(), address.port());
        json!({ "socket_address": { "address": ip, "port_value": port } })
    };
    let tls = json!({
        "@type":
            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "disable_stateless_session_resumption": true,
        "common_tls_context": {
            "alpn_protocols": envoy.alpn,
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_3" },
            "tls_certificates": [{
                "certificate_chain": file("gateway/tls.crt"),
                "private_key": file("gateway/tls.key"),
            }],
            "validation_context": { "trusted_ca": file("ca.crt") },
        },
    });
    let (filter, typed_config) = &envoy.filter;
    let listener = json!({
        "name": "in",
        "address": address(listen),
        "tcp_backlog_size": 4096,
        "filter_chains": [{
            "filters": [{ "name": filter, "typed_config": typed_config }],
            "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
        }],
    });
    let endpoint = json!({ "endpoint": { "address": address(site.backend) } });
    let many = json!([{
        "max_connections": 1_000_000,
        "max_pending_requests": 1_000_000,
        "max_requests": 1_000_000,
    }]);
    let cluster = json!({
        "name": "out",
        "type": "STATIC",
        "connect_timeout": "3s",
        "circuit_breakers": { "thresholds": many },
        "typed_extension_protocol_options": envoy.cluster,
        "load_assignment": {
            "cluster_name": "out",
            "endpoints": [{ "lb_endpoints": [endpoint] }],
        },
    });
    let all = json!({
        "static_resources": { "listeners": [listener], "clusters": [cluster] },
    });
    format!("{all:#}")
}
