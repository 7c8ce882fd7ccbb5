//! What is not known, or not any more: a target that is away while its gateway comes and goes,
//! probes that cannot be made, Secrets that come later than their Links, statuses of others.

use serde_json::{Value, json};

use crate::probes::{Answer, Probes};
use crate::support::gateway::Gateway;
use crate::support::kubernetes::{FakeApi, Rules, objects};
use crate::world::{
    APPS, CLUSTER, GATEWAY, QUIET, SYSTEM, World, condition, exported, link, options, probed_link,
    said, serve, wait,
};

/// A mirror of one Service with a gateway at `address` that is probed.
fn probed(address: &str) -> (World, Probes, Gateway) {
    let world = World::new();
    let probes = Probes::start(&[address]);
    world.join(probed_link(address, probes.port));
    world.serve(exported("web"), &["10.1.0.1"]);
    let mirror = world.start("");
    world.wait_addresses("web-remote", &[address], &[]);
    world.condition(CLUSTER, "GatewayAlive", "True");
    (world, probes, mirror)
}

fn link_is(world: &World, spec: &Value) {
    world.west.patch("Link", SYSTEM, CLUSTER, &json!({ "spec": spec }));
}

/// A whole cluster goes away, its API server first, and the mirror is started anew meanwhile: clients
/// are not sent to a gateway that is down, and what was said of Services stays.
#[test]
fn a_gateway_that_dies_after_its_api_server_is_not_ready() {
    const ADDRESS: &str = "127.0.70.1";
    let (world, probes, mirror) = probed(ADDRESS);
    world.said("web", "Mirrored");
    world.settle();
    drop(mirror);
    world.east.stop();
    let _mirror = world.start("");
    world.condition(CLUSTER, "TargetReachable", "False");
    probes.answer(ADDRESS, Answer::Reset);
    world.wait_addresses("web-remote", &[], &[ADDRESS]);
    world.condition(CLUSTER, "GatewayAlive", "False");
    let before = world.west.writes().len();
    probes.answer(ADDRESS, Answer::Status(200));
    world.wait_addresses("web-remote", &[ADDRESS], &[]);
    world.condition(CLUSTER, "GatewayAlive", "True");
    // One write for each object, and of the Link only its conditions.
    let writes = world.west.writes()[before..].to_vec();
    let of = |kind: &str| writes.iter().filter(|write| write.line().contains(kind)).count();
    assert_eq!((of(" endpoints "), of(" endpointslices ")), (1, 1), "{writes:?}");
    assert!(said(&world.west, CLUSTER, "web").is_some_and(|(reason, _)| reason == "Mirrored"));
    world.east.serve();
    world.condition(CLUSTER, "TargetReachable", "True");
    world.settle();
    assert!(said(&world.west, CLUSTER, "web").is_some_and(|(reason, _)| reason == "Mirrored"));
}

/// Whatever is wrong with a Link, its mirrors stay; a gateway that is down is known all the same.
#[test]
fn a_gateway_that_dies_while_its_link_is_wrong_is_not_ready() {
    const ADDRESS: &str = "127.0.70.2";
    let (world, probes, _mirror) = probed(ADDRESS);
    link_is(&world, &json!({ "selector": { "matchLabels": { "no key": "x" } } }));
    world.condition(CLUSTER, "SpecValid", "False");
    probes.answer(ADDRESS, Answer::Reset);
    world.wait_addresses("web-remote", &[], &[ADDRESS]);
    probes.answer(ADDRESS, Answer::Status(200));
    world.wait_addresses("web-remote", &[ADDRESS], &[]);
    assert!(world.has("Service", "web-remote"));
}

/// A probe that cannot be made any more says nothing, whatever was true at the start.
#[test]
fn a_probe_that_becomes_wrong_leaves_readiness_as_it_was() {
    const ADDRESS: &str = "127.0.70.3";
    let (world, probes, mirror) = probed(ADDRESS);
    probes.answer(ADDRESS, Answer::Reset);
    world.wait_addresses("web-remote", &[], &[ADDRESS]);
    drop(mirror);
    let _mirror = world.start("");
    world.settle();
    probes.answer(ADDRESS, Answer::Status(200));
    world.wait_addresses("web-remote", &[ADDRESS], &[]);
    let threshold =
        |value: Value| link_is(&world, &json!({ "probeSpec": { "failureThreshold": value } }));
    let stays = |ready: &[&str], not_ready: &[&str]| {
        world.quiet(QUIET, |line| line.contains("links") || line.contains("events"));
        world.wait_addresses("web-remote", ready, not_ready);
    };
    threshold("many".into());
    world.condition(CLUSTER, "SpecValid", "False");
    stays(&[ADDRESS], &[]);
    threshold("3".into());
    world.condition(CLUSTER, "GatewayAlive", "True");
    probes.answer(ADDRESS, Answer::Reset);
    world.wait_addresses("web-remote", &[], &[ADDRESS]);
    threshold("many".into());
    world.condition(CLUSTER, "SpecValid", "False");
    stays(&[], &[ADDRESS]);
    threshold("3".into());
    world.condition(CLUSTER, "SpecValid", "True");
    stays(&[], &[ADDRESS]);
}

/// Without the identity nobody knows how to probe: a Link that says it wrongly changes nothing.
#[test]
fn a_wrong_identity_takes_no_gateway_down() {
    const ADDRESS: &str = "127.0.70.4";
    let (world, probes, _mirror) = probed(ADDRESS);
    probes.answer(ADDRESS, Answer::Reset);
    world.wait_addresses("web-remote", &[], &[ADDRESS]);
    probes.answer(ADDRESS, Answer::Status(200));
    world.wait_addresses("web-remote", &[ADDRESS], &[]);
    link_is(&world, &json!({ "gatewayIdentity": "a b" }));
    world.condition(CLUSTER, "SpecValid", "False");
    probes.answer(ADDRESS, Answer::Reset);
    world.quiet(QUIET, |line| line.contains("links") || line.contains("events"));
    world.wait_addresses("web-remote", &[ADDRESS], &[]);
}

/// A Link that states no Secret, and its target.
fn north(world: &World) -> (FakeApi, Value) {
    let cluster = FakeApi::with(options());
    for namespace in [SYSTEM, APPS] {
        cluster.create(objects::namespace(namespace));
    }
    let kubeconfig = cluster.kubeconfig(&cluster.token("mirror", Rules::all()));
    let mut link = link();
    link["metadata"]["name"] = "north".into();
    link["spec"]["targetClusterName"] = "north".into();
    link["spec"]["gatewayAddress"] = "192.0.2.9".into();
    link["spec"].as_object_mut().expect("a map").remove("clusterCredentialsSecret");
    world.west.create(link);
    serve(&cluster, exported("api"), &["10.1.0.1"]);
    (cluster, objects::credentials(SYSTEM, "cluster-credentials-north", &kubeconfig))
}

/// The only Secret there is may be that of another Link: its cluster is not mirrored under this name.
#[test]
fn the_secret_of_another_link_is_never_taken() {
    let world = World::joined();
    world.serve(exported("web"), &["10.1.0.1"]);
    let (_cluster, secret) = north(&world);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.west.wait_for("a missing Secret", |west| {
        condition(west, "north", "CredentialsValid").is_some_and(|said| said.1 == "SecretMissing")
    });
    world.quiet(QUIET, |line| line.contains("links") || line.contains("events"));
    assert!(!world.has("Service", "web-north"));
    world.west.create(secret);
    world.wait_addresses("api-north", &["192.0.2.9"], &[]);
    assert!(!world.has("Service", "web-north"));
}

/// The only Secret of its type serves until the one with the right name is there.
#[test]
fn a_secret_with_the_right_name_takes_over_when_it_comes() {
    let world = World::new();
    world.west.create(world.secret("some-secret"));
    world.serve(exported("web"), &["10.1.0.1"]);
    let (_cluster, secret) = north(&world);
    let _mirror = world.start("");
    world.wait_addresses("web-north", &["192.0.2.9"], &[]);
    world.west.create(secret);
    world.wait_addresses("api-north", &["192.0.2.9"], &[]);
    wait_gone(&world, "web-north");
}

/// Of two Links without a Secret one takes the only one there is, and never both.
#[test]
fn one_secret_is_not_for_two_links() {
    let world = World::new();
    world.west.create(world.secret("some-secret"));
    world.serve(exported("web"), &["10.1.0.1"]);
    let (_cluster, _) = north(&world);
    let mut east = world.west.get("Link", SYSTEM, "north").expect("there");
    east["metadata"] = json!({ "namespace": SYSTEM, "name": "east" });
    east["spec"]["targetClusterName"] = "east".into();
    world.west.create(east);
    let _mirror = world.start("");
    world.wait_addresses("web-east", &["192.0.2.9"], &[]);
    world.west.wait_for("a missing Secret", |west| {
        condition(west, "north", "CredentialsValid").is_some_and(|said| said.1 == "SecretMissing")
    });
    world.settle();
    assert!(!world.has("Service", "web-north"));
}

/// A Secret that is renewed by deleting and creating it does not send its Link to another cluster.
#[test]
fn a_secret_that_is_away_for_a_moment_is_waited_for() {
    let world = World::new();
    let (_cluster, secret) = north(&world);
    world.west.create(secret.clone());
    let _mirror = world.start("");
    world.wait_addresses("api-north", &["192.0.2.9"], &[]);
    // The only other one, of a cluster that has other Services.
    world.west.create(world.secret("stray"));
    world.serve(exported("web"), &["10.1.0.1"]);
    world.settle();
    world.west.delete("Secret", SYSTEM, "cluster-credentials-north");
    world.west.wait_for("a missing Secret", |west| {
        condition(west, "north", "CredentialsValid").is_some_and(|said| said.1 == "SecretMissing")
    });
    world.quiet(QUIET, |line| line.contains("links") || line.contains("events"));
    world.west.create(secret);
    world.west.wait_for("the Secret", |west| {
        condition(west, "north", "CredentialsValid").is_some_and(|said| said.0 == "True")
    });
    world.settle();
    assert!(world.has("Endpoints", "api-north") && !world.has("Service", "web-north"));
}

fn wait_gone(world: &World, name: &str) {
    world.wait_gone("Service", name);
    world.wait_gone("Endpoints", name);
}

/// While Linkerd's controller has a Link's Lease, what it says of Services is its own: only our
/// conditions are written beside it.
#[test]
fn what_linkerds_controller_says_of_services_is_not_overwritten() {
    let world = World::joined();
    let name = format!("service-mirror-write-{CLUSTER}");
    let held_by = |holder: &str, renewals: usize| {
        world.west.apply(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "namespace": SYSTEM, "name": name },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": 30,
                "renewTime": format!("2020-01-01T00:00:{renewals:02}.000000Z") },
        }));
    };
    let entry = |service: &str| {
        json!({ "controllerName": "linkerd.io/service-mirror",
            "remoteRef": { "group": "core", "kind": "Service", "namespace": APPS, "name": service },
            "conditions": [{ "type": "Mirrored", "status": "True", "reason": "Mirrored" }] })
    };
    let says = |entries: Value| {
        let status = json!({ "status": { "mirrorServices": entries } });
        world.west.patch("Link", SYSTEM, CLUSTER, &status);
    };
    let holder_is = |holder: &str| {
        world.west.wait_for(&format!("{holder} in the condition"), |west| {
            condition(west, CLUSTER, "ServicesMirrored").is_some_and(|said| said.2.contains(holder))
        });
    };
    held_by("controller-1", 0);
    says(json!([entry("one")]));
    let _mirror = world.start("");
    holder_is("controller-1");
    says(json!([entry("one"), entry("two")]));
    held_by("controller-2", 1);
    holder_is("controller-2");
    for service in ["one", "two"] {
        assert!(said(&world.west, CLUSTER, service).is_some(), "{service} is lost");
    }
}

/// A Link that selects otherwise while its target is away: what was said of its Services stays.
#[test]
fn what_was_said_stays_while_nothing_new_is_known() {
    let (world, _mirror) = World::mirroring(&["web"]);
    world.said("web", "Mirrored");
    world.settle();
    world.east.stop();
    world.condition(CLUSTER, "TargetReachable", "False");
    let exists = json!([{ "key": "mirror.linkerd.io/exported", "operator": "Exists" }]);
    link_is(&world, &json!({ "selector": { "matchExpressions": exists } }));
    world.quiet(2 * QUIET, |line| line.contains("links") || line.contains("events"));
    assert!(said(&world.west, CLUSTER, "web").is_some_and(|(reason, _)| reason == "Mirrored"));
    world.east.serve();
    world.condition(CLUSTER, "TargetReachable", "True");
    world.settle();
    assert!(said(&world.west, CLUSTER, "web").is_some_and(|(reason, _)| reason == "Mirrored"));
    assert!(world.has("Endpoints", "web-remote"));
}

/// Nothing is said any more of what a Link has ceased to select, whatever was wrong with it.
#[test]
fn what_is_no_longer_selected_is_no_longer_spoken_of() {
    let world = World::joined();
    world.west.create(objects::service(APPS, "web-remote", &[("http", 80, 8080)]));
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.said("web", "Conflict");
    link_is(
        &world,
        &json!({ "selector": { "matchLabels": { "mirror.linkerd.io/exported": "no" } } }),
    );
    world.west.wait_for("silence", |west| said(west, CLUSTER, "web").is_none());
    let other = wait(&world.west, "Service", "web-remote");
    assert!(other["metadata"]["labels"]["mirror.linkerd.io/mirrored-service"].is_null());
}
