//! Two clusters, the processes that mirror, and what is remembered of what was done to them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::certs::TestCa;
use crate::support::gateway::{Builder, Gateway};
use crate::support::kubernetes::{FakeApi, Options, Rules, objects};

/// Where Links, Secrets and Leases are.
pub const SYSTEM: &str = "linkerd-multicluster";
/// Where Services come and go.
pub const SPACES: [&str; 2] = ["apps", "shop"];
/// Where they only change.
pub const STABLE: &str = "stable";
/// Ordinary Services.
pub const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// Services that may be headless, with hosts `h-0` to `h-2`, and so on.
pub const STATEFUL: [&str; 2] = ["h", "s"];

/// Everything.
pub struct World {
    pub random: Rng,
    pub west: FakeApi,
    pub east: FakeApi,
    /// The token by which the mirror reads east.
    pub token: String,
    pub mirrors: Vec<Gateway>,
    /// What is not ours in west, with its version.
    pub foreign: BTreeMap<(String, String), Value>,
    /// What was done.
    pub told: Vec<String>,
    pub probe_status: Arc<AtomicU16>,
    probe: SocketAddr,
    started: usize,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let crd = include_str!("../../config/crds/link.yaml");
        let crds = vec![serde_yaml_ng::from_str(crd).expect("YAML")];
        let west = FakeApi::with(Options { allow_loopback: true, crds, ..Options::default() });
        let east = FakeApi::start();
        for cluster in [&west, &east] {
            for name in [SYSTEM, STABLE].into_iter().chain(SPACES) {
                cluster.create(objects::namespace(name));
            }
        }
        let probe_status = Arc::new(AtomicU16::new(200));
        let probe = serve(Arc::clone(&probe_status));
        let mut world = Self {
            random: Rng::with_seed(seed),
            token: east.token("mirror", Rules::all()),
            west,
            east,
            mirrors: Vec::new(),
            foreign: BTreeMap::new(),
            told: Vec::new(),
            probe_status,
            probe,
            started: 0,
        };
        let kubeconfig = world.east.kubeconfig(&world.token);
        let secret = objects::credentials(SYSTEM, "cluster-credentials-east", &kubeconfig);
        world.west.create(secret);
        world.west.create(world.link());
        for name in ["one", "two"] {
            let service = objects::exported(STABLE, name, &[("http", 80, 8080)]);
            world.east.create(service.clone());
            world.east.create(objects::slice(&service, "1", &["10.1.1.1"]));
        }
        let service = objects::exported(STABLE, "set", &[("sql", 5432, 5432)]);
        let service = objects::headless(service);
        world.east.create(service.clone());
        let mut slice = objects::slice(&service, "1", &["10.1.1.1"]);
        slice["endpoints"][0]["hostname"] = "set-0".into();
        world.east.create(slice);
        world.start();
        world
    }

    /// A Link whose gateway is probed over plain HTTP, quickly.
    pub fn link(&self) -> Value {
        let mut link = objects::link(SYSTEM, "east", "127.0.0.1", 4143);
        link["spec"]["gatewayIdentity"] = "".into();
        link["spec"]["probeSpec"] = json!({ "path": "/ready", "period": "100ms", "timeout": "1s",
            "port": self.probe.port().to_string(), "failureThreshold": "2" });
        link
    }

    /// Starts another process that mirrors, as another pod.
    pub fn start(&mut self) {
        self.started += 1;
        let builder = Builder::new(&TestCa::new("mirror"));
        let kubeconfig = self.west.kubeconfig(&self.west.token("west", Rules::all()));
        std::fs::write(builder.path().join("kubeconfig"), kubeconfig).expect("written");
        let builder = builder
            .configure(
                "[gateway]\nenabled = false\n[kubernetes]\nkubeconfig = \"kubeconfig\"\n\
                 [mirror]\nenabled = true\nlease_duration = \"3s\"\nheadless_services = true",
            )
            .env("HOSTNAME", &format!("gateway-{}", self.started));
        self.mirrors.push(builder.spawn());
    }

    pub fn tell(&mut self, what: impl Into<String>) {
        self.told.push(what.into());
    }

    /// What is not ours is as it was made.
    pub fn check_foreign(&self) {
        for ((namespace, name), made) in &self.foreign {
            let found = self.west.get("Service", namespace, name);
            let told = || self.told.join("\n");
            assert_eq!(found.as_ref(), Some(made), "{namespace}/{name} is not ours:\n{}", told());
        }
    }

    /// Deletes of mirrors whose Services have been exported all the time.
    pub fn deletes_of_the_stable(&self) -> Vec<String> {
        let writes = self.west.writes().into_iter();
        let deletes = writes.filter(|write| {
            write.access.verb == "delete" && write.access.namespace == STABLE && write.code == 200
        });
        deletes.map(|write| write.line()).collect()
    }

    /// What the processes say of themselves, for a failure's report.
    pub fn processes(&self) -> String {
        let text = |mirror: &Gateway| {
            let lines = mirror.lines();
            let last = lines.iter().rev().take(40).rev().map(ToString::to_string);
            format!("{}\n{}", mirror.get("/links"), last.collect::<Vec<_>>().join("\n"))
        };
        self.mirrors.iter().map(text).collect::<Vec<_>>().join("\n----\n")
    }
}

/// An HTTP server that answers every request with one status.
fn serve(status: Arc<AtomicU16>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let status = Arc::clone(&status);
            std::thread::spawn(move || {
                let mut buffer = [0; 2048];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                    let status = status.load(Ordering::Relaxed);
                    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                    if stream.write_all(head.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
