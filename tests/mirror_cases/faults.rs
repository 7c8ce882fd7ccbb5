//! API servers that fail: nothing is lost, nothing is deleted, nothing is written twice.

use std::time::{Duration, Instant};

use crate::support::gateway::Gateway;
use crate::support::kubernetes::{Fault, Matcher, Times};
use crate::world::{APPS, CLUSTER, GATEWAY, QUIET, World, condition, exported, shown};

/// A mirror between servers of which something went wrong; then everything still works.
fn goes_on(world: &World) {
    world.serve(exported("after"), &["10.1.0.2"]);
    world.wait_addresses("after-remote", &[GATEWAY], &[]);
    world.east.delete("Service", APPS, "after");
    world.wait_gone("Service", "after-remote");
}

/// Lists and watches of the target fail in each of these ways, at the start and later.
#[test]
fn a_target_that_fails_now_and_then_is_mirrored_all_the_same() {
    let faults = [
        Fault::Status(500),
        Fault::Status(503),
        Fault::TooManyRequests(1),
        Fault::Cut,
        Fault::Truncated,
    ];
    for fault in faults {
        let world = World::joined();
        world.serve(exported("web"), &["10.1.0.1"]);
        for verb in ["list", "watch"] {
            for resource in ["services", "endpointslices"] {
                world.east.inject(Matcher::new(verb, resource), fault.clone(), Times::Next(1));
            }
        }
        let _mirror = world.start("");
        world.wait_addresses("web-remote", &[GATEWAY], &[]);
        for verb in ["list", "watch"] {
            world.east.inject(Matcher::new(verb, "services"), fault.clone(), Times::Next(1));
        }
        world.east.expire_watches();
        goes_on(&world);
        assert!(world.has("Endpoints", "web-remote"), "{fault:?}");
    }
}

/// Writes of ours fail in each of these ways; some of them were done all the same.
#[test]
fn a_write_whose_answer_is_lost_is_not_done_twice() {
    for fault in [Fault::Status(503), Fault::Cut, Fault::Truncated] {
        let world = World::joined();
        for resource in ["services", "endpoints", "endpointslices"] {
            let create = Matcher::new("create", resource).namespace(APPS);
            world.west.inject(create, fault.clone(), Times::Next(1));
        }
        world.serve(exported("web"), &["10.1.0.1"]);
        let _mirror = world.start("");
        world.wait_addresses("web-remote", &[GATEWAY], &[]);
        world.said("web", "Mirrored");
        let delete = Matcher::new("delete", "services").namespace(APPS);
        world.west.inject(delete, fault, Times::Next(1));
        world.east.delete("Service", APPS, "web");
        world.wait_gone("Service", "web-remote");
        world.wait_gone("Endpoints", "web-remote");
        goes_on(&world);
    }
}

/// 429 with Retry-After slows the whole Link down.
#[test]
fn a_server_that_asks_to_be_left_alone_is_left_alone() {
    let world = World::joined();
    for number in 0..20 {
        world.serve(exported(&format!("web-{number}")), &["10.1.0.1"]);
    }
    let create = Matcher::new("create", "services").namespace(APPS);
    world.west.inject(create, Fault::TooManyRequests(3), Times::Always);
    let _mirror = world.start("");
    let refused = || world.west.requests().iter().filter(|asked| asked.code == 429).count();
    world.west.wait_for("a refusal", |_| refused() > 0);
    // Without a pause each of 20 would have been tried three times or more by then.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(refused() <= 20, "{} tries", refused());
    world.west.clear_faults();
    for number in 0..20 {
        world.wait_addresses(&format!("web-{number}-remote"), &[GATEWAY], &[]);
    }
}

/// Events that come twice lead to nothing twice.
#[test]
fn doubled_events_change_nothing() {
    let world = World::joined();
    for cluster in [&world.west, &world.east] {
        cluster.inject(Matcher::new("watch", ""), Fault::Doubled, Times::Always);
    }
    let _mirror = world.start("");
    let service = exported("web");
    world.serve(service.clone(), &["10.1.0.1"]);
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.settle();
    let counts = world.west.counts();
    for line in ["create services test", "create endpoints test", "create endpointslices test"] {
        let all: usize =
            counts.iter().filter(|(of, _)| of.starts_with(line)).map(|(_, count)| count).sum();
        assert_eq!(all, 1, "{line}: {counts:?}");
    }
    goes_on(&world);
}

/// The watch's place is forgotten, and a delete was never heard of: the new list tells.
#[test]
fn after_410_what_vanished_unseen_goes() {
    let (world, _mirror) = World::mirroring(&["web", "gone"]);
    world.east.unseen(|east| east.delete("Service", APPS, "gone"));
    world.settle();
    assert!(world.has("Service", "gone-remote"), "nobody has heard of it");
    world.east.compact();
    world.east.expire_watches();
    world.wait_gone("Service", "gone-remote");
    // The same of our own cluster: a mirror that vanished unseen is made again.
    world.west.unseen(|west| west.delete("Endpoints", APPS, "web-remote"));
    world.west.compact();
    world.west.expire_watches();
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    goes_on(&world);
}

/// A watch that shows nothing and does not end: its idle timeout finds it.
#[test]
#[ignore = "takes 40 s: the idle timeout of watches is 20 to 30 s"]
fn a_silent_watch_is_given_up() {
    let world = World::joined();
    let watch = Matcher::new("watch", "services");
    world.east.inject(watch, Fault::Silent, Times::Always);
    let _mirror = world.start("");
    world.east.wait_for("the watch", |east| {
        east.requests().iter().any(|asked| asked.line().starts_with("watch services"))
    });
    world.serve(exported("web"), &["10.1.0.1"]);
    std::thread::sleep(Duration::from_secs(5));
    assert!(!world.has("Service", "web-remote"), "the watch is silent");
    world.east.clear_faults();
    for _ in 0..2 {
        if !world.has("Service", "web-remote") {
            std::thread::sleep(Duration::from_secs(15));
        }
    }
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
}

/// The target presents a certificate that the kubeconfig does not vouch for.
#[test]
fn a_changed_certificate_is_said_and_followed_by_a_new_secret() {
    let (world, _mirror) = World::mirroring(&["web"]);
    world.east.change_certificate();
    world.east.disconnect();
    world.condition(CLUSTER, "TargetReachable", "False");
    world.east.delete("Service", APPS, "web");
    world.quiet(QUIET, |line| line.contains("links") || line.contains("events"));
    assert!(world.has("Endpoints", "web-remote"));
    world.west.apply(world.secret(&format!("cluster-credentials-{CLUSTER}")));
    world.wait_gone("Service", "web-remote");
    world.condition(CLUSTER, "TargetReachable", "True");
}

/// The target is away for long: everything stays; it comes back with less: that goes.
#[test]
fn a_target_that_is_away_takes_nothing_away() {
    let (world, mirror) = World::mirroring(&["web", "gone"]);
    world.east.stop();
    world.condition(CLUSTER, "TargetReachable", "False");
    world.east.delete("Service", APPS, "gone");
    world.quiet(Duration::from_secs(4), |line| line.contains("links") || line.contains("events"));
    assert!(world.has("Endpoints", "web-remote") && world.has("Endpoints", "gone-remote"));
    // A restart meanwhile learns nothing, and takes nothing away either.
    drop(mirror);
    let _mirror = world.start("");
    world.west.wait_for("the new leader", |west| {
        west.counts().keys().any(|line| line.starts_with("list secrets"))
    });
    world.quiet(Duration::from_secs(4), |line| line.contains("links") || line.contains("events"));
    assert!(world.has("Endpoints", "web-remote") && world.has("Endpoints", "gone-remote"));
    world.east.serve();
    world.wait_gone("Service", "gone-remote");
    world.condition(CLUSTER, "TargetReachable", "True");
    assert!(world.has("Endpoints", "web-remote"));
}

/// Watches are tried again every few seconds; the log tells it once each, and when they work again.
#[test]
fn an_outage_is_told_once_and_so_is_its_end() {
    let (world, mirror) = World::mirroring(&["web"]);
    let told = |mirror: &Gateway, text: &str| {
        let mut of: Vec<String> = Vec::new();
        for line in mirror.lines() {
            if line["message"].as_str().is_some_and(|message| message.starts_with(text)) {
                of.push(format!("{} {} {}", line["cluster"], line["resource"], line["reason"]));
            }
        }
        of.sort();
        of
    };
    world.east.stop();
    world.condition(CLUSTER, "TargetReachable", "False");
    world.quiet(Duration::from_secs(5), |line| line.contains("links") || line.contains("events"));
    world.east.serve();
    world.condition(CLUSTER, "TargetReachable", "True");
    let begun = told(&mirror, "a watch fails");
    let mut once = begun.clone();
    once.dedup();
    assert!(!begun.is_empty() && begun == once, "{begun:?}");
    mirror.eventually("as many ends", |mirror| {
        told(mirror, "the watch works again").len() == begun.len()
    });
}

/// It takes connections and requests, and says nothing: that is no recovery.
#[test]
fn a_target_that_answers_nothing_is_not_said_to_work() {
    let (world, mirror) = World::mirroring(&["web"]);
    world.east.stop();
    world.condition(CLUSTER, "TargetReachable", "False");
    world.east.inject(Matcher::any(), Fault::Hang, Times::Always);
    world.east.serve();
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        let is = shown(&mirror, CLUSTER).map(|link| link["target"]["status"].clone());
        assert_eq!(is, Some("False".into()));
        std::thread::sleep(Duration::from_millis(100));
    }
    world.east.clear_faults();
    world.east.disconnect();
    world.condition(CLUSTER, "TargetReachable", "True");
    assert!(world.has("Endpoints", "web-remote"));
}

/// Our own API server is away for longer than the Lease: the process waits, and goes on.
#[test]
fn our_own_api_server_may_be_away_for_long() {
    let (world, mirror) = World::mirroring(&["web"]);
    world.settle();
    world.west.reset_log();
    world.west.stop();
    world.serve(exported("new"), &["10.1.0.1"]);
    mirror.eventually("it does not lead", |mirror| crate::world::links(mirror)["leader"] == false);
    world.west.serve();
    world.wait_addresses("new-remote", &[GATEWAY], &[]);
    world.settle();
    let writes = world.west.writes();
    let again: Vec<_> =
        writes.iter().filter(|write| write.line().contains("/web-remote")).collect();
    assert!(again.is_empty(), "{again:?}");
    // And restored from a backup, with versions that go back.
    world.west.restart_at(1_000_000);
    goes_on(&world);
    assert!(shown(&mirror, CLUSTER).is_some());
}

/// Killed at any write and started again: the same in the end.
#[test]
fn killed_at_any_write_it_converges_to_the_same() {
    for at in 1..=3 {
        let world = World::joined();
        world.serve(exported("web"), &["10.1.0.1"]);
        let resource = ["services", "endpoints", "endpointslices"][at - 1];
        let create = Matcher::new("create", resource).namespace(APPS);
        world.west.inject(create, Fault::Hang, Times::Next(1));
        let mirror = world.start("");
        world.west.wait_for("the write", |west| {
            west.writes()
                .iter()
                .any(|write| write.line().starts_with(&format!("create {resource} {APPS}")))
        });
        drop(mirror);
        let _mirror = world.start("");
        world.wait_addresses("web-remote", &[GATEWAY], &[]);
        world.said("web", "Mirrored");
        assert_eq!(world.west.names("Service", APPS), ["web-remote"]);
        let slices: Vec<_> = world.west.names("EndpointSlice", APPS);
        assert_eq!(slices, ["web-remote-ipv4"]);
    }
}

/// What another cluster's server says has an end here. Nothing is deleted for want of room, and what
/// was left out is mirrored when there is some.
#[test]
fn a_target_with_too_much_is_mirrored_as_far_as_there_is_room() {
    const ROOM: usize = 170;
    let world = World::joined();
    let name = |number: usize| format!("web-{number:03}");
    for number in 0..100 {
        world.serve(exported(&name(number)), &["10.1.0.1"]);
    }
    let mirror = world.start("max_link_memory = \"1MiB\"");
    let mirrors = || {
        let here = world.west.list("Service").into_iter();
        here.filter(|service| service["metadata"]["name"].to_string().contains("-remote")).count()
    };
    world.west.wait_for("all mirrors", |_| mirrors() == 100);
    world.condition(CLUSTER, "TargetReachable", "True");
    assert_eq!(condition(&world.west, CLUSTER, "ServicesMirrored"), None);
    for number in 100..300 {
        world.serve(exported(&name(number)), &["10.1.0.1"]);
    }
    let (reason, message) = world.condition(CLUSTER, "ServicesMirrored", "False");
    assert_eq!(reason, "TargetTooLarge");
    assert!(message.contains("mirror.max_link_memory"), "{message}");
    world.settle();
    assert!((ROOM / 2..ROOM).contains(&mirrors()), "{}", mirrors());
    mirror.eventually("it in the metrics", |mirror| {
        let used = mirror.metric("mirror_link_memory_bytes{target_cluster_name=\"remote\"}");
        mirror.metric("mirror_target_too_large{target_cluster_name=\"remote\"}") == 1.0
            && (900_000.0..=1_048_576.0).contains(&used)
    });
    // One that was mirrored goes, while absence means nothing; then its server says all anew.
    let before = mirrors();
    world.east.delete("Service", APPS, &name(0));
    world.quiet(QUIET, |line| line.contains("links") || line.contains("events"));
    assert!(world.has("Service", "web-000-remote") && mirrors() == before);
    for number in 100..290 {
        world.east.delete("Service", APPS, &name(number));
    }
    let used = "mirror_link_memory_bytes{target_cluster_name=\"remote\"}";
    mirror.eventually("room", |mirror| mirror.metric(used) < 800_000.0);
    world.east.compact();
    world.east.expire_watches();
    world.west.wait_for("all mirrors, and no other", |_| mirrors() == 109);
    assert!(!world.has("Service", "web-000-remote") && world.has("Service", "web-299-remote"));
    world
        .west
        .wait_for("no complaint", |west| condition(west, CLUSTER, "ServicesMirrored").is_none());
    drop(mirror);
}
