//! Who writes, when several could.

use std::time::Duration;

use serde_json::json;

use crate::probes::{Answer, Probes};
use crate::support::gateway::Gateway;
use crate::support::kubernetes::{Fault, Matcher, Rules, Times};
use crate::world::{
    APPS, CLUSTER, GATEWAY, QUIET, SYSTEM, World, condition, exported, links, probed_link, shown,
    up,
};

/// A process with a token and a host name of its own.
fn replica(world: &World, name: &str) -> (Gateway, String) {
    let token = world.west.token(name, Rules::all());
    (up(world.builder(&token, "").env("HOSTNAME", name).spawn()), token)
}

fn leads(gateway: &Gateway) -> bool {
    links(gateway)["leader"] == true
}

/// Who wrote to west, in order, each row of writes once. Leases are no writes of mirrors.
fn writers(world: &World) -> Vec<String> {
    let mut users: Vec<_> = world.west.writes().into_iter().map(|write| write.user).collect();
    users.dedup();
    users
}

/// Killed without a chance to say so: the other takes over when the Lease has ended, and not before.
#[test]
fn a_leader_that_is_killed_is_replaced_within_its_lease() {
    let world = World::joined();
    world.serve(exported("web"), &["10.1.0.1"]);
    let (mut first, _) = replica(&world, "first");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    let (second, _) = replica(&world, "second");
    second.eventually("it follows", |second| links(second)["holder"].is_string());
    assert!(!leads(&second));
    assert_eq!(second.metric("mirror_is_leader"), 0.0);
    assert_eq!(second.request("GET", "/ready").0, 200, "a follower is ready, too");
    first.signal("KILL");
    first.wait();
    world.serve(exported("new"), &["10.1.0.1"]);
    world.wait_addresses("new-remote", &[GATEWAY], &[]);
    assert_eq!(second.metric("mirror_is_leader"), 1.0);
    world.settle();
    assert_eq!(writers(&world), ["first", "second"], "never two of them");
    // What was right stays as it is.
    let writes = world.west.writes();
    let of_second = writes.iter().filter(|write| write.user == "second");
    let again: Vec<_> = of_second.filter(|write| write.line().contains("/web-remote")).collect();
    assert!(again.is_empty(), "{again:?}");
}

/// The leader is cut off from its Lease, but from nothing else, while there is always something to
/// write: its last write is before the other's first.
#[test]
fn a_lease_that_is_lost_stops_the_writes_before_another_starts() {
    for fault in [Fault::Hang, Fault::Status(503), Fault::Delay(Duration::from_secs(3))] {
        let world = World::joined();
        let (first, token) = replica(&world, "first");
        first.eventually("it leads", leads);
        let (second, _) = replica(&world, "second");
        second.eventually("it follows", |second| links(second)["holder"].is_string());
        let leases = Matcher::new("update", "leases").token(&token);
        world.west.inject(leases, fault.clone(), Times::Always);
        let mut number = 0;
        world.west.wait_for("the second leads", |_| {
            number += 1;
            world.serve(exported(&format!("web-{number}")), &["10.1.0.1"]);
            std::thread::sleep(Duration::from_millis(20));
            leads(&second)
        });
        let last = format!("web-{number}-remote");
        world.wait_addresses(&last, &[GATEWAY], &[]);
        let log = world.west.requests();
        let is_mirrors = |user: &str, index: &usize| {
            let entry = &log[*index];
            entry.user == user && entry.is_write() && entry.access.resource != "leases"
        };
        let last_of_first = (0..log.len()).rfind(|index| is_mirrors("first", index));
        let taken = log.iter().position(|entry| {
            let is_ours = entry.access.name == "linkerd-gateway-mirror" && entry.code == 200;
            entry.user == "second" && entry.access.verb == "update" && is_ours
        });
        let (last, taken) = (last_of_first.expect("it wrote"), taken.expect("it took it"));
        assert!(last < taken, "{fault:?}: {:?} after {:?}", log[last].line(), log[taken].line());
        assert!(!leads(&first), "{fault:?}");
    }
}

/// Released at the end: nobody waits for the Lease to end.
#[test]
fn a_leader_that_is_stopped_hands_over_at_once() {
    let world = World::joined();
    world.serve(exported("web"), &["10.1.0.1"]);
    let long = "[mirror]\nenabled = true\nlease_duration = \"60s\"";
    let builder = |name: &str| {
        let token = world.west.token(name, Rules::all());
        let directory = crate::support::gateway::Builder::new(&world.ca);
        let file = directory.path().join("kubeconfig");
        std::fs::write(&file, world.west.kubeconfig(&token)).expect("written");
        let file = file.to_str().expect("UTF-8").to_owned();
        directory.env("HOSTNAME", name).configure(&format!(
            "[gateway]\nlisten = [\"127.0.0.1:0\"]\nlame_duck = \"0s\"\nenabled = false\n\
             [kubernetes]\nkubeconfig = \"{file}\"\n{long}"
        ))
    };
    let mut first = up(builder("first").spawn());
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    let second = up(builder("second").spawn());
    second.eventually("it follows", |second| links(second)["holder"].is_string());
    first.signal("TERM");
    assert!(first.wait().success());
    // The Lease would last for a minute; `eventually` waits for less.
    second.eventually("it leads", leads);
    world.serve(exported("new"), &["10.1.0.1"]);
    world.wait_addresses("new-remote", &[GATEWAY], &[]);
    assert_eq!(writers(&world), ["first", "second"]);
}

/// The Lease goes while mirrors are being repaired.
#[test]
fn a_lease_lost_during_a_repair_leaves_the_rest_to_the_next_term() {
    let world = World::new();
    let probes = Probes::start(&["127.0.40.1"]);
    world.join(probed_link("127.0.40.1", probes.port));
    for number in 0..10 {
        world.serve(exported(&format!("web-{number}")), &["10.1.0.1"]);
    }
    let mirror = world.start("max_writes_in_flight = 1");
    for number in 0..10 {
        world.wait_addresses(&format!("web-{number}-remote"), &["127.0.40.1"], &[]);
    }
    world.settle();
    // From the next write on, none of them is quick, and no renewal is answered.
    let slow = Fault::Delay(Duration::from_millis(700));
    world.west.inject(Matcher::new("update", "endpoints").namespace(APPS), slow, Times::Always);
    world.west.inject(Matcher::new("update", "leases"), Fault::Status(503), Times::Always);
    probes.answer("127.0.40.1", Answer::Reset);
    mirror.eventually("it does not lead any more", |mirror| !leads(mirror));
    // What was on its way has arrived within the Lease.
    std::thread::sleep(Duration::from_secs(1));
    world.quiet(QUIET, |_| false);
    world.west.clear_faults();
    for number in 0..10 {
        world.wait_addresses(&format!("web-{number}-remote"), &[], &["127.0.40.1"]);
    }
}

/// Linkerd's controller of one Link runs: that Link is its own, and the others are not disturbed.
#[test]
fn a_link_whose_lease_linkerds_controller_renews_is_left_alone() {
    let world = World::joined();
    let lease = |renewals: usize| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "namespace": SYSTEM, "name": format!("service-mirror-write-{CLUSTER}") },
            "spec": {
                "holderIdentity": "controller-remote-abc", "leaseDurationSeconds": 2,
                "renewTime": format!("2020-01-01T00:00:{renewals:02}.000000Z"),
            },
        })
    };
    world.west.create(lease(0));
    world.serve(exported("web"), &["10.1.0.1"]);
    let mirror = world.start("");
    mirror.eventually("the holder is known", |mirror| {
        shown(mirror, CLUSTER).is_some_and(|link| link["lease_holder"] == "controller-remote-abc")
    });
    for renewals in 1..12 {
        std::thread::sleep(Duration::from_millis(250));
        world.west.apply(lease(renewals));
    }
    assert!(!world.has("Service", "web-remote"));
    let said = condition(&world.west, CLUSTER, "ServicesMirrored").expect("said");
    assert_eq!((&*said.0, &*said.1), ("False", "LeaseHeldByOther"));
    assert!(said.2.contains("controller-remote-abc"), "{}", said.2);
    // It stops, without having released it.
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    let lease = world.west.get("Lease", SYSTEM, &format!("service-mirror-write-{CLUSTER}"));
    let holder = lease.expect("there")["spec"]["holderIdentity"].clone();
    assert_ne!(holder, "controller-remote-abc");
    world.west.wait_for("no such condition", |west| {
        condition(west, CLUSTER, "ServicesMirrored").is_none()
    });
}
