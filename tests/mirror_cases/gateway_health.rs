//! The gateway's addresses: what is alive, what resolves, and what mirrors say of it. Cases that
//! Linkerd lacks.

use std::net::IpAddr;

use serde_json::json;

use crate::probes::{Answer, Probes};
use crate::support::dns::{Dns, Mode};
use crate::support::gateway::Gateway;
use crate::support::kubernetes::objects;
use crate::world::{
    APPS, CLUSTER, GATEWAY, QUIET, SYSTEM, World, endpoints, exported, link, probed_link, up,
};

/// Linkerd's controller believes a gateway that was down before it started until it was up once.
#[test]
fn a_gateway_that_is_down_before_the_mirror_starts_is_found_down() {
    let world = World::new();
    let probes = Probes::start(&["127.0.20.1"]);
    probes.answer("127.0.20.1", Answer::Reset);
    world.join(probed_link("127.0.20.1", probes.port));
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &[], &["127.0.20.1"]);
    let (reason, message) = world.condition(CLUSTER, "GatewayAlive", "False");
    assert_eq!(reason, "AllDown");
    assert!(message.contains("127.0.20.1 is down: "), "{message}");
}

/// One address refuses, one swallows: only they are taken out.
#[test]
fn issue_5343_a_single_failed_or_slow_address_goes_alone_and_says_why() {
    let world = World::new();
    let all = ["127.0.21.1", "127.0.21.2", "127.0.21.3"];
    let probes = Probes::start(&all);
    world.join(probed_link(&all.join(" , "), probes.port));
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &all, &[]);
    probes.answer("127.0.21.2", Answer::Silent);
    probes.answer("127.0.21.3", Answer::Reset);
    world.wait_addresses("web-remote", &["127.0.21.1"], &["127.0.21.2", "127.0.21.3"]);
    world.west.wait_for("each with its reason", |west| {
        let condition = crate::world::condition(west, CLUSTER, "GatewayAlive");
        condition.is_some_and(|(status, reason, message)| {
            (status.as_str(), reason.as_str()) == ("True", "SomeDown")
                && message.contains("127.0.21.1 is up")
                && message.contains("127.0.21.2 is down: ")
                && message.contains("127.0.21.3 is down: ")
        })
    });
    probes.answer("127.0.21.2", Answer::Status(200));
    world.wait_addresses("web-remote", &["127.0.21.1", "127.0.21.2"], &["127.0.21.3"]);
}

/// Success is 200, nothing else.
#[test]
fn a_probe_that_is_answered_204_301_or_503_or_not_at_all_has_failed() {
    let world = World::new();
    let all = ["127.0.22.1", "127.0.22.2", "127.0.22.3", "127.0.22.4", "127.0.22.5"];
    let probes = Probes::start(&all);
    let answers = [Answer::Status(204), Answer::Status(301), Answer::Status(503), Answer::Silent];
    for (address, answer) in all.iter().zip(answers) {
        probes.answer(address, answer);
    }
    world.join(probed_link(&all.join(","), probes.port));
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &all[4..], &all[..4]);
    world.west.wait_for("the statuses", |west| {
        let condition = crate::world::condition(west, CLUSTER, "GatewayAlive");
        let message = condition.map(|(.., message)| message).unwrap_or_default();
        ["204", "301", "503"].iter().all(|code| message.contains(code))
    });
}

/// Two failures of three are none; three are.
#[test]
fn the_threshold_is_met_exactly() {
    let world = World::new();
    let probes = Probes::start(&["127.0.23.1"]);
    world.join(probed_link("127.0.23.1", probes.port));
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &["127.0.23.1"], &[]);
    world.settle();
    world.west.reset_log();
    let down = || {
        let writes = world.west.writes();
        let of_web =
            writes.iter().filter(|write| write.line() == "update endpoints test/web-remote");
        of_web.filter(|write| !write.body["subsets"][0]["notReadyAddresses"].is_null()).count()
    };
    let after = |more: usize| {
        let count = probes.count("127.0.23.1") + more;
        world.west.wait_for("probes", |_| probes.count("127.0.23.1") >= count);
    };
    probes.fail_next("127.0.23.1", 2);
    after(6);
    assert_eq!(down(), 0);
    probes.fail_next("127.0.23.1", 3);
    world.west.wait_for("it is down", |_| down() == 1);
    world.wait_addresses("web-remote", &["127.0.23.1"], &[]);
    assert_eq!(down(), 1, "once each way");
}

fn with_dns(world: &World, dns: &Dns) -> Gateway {
    let server = format!("[dns]\nservers = [\"{}\"]\nmin_ttl = \"50ms\"", dns.address);
    up(world.builder(&world.own, "").configure(&server).spawn())
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().expect("an address")).collect()
}

/// Part of the name fails: what is known is used. All of it fails: nothing changes.
#[test]
fn dns_fails_in_part_and_altogether() {
    let world = World::new();
    let dns = Dns::start(Mode::ServerFailure);
    let mut both = link();
    both["spec"]["gatewayAddress"] = format!("gw.example.com,{GATEWAY}").into();
    world.join(both.clone());
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = with_dns(&world, &dns);
    world.wait_addresses("web-remote", &[GATEWAY], &[]);

    dns.set(Mode::Addresses(ips(&["192.0.2.1"]), 1));
    world.wait_addresses("web-remote", &["192.0.2.1", GATEWAY], &[]);
    let asked = dns.questions();
    dns.set(Mode::ServerFailure);
    world.west.wait_for("it asks again", |_| dns.questions() > asked + 1);
    world.quiet(QUIET, |line| line.contains("links"));
    world.wait_addresses("web-remote", &["192.0.2.1", GATEWAY], &[]);
}

#[test]
fn a_name_that_was_never_resolved_empties_nothing() {
    let (world, mirror) = World::mirroring(&["web"]);
    drop(mirror);
    let dns = Dns::start(Mode::Silent);
    let spec = json!({ "spec": { "gatewayAddress": "gw.example.com" } });
    world.west.patch("Link", SYSTEM, CLUSTER, &spec);
    let _mirror = with_dns(&world, &dns);
    world.west.wait_for("it asks", |_| dns.questions() > 0);
    world.quiet(QUIET, |line| line.contains("links"));
    assert_eq!(endpoints(&world.west, "web-remote"), Some((vec![GATEWAY.into()], vec![])));
}

#[test]
fn addresses_of_both_families_have_a_slice_each() {
    let world = World::new();
    let dns = Dns::start(Mode::Addresses(ips(&["192.0.2.1", "2001:db8::1"]), 1));
    let mut link = link();
    link["spec"]["gatewayAddress"] = "gw.example.com".into();
    world.join(link);
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = with_dns(&world, &dns);
    world.wait_addresses("web-remote", &["192.0.2.1", "2001:db8::1"], &[]);
    for (name, family, address) in
        [("web-remote-ipv4", "IPv4", "192.0.2.1"), ("web-remote-ipv6", "IPv6", "2001:db8::1")]
    {
        let slice = world.wait("EndpointSlice", name);
        assert_eq!(slice["addressType"], family);
        assert_eq!(slice["endpoints"][0]["addresses"], json!([address]));
    }
}

/// The probe goes to the port that the Link states, at the gateway itself.
#[test]
fn issue_15670_a_node_port_gateway_is_probed_at_its_node_port() {
    let world = World::new();
    let probes = Probes::start(&["127.0.24.1"]);
    let mut link = probed_link("127.0.24.1", probes.port);
    link["spec"]["gatewayPort"] = "30888".into();
    world.join(link);
    world.serve(exported("web"), &["10.1.0.1"]);
    let mirror = world.start("");
    world.condition(CLUSTER, "GatewayAlive", "True");
    assert!(probes.count("127.0.24.1") > 0);
    world.wait_addresses("web-remote", &["127.0.24.1"], &[]);
    let endpoints = world.west.get("Endpoints", APPS, "web-remote").expect("there");
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 30888);
    // What `check` looks for.
    let name = format!("probe-{CLUSTER}");
    world.west.wait_for("the probe Service", |west| west.get("Endpoints", SYSTEM, &name).is_some());
    let service = world.west.get("Service", SYSTEM, &name).expect("there");
    assert_eq!(service["metadata"]["labels"]["mirror.linkerd.io/mirrored-gateway"], "true");
    assert_eq!(service["spec"]["ports"][0]["name"], "mc-probe");
    assert_eq!(service["spec"]["ports"][0]["port"], probes.port);
    let probe = world.west.get("Endpoints", SYSTEM, &name).expect("there");
    assert_eq!(probe["subsets"][0]["addresses"], json!([{ "ip": "127.0.24.1" }]));
    assert_eq!(mirror.metric("gateway_alive{target_cluster_name=\"remote\"}"), 1.0);
    assert_eq!(mirror.metric("gateway_enabled{target_cluster_name=\"remote\"}"), 1.0);
}

/// The probe Service of a Link whose name leaves no room for `probe-` has a hash in its own.
#[test]
fn a_link_with_a_long_name_has_a_probe_service() {
    let world = World::new();
    let probes = Probes::start(&["127.0.24.2"]);
    let mut link = probed_link("127.0.24.2", probes.port);
    let name = "a.link.with-a-name-that-is-longer-than-the-name-of-a-service-may-be";
    link["metadata"]["name"] = name.into();
    world.join(link);
    let mirror = world.start("");
    world.west.wait_for("the probe Service", |west| {
        let probes = west.names("Service", SYSTEM);
        probes.len() == 1 && probes[0].len() <= 63 && probes[0].starts_with("probe-a-link-with-")
    });
    world.settle();
    let refused = |line: &serde_json::Value| line.to_string().contains("probe Service");
    assert!(!mirror.lines().iter().any(refused), "{:?}", mirror.lines().last());
}

/// Endpoints that somebody deletes are there again at once, not at the next change of the target.
#[test]
fn missing_endpoints_are_repaired() {
    let (world, mirror) = World::mirroring(&["web"]);
    world.settle();
    let series = "service_mirror_endpoint_repairs{target_cluster_name=\"remote\"}";
    let before = mirror.metric(series);
    world.west.delete("Endpoints", APPS, "web-remote");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    mirror.eventually("a repair is counted", |mirror| mirror.metric(series) > before);
    world.west.delete("EndpointSlice", APPS, "web-remote-ipv4");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    let spec = json!({ "metadata": { "labels": { "mirror.linkerd.io/cluster-name": "other" } } });
    world.west.patch("Endpoints", APPS, "web-remote", &spec);
    world.said("web", "Conflict");
    world.west.delete("Service", APPS, "web-remote");
    world.west.delete("Endpoints", APPS, "web-remote");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
}

/// No ready pod in the target: a mirror without addresses, which is not the same as one that is down.
#[test]
fn a_service_without_ready_pods_has_a_mirror_without_addresses() {
    let world = World::joined();
    let service = exported("web");
    world.serve(service.clone(), &[]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &[], &[]);
    world.said("web", "Mirrored");
    world.serve(service.clone(), &["10.1.0.1"]);
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    let mut slice = objects::slice(&service, "1", &["10.1.0.1"]);
    slice["endpoints"][0]["conditions"]["ready"] = false.into();
    world.east.apply(slice);
    world.wait_addresses("web-remote", &[], &[]);
}
