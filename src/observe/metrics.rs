//! Metrics: every number that `/metrics` shows, under Linkerd's names where Linkerd has one.
//!
//! The data path and the control tasks call the methods of [`Metrics`] once per event, never per
//! read or write. Constant label sets are created at start, so that a rate over them sees the first
//! event, and their handles are kept. Label sets that peers can influence are bounded: beyond
//! [`MAX_SETS`] their values read `other`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::access::Skipped;
use super::process::Process;
use crate::model::counts::ByteCounts;
use crate::model::header::SessionProtocol;
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::model::service::Target;
use crate::model::task::Task;

mod bounded;
mod certificates;
mod dns;
mod http;
mod kinds;
mod kubernetes;
mod labels;
mod mirror;
mod series;
mod slots;
#[cfg(test)]
mod tests;
mod transport;

use bounded::Bounded;
pub use certificates::Certificate;
use certificates::Certificates;
use dns::Dns;
pub use dns::DnsClient;
use http::Http;
pub use http::{Answered, HttpSeries};
use kinds::{Results, Verdicts, add, histogram};
use kubernetes::Kubernetes;
use labels::{AdminLabels, Labels, WorkerLabels};
use mirror::Mirror;
pub use transport::Transport;
use transport::Transports;

/// Most client series, endpoint series and transport header series, each. A series costs about
/// 1 KiB here and a line per scrape in Prometheus.
pub const MAX_SETS: usize = 1000;

/// Seconds; the default handshake and connect deadlines lie at its end.
const BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

type HeaderKey = (&'static str, Option<Target>, Identity);

/// What an unauthenticated connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Its complete ClientHello.
    ClientHello,
    /// The end of its handshake.
    Handshake,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    accepted: Counter,
    accept_errors: Counter,
    /// In the order of [`Outcome::ALL`].
    outcomes: Vec<Counter>,
    headers: Family<Labels, Counter>,
    header_handles: Bounded<HeaderKey, Counter>,
    transports: Arc<Transports>,
    workers: Family<WorkerLabels, Gauge>,
    /// In the order of [`Waiting`].
    waiting: [Gauge; 2],
    memory: Gauge,
    watermark: Gauge,
    ejections: Counter,
    connects: Results,
    dns: Dns,
    certificates: Arc<Certificates>,
    certificate_expiry: Gauge<f64, std::sync::atomic::AtomicU64>,
    certificate_refresh: Gauge<f64, std::sync::atomic::AtomicU64>,
    certificate_refreshes: Results,
    admin: Family<AdminLabels, Counter>,
    handshake: Histogram,
    connect: Histogram,
    tls: Family<Labels, Gauge>,
    generation: Gauge,
    reloads: Results,
    ready: Gauge,
    skipped: [Counter; 3],
    /// In the order of [`Task::ALL`].
    task_restarts: Vec<Counter>,
    authorized: Verdicts,
    denied: Verdicts,
    http: Http,
    kubernetes: Kubernetes,
    mirror: Mirror,
}

impl Metrics {
    /// All metrics at their start.
    pub fn new() -> Arc<Self> {
        let mut r = Registry::default();
        let transports = Arc::new(Transports::new(MAX_SETS));
        r.register_collector(Box::new(Arc::clone(&transports)));
        r.register_collector(Box::new(Process::new()));
        let certificates = Arc::<Certificates>::default();
        r.register_collector(Box::new(Arc::clone(&certificates)));
        build_info(&mut r);
        let outcomes = Family::<Labels, Counter>::default();
        r.register("gateway_connections", "Connections ended, by outcome", outcomes.clone());
        let outcome =
            |o: &Outcome| outcomes.get_or_create_owned(&vec![("outcome", o.label().into())]);
        let waiting: Family<Labels, Gauge> =
            add(&mut r, "gateway_unauthenticated_connections", "Open, by what they wait for");
        let restarts = Family::<Labels, Counter>::default();
        let help = "Panics survived, by task; those of a reload or an admin connection end it";
        r.register("gateway_task_restarts", help, restarts.clone());
        let restart = |t: &Task| restarts.get_or_create_owned(&vec![("task", t.label().into())]);
        let headers = "inbound_tcp_transport_header_connections";
        let admin = "Requests to the admin server, by path and status";
        let handshake = "From accept to the end of the TLS handshake";
        let connect = "From the first connect attempt to the endpoint that took the connection";
        let expiry = "control_identity_cert_expiration_timestamp_seconds";
        let refresh = "control_identity_cert_refresh_timestamp_seconds";
        Arc::new(Self {
            accepted: add(&mut r, "gateway_accepted", "Connections accepted"),
            accept_errors: add(&mut r, "gateway_accept_errors", "Accepts that failed"),
            outcomes: Outcome::ALL.iter().map(outcome).collect(),
            headers: add(&mut r, headers, "Connections with a transport header"),
            header_handles: Bounded::new(MAX_SETS),
            transports,
            workers: add(&mut r, "gateway_worker_open_connections", "Open connections, by worker"),
            waiting: ["client_hello", "handshake"]
                .map(|what| waiting.get_or_create_owned(&vec![("waits_for", what.into())])),
            memory: add(&mut r, "gateway_memory_used_bytes", "As limits.memory_watermark counts"),
            watermark: add(&mut r, "gateway_memory_watermark_bytes", "0 when off"),
            ejections: add(&mut r, "gateway_endpoint_ejections", "Endpoints ejected"),
            connects: Results::new(&mut r, "gateway_endpoint_connects", "Connect attempts", &[]),
            dns: Dns::new(&mut r),
            certificates,
            certificate_expiry: add(&mut r, expiry, "End of our certificate; 0 without one"),
            certificate_refresh: add(&mut r, refresh, "Newest load of credentials; 0 without one"),
            certificate_refreshes: Results::new(
                &mut r,
                "control_identity_cert_refreshes",
                "Loads of changed credentials",
                &[],
            ),
            admin: add(&mut r, "admin_requests", admin),
            handshake: histogram(&mut r, "gateway_handshake_duration_seconds", handshake),
            connect: histogram(&mut r, "gateway_connect_duration_seconds", connect),
            tls: add(&mut r, "rustls_info", "What TLS offers"),
            generation: add(&mut r, "gateway_config_generation", "Configuration in force"),
            reloads: Results::new(&mut r, "gateway_config_reloads", "Reloads asked for", &[]),
            ready: add(&mut r, "gateway_ready", "1 when /ready says so, else 0"),
            skipped: skipped(&mut r),
            task_restarts: Task::ALL.iter().map(restart).collect(),
            authorized: Verdicts::new(&mut r, "inbound_tcp_authz_allow", "Connections allowed"),
            denied: Verdicts::new(&mut r, "inbound_tcp_authz_deny", "Connections denied"),
            http: Http::new(&mut r),
            kubernetes: Kubernetes::new(&mut r),
            mirror: Mirror::new(),
            registry: r,
        })
    }

    /// The exposition in the OpenMetrics text format, byte counts of live connections included.
    pub fn encode(&self) -> String {
        self.transports.settle();
        let mut out = String::new();
        // Writing to a string cannot fail, so an error would be a metric that cannot be written.
        let written = text::encode_registry(&mut out, &self.registry)
            .and_then(|()| self.http.write(&mut out))
            .and_then(|()| self.mirror.write(&mut out))
            .and_then(|()| text::encode_eof(&mut out));
        match written {
            Ok(()) => out,
            Err(_) => "# EOF\n".to_owned(),
        }
    }

    /// A connection was accepted.
    pub fn accepted(&self) {
        self.accepted.inc();
    }

    /// An accept failed.
    pub fn accept_failed(&self) {
        self.accept_errors.inc();
    }

    /// A connection ended.
    pub fn outcome(&self, outcome: Outcome) {
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.inc();
        }
    }

    /// This generation of the configuration is in force.
    pub fn generation(&self, generation: u64) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    /// A reload was accepted or refused.
    pub fn reloaded(&self, ok: bool) {
        self.reloads.count(ok);
    }

    /// What `/ready` says at the time of a scrape.
    pub fn ready(&self, is_ready: bool) {
        self.ready.set(i64::from(is_ready));
    }

    /// The access log left out a connection's line.
    pub fn access_skipped(&self, reason: Skipped) {
        if let Some(counter) = self.skipped.get(reason as usize) {
            counter.inc();
        }
    }

    /// A task has panicked or failed; see [`Task`] for whether it starts again.
    pub fn task_restarted(&self, task: Task) {
        if let Some(counter) = self.task_restarts.get(task as usize) {
            counter.inc();
        }
    }

    /// Policy decided about a connection; `rule` is the rule that did.
    pub fn authorized(&self, allowed: bool, rule: &Arc<str>) {
        if allowed { &self.authorized } else { &self.denied }.count(rule);
    }

    /// A client sent a transport header. `target` is `None` for one that no route knows: peers must
    /// not create series at will.
    pub fn header(
        &self,
        session: Option<SessionProtocol>,
        target: Option<&Target>,
        client: &Identity,
    ) {
        let session = session.map_or("", SessionProtocol::label);
        let make = |key: &HeaderKey| {
            let labels = labels::header(key.0, key.1.as_ref(), key.2.as_str());
            self.headers.get_or_create_owned(&labels)
        };
        let handle = self.header_handles.get((session, target.cloned(), client.clone()), make);
        let other = || self.headers.get_or_create_owned(&labels::header_other(session));
        handle.unwrap_or_else(other).inc();
    }

    /// Opens the client's side of a connection: read is what came from the client. `local` is our
    /// address that it connected to.
    pub fn client_transport(
        &self,
        local: SocketAddr,
        client: &Identity,
        bytes: Arc<ByteCounts>,
    ) -> Transport {
        self.transports.client(local, client, bytes)
    }

    /// Opens the endpoint's side of a connection: read is what came from the endpoint. `server` is
    /// the identity that the endpoint proved, `None` over plain TCP.
    pub fn endpoint_transport(
        &self,
        target: &Target,
        endpoint: SocketAddr,
        server: Option<&Identity>,
        bytes: Arc<ByteCounts>,
    ) -> Transport {
        self.transports.endpoint(target, endpoint, server, bytes)
    }

    /// A worker has `delta` more open connections.
    pub fn worker_open(&self, worker: usize, delta: i64) {
        let worker = u64::try_from(worker).unwrap_or(u64::MAX);
        self.workers.get_or_create(&WorkerLabels { worker }).inc_by(delta);
    }

    /// `delta` more unauthenticated connections wait for this.
    pub fn waiting(&self, waiting: Waiting, delta: i64) {
        let [client_hello, handshake] = &self.waiting;
        let gauge = match waiting {
            Waiting::ClientHello => client_hello,
            Waiting::Handshake => handshake,
        };
        gauge.inc_by(delta);
    }

    /// Memory in use, and the watermark, in bytes.
    pub fn memory(&self, used: u64, watermark: Option<u64>) {
        self.memory.set(i64::try_from(used).unwrap_or(i64::MAX));
        self.watermark.set(i64::try_from(watermark.unwrap_or(0)).unwrap_or(i64::MAX));
    }

    /// An endpoint was ejected.
    pub fn endpoint_ejected(&self) {
        self.ejections.inc();
    }

    /// One connect to one endpoint ended.
    pub fn endpoint_connect(&self, ok: bool) {
        self.connects.count(ok);
    }

    /// Changed credentials are in use since `now`; `all` are their certificates.
    pub fn credentials_loaded(
        &self,
        leaf_not_after: SystemTime,
        all: Vec<Certificate>,
        now: SystemTime,
    ) {
        self.certificates.replace(all);
        self.certificate_expiry.set(unix_seconds(leaf_not_after));
        self.certificate_refresh.set(unix_seconds(now));
        self.certificate_refreshes.count(true);
    }

    /// Changed credentials were refused.
    pub fn credentials_refused(&self) {
        self.certificate_refreshes.count(false);
    }

    /// The admin server answered. `path_label` comes from a closed set, never from the request.
    pub fn admin_request(&self, path_label: &'static str, code: u16) {
        self.admin.get_or_create(&AdminLabels { path: path_label, code }).inc();
    }

    /// A TLS handshake with a client succeeded after this long.
    pub fn handshake(&self, duration: Duration) {
        self.handshake.observe(duration.as_secs_f64());
    }

    /// A connection to an endpoint was established after this long.
    pub fn connect(&self, duration: Duration) {
        self.connect.observe(duration.as_secs_f64());
    }

    /// What TLS offers: cipher suites, key exchange groups, the provider's name. Called once.
    pub fn tls_info(&self, suites: &str, groups: &str, provider: &str) {
        let labels = vec![
            ("tls_suites", suites.to_owned()),
            ("tls_kx_groups", groups.to_owned()),
            ("tls_rand", provider.to_owned()),
            ("tls_key_provider", provider.to_owned()),
            ("tls_fips", "false".to_owned()),
        ];
        self.tls.get_or_create(&labels).set(1);
    }
}

/// In the order of [`Skipped::ALL`].
fn skipped(r: &mut Registry) -> [Counter; 3] {
    let help = "Access-log lines left out, by the filter that did";
    let family: Family<Labels, Counter> = add(r, "gateway_access_log_skipped", help);
    Skipped::ALL.map(|why| family.get_or_create_owned(&vec![("reason", why.label().into())]))
}

/// `proxy_build_info`, with the labels that Linkerd's has. Date and commit are set by the build, if
/// it knows them.
fn build_info(registry: &mut Registry) {
    let info: Family<Labels, Gauge> = add(registry, "proxy_build_info", "This build");
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let labels = [
        ("date", option_env!("LINKERD_GATEWAY_BUILD_DATE").unwrap_or_default()),
        ("git_sha", option_env!("LINKERD_GATEWAY_GIT_SHA").unwrap_or_default()),
        ("profile", profile),
        ("vendor", env!("CARGO_PKG_NAME")),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    info.get_or_create(&labels.map(|(k, v)| (k, v.to_owned())).to_vec()).set(1);
}

fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
