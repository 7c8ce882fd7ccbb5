//! What an export makes here (TestRemoteServiceCreatedMirroring and its neighbours).

use serde_json::json;

use super::fixture::{World, gateway, key, link_json, link_with, ready, service};
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::labels::tests::labels;
use crate::model::mirror::condition::Reason;
use crate::model::mirror::keys;
use crate::model::mirror::remote::{
    EndpointObjects, GatewayView, RemoteEndpoints, RemoteService, ServiceKind,
};

/// "create service and endpoints when gateway can be resolved"
#[test]
fn service_and_endpoints_are_created_when_the_gateway_can_be_resolved() {
    let mut world = World::with(service("service-one"), ready());
    let settled = world.settle("service-one");
    assert!(settled.condition.is_some_and(|condition| condition.is_mirrored));
    let mirror = world.mirror("service-one-remote");
    let own = [("lk", "lv"), (keys::CLUSTER, "remote"), (keys::MIRRORED, "true")];
    assert_eq!(mirror.meta.labels, labels(&own));
    let full_name = "service-one.ns1.svc.cluster.local";
    let annotations = [(keys::REMOTE_NAME, full_name), (keys::REMOTE_VERSION, "111")];
    assert_eq!(mirror.meta.annotations, labels(&annotations));
    assert_eq!(mirror.ports, service("").ports);

    let endpoints = &world.local.endpoints[&key("service-one-remote")].object;
    let skip = [
        ("lk", "lv"),
        (keys::CLUSTER, "remote"),
        (keys::MIRRORED, "true"),
        (keys::SKIP_MIRROR, "true"),
    ];
    assert_eq!(endpoints.meta.labels, labels(&skip));
    let annotations =
        [(keys::REMOTE_NAME, full_name), (keys::GATEWAY_IDENTITY, "gateway-identity")];
    assert_eq!(endpoints.meta.annotations, labels(&annotations));
    let ports: Vec<_> =
        endpoints.subsets[0].ports.iter().map(|port| (&*port.name, port.port)).collect();
    assert_eq!(ports.len(), 2);
    assert!(ports.contains(&("port1", 888)) && ports.contains(&("port2", 888)));
    assert_eq!(world.addresses("service-one-remote").0, ["192.0.2.127"]);

    let slice = &world.local.slices[&key("service-one-remote-ipv4")].object;
    let managed = [
        ("lk", "lv"),
        (keys::CLUSTER, "remote"),
        (keys::MIRRORED, "true"),
        (keys::SERVICE_NAME, "service-one-remote"),
        (keys::MANAGED_BY, "linkerd-gateway"),
    ];
    assert_eq!(slice.meta.labels, labels(&managed));
    assert_eq!(slice.meta.annotations, labels(&annotations));
    assert_eq!(world.slice("service-one-remote-ipv4"), [("192.0.2.127".to_owned(), true)]);
    assert_eq!(settled.writes.len(), 3, "nothing is written twice: {:#?}", settled.writes);
}

/// "remote discovery mirroring", and that flat wins where both selectors match.
#[test]
fn remote_discovery_makes_a_service_with_two_labels_and_no_endpoints() {
    let mut flat = service("service-one");
    flat.labels = labels(&[("mirror.linkerd.io/exported", "remote-discovery")]);
    let mut world = World::with(flat, ready());
    world.link = link_with(&[(
        "selector",
        json!({ "matchExpressions": [{ "key": "mirror.linkerd.io/exported", "operator": "Exists" }] }),
    )]);
    world.settle("service-one");
    let expected = [
        (keys::CLUSTER, "remote"),
        (keys::MIRRORED, "true"),
        (keys::REMOTE_DISCOVERY, "remote"),
        (keys::REMOTE_SERVICE, "service-one"),
    ];
    assert_eq!(world.mirror("service-one-remote").meta.labels, labels(&expected));
    assert!(world.local.endpoints.is_empty() && world.local.slices.is_empty());
}

/// "link with no gateway mirrors only remote discovery"
#[test]
fn a_link_without_gateway_mirrors_only_remote_discovery() {
    let mut world = World::with(service("gateway-mode"), ready());
    let mut flat = service("flat");
    flat.labels = labels(&[("mirror.linkerd.io/exported", "remote-discovery")]);
    world.export(flat, Some(ready()));
    world.link = link_with(&[("selector", json!({})), ("gatewayAddress", json!(""))]);
    world.settle("gateway-mode");
    world.settle("flat");
    assert_eq!(world.local.names(), ["flat-remote"]);
    // With a selector the Service is told why nothing happens.
    world.link = link_with(&[("gatewayAddress", json!(""))]);
    let condition = world.settle("gateway-mode").condition.expect("a condition");
    assert!(condition.reason == Reason::Error && condition.message.contains("gatewayAddress"));
    assert_eq!(world.local.names(), ["flat-remote"]);
}

/// TestLocalNamespaceCreatedAfterServiceExport
#[test]
fn a_missing_namespace_creates_nothing_until_it_is_there() {
    let mut world = World::with(service("service-one"), ready());
    world.namespace_exists = false;
    let settled = world.settle("service-one");
    assert_eq!(settled.condition.map(|it| it.reason), Some(Reason::MissingNamespace));
    assert!(settled.writes.is_empty());
    world.namespace_exists = true;
    world.settle("service-one");
    assert_eq!(world.local.names(), ["service-one-remote"]);
}

/// TestServiceCreatedGatewayAlive
#[test]
fn a_gateway_that_goes_down_makes_all_not_ready_and_an_update_meanwhile_keeps_that() {
    let mut world = World::with(service("service-one"), ready());
    world.settle("service-one");
    world.gateway = gateway(&[("192.0.2.127", false)]);
    let settled = world.settle("service-one");
    assert_eq!(settled.writes.len(), 2, "Endpoints and slice, once each");
    let down = (Vec::new(), vec!["192.0.2.127".to_owned()]);
    assert_eq!(world.addresses("service-one-remote"), down);
    assert_eq!(world.slice("service-one-remote-ipv4"), [("192.0.2.127".to_owned(), false)]);
    world.change("service-one", |service| {
        service.labels.insert("new".into(), "label".into());
    });
    world.settle("service-one");
    assert_eq!(&*world.mirror("service-one-remote").meta.labels["new"], "label");
    assert_eq!(world.addresses("service-one-remote"), down);
}

/// TestServiceCreatedGatewayDown, and "gateway down before controller start".
#[test]
fn created_while_the_gateway_is_down_is_not_ready_until_it_is_up() {
    let mut world = World::with(service("service-one"), ready());
    world.gateway = gateway(&[("192.0.2.127", false)]);
    world.settle("service-one");
    assert_eq!(world.addresses("service-one-remote"), (vec![], vec!["192.0.2.127".to_owned()]));
    world.gateway = gateway(&[("192.0.2.127", true)]);
    world.settle("service-one");
    assert_eq!(world.addresses("service-one-remote"), (vec!["192.0.2.127".to_owned()], vec![]));
}

/// "single failed/slow address among several"; families have a slice each.
#[test]
fn only_the_address_that_is_down_is_not_ready() {
    let mut world = World::with(service("a"), ready());
    world.gateway = gateway(&[
        ("192.0.2.9", true),
        ("2001:db8::1", false),
        ("192.0.2.10", false),
        ("192.0.2.9", true),
    ]);
    world.settle("a");
    let (ready, not_ready) = world.addresses("a-remote");
    assert_eq!(ready, ["192.0.2.9"]);
    assert_eq!(not_ready, ["192.0.2.10", "2001:db8::1"]);
    let v4 = [("192.0.2.9".to_owned(), true), ("192.0.2.10".to_owned(), false)];
    assert_eq!(world.slice("a-remote-ipv4"), v4);
    assert_eq!(world.slice("a-remote-ipv6"), [("2001:db8::1".to_owned(), false)]);
    world.gateway = gateway(&[("192.0.2.9", true)]);
    world.settle("a");
    assert_eq!(world.local.slices.len(), 1, "the other family's slice has gone");
}

/// Facts 3.4: no ready remote address, no subsets; also when the gateway is down.
#[test]
fn without_ready_remote_addresses_a_mirror_is_empty() {
    let mut world = World::with(service("a"), RemoteEndpoints::default());
    world.gateway = gateway(&[("192.0.2.127", false)]);
    world.settle("a");
    assert_eq!(world.addresses("a-remote"), (vec![], vec![]));
    assert_eq!(world.slice("a-remote-ipv4"), []);
    world.export(service("a"), None);
    assert!(world.settle("a").writes.is_empty(), "no endpoints at all are none ready");
    world.export(service("a"), Some(ready()));
    world.settle("a");
    assert_eq!(world.addresses("a-remote"), (vec![], vec!["192.0.2.127".to_owned()]));
}

/// `endpoints = "slices" | "endpoints"`, and switching between them.
#[test]
fn endpoints_are_written_in_the_objects_that_are_configured() {
    let mut world = World::with(service("a"), ready());
    for (objects, endpoints, slices) in [
        (EndpointObjects::Both, 1, 1),
        (EndpointObjects::Slices, 0, 1),
        (EndpointObjects::Endpoints, 1, 0),
        (EndpointObjects::Both, 1, 1),
    ] {
        world.options.endpoints = objects;
        world.settle("a");
        assert_eq!(world.local.endpoints.len(), endpoints, "{objects:?}");
        assert_eq!(world.local.slices.len(), slices, "{objects:?}");
        for found in world.local.endpoints.values() {
            let skips = found.object.meta.labels.contains_key(keys::SKIP_MIRROR);
            assert_eq!(skips, objects == EndpointObjects::Both, "who makes the slices");
        }
    }
}

/// "DNS total failure": nothing is emptied because a name was never resolved.
#[test]
fn a_gateway_that_was_never_resolved_leaves_endpoints_alone() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    let before = world.local.clone();
    world.gateway = GatewayView::default();
    let settled = world.settle("a");
    assert_eq!(settled.condition.map(|condition| condition.reason), Some(Reason::Error));
    assert!(settled.writes.is_empty() && world.local == before);
    // The restart of a process: whether anything is ready is not known.
    world.gateway = gateway(&[("192.0.2.127", true)]);
    world.endpoints_complete = false;
    world.export(service("a"), None);
    assert!(world.settle("a").writes.is_empty() && world.local == before);
}

#[test]
fn an_external_name_a_mirror_and_a_service_without_ports_are_refused() {
    for change in [
        (|service| service.kind = ServiceKind::ExternalName) as fn(&mut RemoteService),
        |service| service.labels.insert(keys::MIRRORED.into(), "true".into()),
        |service| service.ports.clear(),
    ] {
        let mut world = World::with(service("a"), ready());
        world.settle("a");
        world.change("a", change);
        let condition = world.settle("a").condition.expect("a condition");
        assert_eq!(condition.reason, Reason::InvalidService);
        let local = &world.local;
        assert!(local.services.is_empty() && local.endpoints.is_empty() && local.slices.is_empty());
    }
}

/// TestEmptyRemoteSelectors
#[test]
fn an_empty_selector_selects_nothing() {
    let empty = json!({});
    for (remote_discovery, selector, mirrors) in [
        (&empty, &link_json()["spec"]["selector"], vec!["gateway-mode-remote"]),
        (&link_json()["spec"]["remoteDiscoverySelector"], &empty, vec!["flat-remote"]),
        (&empty, &empty, vec![]),
    ] {
        let mut world = World::with(service("gateway-mode"), ready());
        let mut flat = service("flat");
        flat.labels = labels(&[("mirror.linkerd.io/exported", "remote-discovery")]);
        world.export(flat, Some(ready()));
        world.link = link_with(&[
            ("remoteDiscoverySelector", remote_discovery.clone()),
            ("selector", selector.clone()),
        ]);
        world.settle("gateway-mode");
        world.settle("flat");
        assert_eq!(world.local.names(), mirrors);
    }
}

/// DESIGN 8: a `remoteDiscoverySelector` on `linkerd.io/is-remote-discovery` chooses namespaces.
#[test]
fn a_namespace_filter_mirrors_only_matching_namespaces_and_keeps_what_it_cannot_judge() {
    let mut world = World::with(service("a"), ready());
    world.link = link_with(&[(
        "remoteDiscoverySelector",
        json!({
            "matchLabels": { "linkerd.io/is-remote-discovery": "true" },
            "matchExpressions": [{ "key": "env", "operator": "NotIn", "values": ["dev"] }],
        }),
    )]);
    let marked = ("linkerd.io/is-remote-discovery", "true");
    world.namespaces_complete = false;
    let settled = world.settle("a");
    assert!(settled.writes.is_empty(), "nothing new while namespaces are not known");
    assert_eq!(settled.condition.map(|condition| condition.reason), Some(Reason::Pending));
    world.namespaces_complete = true;
    world.namespace = Some(labels(&[marked]));
    world.settle("a");
    let mirror = world.mirror("a-remote");
    assert!(!mirror.meta.labels.contains_key(keys::REMOTE_DISCOVERY), "through the gateway");
    world.namespaces_complete = false;
    world.namespace = None;
    assert!(world.settle("a").writes.is_empty(), "what exists is kept");
    world.namespace = Some(labels(&[marked, ("env", "dev")]));
    world.settle("a");
    assert!(world.local.services.is_empty());
    world.namespace = Some(Labels::default());
    assert!(world.settle("a").writes.is_empty());
}
