//! The tree of values becomes [`Settings`], or a report of everything that is wrong with it.
//!
//! Called by `load` when all layers are merged. Pure: files that the configuration names are not
//! looked at here. Every function reads all of its keys before it combines them, so that one
//! problem never hides another.

use std::path::PathBuf;
use std::time::Duration;

use super::problem::Report;
use super::raw::{Cursor, Node};
use super::{AdminSettings, DnsSettings, GatewaySettings, RecordLayer, RuntimeSettings, Settings};
use crate::model::service::Port;

mod endpoint;
mod http;
mod identity;
mod kubernetes;
mod limits;
mod listeners;
pub mod log;
mod policy;
mod route;
mod values;

use values::{address, addresses, duration, networks, one_of};

/// More workers than any machine has CPUs would only be a typing error.
const MOST_WORKERS: usize = 1024;
/// No timeout of a handshake or connect makes sense beyond it; also keeps milliseconds in 32 bits.
const LONGEST: Duration = Duration::from_secs(86_400);
/// The shortest timeout: what the timers resolve.
const SHORTEST: Duration = Duration::from_millis(1);
/// Polling files or asking DNS more often than this would only burn CPU.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Checks the tree; `None` when something was reported.
pub fn settings(tree: &Node, report: &Report) -> Option<Settings> {
    let root = Cursor::root(tree, report);
    refuse_module(&root, "egress");
    let runtime = root.child("runtime").and_then(|at| runtime(&at));
    let gateway = root.child("gateway").and_then(|at| gateway(&at));
    let admin = root.child("admin").and_then(|at| admin(&at));
    let identity = root.child("identity").and_then(|at| identity::identity(&at));
    let limits = root.child("limits").and_then(|at| limits::limits(&at));
    let http = root.child("http").and_then(|at| http::http(&at));
    let log = root.child("log").and_then(|at| log::log(&at));
    let dns = root.child("dns").and_then(|at| dns(&at));
    let kubernetes = root.child("kubernetes").and_then(|at| kubernetes::kubernetes(&at));
    let mirror = root.child("mirror").and_then(|at| kubernetes::mirror(&at));
    let listeners = listeners::listeners(&root, gateway.as_ref(), admin.as_ref());
    // An unusable file may set other listeners than those that are left.
    let known = if report.is_incomplete() { &[] } else { listeners.as_slice() };
    let routes = route::routes(&root, known);
    let policy = policy::rules(&root);
    Some(Settings {
        runtime: runtime?,
        gateway: gateway?,
        admin: admin?,
        identity: identity?,
        limits: limits?,
        http: http?,
        log: log?,
        dns: dns?,
        kubernetes: kubernetes?,
        mirror: mirror?,
        policy: policy?,
        routes: routes?,
    })
}

/// Sections of modules that this version lacks may only be switched off.
fn refuse_module(root: &Cursor<'_>, module: &str) {
    let enabled = root.child(module).and_then(|section| section.child("enabled"));
    if let Some(at) = enabled.filter(|at| at.boolean() == Some(true)) {
        at.refuse::<()>(format!("found true, but this version has no {module} module"));
    }
}

fn runtime(at: &Cursor<'_>) -> Option<RuntimeSettings> {
    let workers = at.optional("workers", |at| at.integer(1..=MOST_WORKERS));
    let poll = at.optional("config_poll_interval", |at| duration(at, SHORTEST_INTERVAL..=LONGEST));
    Some(RuntimeSettings { workers: workers?, config_poll_interval: poll? })
}

fn gateway(at: &Cursor<'_>) -> Option<GatewaySettings> {
    let enabled = at.required("enabled", "true or false", Cursor::boolean);
    let listen = at.required("listen", "a list of addresses", |at| {
        at.list("a list of addresses like [\"[::]:4143\"]", listeners::listener)
    });
    let header = at.required("require_transport_header", "true or false", Cursor::boolean);
    let layer = at.required("record_layer", "a record layer", |at| {
        one_of(at, &[("direct", RecordLayer::Direct), ("rustls", RecordLayer::Rustls)])
    });
    let ports = at.required("local_ports", "a list of ports", |at| {
        at.list("a list of ports, like [8080]", |at| at.integer(1..=u16::MAX).and_then(Port::new))
    });
    let local_address = at.optional("local_address", |at| {
        at.parsed("an IP address like \"127.0.0.1\"", |text| text.parse().ok())
    });
    let wait = |name| at.required(name, "a duration", |at| duration(at, Duration::ZERO..=LONGEST));
    let (lame_duck, drain_deadline) = (wait("lame_duck"), wait("drain_deadline"));
    Some(GatewaySettings {
        enabled: enabled?,
        listen: listen?,
        require_transport_header: header?,
        record_layer: layer?,
        local_ports: ports?,
        local_address: local_address?,
        lame_duck: lame_duck?,
        drain_deadline: drain_deadline?,
    })
}

fn admin(at: &Cursor<'_>) -> Option<AdminSettings> {
    let listen = at.required("listen", "an address", address);
    let proxies = at.required("proxy_protocol", "a list of networks", networks);
    let metrics = at.required("metrics_listen", "a list of addresses", addresses);
    let shutdown = at.required("shutdown", "true or false", Cursor::boolean);
    Some(AdminSettings {
        listen: listen?,
        proxy_protocol: proxies?,
        metrics_listen: metrics?,
        shutdown: shutdown?,
    })
}

fn dns(at: &Cursor<'_>) -> Option<DnsSettings> {
    let servers = at.required("servers", "a list of addresses", |at| {
        at.list("a list of addresses like [\"127.0.0.1:53\"]", endpoint::usable)
    });
    let min_ttl =
        at.required("min_ttl", "a duration", |at| duration(at, SHORTEST_INTERVAL..=LONGEST));
    let max_ttl =
        at.required("max_ttl", "a duration", |at| duration(at, SHORTEST_INTERVAL..=LONGEST));
    if min_ttl.zip(max_ttl).is_some_and(|(min, max)| min > max) {
        if let Some(at) = at.child("max_ttl") {
            at.wrong::<()>("a duration of at least min_ttl");
        }
        return None;
    }
    Some(DnsSettings { servers: servers?, min_ttl: min_ttl?, max_ttl: max_ttl? })
}

/// A path as it stands; relative ones are relative to the current directory.
fn path(at: &Cursor<'_>) -> Option<PathBuf> {
    let usable = |text: &&str| !text.is_empty() && !text.contains('\0');
    at.parsed("the path of a PEM file", |text| Some(text).filter(usable).map(PathBuf::from))
}
