//! The mirror as a process between two API servers: what it writes, what it never does, and who may
//! do it.

#![allow(clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

mod support;

#[path = "mirror/gateway_mode.rs"]
mod gateway_mode;
#[path = "mirror/hostile.rs"]
mod hostile;
#[path = "mirror/leadership.rs"]
mod leadership;
#[path = "mirror/links.rs"]
mod links;
#[path = "mirror/modes.rs"]
mod modes;
#[path = "mirror/ownership.rs"]
mod ownership;
#[path = "mirror/plan.rs"]
mod plan;
#[path = "mirror/rights.rs"]
mod rights;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use support::certs::TestCa;
use support::gateway::{Builder, Gateway};
use support::kubernetes::{FakeApi, Options, Rules, objects};

/// Where Links, Secrets and Leases are.
pub const SYSTEM: &str = "linkerd-multicluster";
/// Where Services are.
pub const APPS: &str = "apps";

/// Two clusters: `west` mirrors what `east` exports.
pub struct Pair {
    pub west: FakeApi,
    pub east: FakeApi,
    pub probe: Probe,
}

impl Pair {
    /// Clusters with their namespaces, the credentials and the Link.
    #[allow(clippy::new_without_default, reason = "starting servers is no default")]
    pub fn new() -> Self {
        let pair = Self::without_link(true);
        pair.west.create(pair.link());
        pair
    }

    /// The same without a Link. Linkerd's own CRD has no conditions.
    pub fn without_link(is_our_crd: bool) -> Self {
        // The CRD that the project ships: Linkerd's own prunes our conditions.
        let crd = include_str!("../config/crds/link.yaml");
        let mut options = Options { allow_loopback: true, ..Options::default() };
        if is_our_crd {
            options.crds = vec![serde_yaml_ng::from_str(crd).expect("YAML")];
        }
        let pair =
            Self { west: FakeApi::with(options), east: FakeApi::start(), probe: Probe::start() };
        for cluster in [&pair.west, &pair.east] {
            cluster.create(objects::namespace(SYSTEM));
            cluster.create(objects::namespace(APPS));
        }
        let kubeconfig = pair.east.kubeconfig(&pair.east.token("mirror", Rules::all()));
        let secret = objects::credentials(SYSTEM, "cluster-credentials-east", &kubeconfig);
        pair.west.create(secret);
        pair
    }

    /// A Link whose gateway is probed over plain HTTP, quickly.
    pub fn link(&self) -> Value {
        let mut link = objects::link(SYSTEM, "east", "127.0.0.1", 4143);
        link["spec"]["gatewayIdentity"] = "".into();
        link["spec"]["probeSpec"] = json!({ "path": "/ready", "period": "100ms", "timeout": "1s",
            "port": self.probe.address.port().to_string(), "failureThreshold": "2" });
        link
    }

    /// Exports a Service of one port in east, with one ready endpoint.
    pub fn export(&self, name: &str) -> Value {
        let service = objects::exported(APPS, name, &[("http", 80, 8080)]);
        self.east.apply(service.clone());
        self.east.apply(objects::slice(&service, "1", &["10.1.1.1"]));
        service
    }

    /// A process that mirrors into west and does nothing else.
    pub fn builder(&self) -> Builder {
        self.builder_with(Rules::all())
    }

    /// The same, with these rights in west.
    pub fn builder_with(&self, rules: Rules) -> Builder {
        let builder = Builder::new(&TestCa::new("mirror"));
        let kubeconfig = self.west.kubeconfig(&self.west.token("west", rules));
        std::fs::write(builder.path().join("kubeconfig"), kubeconfig).expect("written");
        builder.configure(
            "[gateway]\nenabled = false\n[kubernetes]\nkubeconfig = \"kubeconfig\"\n\
             [mirror]\nenabled = true\nlease_duration = \"3s\"",
        )
    }

    /// Starts one and waits until it leads, or knows who does.
    pub fn start(&self) -> Gateway {
        self.start_from(self.builder())
    }

    /// The same, from a builder.
    pub fn start_from(&self, builder: Builder) -> Gateway {
        let mirror = builder.spawn();
        mirror.line("its place", |line| {
            let message = line["message"].as_str().unwrap_or_default();
            message == "leading the mirror" || message == "another replica leads the mirror"
        });
        mirror
    }

    /// The addresses of a mirror's Endpoints: ready ones, and those that are not.
    pub fn addresses(&self, name: &str) -> Option<(Vec<String>, Vec<String>)> {
        let endpoints = self.west.get("Endpoints", APPS, name)?;
        let of = |field: &str| {
            let subsets = endpoints["subsets"].as_array().into_iter().flatten();
            let all = subsets.flat_map(|subset| subset[field].as_array().into_iter().flatten());
            all.filter_map(|address| address["ip"].as_str().map(str::to_owned)).collect()
        };
        Some((of("addresses"), of("notReadyAddresses")))
    }

    /// Waits until a mirror has its gateway's address, ready or not.
    #[track_caller]
    pub fn wait_ready(&self, name: &str, is_ready: bool) {
        let one = vec!["127.0.0.1".to_owned()];
        let wanted = if is_ready { (one, vec![]) } else { (vec![], one) };
        let what = format!("{name} ready: {is_ready}");
        self.west.wait_for(&what, |_| self.addresses(name).as_ref() == Some(&wanted));
        self.west.wait_for(&format!("the slice of {what}"), |west| {
            let slice = west.get("EndpointSlice", APPS, &format!("{name}-ipv4"));
            slice.is_some_and(|s| s["endpoints"][0]["conditions"]["ready"] == is_ready)
        });
    }
}

/// An HTTP server that answers every request with one status.
pub struct Probe {
    pub address: SocketAddr,
    status: Arc<AtomicU16>,
}

impl Probe {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let status = Arc::new(AtomicU16::new(200));
        let answer = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || {
                    let mut buffer = [0; 2048];
                    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                        let status = answer.load(Ordering::Relaxed);
                        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                        if stream.write_all(head.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, status }
    }

    /// What it answers from now on.
    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}
