//! A target and a source cluster, and what the Link between them knows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::cluster::Cluster;
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::labels::tests::labels;
use crate::model::kubernetes::object::{
    EndpointPort, ObjectKey, Protocol, ServicePort, TargetPort,
};
use crate::model::link::{self, Link};
use crate::model::mirror::condition::MirrorCondition;
use crate::model::mirror::desired::{Desired, desired};
use crate::model::mirror::group::GroupKey;
use crate::model::mirror::object::MirrorService;
use crate::model::mirror::plan::{Conflict, Plan, Write, plan};
use crate::model::mirror::remote::{
    Context, GatewayIp, GatewayView, Options, RemoteEndpoints, RemoteHost, RemoteService,
    RemoteSubset, RemoteView, ServiceKind,
};

pub const GATEWAY: &str = "192.0.2.127";
pub const IDENTITY: &str = "gateway-identity";

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
        annotations: Labels::default(),
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
