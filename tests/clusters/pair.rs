//! Two clusters that know each other: `west` mirrors what `east` exports.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::accounts::Accounts;
use crate::support::certs::TestCa;
use crate::support::cluster::Cluster;
use crate::support::gateway::{Builder, GATEWAY, Gateway};

/// Where Links, Secrets and Leases of these tests are.
pub const SYSTEM: &str = "lgw-test-multicluster";
/// Where the Services are.
pub const APPS: &str = "lgw-test-apps";
/// The name of the Link, and of its target.
pub const EAST: &str = "east";

/// The clusters, and where this machine is reached by an address that API servers accept.
pub struct Pair {
    pub west: Cluster,
    pub east: Cluster,
    pub ca: TestCa,
    accounts: Accounts,
    address: IpAddr,
    /// The ports of east's gateway, for traffic and for probes.
    ports: [u16; 2],
    /// Keeps the fake servers alive.
    _servers: Box<dyn std::any::Any>,
}

impl Pair {
    /// Two clusters by their kubeconfigs, made ready and without leftovers. `address` is this
    /// machine's, neither loopback nor link-local.
    pub fn new(west: &str, east: &str, address: IpAddr, servers: Box<dyn std::any::Any>) -> Self {
        let (west, east) = (Cluster::new(west), Cluster::new(east));
        for cluster in [&west, &east] {
            clean(cluster);
            make_namespaces(cluster);
        }
        Self {
            ca: TestCa::new("clusters"),
            accounts: Accounts::make(&west, &east),
            west,
            east,
            address,
            ports: [free_port(), free_port()],
            _servers: servers,
        }
    }

    /// This machine at `port`.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// Where east's gateway is reached.
    pub fn gateway(&self) -> SocketAddr {
        self.at(self.ports[0])
    }

    /// Starts east's gateway, with the routes that its cluster exports.
    pub fn start_east(&self) -> Gateway {
        let [traffic, probes] = self.ports;
        let builder = Builder::new(&self.ca);
        let kubeconfig = write(builder.path(), &self.accounts.gateway);
        builder
            .configure(&format!(
                "[gateway]\nlisten = [\"0.0.0.0:{traffic}\"]\nlame_duck = \"0s\"\n\
                 [admin]\nlisten = \"0.0.0.0:{probes}\"\n\
                 [kubernetes]\nenabled = true\nkubeconfig = \"{kubeconfig}\""
            ))
            .start()
    }

    /// Starts west's mirror; `more` is appended to its `[mirror]`.
    pub fn start_west(&self, more: &str) -> Gateway {
        self.west_builder(more).spawn()
    }

    /// The same, not started yet.
    pub fn west_builder(&self, more: &str) -> Builder {
        let builder = Builder::new(&self.ca);
        let kubeconfig = write(builder.path(), &self.accounts.mirror);
        builder.configure(&format!(
            "[gateway]\nlisten = [\"127.0.0.1:0\"]\nenabled = false\n\
             [kubernetes]\nkubeconfig = \"{kubeconfig}\"\n\
             [mirror]\nenabled = true\nnamespace = \"{SYSTEM}\"\nlease_duration = \"3s\"\n{more}"
        ))
    }

    /// The Secret with east's credentials.
    pub fn secret(&self) -> Value {
        let kubeconfig = &self.accounts.remote;
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "mirror.linkerd.io/remote-kubeconfig",
            "metadata": { "name": format!("cluster-credentials-{EAST}"), "namespace": SYSTEM },
            "data": { "kubeconfig": ByteString(kubeconfig.clone().into_bytes()) },
        })
    }

    /// A Link to east as `link-gen` writes it, with a quick probe.
    pub fn link(&self) -> Value {
        json!({
            "apiVersion": "multicluster.linkerd.io/v1alpha3", "kind": "Link",
            "metadata": { "name": EAST, "namespace": SYSTEM },
            "spec": {
                "targetClusterName": EAST,
                "targetClusterDomain": "cluster.local",
                "targetClusterLinkerdNamespace": "linkerd",
                "clusterCredentialsSecret": format!("cluster-credentials-{EAST}"),
                "gatewayAddress": self.address.to_string(),
                "gatewayPort": self.ports[0].to_string(),
                "gatewayIdentity": GATEWAY,
                "probeSpec": {
                    "path": "/ready", "port": self.ports[1].to_string(), "period": "300ms",
                    "timeout": "1s", "failureThreshold": "2",
                },
                "selector": { "matchLabels": { "mirror.linkerd.io/exported": "true" } },
                "remoteDiscoverySelector":
                    { "matchLabels": { "mirror.linkerd.io/exported": "remote-discovery" } },
                "federatedServiceSelector":
                    { "matchLabels": { "mirror.linkerd.io/federated": "member" } },
            },
        })
    }

    /// Whether west's CRD has the conditions that are ours.
    pub fn keeps_conditions(&self) -> bool {
        let Some(crd) = self.west.get("CustomResourceDefinition", "", CRD) else {
            // Ours, which a fake server was started with.
            return true;
        };
        let versions = crd["spec"]["versions"].as_array().into_iter().flatten();
        let status = "/schema/openAPIV3Schema/properties/status/properties/conditions";
        versions.filter(|version| version["storage"] == true).any(|v| v.pointer(status).is_some())
    }

    /// Puts Secret and Link in place.
    pub fn join(&self, link: &Value) {
        self.west.apply(&self.secret());
        self.west.apply(link);
    }

    /// Exports (or not) a Service of one port in east, with one ready endpoint at `backend`.
    pub fn serve(&self, name: &str, labels: &Value, backend: SocketAddr) {
        let (ip, port) = (backend.ip().to_string(), backend.port());
        self.east.apply(&json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": APPS, "labels": labels },
            "spec": { "ports": [{ "name": "http", "port": 9898, "targetPort": port }] },
        }));
        self.east.apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("{name}-1"), "namespace": APPS,
                "labels": { "kubernetes.io/service-name": name },
            },
            "ports": [{ "name": "http", "port": port, "protocol": "TCP" }],
            "endpoints": [{ "addresses": [ip], "conditions": { "ready": true } }],
        }));
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        clean(&self.west);
        clean(&self.east);
    }
}

/// Deletes all that stories may have left in a cluster. Content goes one by one: who deletes the
/// content of a namespace is the controller manager, which may not be there.
fn clean(cluster: &Cluster) {
    for namespace in [SYSTEM, APPS] {
        for kind in ["Link", "Service", "Endpoints", "EndpointSlice", "Secret", "Lease"] {
            for object in cluster.list(kind, namespace, "") {
                let name = object["metadata"]["name"].as_str().expect("a name");
                cluster.delete(kind, namespace, name);
            }
        }
    }
    let left = cluster.list("Service", APPS, "mirror.linkerd.io/mirrored-service");
    assert!(left.is_empty(), "{left:?}");
}

fn make_namespaces(cluster: &Cluster) {
    for name in [SYSTEM, APPS] {
        let found = cluster.get("Namespace", "", name);
        // Of a run that was cut off.
        let is_going = found.as_ref().is_some_and(|n| n["status"]["phase"] == "Terminating");
        if is_going {
            cluster.delete_namespaces(&[name]);
        }
        if is_going || found.is_none() {
            cluster.create(&json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name },
            }));
        }
    }
}

const CRD: &str = "links.multicluster.linkerd.io";

/// The CRD that the project ships, unless the cluster has one. True when it had none.
pub fn install_crd(cluster: &Cluster) -> bool {
    if cluster.get("CustomResourceDefinition", "", CRD).is_some() {
        return false;
    }
    let text = include_str!("../../config/crds/link.yaml");
    cluster.create(&serde_yaml_ng::from_str(text).expect("YAML"));
    cluster.wait("the Link's kind", |cluster| {
        let crd = cluster.get("CustomResourceDefinition", "", CRD)?;
        let mut conditions = crd["status"]["conditions"].as_array()?.iter();
        conditions.find(|c| c["type"] == "Established" && c["status"] == "True").map(|_| ())
    });
    true
}

/// Leaves a cluster as it was before the stories.
pub fn leave(cluster: &Cluster, has_installed_crd: bool) {
    Accounts::remove(cluster);
    cluster.delete_namespaces(&[SYSTEM, APPS]);
    if has_installed_crd {
        cluster.delete("CustomResourceDefinition", "", CRD);
    }
}

fn write(directory: &Path, kubeconfig: &str) -> String {
    let file = directory.join("kubeconfig");
    std::fs::write(&file, kubeconfig).expect("written");
    file.to_str().expect("UTF-8").to_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    listener.local_addr().expect("bound").port()
}
