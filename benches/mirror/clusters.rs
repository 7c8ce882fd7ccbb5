//! The clusters: one that mirrors, and the targets of its Links.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cluster::Cluster as Remote;
use crate::support::kubernetes::{FakeApi, Options, Rules, objects};

/// Where Links and Secrets are.
pub const SYSTEM: &str = "linkerd-multicluster";
/// Service, Endpoints, EndpointSlice.
pub const OBJECTS_EACH: usize = 3;
/// What the mirror has in flight for one Link by default.
const IN_FLIGHT: usize = 16;
const MIRRORED: &str = "mirror.linkerd.io/mirrored-service";
const PATIENCE: Duration = Duration::from_secs(600);

/// All of them.
pub struct Clusters {
    pub west: FakeApi,
    east: Vec<FakeApi>,
}

impl Clusters {
    /// `services` exported ones spread over `links` targets, whose gateways are probed at `probe`.
    pub fn new(services: usize, links: usize, probe: SocketAddr) -> Self {
        // The CRD that the project ships: Linkerd's own prunes the conditions that are waited for.
        let crd = include_str!("../../config/crds/link.yaml");
        let crd: Value = serde_yaml_ng::from_str(crd).expect("YAML");
        let options =
            || Options { allow_loopback: true, crds: vec![crd.clone()], ..Options::default() };
        let west = FakeApi::with(options());
        west.create(objects::namespace(SYSTEM));
        west.create(objects::namespace("apps"));
        let mut east = Vec::new();
        for index in 0..links {
            let server = FakeApi::with(options());
            server.create(objects::namespace("apps"));
            let own = services / links + usize::from(index < services % links);
            for number in 0..own {
                let name = format!("service-{number:05}");
                let mut service = objects::exported("apps", &name, &[("http", 80, 80)]);
                service["metadata"]["labels"]["app.kubernetes.io/name"] = json!(name);
                server.create(objects::slice(&service, "1", &["10.1.2.3"]));
                server.create(service);
            }
            let cluster = format!("east-{index}");
            let kubeconfig = server.kubeconfig(&server.token("mirror", Rules::all()));
            let secret = format!("cluster-credentials-{cluster}");
            west.create(objects::credentials(SYSTEM, &secret, &kubeconfig));
            let mut link = objects::link(SYSTEM, &cluster, &probe.ip().to_string(), 4143);
            // No identity: the probe is plain HTTP.
            link["spec"]["gatewayIdentity"] = json!("");
            link["spec"]["probeSpec"]["port"] = json!(probe.port().to_string());
            west.create(link);
            east.push(server);
        }
        Self { west, east }
    }

    /// A kubeconfig of the mirroring cluster.
    pub fn kubeconfig(&self) -> String {
        self.west.kubeconfig(&self.west.token("gateway", Rules::all()))
    }

    /// How long a client takes that creates the same objects and does nothing else.
    pub fn create_alone(&self, services: usize) -> Duration {
        let server = FakeApi::with(Options { allow_loopback: true, ..Options::default() });
        server.create(objects::namespace("apps"));
        let kubeconfig = server.kubeconfig(&server.token("alone", Rules::all()));
        let next = AtomicUsize::new(0);
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..(IN_FLIGHT * self.east.len()).min(64) {
                scope.spawn(|| {
                    let client = Remote::new(&kubeconfig);
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= services {
                            break;
                        }
                        let name = format!("service-{number:05}");
                        let service = objects::service("apps", &name, &[("http", 80, 80)]);
                        client.create(&service);
                        client.create(&objects::endpoints(&service, &["10.1.2.3"]));
                        client.create(&objects::slice(&service, "1", &["10.1.2.3"]));
                    }
                });
            }
        });
        begun.elapsed()
    }

    /// Until every Service has its three objects.
    pub fn wait_for(&self, services: usize) {
        wait("the first sync", || {
            ["Service", "Endpoints", "EndpointSlice"]
                .iter()
                .all(|kind| self.mirrored(kind) >= services)
        });
    }

    /// Until every mirror says that its gateway is down, in both kinds of objects.
    pub fn wait_until_down(&self, services: usize) {
        let has_down = |endpoints: &Value| {
            endpoints["subsets"][0]["notReadyAddresses"].as_array().is_some_and(|a| !a.is_empty())
        };
        let is_down = |slice: &Value| slice["endpoints"][0]["conditions"]["ready"] == false;
        wait("every mirror not ready", || {
            self.west.count("Endpoints", |object| is_mirror(object) && has_down(object)) >= services
                && self.west.count("EndpointSlice", is_down) >= services
        });
    }

    /// Until every Link's status is there: what an idle mirror ends with.
    pub fn wait_until_probed(&self, links: usize) {
        wait("the Links' status", || {
            let all = self.west.list("Link");
            all.iter().filter(|link| link["status"]["conditions"].is_array()).count() == links
        });
    }

    /// Requests to change something, besides Leases.
    pub fn writes(&self) -> usize {
        self.west.writes().len()
    }

    /// What they were, the first few.
    pub fn lines(&self) -> Vec<String> {
        self.west.writes().iter().take(20).map(|entry| entry.line()).collect()
    }

    /// Writes of Endpoints and EndpointSlices of mirrors; the probe Services' Endpoints do not count.
    pub fn mirror_writes(&self) -> usize {
        let is_of_mirror = |line: &String| {
            line.contains(" apps/")
                && (line.contains("endpoints") || line.contains("endpointslices"))
        };
        self.west.writes().iter().map(|entry| entry.line()).filter(is_of_mirror).count()
    }

    fn mirrored(&self, kind: &str) -> usize {
        self.west.count(kind, is_mirror)
    }
}

fn is_mirror(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata["namespace"] == "apps"
        && (metadata["labels"].get(MIRRORED).is_some()
            || metadata["labels"]["endpointslice.kubernetes.io/managed-by"] == "linkerd-gateway")
}

/// Until something holds; too long ends the run.
pub fn wait(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what} never came");
        // Looking costs the machine something, too.
        std::thread::sleep(Duration::from_millis(250));
    }
}
