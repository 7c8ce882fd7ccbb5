//! The peers' configurations: TLS 1.3 with a client certificate, one worker, no tickets (nobody
//! resumes here), and otherwise what each ships with. Ours has everything on that costs something
//! per connection: a policy, the access log, metrics.

use std::net::SocketAddr;
use std::path::Path;

/// The service that the generator asks ours for.
pub const TARGET: &str = "web.test.svc.cluster.local:80";
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
targets = ["{TARGET}"]
[[route]]
target = "{TARGET}"
default = true
endpoints = ["{backend}"]
"#
    )
}

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

/// HAProxy in TCP mode; `pem` holds the gateway's chain and key in one file, as it wants them.
pub fn haproxy(
    kind: Haproxy,
    listen: SocketAddr,
    backend: SocketAddr,
    certs: &Path,
    pem: &Path,
) -> String {
    let (certs, pem) = (certs.display(), pem.display());
    let bind = match kind {
        Haproxy::Tls => format!("{listen} ssl crt {pem} ca-file {certs}/ca.crt verify required"),
        Haproxy::Clear | Haproxy::Splice => listen.to_string(),
    };
    let splice = match kind {
        Haproxy::Splice => "option splice-request\n  option splice-response",
        Haproxy::Tls | Haproxy::Clear => "",
    };
    format!(
        "global
  nbthread 1
  maxconn {CONNECTIONS}
  maxpipes 400
  tune.ssl.cachesize 0
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
defaults
  mode tcp
  timeout connect 3s
  timeout client 1h
  timeout server 1h
  {splice}
frontend in
  bind {bind} backlog 4096
  default_backend out
backend out
  server one {backend}
"
    )
}

/// nginx with its stream module, which Debian ships as a file of its own.
pub fn nginx(listen: SocketAddr, backend: SocketAddr, certs: &Path, directory: &Path) -> String {
    let (certs, directory) = (certs.display(), directory.display());
    let descriptors = 2 * CONNECTIONS + 100;
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = match Path::new(module).exists() {
        true => format!("load_module {module};"),
        false => String::new(),
    };
    format!(
        "{load}
worker_processes 1;
worker_rlimit_nofile {descriptors};
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
events {{ worker_connections {descriptors}; }}
stream {{
  server {{
    listen {listen} ssl backlog=4096;
    ssl_protocols TLSv1.3;
    ssl_certificate {certs}/gateway/tls.crt;
    ssl_certificate_key {certs}/gateway/tls.key;
    ssl_client_certificate {certs}/ca.crt;
    ssl_verify_client on;
    ssl_verify_depth 3;
    ssl_session_tickets off;
    proxy_pass {backend};
    proxy_timeout 1h;
    proxy_half_close on;
  }}
}}
"
    )
}

/// Envoy; JSON is YAML.
pub fn envoy(listen: SocketAddr, backend: SocketAddr, certs: &Path) -> String {
    let file = |name: &str| serde_json::json!({ "filename": certs.join(name) });
    let address = |address: SocketAddr| {
        let (ip, port) = (address.ip().to_string(), address.port());
        serde_json::json!({ "socket_address": { "address": ip, "port_value": port } })
    };
    let tls = serde_json::json!({
        "@type":
            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": true,
        "disable_stateless_session_resumption": true,
        "common_tls_context": {
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_3" },
            "tls_certificates": [{
                "certificate_chain": file("gateway/tls.crt"),
                "private_key": file("gateway/tls.key"),
            }],
            "validation_context": { "trusted_ca": file("ca.crt") },
        },
    });
    let relay = serde_json::json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "relay",
        "cluster": "out",
        "idle_timeout": "0s",
    });
    let listener = serde_json::json!({
        "name": "in",
        "address": address(listen),
        "tcp_backlog_size": 4096,
        "filter_chains": [{
            "filters": [{ "name": "envoy.filters.network.tcp_proxy", "typed_config": relay }],
            "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
        }],
    });
    let many = serde_json::json!([{ "max_connections": 1_000_000, "max_requests": 1_000_000 }]);
    let cluster = serde_json::json!({
        "name": "out",
        "type": "STATIC",
        "connect_timeout": "3s",
        "circuit_breakers": { "thresholds": many },
        "load_assignment": {
            "cluster_name": "out",
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(backend) } }] }],
        },
    });
    let all = serde_json::json!({
        "static_resources": { "listeners": [listener], "clusters": [cluster] },
    });
    format!("{all:#}")
}
