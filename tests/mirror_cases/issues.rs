//! Public issues of linkerd/linkerd2 that this mirror does not have. More of them are where their
//! subject is: 4399, 5343, 7390, 10916, 13768, 14433, 15200, 15670.

use serde_json::{Value, json};

use crate::headless::{hosts, stateful};
use crate::probes::{Answer, Probes};
use crate::support::dns::{Dns, Mode};
use crate::support::kubernetes::objects;
use crate::world::{
    APPS, CLUSTER, GATEWAY, SYSTEM, World, endpoints, exported, link, probed_link, shown, slices,
    slices_of, up,
};

/// Writes to one mirror's Endpoints and slices.
fn endpoint_writes(world: &World, mirror: &str) -> Vec<Value> {
    let writes = world.west.writes().into_iter().filter(|write| {
        write.access.resource.starts_with("endpoint")
            && write.access.namespace == APPS
            && (write.access.name.starts_with(mirror)
                || write.body["metadata"]["name"].as_str().is_some_and(|n| n.starts_with(mirror)))
    });
    writes.map(|write| write.body).collect()
}

/// After a restart Linkerd's controller is optimistic until the gateway was up once.
#[test]
fn issue_8590_a_restart_learns_at_once_that_the_gateway_is_down() {
    let world = World::new();
    let probes = Probes::start(&["127.0.60.1"]);
    let mut link = probed_link("127.0.60.1", probes.port);
    link["spec"]["probeSpec"]["period"] = "1s".into();
    world.join(link);
    world.serve(exported("web"), &["10.1.0.1"]);
    let mirror = world.start("");
    world.wait_addresses("web-remote", &["127.0.60.1"], &[]);
    probes.answer("127.0.60.1", Answer::Reset);
    world.wait_addresses("web-remote", &[], &["127.0.60.1"]);
    world.settle();
    drop(mirror);
    world.west.reset_log();
    let probed = probes.count("127.0.60.1");
    let mirror = world.start("");
    world.west.wait_for("probes enough", |_| probes.count("127.0.60.1") >= probed + 4);
    world.settle();
    assert_eq!(endpoint_writes(&world, "web-remote"), Vec::<Value>::new(), "it was believed");
    assert_eq!(mirror.metric("gateway_alive{target_cluster_name=\"remote\"}"), 0.0);
    probes.answer("127.0.60.1", Answer::Status(200));
    world.wait_addresses("web-remote", &["127.0.60.1"], &[]);
}

/// Nor is a gateway that is up ever not ready for a moment.
#[test]
fn issue_9265_a_restart_does_not_make_a_live_gateway_unready() {
    let world = World::new();
    let probes = Probes::start(&["127.0.61.1"]);
    world.join(probed_link("127.0.61.1", probes.port));
    world.serve(exported("web"), &["10.1.0.1"]);
    let mirror = world.start("");
    world.wait_addresses("web-remote", &["127.0.61.1"], &[]);
    world.condition(CLUSTER, "GatewayAlive", "True");
    world.settle();
    drop(mirror);
    world.west.reset_log();
    let probed = probes.count("127.0.61.1");
    let _mirror = world.start("");
    world.west.wait_for("probes", |_| probes.count("127.0.61.1") >= probed + 4);
    // A change of the Link starts nothing anew either.
    let label = json!({ "spec": { "excludedLabels": ["a"] } });
    world.west.patch("Link", SYSTEM, CLUSTER, &label);
    world.settle();
    assert_eq!(endpoint_writes(&world, "web-remote"), Vec::<Value>::new());
}

/// The first probe is made at once, not after a period.
#[test]
fn issue_9265_the_first_probe_does_not_wait_for_a_period() {
    let world = World::new();
    let probes = Probes::start(&["127.0.62.1"]);
    let mut link = probed_link("127.0.62.1", probes.port);
    link["spec"]["probeSpec"]["period"] = "1h".into();
    world.join(link);
    let _mirror = world.start("");
    world.condition(CLUSTER, "GatewayAlive", "True");
    assert_eq!(probes.count("127.0.62.1"), 1);
}

/// A load balancer's address changes behind a constant name.
#[test]
fn issue_10635_an_address_that_changes_behind_a_constant_name_is_followed() {
    let world = World::new();
    let ip = |text: &str| vec![text.parse().expect("an address")];
    let dns = Dns::start(Mode::Addresses(ip("192.0.2.1"), 1));
    let mut link = link();
    link["spec"]["gatewayAddress"] = "gw.example.com".into();
    world.join(link);
    world.serve(exported("web"), &["10.1.0.1"]);
    let server = format!("[dns]\nservers = [\"{}\"]\nmin_ttl = \"50ms\"", dns.address);
    let _mirror = up(world.builder(&world.own, "").configure(&server).spawn());
    world.wait_addresses("web-remote", &["192.0.2.1"], &[]);
    dns.set(Mode::Addresses(ip("192.0.2.2"), 1));
    world.west.wait_for("the new address", |west| {
        endpoints(west, "web-remote").is_some_and(|(ready, _)| ready.contains(&"192.0.2.2".into()))
    });
    // The old one goes after some answers without it.
    world.wait_addresses("web-remote", &["192.0.2.2"], &[]);
}

/// Endpoints are never emptied to be filled again: clients would go into fail-fast.
#[test]
fn issue_8143_endpoints_are_never_empty_in_between() {
    let world = World::new();
    let probes = Probes::start(&["127.0.63.1"]);
    world.join(probed_link("127.0.63.1", probes.port));
    let service = exported("web");
    world.serve(service.clone(), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &["127.0.63.1"], &[]);
    world.settle();
    world.west.reset_log();
    for round in 0..2 {
        probes.answer("127.0.63.1", Answer::Reset);
        world.wait_addresses("web-remote", &[], &["127.0.63.1"]);
        world.east.apply(objects::annotated(service.clone(), "round", &round.to_string()));
        probes.answer("127.0.63.1", Answer::Status(200));
        world.wait_addresses("web-remote", &["127.0.63.1"], &[]);
    }
    world.settle();
    let writes = endpoint_writes(&world, "web-remote");
    assert_eq!(writes.len(), 8, "each object once for each change: {writes:?}");
    for body in &writes {
        let list = if body["kind"] == "Endpoints" { &body["subsets"] } else { &body["endpoints"] };
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{body}");
    }
    let deleted = world.west.writes().iter().any(|write| write.access.verb == "delete");
    assert!(!deleted);
}

/// Endpoint mirrors were garbage-collected at a restart.
#[test]
fn issue_12499_mirrors_of_hosts_survive_a_restart() {
    let world = World::joined();
    stateful(&world, "set", &["set-0", "set-1"]);
    let mirror = world.start("headless_services = true");
    world.west.wait_for("the hosts", |west| hosts(west, "set-remote") == ["set-0", "set-1"]);
    world.settle();
    drop(mirror);
    world.west.reset_log();
    let mirror = world.start("headless_services = true");
    mirror.eventually("it is through", |mirror| {
        shown(mirror, CLUSTER)
            .is_some_and(|link| link["services"]["Mirrored"] == 1 && link["pending"] == 0)
    });
    world.settle();
    let writes = world.west.writes();
    let of_mirrors: Vec<_> = writes.iter().filter(|write| write.access.namespace == APPS).collect();
    assert!(of_mirrors.is_empty(), "{of_mirrors:?}");
}

/// An update of its Endpoints brought an un-exported headless Service back.
#[test]
fn issue_8475_a_headless_service_that_is_withdrawn_does_not_come_back() {
    let world = World::joined();
    let service = stateful(&world, "set", &["set-0"]);
    let _mirror = world.start("headless_services = true");
    world.west.wait_for("the host", |west| hosts(west, "set-remote") == ["set-0"]);
    let label = json!({ "metadata": { "labels": { "mirror.linkerd.io/exported": null } } });
    world.east.patch("Service", APPS, "set", &label);
    world.wait_gone("Service", "set-remote");
    world.wait_gone("Service", "set-0-remote");
    // Its Endpoints and slices change, and keep the label.
    let mut slice = objects::slice(&service, "1", &["10.1.1.1", "10.1.1.2"]);
    slice["metadata"]["labels"]["mirror.linkerd.io/exported"] = "true".into();
    slice["endpoints"][0]["hostname"] = "set-0".into();
    slice["endpoints"][1]["hostname"] = "set-1".into();
    world.east.apply(slice);
    world.settle();
    assert_eq!(world.west.names("Service", APPS), Vec::<String>::new());
}

/// Writing the status restarted the watches, which wrote the status.
#[test]
fn issue_13579_a_write_of_the_status_restarts_nothing() {
    let world = World::joined();
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.said("web", "Mirrored");
    world.settle();
    world.east.reset_log();
    let foreign = json!({ "status": { "federatedServices": [] } });
    world.west.patch("Link", SYSTEM, CLUSTER, &foreign);
    world.serve(exported("new"), &["10.1.0.1"]);
    world.said("new", "Mirrored");
    world.settle();
    let asked: Vec<_> = world.east.requests().iter().map(|asked| asked.line()).collect();
    assert!(!asked.iter().any(|line| line.starts_with("list ")), "{asked:?}");
}

/// EndpointSlices are written by us, and core Endpoints only for those who read them.
#[test]
fn issue_15561_mirrors_work_by_endpointslices_alone() {
    let world = World::joined();
    world.serve(exported("web"), &["10.1.0.1"]);
    let mirror = world.start("endpoints = \"slices\"");
    world.west.wait_for("the slice", |west| {
        slices(west, "web-remote") == Some((vec![GATEWAY.into()], vec![]))
    });
    world.settle();
    assert!(!world.has("Endpoints", "web-remote"));
    let slice = &slices_of(&world.west, "web-remote")[0];
    assert_eq!(
        slice["metadata"]["annotations"],
        json!({
            "mirror.linkerd.io/remote-svc-fq-name": "web.test.svc.cluster.local",
            "mirror.linkerd.io/remote-gateway-identity": "gateway-identity",
        })
    );
    drop(mirror);
    let mirror = world.start("endpoints = \"endpoints\"");
    world.wait("Endpoints", "web-remote");
    world.wait_gone("EndpointSlice", "web-remote-ipv4");
    let endpoints = world.west.get("Endpoints", APPS, "web-remote").expect("there");
    let skip = &endpoints["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"];
    assert!(skip.is_null(), "Kubernetes copies it");
    drop(mirror);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
}
