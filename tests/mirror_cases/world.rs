//! Two fake clusters and the fixtures' Link: `west` mirrors what `east` exports. The values are those
//! of Linkerd's own tests: cluster `remote`, domain `cluster.local`, gateway 192.0.2.127:888.

use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::certs::TestCa;
use crate::support::gateway::{Builder, Gateway};
use crate::support::kubernetes::cluster::Cluster;
use crate::support::kubernetes::{FakeApi, Options, Rules, objects};

/// Where Links, Secrets and Leases are.
pub const SYSTEM: &str = "linkerd-multicluster";
/// Where the Services are.
pub const APPS: &str = "test";
/// The name of the Link, and of its target.
pub const CLUSTER: &str = "remote";
/// The gateway of the Link: an address of TEST-NET-1 that nothing answers at.
pub const GATEWAY: &str = "192.0.2.127";
/// Its identity.
pub const IDENTITY: &str = "gateway-identity";
/// How long the Leases of these tests last.
pub const LEASE: &str = "2s";
/// Longer than everything that a change leads to: how long absence is watched.
pub const QUIET: Duration = Duration::from_millis(1200);

/// Two clusters.
pub struct World {
    pub west: FakeApi,
    pub east: FakeApi,
    pub ca: TestCa,
    /// The mirror's in west.
    pub own: String,
    /// The mirror's in east.
    pub remote: String,
}

impl World {
    pub fn new() -> Self {
        Self::with(options(), options())
    }

    pub fn with(west: Options, east: Options) -> Self {
        let (west, east) = (FakeApi::with(west), FakeApi::with(east));
        for cluster in [&west, &east] {
            for name in [SYSTEM, APPS] {
                cluster.create(objects::namespace(name));
            }
        }
        let own = west.token("mirror", Rules::all());
        let remote = east.token("mirror", Rules::all());
        Self { west, east, ca: TestCa::new("mirror"), own, remote }
    }

    /// The same with the Link and its credentials in place.
    pub fn joined() -> Self {
        let world = Self::new();
        world.join(link());
        world
    }

    /// The same with exported Services that a running mirror has mirrored.
    pub fn mirroring(names: &[&str]) -> (Self, Gateway) {
        let world = Self::joined();
        for name in names {
            world.serve(exported(name), &["10.1.0.1"]);
        }
        let mirror = world.start("");
        for name in names {
            world.wait_addresses(&format!("{name}-remote"), &[GATEWAY], &[]);
        }
        (world, mirror)
    }

    /// Puts a Link and the Secret that it states in place.
    pub fn join(&self, link: Value) {
        let name = link["spec"]["clusterCredentialsSecret"].as_str().expect("a name").to_owned();
        self.west.apply(self.secret(&name));
        self.west.apply(link);
    }

    /// The Secret with east's credentials.
    pub fn secret(&self, name: &str) -> Value {
        objects::credentials(SYSTEM, name, &self.east.kubeconfig(&self.remote))
    }

    /// Starts a mirror; `more` is appended to its `[mirror]`.
    pub fn start(&self, more: &str) -> Gateway {
        up(self.builder(&self.own, more).spawn())
    }

    /// The same, with another token and not started yet.
    pub fn builder(&self, token: &str, more: &str) -> Builder {
        let builder = Builder::new(&self.ca);
        let kubeconfig = write(builder.path(), &self.west.kubeconfig(token));
        builder.configure(&format!(
            "[gateway]\nlisten = [\"127.0.0.1:0\"]\nlame_duck = \"0s\"\nenabled = false\n\
             [kubernetes]\nkubeconfig = \"{kubeconfig}\"\n\
             [mirror]\nenabled = true\nlease_duration = \"{LEASE}\"\n{more}"
        ))
    }

    /// Creates a Service in east with what its controllers would write for these ready addresses.
    pub fn serve(&self, service: Value, addresses: &[&str]) -> Value {
        serve(&self.east, service, addresses)
    }

    /// Waits for an object of west.
    pub fn wait(&self, kind: &str, name: &str) -> Value {
        wait(&self.west, kind, name)
    }

    /// Whether west has it.
    pub fn has(&self, kind: &str, name: &str) -> bool {
        self.west.get(kind, APPS, name).is_some()
    }

    /// Waits until west has no such object.
    pub fn wait_gone(&self, kind: &str, name: &str) {
        self.west.wait_for(&format!("the end of {kind} {name}"), |west| {
            west.get(kind, APPS, name).is_none()
        });
    }

    /// Waits until the Endpoints of a mirror, and its slice, have exactly these ready and not ready
    /// addresses.
    pub fn wait_addresses(&self, mirror: &str, ready: &[&str], not_ready: &[&str]) {
        let wanted = (texts(ready), texts(not_ready));
        self.west.wait_for(&format!("{mirror} with {wanted:?}"), |west| {
            endpoints(west, mirror) == Some(wanted.clone())
                && slices(west, mirror) == Some(wanted.clone())
        });
    }

    /// Waits for a condition of the Link and gives its reason and message.
    pub fn condition(&self, link: &str, kind: &str, status: &str) -> (String, String) {
        let mut found = None;
        self.west.wait_for(&format!("{kind}={status} of {link}"), |west| {
            found = condition(west, link, kind).filter(|(is, ..)| is == status);
            found.is_some()
        });
        let (_, reason, message) = found.expect("found");
        (reason, message)
    }

    /// Waits until the status says `reason` of a Service, and gives its message.
    pub fn said(&self, service: &str, reason: &str) -> String {
        let mut found = None;
        self.west.wait_for(&format!("{reason} said of {service}"), |west| {
            found = said(west, CLUSTER, service).filter(|(is, _)| is == reason);
            found.is_some()
        });
        found.expect("found").1
    }

    /// Lets nothing happen for `time`: no write but of Leases, and of what `is_allowed`.
    pub fn quiet(&self, time: Duration, is_allowed: impl Fn(&str) -> bool) {
        let before = self.west.writes().len();
        std::thread::sleep(time);
        let writes = self.west.writes();
        let lines: Vec<_> = writes[before..].iter().map(|write| write.line()).collect();
        let lines: Vec<_> = lines.into_iter().filter(|line| !is_allowed(line)).collect();
        assert_eq!(lines, Vec::<String>::new());
    }

    /// Waits until the mirror has nothing left to do: no write but of Leases for a second.
    pub fn settle(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        let (mut last, mut since) = (self.west.writes().len(), Instant::now());
        while since.elapsed() < Duration::from_millis(1100) {
            assert!(Instant::now() < until, "it never settles: {:?}", last_lines(&self.west));
            std::thread::sleep(Duration::from_millis(20));
            let now = self.west.writes().len();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }
}

/// Of both clusters: gateways may be at loopback addresses, which a real server refuses, and Links
/// are those of the project's CRD.
pub fn options() -> Options {
    Options { allow_loopback: true, crds: vec![crd()], ..Options::default() }
}

/// The CRD of Links that the project ships: it keeps our conditions, and takes numbers for ports.
pub fn crd() -> Value {
    serde_yaml_ng::from_str(include_str!("../../config/crds/link.yaml")).expect("YAML")
}

/// Waits until a process that was started serves its admin API.
pub fn up(gateway: Gateway) -> Gateway {
    gateway.eventually("the admin API", |gateway| TcpStream::connect(gateway.admin).is_ok());
    gateway
}

/// Creates a Service with Endpoints and an EndpointSlice.
pub fn serve(cluster: &Cluster, service: Value, addresses: &[&str]) -> Value {
    cluster.apply(objects::slice(&service, "1", addresses));
    cluster.apply(objects::endpoints(&service, addresses));
    cluster.apply(service)
}

/// The Link of the fixtures. Nothing is probed: the gateway is always alive.
pub fn link() -> Value {
    let mut link = objects::link(SYSTEM, CLUSTER, GATEWAY, 888);
    link["spec"]["gatewayIdentity"] = IDENTITY.into();
    link["spec"].as_object_mut().expect("a map").remove("probeSpec");
    link
}

/// A Link with a plain gateway at these addresses that is probed every 100 ms at `port`; three
/// failures in a row mean that it is down.
pub fn probed_link(addresses: &str, port: u16) -> Value {
    let mut link = link();
    let spec = &mut link["spec"];
    spec["gatewayAddress"] = addresses.into();
    spec["gatewayIdentity"] = "".into();
    spec["probeSpec"] = json!({ "path": "/ready", "port": port.to_string(), "period": "100ms",
        "timeout": "1s", "failureThreshold": "3" });
    link
}

/// A Service with the ports of the fixtures.
pub fn two_ports(name: &str) -> Value {
    objects::exported(APPS, name, &[("port1", 555, 555), ("port2", 666, 666)])
}

/// An exported Service with one port.
pub fn exported(name: &str) -> Value {
    objects::exported(APPS, name, &[("http", 80, 8080)])
}

pub fn wait(cluster: &Cluster, kind: &str, name: &str) -> Value {
    let mut found = None;
    cluster.wait_for(&format!("{kind} {name}"), |cluster| {
        found = cluster.get(kind, APPS, name);
        found.is_some()
    });
    found.expect("found")
}

/// `resourceVersion`.
pub fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().expect("a version").to_owned()
}

type Addresses = (Vec<String>, Vec<String>);

/// The ready and not ready addresses of Endpoints.
pub fn endpoints(cluster: &Cluster, name: &str) -> Option<Addresses> {
    let endpoints = cluster.get("Endpoints", APPS, name)?;
    let mut found = Addresses::default();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        for (list, into) in [("addresses", &mut found.0), ("notReadyAddresses", &mut found.1)] {
            let list = subset[list].as_array().into_iter().flatten();
            into.extend(list.map(|address| text(&address["ip"])));
        }
    }
    Some(sorted(found))
}

/// The same of all slices of a Service; `None` when there is none.
pub fn slices(cluster: &Cluster, service: &str) -> Option<Addresses> {
    let slices = slices_of(cluster, service);
    if slices.is_empty() {
        return None;
    }
    let mut found = Addresses::default();
    for endpoint in slices.iter().flat_map(|slice| slice["endpoints"].as_array()).flatten() {
        let is_ready = endpoint["conditions"]["ready"] == true;
        let into = if is_ready { &mut found.0 } else { &mut found.1 };
        into.extend(endpoint["addresses"].as_array().into_iter().flatten().map(text));
    }
    Some(sorted(found))
}

/// The slices of a Service.
pub fn slices_of(cluster: &Cluster, service: &str) -> Vec<Value> {
    let is_of = |slice: &Value| {
        let metadata = &slice["metadata"];
        metadata["namespace"] == APPS && metadata["labels"]["kubernetes.io/service-name"] == service
    };
    cluster.list("EndpointSlice").into_iter().filter(is_of).collect()
}

fn sorted(mut found: Addresses) -> Addresses {
    found.0.sort();
    found.0.dedup();
    found.1.sort();
    found.1.dedup();
    found
}

/// A condition of a Link: its status, reason and message.
pub fn condition(cluster: &Cluster, link: &str, kind: &str) -> Option<(String, String, String)> {
    let link = cluster.get("Link", SYSTEM, link)?;
    let mut conditions = link["status"]["conditions"].as_array()?.iter();
    let found = conditions.find(|condition| condition["type"] == kind)?;
    Some((text(&found["status"]), text(&found["reason"]), text(&found["message"])))
}

/// What the status of a Link says of a Service: reason and message.
pub fn said(cluster: &Cluster, link: &str, service: &str) -> Option<(String, String)> {
    let link = cluster.get("Link", SYSTEM, link)?;
    let mut entries = link["status"]["mirrorServices"].as_array()?.iter();
    let entry = entries.find(|entry| entry["remoteRef"]["name"] == service)?;
    let condition = &entry["conditions"][0];
    Some((text(&condition["reason"]), text(&condition["message"])))
}

/// `/links`.
pub fn links(gateway: &Gateway) -> Value {
    serde_json::from_str(&gateway.get("/links")).expect("JSON")
}

/// One Link of `/links`.
pub fn shown(gateway: &Gateway, name: &str) -> Option<Value> {
    let view = links(gateway);
    view["links"].as_array()?.iter().find(|link| link["name"] == name).cloned()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(list: &[&str]) -> Vec<String> {
    let mut list: Vec<_> = list.iter().map(ToString::to_string).collect();
    list.sort();
    list
}

fn last_lines(cluster: &Cluster) -> Vec<String> {
    let writes = cluster.writes();
    writes.iter().rev().take(10).map(|write| format!("{} {}", write.line(), write.code)).collect()
}

fn write(directory: &Path, kubeconfig: &str) -> String {
    let file = directory.join("kubeconfig");
    std::fs::write(&file, kubeconfig).expect("written");
    file.to_str().expect("UTF-8").to_owned()
}
