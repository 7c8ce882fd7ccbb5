//! How targets are reached: Secrets, their rotation, and what accounts may do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::dns::{Dns, Mode};
use crate::support::kubernetes::{FakeApi, Fault, Matcher, Rules, Times, objects};
use crate::world::{
    APPS, CLUSTER, GATEWAY, QUIET, SYSTEM, World, condition, exported, link, options, serve, shown,
    up, wait,
};

const OWN: &str = include_str!("../../config/kustomize/mirror/rbac.yaml");
const REMOTE: &str = include_str!("../../config/kustomize/remote-access/rbac.yaml");

/// What Linkerd's chart lets the remote account do: no namespaces.
const LINKERDS_ROLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: linkerd-service-mirror-remote-access-default }
rules:
- { apiGroups: [apps], resources: [replicasets], verbs: [list, get, watch] }
- { apiGroups: [batch], resources: [jobs], verbs: [list, get, watch] }
- { apiGroups: [""], resources: [pods, endpoints, services], verbs: [list, get, watch] }
- { apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, get, watch] }
- { apiGroups: [policy.linkerd.io], resources: [servers], verbs: [list, get, watch] }
- { apiGroups: [""], resources: [configmaps], verbs: [get], resourceNames: [linkerd-config] }
- { apiGroups: [""], resources: [events], verbs: [create, patch] }
"#;

/// What a guide lets it do: no endpointslices.
const GUIDES_ROLE: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: service-mirror-remote-access }
rules:
- { apiGroups: [""], resources: [services, endpoints, namespaces], verbs: [list, get, watch] }
"#;

/// A second target, with its Link and Secret.
fn second(world: &World, name: &str) -> FakeApi {
    let cluster = FakeApi::with(options());
    for namespace in [SYSTEM, APPS] {
        cluster.create(objects::namespace(namespace));
    }
    let kubeconfig = cluster.kubeconfig(&cluster.token("mirror", Rules::all()));
    let secret = format!("cluster-credentials-{name}");
    world.west.create(objects::credentials(SYSTEM, &secret, &kubeconfig));
    let mut link = link();
    link["metadata"]["name"] = name.into();
    link["spec"]["targetClusterName"] = name.into();
    link["spec"]["clusterCredentialsSecret"] = secret.into();
    link["spec"]["gatewayAddress"] = "192.0.2.9".into();
    world.west.create(link);
    cluster
}

fn secret_of(kubeconfig: &str) -> Value {
    objects::credentials(SYSTEM, &format!("cluster-credentials-{CLUSTER}"), kubeconfig)
}

/// Linkerd's controller reads the Secret once (#13768, #4461).
#[test]
fn issue_13768_credentials_are_rotated_without_a_restart() {
    let (world, mirror) = World::mirroring(&["web"]);
    world.settle();
    let new = world.east.token("rotated", Rules::all());
    world.west.reset_log();
    world.west.apply(secret_of(&world.east.kubeconfig(&new)));
    world.east.wait_for("the new token", |east| {
        east.requests().iter().any(|asked| asked.user == "rotated")
    });
    world.east.revoke(&world.remote);
    world.east.disconnect();
    world.serve(exported("new"), &["10.1.0.2"]);
    world.wait_addresses("new-remote", &[GATEWAY], &[]);
    world.settle();
    let writes = world.west.writes();
    let lines: Vec<_> = writes.iter().map(|write| write.line()).collect();
    assert!(!lines.iter().any(|line| line.contains("web-remote")), "{lines:?}");
    assert!(shown(&mirror, CLUSTER).is_some_and(|link| link["credentials"]["status"] == "True"));
}

/// The old token is revoked before the new Secret is there: nothing is deleted meanwhile.
#[test]
fn a_revoked_token_deletes_nothing() {
    let (world, _mirror) = World::mirroring(&["web"]);
    world.east.revoke(&world.remote);
    world.east.disconnect();
    let (reason, _) = world.condition(CLUSTER, "TargetReachable", "False");
    assert_eq!(reason, "Unauthorized");
    world.east.delete("Service", APPS, "web");
    world.quiet(QUIET, |line| line.contains("links") || line.contains("events"));
    assert!(world.has("Service", "web-remote"));
    let new = world.east.token("rotated", Rules::all());
    world.west.apply(secret_of(&world.east.kubeconfig(&new)));
    world.wait_gone("Service", "web-remote");
    world.condition(CLUSTER, "TargetReachable", "True");
}

/// What is wrong with a kubeconfig is said of its Link; the other goes on.
#[test]
fn a_bad_kubeconfig_marks_its_link_and_nothing_else() {
    let world = World::joined();
    world.serve(exported("web"), &["10.1.0.1"]);
    let north = second(&world, "north");
    serve(&north, exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.wait_addresses("web-north", &["192.0.2.9"], &[]);
    for (text, says) in [
        ("no: [kubeconfig", "kubeconfig"),
        (
            &*with_user(
                &world,
                json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1",
            "command": "touch", "args": ["/tmp/never"] } }),
            ),
            "exec",
        ),
        (&*with_user(&world, json!({ "tokenFile": "/etc/passwd" })), "file"),
        (
            &*with_user(
                &world,
                json!({ "client-key": "/etc/passwd",
            "client-certificate": "/etc/passwd" }),
            ),
            "file",
        ),
    ] {
        world.west.apply(secret_of(text));
        world.west.wait_for(&format!("a condition about {says}"), |west| {
            condition(west, CLUSTER, "CredentialsValid").is_some_and(|(status, reason, message)| {
                (&*status, &*reason) == ("False", "KubeconfigInvalid") && message.contains(says)
            })
        });
    }
    assert_eq!(condition(&world.west, "north", "CredentialsValid").expect("said").0, "True");
    serve(&north, exported("new"), &["10.1.0.1"]);
    world.wait_addresses("new-north", &["192.0.2.9"], &[]);
    assert!(world.has("Service", "web-remote"));
    world.west.wait_for("an Event", |west| {
        west.events().iter().any(|(of, reason, _)| of == CLUSTER && reason == "CredentialsInvalid")
    });
}

/// A kubeconfig of east with another user.
fn with_user(world: &World, user: Value) -> String {
    let text = world.east.kubeconfig("none");
    let mut kubeconfig: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    kubeconfig["users"][0]["user"] = user;
    serde_yaml_ng::to_string(&kubeconfig).expect("YAML")
}

/// The manifests of both sides are enough for everything, and nothing else is tried.
#[test]
fn the_rights_of_the_manifests_are_enough() {
    let world = World::joined();
    world.west.allow(&world.own, Rules::of_account(OWN, "linkerd-multicluster/linkerd-gateway"));
    let account = "linkerd-multicluster/linkerd-gateway-remote-access";
    world.east.allow(&world.remote, Rules::of_account(REMOTE, account));
    let member = objects::labelled(exported("web"), "mirror.linkerd.io/federated", "member");
    world.serve(member, &["10.1.0.1"]);
    crate::headless::stateful(&world, "set", &["set-0"]);
    let _mirror = world.start("headless_services = true");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.wait("Service", "web-federated");
    world.west.wait_for("the host", |west| crate::headless::hosts(west, "set-remote") == ["set-0"]);
    world.west.delete("Endpoints", APPS, "web-remote");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.east.delete("Service", APPS, "web");
    world.wait_gone("Service", "web-remote");
    world.wait_gone("Service", "web-federated");
    world.settle();
    assert_eq!(world.west.denied(), []);
    assert_eq!(world.east.denied(), []);
}

/// A role without EndpointSlices: readiness comes from Endpoints.
#[test]
fn a_role_without_endpointslices_is_enough() {
    let world = World::joined();
    world.east.allow(&world.remote, Rules::from_yaml(GUIDES_ROLE, SYSTEM));
    let service = world.serve(exported("web"), &["10.1.0.1"]);
    crate::headless::stateful(&world, "set", &["set-0"]);
    let _mirror = world.start("headless_services = true");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.west.wait_for("the host", |west| crate::headless::hosts(west, "set-remote") == ["set-0"]);
    world.east.apply(objects::endpoints(&service, &[]));
    world.wait_addresses("web-remote", &[], &[]);
    world.condition(CLUSTER, "TargetReachable", "True");
}

/// What the watch of slices failed of before the target was known to refuse them is over then.
#[test]
fn a_role_without_endpointslices_is_enough_after_an_outage() {
    let world = World::joined();
    world.east.allow(&world.remote, Rules::from_yaml(GUIDES_ROLE, SYSTEM));
    world.serve(exported("web"), &["10.1.0.1"]);
    world.east.stop();
    let _mirror = world.start("");
    world.condition(CLUSTER, "TargetReachable", "False");
    world.east.serve();
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.condition(CLUSTER, "TargetReachable", "True");
}

/// The same after a rotation: that slices are refused is not taken for an outage then.
#[test]
fn a_role_without_endpointslices_is_enough_after_a_rotation() {
    let world = World::joined();
    world.east.allow(&world.remote, Rules::from_yaml(GUIDES_ROLE, SYSTEM));
    let service = world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    let new = world.east.token("rotated", Rules::from_yaml(GUIDES_ROLE, SYSTEM));
    world.west.apply(secret_of(&world.east.kubeconfig(&new)));
    world.east.wait_for("the new token", |east| {
        east.requests().iter().any(|asked| asked.user == "rotated")
    });
    world.east.revoke(&world.remote);
    world.east.disconnect();
    world.east.apply(objects::endpoints(&service, &[]));
    world.wait_addresses("web-remote", &[], &[]);
    world.condition(CLUSTER, "TargetReachable", "True");
}

/// A role without namespaces is enough as long as there is no namespace filter. With one, nothing
/// new is mirrored, what exists is kept, and the condition names the verb.
#[test]
fn a_role_without_namespaces_cannot_filter_them() {
    let world = World::joined();
    world.east.allow(&world.remote, Rules::from_yaml(LINKERDS_ROLE, SYSTEM));
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    assert_eq!(world.east.denied(), []);
    let filter = json!({ "spec": { "remoteDiscoverySelector":
        { "matchLabels": { "linkerd.io/is-remote-discovery": "true",
            "mirror.linkerd.io/exported": null } } } });
    world.west.patch("Link", SYSTEM, CLUSTER, &filter);
    let (reason, message) = world.condition(CLUSTER, "TargetReachable", "False");
    assert_eq!(reason, "Forbidden");
    assert!(message.contains("list namespaces"), "{message}");
    world.serve(exported("new"), &["10.1.0.1"]);
    world.quiet(QUIET, |line| line.contains("links") || line.contains("events"));
    assert!(world.has("Endpoints", "web-remote") && !world.has("Service", "new-remote"));
    let lists = |rules: &str| {
        Rules::from_yaml(&rules.replace("services]", "services, namespaces]"), SYSTEM)
    };
    world.east.allow(&world.remote, lists(LINKERDS_ROLE));
    let label = json!({ "metadata": { "labels": { "linkerd.io/is-remote-discovery": "true" } } });
    world.east.patch("Namespace", "", APPS, &label);
    world.wait_addresses("new-remote", &[GATEWAY], &[]);
}

/// An API server that never answers, and one that is not there, delay no other Link.
#[test]
fn issue_4399_a_target_that_is_slow_or_dead_delays_no_other() {
    let world = World::joined();
    let (slow, dead) = (second(&world, "slow"), second(&world, "dead"));
    slow.inject(Matcher::default(), Fault::Hang, Times::Always);
    dead.stop();
    world.serve(exported("web"), &["10.1.0.1"]);
    let begin = Instant::now();
    let mut mirror = world.start("");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    let started = begin.elapsed();
    let begin = Instant::now();
    world.serve(exported("new"), &["10.1.0.1"]);
    world.wait_addresses("new-remote", &[GATEWAY], &[]);
    let changed = begin.elapsed();
    println!("first mirror after {started:?}, the next after {changed:?}");
    assert!(changed < Duration::from_secs(5), "{changed:?}: the slow target delays it");
    let (reason, message) = world.condition("dead", "TargetReachable", "False");
    assert_eq!(reason, "Unreachable", "{message}");
    assert!(message.contains("mirrors stay as they are"), "{message}");
    // It comes, long after Linkerd's controller would have given up and exited.
    dead.serve();
    serve(&dead, exported("late"), &["10.1.0.1"]);
    world.wait_addresses("late-dead", &["192.0.2.9"], &[]);
    mirror.signal("TERM");
    assert!(mirror.wait().success());
}

/// A name server that never answers for one Link's gateway.
#[test]
fn a_name_server_that_is_silent_about_one_gateway_delays_no_other() {
    let world = World::joined();
    let dns = Dns::start(Mode::Silent);
    let named = second(&world, "named");
    let spec = json!({ "spec": { "gatewayAddress": "gw.example.com" } });
    world.west.patch("Link", SYSTEM, "named", &spec);
    serve(&named, exported("web"), &["10.1.0.1"]);
    world.serve(exported("web"), &["10.1.0.1"]);
    let server = format!("[dns]\nservers = [\"{}\"]\nmin_ttl = \"50ms\"", dns.address);
    let _mirror = up(world.builder(&world.own, "").configure(&server).spawn());
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.west.wait_for("a question", |_| dns.questions() > 0);
    let begin = Instant::now();
    world.serve(exported("new"), &["10.1.0.1"]);
    world.wait_addresses("new-remote", &[GATEWAY], &[]);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(!world.has("Endpoints", "web-named"), "nothing is known of its gateway");
    dns.set(Mode::Addresses(vec!["192.0.2.77".parse().expect("an address")], 1));
    world.wait_addresses("web-named", &["192.0.2.77"], &[]);
    wait(&world.west, "Service", "web-named");
}

/// A server that has just started refuses everybody for a moment; rights are taken and given back.
#[test]
fn rights_that_are_away_for_a_while_take_nothing_away() {
    let (world, mirror) = World::mirroring(&["web"]);
    world.settle();
    world.west.reset_log();
    world.east.reset_log();
    world.east.allow(&world.remote, Rules::none());
    world.east.disconnect();
    let (reason, _) = world.condition(CLUSTER, "TargetReachable", "False");
    assert_eq!(reason, "Forbidden");
    world.quiet(Duration::from_secs(5), |line| line.contains("links") || line.contains("events"));
    world.east.allow(&world.remote, Rules::all());
    world.condition(CLUSTER, "TargetReachable", "True");
    world.serve(exported("new"), &["10.1.0.2"]);
    world.wait_addresses("new-remote", &[GATEWAY], &[]);
    let writes = world.west.writes();
    assert!(writes.iter().all(|write| !write.line().contains("web-remote")), "{writes:?}");
    let asked = world.east.counts();
    assert!(!asked.keys().any(|line| line.starts_with("list endpoints ")), "{asked:?}");
    drop(mirror);
}

/// Our own credentials are rotated, too: on a bare host by writing the kubeconfig anew.
#[test]
fn our_own_kubeconfig_is_rotated_without_a_restart() {
    let (world, mirror) = World::mirroring(&["web"]);
    world.settle();
    let new = world.west.token("rotated", Rules::all());
    std::fs::write(mirror.file("kubeconfig"), world.west.kubeconfig(&new)).expect("written");
    world.west.wait_for("the new token", |west| {
        west.requests().iter().any(|asked| asked.user == "rotated")
    });
    world.west.revoke(&world.own);
    world.west.disconnect();
    world.serve(exported("new"), &["10.1.0.2"]);
    world.wait_addresses("new-remote", &[GATEWAY], &[]);
    assert!(world.west.writes().iter().all(|write| !write.line().contains("delete")));
}
