//! A target and a source cluster as values: the source refuses what a real API server refuses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::kubernetes::object::{
    EndpointPort, Labels, ObjectKey, Protocol, ServicePort, TargetPort, Version,
};
use crate::model::link::{self, Link};
use crate::model::mirror::condition::MirrorCondition;
use crate::model::mirror::desired::{Desired, desired};
use crate::model::mirror::group::{GroupKey, ObservedGroup, group_of};
use crate::model::mirror::keys;
use crate::model::mirror::object::{
    Kind, Meta, MirrorEndpoints, MirrorService, MirrorSlice, Object, Observed,
};
use crate::model::mirror::plan::{Conflict, Plan, Write, plan};
use crate::model::mirror::remote::{
    Context, GatewayIp, GatewayView, Options, RemoteEndpoints, RemoteHost, RemoteService,
    RemoteSubset, RemoteView, ServiceKind,
};

pub const GATEWAY: &str = "192.0.2.127";
pub const IDENTITY: &str = "gateway-identity";

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

pub fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns1", name)
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The Link of upstream's fixtures: cluster `remote`, gateway 192.0.2.127:888.
pub fn link_json() -> Value {
    json!({
        "metadata": {
            "namespace": "linkerd-multicluster", "name": "remote", "uid": "l-1",
            "creationTimestamp": "2026-01-02T00:00:00Z",
        },
        "spec": {
            "targetClusterName": "remote",
            "targetClusterDomain": "cluster.local",
            "gatewayAddress": GATEWAY,
            "gatewayPort": "888",
            "gatewayIdentity": IDENTITY,
            "selector": { "matchLabels": { "mirror.linkerd.io/exported": "true" } },
            "remoteDiscoverySelector": {
                "matchLabels": { "mirror.linkerd.io/exported": "remote-discovery" }
            },
            "federatedServiceSelector": {
                "matchLabels": { "mirror.linkerd.io/federated": "member" }
            },
        },
    })
}

pub fn link_with(spec: &[(&str, Value)]) -> Link {
    let mut object = link_json();
    for (field, value) in spec {
        object["spec"][*field] = value.clone();
    }
    let parsed = link::parse(&object);
    assert_eq!(parsed.problems, [], "a valid Link");
    parsed.link
}

pub fn port(name: &str, number: u16) -> ServicePort {
    let target_port = Some(TargetPort::Number(number));
    ServicePort { name: name.into(), protocol: Protocol::Tcp, port: number, target_port }
}

pub fn endpoint_port(name: &str, number: u16) -> EndpointPort {
    EndpointPort { name: name.into(), protocol: Protocol::Tcp, port: number }
}

/// A Service exported through the gateway, with ports 555 and 666.
pub fn service(name: &str) -> RemoteService {
    RemoteService {
        key: key(name),
        resource_version: "111".into(),
        labels: labels(&[("mirror.linkerd.io/exported", "true"), ("lk", "lv")]),
        annotations: Labels::new(),
        ports: vec![port("port1", 555), port("port2", 666)],
        kind: ServiceKind::ClusterIp,
    }
}

pub fn ready() -> RemoteEndpoints {
    RemoteEndpoints { resource_version: "112".into(), has_ready: true, subsets: Vec::new() }
}

pub fn host(hostname: &str) -> RemoteHost {
    RemoteHost { hostname: Some(hostname.into()), target: None, is_ready: true }
}

/// Endpoints of a headless Service with these hosts, on port 777.
pub fn hosts(hosts: &[RemoteHost]) -> RemoteEndpoints {
    let ports = vec![endpoint_port("port1", 777)];
    RemoteEndpoints {
        resource_version: "112".into(),
        has_ready: hosts.iter().any(|host| host.is_ready),
        subsets: vec![RemoteSubset { hosts: hosts.to_vec(), ports }],
    }
}

/// The objects of the source cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    pub services: BTreeMap<ObjectKey, Observed<MirrorService>>,
    pub endpoints: BTreeMap<ObjectKey, Observed<MirrorEndpoints>>,
    pub slices: BTreeMap<ObjectKey, Observed<MirrorSlice>>,
    writes: u32,
}

/// Both clusters, and what the Link of the first knows of the second.
#[derive(Clone, Debug)]
pub struct World {
    pub link: Link,
    pub is_frozen: bool,
    pub options: Options,
    pub gateway: GatewayView,
    pub services_complete: bool,
    pub endpoints_complete: bool,
    pub namespaces_complete: bool,
    pub namespace: Option<Labels>,
    pub namespace_exists: bool,
    pub remote: BTreeMap<ObjectKey, (RemoteService, Option<RemoteEndpoints>)>,
    pub local: Cluster,
}

/// What settling a group took.
#[derive(Debug, Default)]
pub struct Settled {
    pub writes: Vec<Write>,
    pub conflicts: Vec<Conflict>,
    pub condition: Option<MirrorCondition>,
}

impl World {
    pub fn new() -> Self {
        Self {
            link: link_with(&[]),
            is_frozen: false,
            options: Options { headless: true, ..Options::default() },
            gateway: gateway(&[(GATEWAY, true)]),
            services_complete: true,
            endpoints_complete: true,
            namespaces_complete: true,
            namespace: None,
            namespace_exists: true,
            remote: BTreeMap::new(),
            local: Cluster::default(),
        }
    }

    /// A world with one Service that is mirrored.
    pub fn with(service: RemoteService, endpoints: RemoteEndpoints) -> Self {
        let mut world = Self::new();
        world.export(service, Some(endpoints));
        world
    }

    pub fn export(&mut self, service: RemoteService, endpoints: Option<RemoteEndpoints>) {
        self.remote.insert(service.key.clone(), (service, endpoints));
    }

    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut RemoteService)) {
        let (service, _) = self.remote.get_mut(&key(name)).expect("exported");
        change(service);
        service.resource_version = format!("{}0", service.resource_version).into();
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            link: &self.link,
            is_frozen: self.is_frozen,
            options: self.options,
            gateway: &self.gateway,
            services_complete: self.services_complete,
            endpoints_complete: self.endpoints_complete,
            namespaces_complete: self.namespaces_complete,
        }
    }

    /// One round: what is wanted of a remote Service, and the plan.
    pub fn decide(&self, service: &ObjectKey) -> (Desired, Plan) {
        let found = self.remote.get(service);
        let remote = RemoteView {
            service: found.map(|(service, _)| service),
            endpoints: found.and_then(|(_, endpoints)| endpoints.as_ref()),
            namespace: self.namespace.as_ref(),
            namespace_exists: self.namespace_exists,
        };
        let group = GroupKey::of_remote(service, &self.link.cluster);
        let observed = self.local.of_group(&group, &[]);
        let wanted = desired(&self.context(), &remote, &observed);
        let names: Vec<_> = wanted.service_keys().cloned().collect();
        let observed = self.local.of_group(&group, &names);
        let plan = plan(&self.link, &group, &wanted, &observed);
        (wanted, plan)
    }

    /// Decides and writes until nothing is left to write.
    pub fn settle(&mut self, name: &str) -> Settled {
        self.settle_key(&key(name))
    }

    pub fn settle_key(&mut self, service: &ObjectKey) -> Settled {
        let mut settled = Settled::default();
        for _ in 0..8 {
            let (wanted, plan) = self.decide(service);
            settled.condition = wanted.condition;
            settled.conflicts = plan.conflicts;
            if plan.writes.is_empty() {
                return settled;
            }
            for write in plan.writes {
                self.local.apply(&write);
                settled.writes.push(write);
            }
        }
        panic!("it never settles: {:#?}", settled.writes);
    }

    pub fn mirror(&self, name: &str) -> &MirrorService {
        let found = self.local.services.get(&key(name));
        &found.unwrap_or_else(|| panic!("{name} is missing: {:?}", self.local.names())).object
    }

    /// The ready and the not ready addresses of one Endpoints.
    pub fn addresses(&self, name: &str) -> (Vec<String>, Vec<String>) {
        let endpoints = &self.local.endpoints[&key(name)].object;
        let texts = |ready: bool| {
            let of = endpoints.subsets.iter();
            let of = of.flat_map(|set| if ready { &set.addresses } else { &set.not_ready });
            of.map(|address| address.ip.to_string()).collect()
        };
        (texts(true), texts(false))
    }

    /// Every endpoint of one slice, and whether it is ready.
    pub fn slice(&self, name: &str) -> Vec<(String, bool)> {
        let endpoints = self.local.slices[&key(name)].object.endpoints.iter();
        endpoints.map(|one| (one.address.ip.to_string(), one.is_ready)).collect()
    }
}

pub fn gateway(addresses: &[(&str, bool)]) -> GatewayView {
    let address = |(text, is_ready): &(&str, bool)| GatewayIp { ip: ip(text), is_ready: *is_ready };
    GatewayView { addresses: Some(addresses.iter().map(address).collect()) }
}

pub fn meta(key: ObjectKey, pairs: &[(&str, &str)]) -> Meta {
    Meta { key, labels: labels(pairs), annotations: Labels::new(), owner: None }
}

impl Cluster {
    pub fn names(&self) -> Vec<String> {
        self.services.keys().map(|key| key.name.to_string()).collect()
    }

    /// Puts an object that somebody else made.
    pub fn put_service(&mut self, meta: Meta) {
        let version = self.version();
        let ports = vec![port("", 80)];
        let cluster_ip = Some(ip("10.9.9.9"));
        let object = MirrorService { meta, ports, is_headless: false, cluster_ip };
        self.services.insert(object.meta.key.clone(), Observed { version, object });
    }

    pub fn of_group(&self, group: &GroupKey, names: &[ObjectKey]) -> ObservedGroup {
        let belongs = |meta: &Meta| group_of(meta) == *group || names.contains(&meta.key);
        let is_slice = |meta: &Meta| {
            let service = meta.labels.get(keys::SERVICE_NAME);
            let mut names = names.iter().filter(|name| name.namespace == meta.key.namespace);
            belongs(meta) || names.any(|name| Some(&name.name) == service)
        };
        ObservedGroup {
            services: self.services.values().filter(|o| belongs(&o.object.meta)).cloned().collect(),
            endpoints: self
                .endpoints
                .values()
                .filter(|o| belongs(&o.object.meta))
                .cloned()
                .collect(),
            slices: self.slices.values().filter(|o| is_slice(&o.object.meta)).cloned().collect(),
        }
    }

    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Create(object) => {
                self.validate(object);
                let version = self.version();
                self.store(object.clone(), version, true);
            }
            Write::Update { object, version } => {
                self.validate(object);
                let (kind, key) = (object.kind(), &object.meta().key);
                assert_eq!(self.stored(kind, key), Some(version), "a stale write of {key}");
                let next = self.version();
                let version = Version { uid: version.uid.clone(), ..next };
                self.store(object.clone(), version, false);
            }
            Write::Delete { kind, key, version } => {
                assert_eq!(self.stored(*kind, key), Some(version), "a stale delete of {key}");
                match kind {
                    Kind::Service => drop(self.services.remove(key)),
                    Kind::Endpoints => drop(self.endpoints.remove(key)),
                    Kind::Slice => drop(self.slices.remove(key)),
                }
            }
        }
    }

    fn stored(&self, kind: Kind, key: &ObjectKey) -> Option<&Version> {
        match kind {
            Kind::Service => self.services.get(key).map(|found| &found.version),
            Kind::Endpoints => self.endpoints.get(key).map(|found| &found.version),
            Kind::Slice => self.slices.get(key).map(|found| &found.version),
        }
    }

    fn store(&mut self, object: Object, version: Version, is_new: bool) {
        let key = object.meta().key.clone();
        let is_there = self.stored(object.kind(), &key).is_some();
        assert_eq!(is_there, !is_new, "{key} is there already, or is not");
        match object {
            Object::Service(mut service) => {
                let old = self.services.get(&key).map(|old| &old.object);
                if let Some(old) = old {
                    assert_eq!(
                        old.is_headless, service.is_headless,
                        "{key}: clusterIP is immutable"
                    );
                    assert_eq!(old.cluster_ip, service.cluster_ip, "{key}: clusterIP is immutable");
                } else if !service.is_headless {
                    let [_, _, high, low] = self.writes.to_be_bytes();
                    service.cluster_ip = Some(IpAddr::from([10, 96, high, low]));
                }
                self.services.insert(key, Observed { version, object: service });
            }
            Object::Endpoints(mut endpoints) => {
                // A server regroups and sorts in its own way.
                endpoints.subsets.iter_mut().for_each(|subset| subset.ports.reverse());
                endpoints.subsets.reverse();
                self.endpoints.insert(key, Observed { version, object: endpoints });
            }
            Object::Slice(slice) => {
                let old = self.slices.get(&key).map(|old| old.object.family);
                assert!(old.is_none_or(|old| old == slice.family), "addressType is immutable");
                self.slices.insert(key, Observed { version, object: slice });
            }
        }
    }

    fn validate(&self, object: &Object) {
        let key = &object.meta().key;
        let labels = &object.meta().labels;
        assert!(labels.values().all(|value| value.len() <= 63), "{key}: a label is too long");
        match object {
            Object::Service(service) => {
                let name = &key.name;
                assert!((1..=63).contains(&name.len()), "{name}");
                assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
                assert!(
                    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                );
                assert!(!service.ports.is_empty() && !name.ends_with('-'), "{name}");
            }
            Object::Endpoints(endpoints) => {
                for set in &endpoints.subsets {
                    assert!(
                        !(set.addresses.is_empty() && set.not_ready.is_empty()),
                        "{key}: empty"
                    );
                }
            }
            Object::Slice(slice) => {
                let service = ObjectKey::new(
                    key.namespace.clone(),
                    slice.meta.labels[keys::SERVICE_NAME].clone(),
                );
                let owner = self.services.get(&service).map(|owner| &owner.version.uid);
                assert_eq!(slice.meta.owner.as_ref(), owner, "{key} has an owner that is there");
                assert!(slice.endpoints.len() <= 1000);
            }
        }
    }

    fn version(&mut self) -> Version {
        self.writes += 1;
        let text: Arc<str> = self.writes.to_string().into();
        Version { uid: format!("uid-{text}").into(), resource_version: text }
    }
}
