//! A Kubernetes API server in the test's own process, as strict as a real one, for programs that use a
//! real client: the gateway, over a kubeconfig.
//!
//! ```ignore
//! let east = FakeApi::start();
//! east.create(objects::namespace("test"));
//! let token = east.token("gateway", Rules::of_account(MANIFESTS, "linkerd-multicluster/gateway"));
//! let kubeconfig = east.kubeconfig(&token);
//! east.inject(Matcher::new("create", "services"), Fault::TooManyRequests(1), Times::Next(3));
//! east.wait_for("a mirror", |east| east.get("Service", "test", "web-west").is_some());
//! assert_eq!(east.denied(), []);
//! ```
//!
//! What it does not do: controllers (no Endpoints from selectors, no garbage collection but on
//! demand), finalizers, server-side apply, JSON patch and strategic merge patch (415), conversion
//! webhooks, admission.

pub mod accounts;
pub mod addresses;
pub mod cluster;
pub mod delete;
pub mod discovery;
pub mod error;
pub mod faults;
pub mod http;
pub mod log;
pub mod objects;
pub mod rbac;
pub mod read;
pub mod request;
pub mod resources;
pub mod schema;
pub mod selectors;
pub mod server;
pub mod store;
pub mod typed;
pub mod validate;
pub mod watch;
pub mod write;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use k8s_openapi::ByteString;
use serde_json::json;

pub use cluster::Cluster;
#[allow(unused_imports, reason = "each test binary uses a part")]
pub use faults::{Fault, Matcher, Times};
#[allow(unused_imports, reason = "each test binary uses a part")]
pub use rbac::Rules;
pub use server::Options;

use resources::Resource;
use server::{Running, Shared, Tls};
use store::Store;

/// A server with what a test can do to it.
pub struct FakeApi {
    cluster: Cluster,
    /// None while it is stopped.
    running: Mutex<Option<Running>>,
    /// The same after a restart.
    port: u16,
}

impl FakeApi {
    /// Serves over TLS, with Linkerd's CRD of Links, and the namespaces of a new cluster.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// The same with other options.
    pub fn with(options: Options) -> Self {
        // Each server has its own addresses, so that those of two clusters are told apart.
        static NETWORK: AtomicU8 = AtomicU8::new(96);
        let network = NETWORK.fetch_add(1, Ordering::Relaxed);
        let mut resources = resources::built_in();
        resources.extend(options.crds.iter().map(Resource::custom));
        let tls = (!options.is_plain).then(Tls::new);
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new(resources, network, options.history)),
            options,
            signals: tokio::sync::watch::channel(server::Signals::default()).0,
            faults: Mutex::default(),
            log: Mutex::default(),
            accounts: Mutex::new(BTreeMap::new()),
            tls: Mutex::new(tls),
        });
        let running = Running::start(&shared, 0);
        let port = running.address.port();
        let cluster = Cluster::new(shared);
        for name in ["default", "kube-system"] {
            cluster.create(objects::namespace(name));
        }
        Self { cluster, running: Mutex::new(Some(running)), port }
    }

    /// `https://127.0.0.1:12345`.
    pub fn url(&self) -> String {
        let scheme = if self.shared().options.is_plain { "http" } else { "https" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// PEM of who signed the present certificate; empty when plain.
    pub fn anchor(&self) -> String {
        let tls = self.shared().tls.lock().expect("whole");
        tls.as_ref().map(|tls| tls.anchor.clone()).unwrap_or_default()
    }

    /// A kubeconfig that holds all it needs itself.
    pub fn kubeconfig(&self, token: &str) -> String {
        let mut cluster = json!({ "server": self.url() });
        let anchor = self.anchor();
        if !anchor.is_empty() {
            let data = serde_json::to_value(ByteString(anchor.into_bytes())).expect("base64");
            cluster["certificate-authority-data"] = data;
        }
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "users": [{ "name": "test", "user": { "token": token } }],
        });
        serde_yaml_ng::to_string(&kubeconfig).expect("YAML")
    }

    /// Closes the port and all connections; the objects stay.
    pub fn stop(&self) {
        drop(self.running.lock().expect("whole").take());
    }

    /// Serves again, at the same port.
    pub fn serve(&self) {
        let mut running = self.running.lock().expect("whole");
        assert!(running.is_none(), "it is running");
        *running = Some(Running::start(self.shared(), self.port));
    }

    /// Stops, counts versions from `version` on as after a restore from a backup, and serves again.
    pub fn restart_at(&self, version: u64) {
        self.stop();
        self.shared().store.lock().expect("whole").restart_at(version);
        self.serve();
    }
}

impl Deref for FakeApi {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}
