//! Two clusters that know each other: `west` mirrors what `east` exports.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;

use serde_json::{Value, json};

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
        let pair = Self {
            west: Cluster::new(west),
            east: Cluster::new(east),
            ca: TestCa::new("clusters"),
            address,
            ports: [free_port(), free_port()],
            _servers: servers,
        };
        pair.clean();
        for cluster in [&pair.west, &pair.east] {
            for name in [SYSTEM, APPS] {
                if cluster.get("Namespace", "", name).is_none() {
                    cluster.create(&json!({
                        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name },
                    }));
                }
            }
        }
        pair
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
        let kubeconfig = write(builder.path(), &self.east.kubeconfig);
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
        let kubeconfig = write(builder.path(), &self.west.kubeconfig);
        builder.configure(&format!(
            "[gateway]\nlisten = [\"127.0.0.1:0\"]\nenabled = false\n\
             [kubernetes]\nkubeconfig = \"{kubeconfig}\"\n\
             [mirror]\nenabled = true\nnamespace = \"{SYSTEM}\"\nlease_duration = \"3s\"\n{more}"
        ))
    }

    /// The Secret with east's credentials.
    pub fn secret(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "mirror.linkerd.io/remote-kubeconfig",
            "metadata": { "name": format!("cluster-credentials-{EAST}"), "namespace": SYSTEM },
            "stringData": { "kubeconfig": self.east.kubeconfig },
            // What stringData becomes on a server.
            "data": { "kubeconfig": base64(self.east.kubeconfig.as_bytes()) },
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

    /// Deletes all that tests may have left in both clusters. Content goes one by one: who deletes
    /// the content of a namespace is the controller manager, which may not be there.
    fn clean(&self) {
        let mirrors = "mirror.linkerd.io/mirrored-service";
        for cluster in [&self.west, &self.east] {
            for namespace in [SYSTEM, APPS] {
                for kind in ["Link", "Service", "Endpoints", "EndpointSlice", "Secret", "Lease"] {
                    for object in cluster.list(kind, namespace, "") {
                        let name = object["metadata"]["name"].as_str().expect("a name");
                        cluster.delete(kind, namespace, name);
                    }
                }
            }
            let left = cluster.list("Service", APPS, mirrors);
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.clean();
        for cluster in [&self.west, &self.east] {
            for name in [SYSTEM, APPS] {
                cluster.delete("Namespace", "", name);
            }
        }
    }
}

/// The CRD that the project ships, unless the cluster has one.
pub fn install_crd(cluster: &Cluster) {
    let name = "links.multicluster.linkerd.io";
    if cluster.get("CustomResourceDefinition", "", name).is_some() {
        return;
    }
    let text = include_str!("../../config/crds/link.yaml");
    cluster.create(&serde_yaml_ng::from_str(text).expect("YAML"));
    cluster.wait("the Link's kind", |cluster| {
        let crd = cluster.get("CustomResourceDefinition", "", name)?;
        let mut conditions = crd["status"]["conditions"].as_array()?.iter();
        conditions.find(|c| c["type"] == "Established" && c["status"] == "True").map(|_| ())
    });
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

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = (word >> (18 - 6 * place)) & 63;
            let letter = char::from(ALPHABET[index as usize]);
            text.push(if place > chunk.len() { '=' } else { letter });
        }
    }
    text
}
