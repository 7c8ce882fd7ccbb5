//! Headless mirrors.

use super::fixture::{World, endpoint_port, host, hosts, key, ready, service};
use crate::model::kubernetes::labels::tests::labels;
use crate::model::mirror::condition::Reason;
use crate::model::mirror::keys;
use crate::model::mirror::object::{Kind, MirrorAddress};
use crate::model::mirror::plan::Write;
use crate::model::mirror::remote::{
    RemoteEndpoints, RemoteHost, RemoteService, RemoteSubset, ServiceKind,
};

fn headless(name: &str) -> RemoteService {
    RemoteService { kind: ServiceKind::Headless, ..service(name) }
}

/// Hostnames and addresses of the root's Endpoints.
fn root(world: &World) -> Vec<(String, String)> {
    let endpoints = &world.local.endpoints[&key("db-remote")].object;
    let addresses = endpoints.subsets.iter().flat_map(|subset| &subset.addresses);
    let text = |address: &MirrorAddress| {
        (address.hostname.as_deref().unwrap_or_default().to_owned(), address.ip.to_string())
    };
    addresses.map(text).collect()
}

fn address(world: &World, mirror: &str) -> String {
    world.mirror(mirror).cluster_ip.expect("an address").to_string()
}

/// "create headless service and endpoints when gateway can be resolved"; the condition is true, as
/// it never is in Linkerd ("headless status condition").
#[test]
fn a_headless_service_becomes_a_root_and_one_mirror_for_each_host() {
    let mut world = World::with(headless("db"), hosts(&[host("pod-0")]));
    let settled = world.settle("db");
    assert!(settled.condition.is_some_and(|condition| condition.is_mirrored));
    assert!(world.mirror("db-remote").is_headless);
    let mirror = world.mirror("pod-0-remote");
    assert!(!mirror.is_headless);
    let own =
        [(keys::CLUSTER, "remote"), (keys::HEADLESS_ROOT, "db-remote"), (keys::MIRRORED, "true")];
    assert_eq!(mirror.meta.labels, labels(&own));
    let name = "pod-0.db.ns1.svc.cluster.local";
    let annotations = [(keys::REMOTE_NAME, name), (keys::REMOTE_VERSION, "112")];
    assert_eq!(mirror.meta.annotations, labels(&annotations));
    assert_eq!(mirror.ports, service("").ports);
    assert_eq!(world.addresses("pod-0-remote").0, ["192.0.2.127"]);

    let ip = address(&world, "pod-0-remote");
    assert_eq!(root(&world), [("pod-0".to_owned(), ip.clone())]);
    let endpoints = &world.local.endpoints[&key("db-remote")].object;
    assert_eq!(endpoints.subsets[0].ports, [endpoint_port("port1", 777)], "the target's own port");
    assert_eq!(world.slice("db-remote-ipv4"), [(ip, true)]);
    let slice = &world.local.slices[&key("db-remote-ipv4")].object;
    assert_eq!(slice.endpoints[0].address.hostname.as_deref(), Some("pod-0"));
}

/// TestRemoteEndpointsUpdatedMirroring: "updates headless mirror service with new remote Endpoints
/// hosts"
#[test]
fn a_new_host_is_added_and_the_old_one_is_untouched() {
    let mut world = World::with(headless("db"), hosts(&[host("pod-0")]));
    world.settle("db");
    let old = world.local.services[&key("pod-0-remote")].clone();
    let mut endpoints = hosts(&[host("pod-0"), host("pod-1")]);
    endpoints.resource_version = "999".into();
    world.export(headless("db"), Some(endpoints));
    world.settle("db");
    assert_eq!(world.local.services[&key("pod-0-remote")], old, "another version is no reason");
    let expected = ["pod-0", "pod-1"]
        .map(|host| (host.to_owned(), address(&world, &format!("{host}-remote"))));
    assert_eq!(root(&world), expected);
    world.export(headless("db"), Some(hosts(&[host("pod-1")])));
    world.settle("db");
    assert_eq!(world.local.names(), ["db-remote", "pod-1-remote"]);
}

#[test]
fn only_hosts_follow_the_gateway_down() {
    let mut world = World::with(headless("db"), hosts(&[host("pod-0")]));
    world.settle("db");
    world.gateway = super::fixture::gateway(&[("192.0.2.127", false)]);
    world.settle("db");
    assert_eq!(root(&world).len(), 1);
    assert_eq!(world.addresses("pod-0-remote"), (vec![], vec!["192.0.2.127".to_owned()]));
}

/// "targetRef absent", linkerd2 #10916: a host without name is called as its pod, or left out.
#[test]
fn a_host_without_hostname_is_called_as_its_pod_and_without_both_is_left_out() {
    let pod = |target: Option<&str>| RemoteHost {
        hostname: None,
        target: target.map(Into::into),
        is_ready: true,
    };
    let not_ready = RemoteHost { is_ready: false, ..host("pod-9") };
    let all = [host("pod-0"), pod(Some("pod-1")), pod(None), pod(Some("dots.are.none")), not_ready];
    let mut world = World::with(headless("db"), hosts(&all));
    world.settle("db");
    assert_eq!(world.local.names(), ["db-remote", "pod-0-remote", "pod-1-remote"]);
    assert_eq!(root(&world).len(), 2);
}

#[test]
fn without_hostnames_or_with_headless_mirrors_off_it_is_an_ordinary_mirror() {
    let pod = RemoteHost { hostname: None, target: Some("p".into()), is_ready: true };
    let mut world = World::with(headless("db"), hosts(&[pod]));
    world.settle("db");
    assert!(!world.mirror("db-remote").is_headless);
    assert_eq!(world.addresses("db-remote").0, ["192.0.2.127"]);
    let mut world = World::with(headless("db"), hosts(&[host("pod-0")]));
    world.options.headless = false;
    world.settle("db");
    assert_eq!(world.local.names(), ["db-remote"]);
    assert_eq!(world.addresses("db-remote").0, ["192.0.2.127"]);
}

/// An address cannot be added or taken away: delete, then create.
#[test]
fn a_switch_of_kind_makes_the_service_anew_with_its_endpoints() {
    let mut world = World::with(headless("db"), hosts(&[host("pod-0")]));
    world.settle("db");
    world.options.headless = false;
    let settled = world.settle("db");
    assert_eq!(world.local.names(), ["db-remote"]);
    assert!(!world.mirror("db-remote").is_headless);
    let at = |wanted: &dyn Fn(&Write) -> bool| settled.writes.iter().position(wanted);
    let deleted = at(
        &|write| matches!(write, Write::Delete { kind: Kind::Service, key, .. } if &*key.name == "db-remote"),
    );
    let created =
        at(&|write| matches!(write, Write::Create(object) if object.kind() == Kind::Service));
    assert!(deleted.is_some() && deleted < created);
    world.options.headless = true;
    world.settle("db");
    assert!(world.mirror("db-remote").is_headless);
    assert_eq!(root(&world).len(), 1);
}

/// A StatefulSet that is scaled to nothing keeps its kind; one never seen with a pod waits.
#[test]
fn without_pods_the_kind_stays_and_is_not_guessed() {
    let mut world = World::with(headless("db"), RemoteEndpoints::default());
    let settled = world.settle("db");
    assert_eq!(settled.condition.map(|condition| condition.reason), Some(Reason::Pending));
    assert!(settled.writes.is_empty());
    world.export(headless("db"), Some(hosts(&[host("pod-0")])));
    world.settle("db");
    let uid = world.local.services[&key("db-remote")].version.uid.clone();
    world.export(headless("db"), None);
    world.settle("db");
    assert_eq!(world.local.names(), ["db-remote"]);
    assert_eq!(world.local.services[&key("db-remote")].version.uid, uid);
    assert!(root(&world).is_empty());
    world.endpoints_complete = false;
    assert!(world.settle("db").writes.is_empty());
}

/// Facts 3.6: two StatefulSets with the same pod names in one namespace.
#[test]
fn hosts_of_two_services_by_one_name_are_a_conflict_and_the_first_stays() {
    let mut world = World::with(headless("db"), hosts(&[host("web-0")]));
    world.settle("db");
    world.export(headless("other"), Some(hosts(&[host("web-0"), host("web-1")])));
    let settled = world.settle("other");
    assert_eq!(settled.conflicts[0].key, key("web-0-remote"));
    assert!(settled.conflicts[0].message.contains("another Service or host"));
    let other = &world.local.endpoints[&key("other-remote")].object;
    assert_eq!(other.subsets[0].addresses.len(), 1, "only its own host");
    assert_eq!(&*world.mirror("web-0-remote").meta.labels[keys::HEADLESS_ROOT], "db-remote");
    assert!(world.settle("db").writes.is_empty() && world.settle("other").writes.is_empty());
    // A Service that is called like a pod, and a pod that is called like its Service.
    world.export(service("web-0"), Some(ready()));
    assert_eq!(world.settle("web-0").conflicts.len(), 1);
    world.export(headless("db"), Some(hosts(&[host("db")])));
    let condition = world.settle("db").condition.expect("a condition");
    assert!(condition.reason == Reason::Conflict && world.mirror("db-remote").is_headless);
}

/// Hosts with different ports: subsets in Endpoints, several slices of one family.
#[test]
fn hosts_with_other_ports_have_their_own_subset_and_slice() {
    let mut endpoints = hosts(&[host("a"), host("b")]);
    let ports = vec![endpoint_port("port1", 999)];
    endpoints.subsets.push(RemoteSubset { hosts: vec![host("c")], ports });
    let mut world = World::with(headless("db"), endpoints);
    world.settle("db");
    assert_eq!(world.local.endpoints[&key("db-remote")].object.subsets.len(), 2);
    assert_eq!(world.slice("db-remote-ipv4").len(), 2);
    assert_eq!(world.slice("db-remote-ipv4-1").len(), 1);
    assert!(world.settle("db").writes.is_empty());
}

#[test]
fn a_slice_has_at_most_1000_endpoints() {
    let all: Vec<_> = (0..1001).map(|index| host(&format!("p{index}"))).collect();
    let mut world = World::with(headless("db"), hosts(&all));
    world.settle("db");
    assert_eq!(world.slice("db-remote-ipv4").len(), 1000);
    assert_eq!(world.slice("db-remote-ipv4-1").len(), 1);
}
