//! Configuration: what an operator wrote becomes [`Settings`] once, or a list of all its problems.
//!
//! `schema` lists the keys, `load` gathers the layers (defaults, file, `config.d`, environment,
//! flags), `raw` is the tree of values with their origins, `check` turns it into [`Settings`],
//! `problem` is what they report, `print` the way back to TOML, `json_schema` what editors read and
//! `warnings` what is correct and yet may not be meant. Nothing else in the crate reads files,
//! variables or flags for configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::access::LoggedRequests;
use crate::model::identity::Identity;
use crate::model::kubernetes::selector::Selector;
use crate::model::outcome::Outcome;
use crate::model::policy::Rule;
use crate::model::route::{Onward, SessionMode};
use crate::model::service::{Port, Target};

pub use crate::model::mirror::remote::EndpointObjects;

pub mod check;
pub mod json_schema;
pub mod load;
pub mod print;
pub mod problem;
pub mod raw;
pub mod schema;
pub mod warnings;

/// A complete, checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[runtime]`
    pub runtime: RuntimeSettings,
    /// `[gateway]`
    pub gateway: GatewaySettings,
    /// `[admin]`
    pub admin: AdminSettings,
    /// `[identity]`
    pub identity: IdentitySettings,
    /// `[limits]`
    pub limits: LimitSettings,
    /// `[http]`
    pub http: HttpSettings,
    /// `[log]`
    pub log: LogSettings,
    /// `[dns]`
    pub dns: DnsSettings,
    /// `[kubernetes]`
    pub kubernetes: KubernetesSettings,
    /// `[mirror]`
    pub mirror: MirrorSettings,
    /// `[[policy.rule]]`, in order.
    pub policy: Vec<Rule>,
    /// `[[route]]`, in order.
    pub routes: Vec<RouteSettings>,
}

/// `[runtime]`: threads.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeSettings {
    /// Worker threads of the data path; `None` is one per CPU of the cgroup.
    pub workers: Option<usize>,
    /// How often the configuration's files are read and compared; `None` reloads on HUP only.
    pub config_poll_interval: Option<Duration>,
}

/// `[gateway]`: the data path.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewaySettings {
    /// False serves the admin API only.
    pub enabled: bool,
    /// The mutual-TLS listeners.
    pub listen: Vec<ListenerSettings>,
    /// Refuse clients that do not negotiate `transport.l5d.io/v1`.
    pub require_transport_header: bool,
    /// Who carries the bytes of established TLS connections.
    pub record_layer: RecordLayer,
    /// Ports of this host that a header without a name may ask for.
    pub local_ports: Vec<Port>,
    /// Where local ports are; `None` is the connection's own local address.
    pub local_address: Option<IpAddr>,
    /// After TERM, how long connections are still accepted while `/ready` says no.
    pub lame_duck: Duration,
    /// After that, how long open connections may go on.
    pub drain_deadline: Duration,
}

/// `gateway.record_layer`: who opens and seals the records of established connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordLayer {
    /// Our own code, on the keys that rustls has agreed on.
    Direct,
    /// rustls, as in the handshake.
    Rustls,
}

/// One entry of `gateway.listen`: `"ip:port"` or `{ address, proxy_protocol }`.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSettings {
    /// Its address.
    pub address: SocketAddr,
    /// Networks whose connections must begin with a PROXY header.
    pub proxy_protocol: Vec<IpNet>,
}

/// `[admin]`: the admin API.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminSettings {
    /// Address of the admin listener.
    pub listen: SocketAddr,
    /// Networks whose connections to it must begin with a PROXY header.
    pub proxy_protocol: Vec<IpNet>,
    /// Addresses where anyone may read `/metrics`.
    pub metrics_listen: Vec<SocketAddr>,
    /// `POST /shutdown` drains as TERM does.
    pub shutdown: bool,
}

/// `[identity]`: who we are and whom we trust.
#[derive(Clone, Debug, PartialEq)]
pub struct IdentitySettings {
    /// The name that our certificate must carry; `None` takes it from the certificate.
    pub name: Option<Identity>,
    /// PEM file: leaf first, then intermediates.
    pub certificate: PathBuf,
    /// PEM file with the leaf's private key.
    pub key: PathBuf,
    /// PEM files of trust anchors.
    pub trust_anchors: Vec<PathBuf>,
    /// `[[identity.trust]]`: anchors that vouch only for some trust domains.
    pub trust: Vec<TrustSettings>,
    /// How often the files are read and compared.
    pub poll_interval: Duration,
}

/// One `[[identity.trust]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrustSettings {
    /// PEM files of trust anchors; need not be repeated in `trust_anchors`.
    pub anchors: Vec<PathBuf>,
    /// The only trust domains that they vouch for.
    pub trust_domains: Vec<String>,
}

/// `[limits]`: bounds on what a peer may cost.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitSettings {
    /// From accept to the end of the transport header.
    pub handshake_timeout: Duration,
    /// One connect to one endpoint, onward TLS included.
    pub connect_timeout: Duration,
    /// All connect attempts of one connection.
    pub connect_total_timeout: Duration,
    /// Idle time before TCP keepalive probes, on both sides.
    pub keepalive: Duration,
    /// TCP_USER_TIMEOUT on both sides: how long sent data may stay unacknowledged.
    pub tcp_user_timeout: Duration,
    /// How long a half-closed connection may be without a byte.
    pub half_closed_timeout: Duration,
    /// How long an open connection may be without a byte; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// Open connections; `None` for any number.
    pub max_connections: Option<usize>,
    /// Open connections of one identity; `None` for any number.
    pub max_connections_per_identity: Option<usize>,
    /// Connections without a complete ClientHello.
    pub max_silent_connections: usize,
    /// Connections between ClientHello and the end of the handshake.
    pub max_handshakes: usize,
    /// Connections of one IPv4 address or IPv6 /64 that are not authenticated.
    pub max_unauthenticated_per_source: usize,
    /// How much memory may be used before connections are shed.
    pub memory_watermark: MemoryWatermark,
}

/// `limits.memory_watermark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryWatermark {
    /// A share of the cgroup's limit; none without a limit.
    Cgroup,
    /// Never shed.
    Off,
    /// Bytes.
    Bytes(u64),
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}

/// `[http]`: sessions whose requests are seen.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSettings {
    /// Requests of one HTTP/2 session that may be in flight.
    pub max_concurrent_streams: u32,
    /// Requests of all sessions that may be in flight.
    pub max_requests_in_flight: usize,
    /// Bytes of a request's header list, as HTTP/2 counts them.
    pub max_header_list_size: u32,
    /// Bytes of a request's body; `None` for any number.
    pub max_body_size: Option<u64>,
    /// Without a byte of a request's body that has to come; `None` waits for ever.
    pub body_timeout: Option<Duration>,
    /// After which a session is asked to end; `None` never.
    pub max_connection_age: Option<Duration>,
    /// How long an endpoint's HTTP/1 connection is kept for the next request.
    pub pool_idle_timeout: Duration,
    /// Kept HTTP/1 connections of one endpoint, for each worker.
    pub max_idle_connections: usize,
    /// Bytes of the receive windows of all sessions together.
    pub window_budget: u64,
}

/// `[log]`: the process log and the access log, both on standard error.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// A `tracing` filter: `info`, `warn,linkerd_gateway=debug`.
    pub level: String,
    /// The form of all lines.
    pub format: LogFormat,
    /// One line per connection when it ends, and lines of requests.
    pub access: bool,
    /// The outcomes that have a line; `None` for all.
    pub access_outcomes: Option<Vec<Outcome>>,
    /// Clean ends of shorter connections have no line.
    pub access_min_duration: Duration,
    /// One in so many clean ends has a line, and one in so many requests without a problem.
    pub access_sample: u64,
    /// The requests of HTTP sessions that have a line.
    pub access_requests: LoggedRequests,
}

/// `[dns]`: resolution of `dns` routes.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsSettings {
    /// Name servers (`ip:port`); empty uses `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Shortest time between two queries of one name, whatever its TTL.
    pub min_ttl: Duration,
    /// Longest time between two queries of one name, whatever its TTL.
    pub max_ttl: Duration,
}

/// `[kubernetes]`: our own cluster's API server, and which of its Services may be reached.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesSettings {
    /// Routes come from the cluster's Services, too.
    pub enabled: bool,
    /// A kubeconfig file; `None` is the pod's service account. The mirror uses it, too.
    pub kubeconfig: Option<PathBuf>,
    /// The cluster's DNS domain, without dots at its ends.
    pub cluster_domain: Arc<str>,
    /// The trust domain of meshed pods' identities.
    pub trust_domain: Arc<str>,
    /// Which Services are exported: any of them decides.
    pub export_selectors: Vec<Selector>,
    /// What may be reached.
    pub reachable: Reachable,
    /// The zone that this process runs in, for zone hints.
    pub zone: Option<Arc<str>>,
}

/// `kubernetes.reachable`.
#[derive(Clone, Debug, PartialEq)]
pub enum Reachable {
    /// Exported Services only.
    Exported,
    /// Every Service whose name ends with one of these, at a label's boundary: Linkerd's own rule.
    Suffix(Vec<Arc<str>>),
}

/// `[mirror]`: local copies of other clusters' exported Services.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorSettings {
    /// The mirror runs.
    pub enabled: bool,
    /// Where Links, their Secrets and the Leases are.
    pub namespace: Arc<str>,
    /// Which objects carry the addresses.
    pub endpoints: EndpointObjects,
    /// Headless Services become headless mirrors with a Service for each host.
    pub headless_services: bool,
    /// Namespaces that are missing are created.
    pub create_namespaces: bool,
    /// Which Services of our own cluster are members of federated ones.
    pub federated_selector: Selector,
    /// Labels that federated Services do not take from our own cluster's.
    pub excluded_labels: Vec<Arc<str>>,
    /// The same for annotations.
    pub excluded_annotations: Vec<Arc<str>>,
    /// Writes of one Link that may be under way at once.
    pub max_writes_in_flight: usize,
    /// What is kept of the target of one Link, in bytes.
    pub max_link_memory: usize,
    /// After which a leader that is not heard of is replaced.
    pub lease_duration: Duration,
}

/// One `[[route]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSettings {
    /// `name:port`, what policy matches and headers ask for.
    pub target: Target,
    /// Server names of plain mTLS clients, lower-case.
    pub sni: Vec<String>,
    /// The certificate for `sni`, with its key; `None` uses the gateway's own.
    pub certificate: Option<KeyPairPaths>,
    /// Takes plain clients whose server name no route has.
    pub default: bool,
    /// How session protocols are served.
    pub session: SessionMode,
    /// Where it leads.
    pub endpoints: EndpointSource,
    /// Onward TLS of endpoints that do not state their own.
    pub tls: Option<Onward>,
    /// Connections to its endpoints begin with a PROXY header.
    pub proxy_protocol: bool,
}

/// PEM files of a certificate chain and its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyPairPaths {
    /// Leaf first, then intermediates.
    pub certificate: PathBuf,
    /// The leaf's private key.
    pub key: PathBuf,
}

/// Where a route's endpoints come from.
#[derive(Clone, Debug, PartialEq)]
pub enum EndpointSource {
    /// A DNS name and the port at every address it has.
    Dns {
        /// The name to resolve.
        name: Arc<str>,
        /// The port at each address.
        port: Port,
    },
    /// Addresses as written.
    Static(Vec<EndpointSettings>),
}

/// One entry of `endpoints`: `"ip:port"` or `{ address, weight, tls }`.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSettings {
    /// Its address.
    pub address: SocketAddr,
    /// Its share; 0 is used only when nothing else is left.
    pub weight: u32,
    /// Its own onward TLS, else the route's.
    pub tls: Option<Onward>,
}
