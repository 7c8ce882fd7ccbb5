//! Every key that exists, with its kind and default: the one list that unknown keys, environment
//! variables, `config print` and the test of `config/gateway.toml` go by.
//!
//! Meaning and ranges are `check`'s. A key that is added here needs its line there, in `Settings`
//! and in `config/gateway.toml`; the tests name the one that was forgotten.

use super::raw::{Node, Origin, Value};

mod admit;
mod suggest;

pub use admit::Admission;
pub use suggest::{closest, paths};

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// True or false.
    Boolean(Option<bool>),
    /// A whole number.
    Integer(Option<i64>),
    /// A list of whole numbers.
    Integers(Option<&'static [i64]>),
    /// A list of strings, or of tables with these keys.
    Mixed(&'static [Key], Option<&'static [&'static str]>),
    /// A key that a later version will have: refused with this reason, because an operator who
    /// writes it relies on it.
    Refused(&'static str),
    /// A table with these keys.
    Section(&'static [Key]),
    /// A list of tables with these keys, `[[...]]`. All layers' entries count.
    Tables(&'static [Key]),
    /// A string: a name, a path, an address, a duration.
    Text(Option<&'static str>),
    /// A list of strings.
    Texts(Option<&'static [&'static str]>),
}

/// A key: its name in its table, what it holds and, within the kind, its default.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in its table.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

impl Key {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind }
    }

    /// The value when nothing sets it.
    pub fn default(&self) -> Option<Node> {
        let node = |value| Node { value, origin: Origin::Default };
        let text = |text: &&str| node(Value::Text((*text).to_owned()));
        let value = match self.kind {
            Kind::Boolean(value) => Value::Boolean(value?),
            Kind::Integer(number) => Value::Integer(number?),
            Kind::Integers(numbers) => {
                Value::Array(numbers?.iter().map(|n| node(Value::Integer(*n))).collect())
            }
            Kind::Text(value) => Value::Text(value?.to_owned()),
            Kind::Mixed(_, texts) | Kind::Texts(texts) => {
                Value::Array(texts?.iter().map(text).collect())
            }
            Kind::Refused(_) | Kind::Section(_) | Kind::Tables(_) => {
                return None;
            }
        };
        Some(node(value))
    }

    /// The keys of its tables, if it holds any.
    pub fn keys(&self) -> &'static [Self] {
        match self.kind {
            Kind::Mixed(keys, _) | Kind::Section(keys) | Kind::Tables(keys) => keys,
            _ => &[],
        }
    }
}

/// The sections of the configuration.
pub const ROOT: &[Key] = &[
    Key::new("runtime", Kind::Section(RUNTIME)),
    Key::new("gateway", Kind::Section(GATEWAY)),
    Key::new("admin", Kind::Section(ADMIN)),
    Key::new("identity", Kind::Section(IDENTITY)),
    Key::new("limits", Kind::Section(LIMITS)),
    Key::new("http", Kind::Section(HTTP)),
    Key::new("log", Kind::Section(LOG)),
    Key::new("dns", Kind::Section(DNS)),
    Key::new("policy", Kind::Section(&[Key::new("rule", Kind::Tables(RULE))])),
    Key::new("kubernetes", Kind::Section(KUBERNETES)),
    Key::new("mirror", Kind::Section(MIRROR)),
    Key::new("egress", Kind::Section(DISABLED)),
    Key::new("route", Kind::Tables(ROUTE)),
];

const RUNTIME: &[Key] =
    &[Key::new("workers", Kind::Integer(None)), Key::new("config_poll_interval", Kind::Text(None))];

const GATEWAY: &[Key] = &[
    Key::new("enabled", Kind::Boolean(Some(true))),
    Key::new("listen", Kind::Mixed(LISTENER, Some(&["[::]:4143"]))),
    Key::new("require_transport_header", Kind::Boolean(Some(false))),
    Key::new("record_layer", Kind::Text(Some("direct"))),
    Key::new("local_ports", Kind::Integers(Some(&[]))),
    Key::new("local_address", Kind::Text(None)),
    Key::new("lame_duck", Kind::Text(Some("5s"))),
    Key::new("drain_deadline", Kind::Text(Some("20s"))),
];

const LISTENER: &[Key] =
    &[Key::new("address", Kind::Text(None)), Key::new("proxy_protocol", Kind::Texts(Some(&[])))];

const ADMIN: &[Key] = &[
    Key::new("listen", Kind::Text(Some("[::]:4191"))),
    Key::new("proxy_protocol", Kind::Texts(Some(&[]))),
    Key::new("metrics_listen", Kind::Texts(Some(&[]))),
    Key::new("shutdown", Kind::Boolean(Some(false))),
];

const IDENTITY: &[Key] = &[
    Key::new("source", Kind::Text(Some("files"))),
    Key::new("name", Kind::Text(None)),
    Key::new("certificate", Kind::Text(None)),
    Key::new("key", Kind::Text(None)),
    Key::new("trust_anchors", Kind::Texts(None)),
    Key::new("poll_interval", Kind::Text(Some("5s"))),
    Key::new("trust", Kind::Tables(TRUST)),
];

const TRUST: &[Key] =
    &[Key::new("anchors", Kind::Texts(None)), Key::new("trust_domains", Kind::Texts(None))];

const LIMITS: &[Key] = &[
    Key::new("handshake_timeout", Kind::Text(Some("5s"))),
    Key::new("connect_timeout", Kind::Text(Some("1s"))),
    Key::new("connect_total_timeout", Kind::Text(Some("3s"))),
    Key::new("keepalive", Kind::Text(Some("10s"))),
    Key::new("tcp_user_timeout", Kind::Text(Some("30s"))),
    Key::new("half_closed_timeout", Kind::Text(Some("5m"))),
    Key::new("idle_timeout", Kind::Text(None)),
    Key::new("max_connections", Kind::Integer(None)),
    Key::new("max_connections_per_identity", Kind::Integer(None)),
    Key::new("max_silent_connections", Kind::Integer(Some(16_384))),
    Key::new("max_handshakes", Kind::Integer(Some(8192))),
    Key::new("max_unauthenticated_per_source", Kind::Integer(Some(4096))),
    Key::new("memory_watermark", Kind::Text(Some("cgroup"))),
];

const HTTP: &[Key] = &[
    Key::new("max_concurrent_streams", Kind::Integer(Some(200))),
    Key::new("max_requests_in_flight", Kind::Integer(Some(100_000))),
    Key::new("max_header_list_size", Kind::Text(Some("64KiB"))),
    Key::new("max_body_size", Kind::Text(None)),
    Key::new("body_timeout", Kind::Text(None)),
    Key::new("max_connection_age", Kind::Text(Some("30m"))),
    Key::new("pool_idle_timeout", Kind::Text(Some("3s"))),
    Key::new("max_idle_connections", Kind::Integer(Some(256))),
    Key::new("window_budget", Kind::Text(Some("256MiB"))),
];

const LOG: &[Key] = &[
    Key::new("level", Kind::Text(Some("info"))),
    Key::new("format", Kind::Text(Some("text"))),
    Key::new("access", Kind::Boolean(Some(true))),
    Key::new("access_outcomes", Kind::Texts(None)),
    Key::new("access_min_duration", Kind::Text(Some("0s"))),
    Key::new("access_sample", Kind::Integer(Some(1))),
    Key::new("access_requests", Kind::Text(Some("problems"))),
];

const DNS: &[Key] = &[
    Key::new("servers", Kind::Texts(Some(&[]))),
    Key::new("min_ttl", Kind::Text(Some("5s"))),
    Key::new("max_ttl", Kind::Text(Some("5m"))),
];

const KUBERNETES: &[Key] = &[
    Key::new("enabled", Kind::Boolean(Some(false))),
    Key::new("kubeconfig", Kind::Text(None)),
    Key::new("cluster_domain", Kind::Text(Some("cluster.local"))),
    Key::new("trust_domain", Kind::Text(None)),
    Key::new("export_selectors", Kind::Texts(Some(&["mirror.linkerd.io/exported=true"]))),
    Key::new("reachable", Kind::Text(Some("exported"))),
    Key::new("suffixes", Kind::Texts(None)),
    Key::new("zone", Kind::Text(None)),
];

const MIRROR: &[Key] = &[
    Key::new("enabled", Kind::Boolean(Some(false))),
    Key::new("namespace", Kind::Text(Some("linkerd-multicluster"))),
    Key::new("endpoints", Kind::Text(Some("both"))),
    Key::new("headless_services", Kind::Boolean(Some(false))),
    Key::new("create_namespaces", Kind::Boolean(Some(false))),
    Key::new("federated_selector", Kind::Text(Some("mirror.linkerd.io/federated=member"))),
    Key::new("excluded_labels", Kind::Texts(Some(&[]))),
    Key::new("excluded_annotations", Kind::Texts(Some(&[]))),
    Key::new("max_writes_in_flight", Kind::Integer(Some(16))),
    Key::new("max_link_memory", Kind::Text(Some("256MiB"))),
    Key::new("lease_duration", Kind::Text(Some("30s"))),
];

/// A module that this version lacks: it can only be off.
const DISABLED: &[Key] = &[Key::new("enabled", Kind::Boolean(Some(false)))];

const ROUTE: &[Key] = &[
    Key::new("target", Kind::Text(None)),
    Key::new("sni", Kind::Texts(Some(&[]))),
    Key::new("certificate", Kind::Text(None)),
    Key::new("key", Kind::Text(None)),
    Key::new("default", Kind::Boolean(Some(false))),
    Key::new("session", Kind::Text(Some("auto"))),
    Key::new("endpoints", Kind::Mixed(ENDPOINT, None)),
    Key::new("dns", Kind::Text(None)),
    Key::new("tls", Kind::Section(TLS)),
    Key::new("proxy_protocol", Kind::Text(Some("off"))),
];

const RULE: &[Key] = &[
    Key::new("name", Kind::Text(None)),
    Key::new("action", Kind::Text(None)),
    Key::new("identities", Kind::Texts(Some(&["*"]))),
    Key::new("networks", Kind::Mixed(NETWORK, None)),
    Key::new("targets", Kind::Texts(Some(&["*"]))),
    Key::new("methods", Kind::Texts(None)),
    Key::new("paths", Kind::Texts(None)),
];

const NETWORK: &[Key] =
    &[Key::new("cidr", Kind::Text(None)), Key::new("except", Kind::Texts(Some(&[])))];

const ENDPOINT: &[Key] = &[
    Key::new("address", Kind::Text(None)),
    Key::new("weight", Kind::Integer(Some(1))),
    Key::new("tls", Kind::Section(TLS)),
];

const TLS: &[Key] =
    &[Key::new("identity", Kind::Text(None)), Key::new("port", Kind::Integer(Some(4143)))];
