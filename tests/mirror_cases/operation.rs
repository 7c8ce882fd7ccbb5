//! What an operator sees, and what the API servers have to bear.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::probes::{Answer, Probes};
use crate::support::kubernetes::objects;
use crate::world::{
    APPS, CLUSTER, GATEWAY, SYSTEM, World, exported, link, links, probed_link, shown, up,
};

const RUN_MIRROR_ONLY: &[&str] = &["sh", "-c", "exec \"$0\" \"$@\" --only mirror"];

/// Every kind of mirror, a gateway that is probed, and a Link that does not work: after all is done,
/// nothing but Leases is written.
#[test]
fn a_steady_state_writes_nothing_but_leases_for_20_seconds() {
    let world = World::new();
    let probes = Probes::start(&["127.0.50.1", "127.0.50.2"]);
    probes.answer("127.0.50.2", Answer::Reset);
    world.join(probed_link("127.0.50.1,127.0.50.2", probes.port));
    let mut broken = link();
    broken["metadata"]["name"] = "broken".into();
    broken["spec"]["targetClusterName"] = "broken".into();
    broken["spec"]["clusterCredentialsSecret"] = "not-there".into();
    world.west.create(broken);
    let federated = objects::labelled(exported("web"), "mirror.linkerd.io/federated", "member");
    world.serve(federated, &["10.1.0.1"]);
    let flat =
        objects::labelled(exported("flat"), "mirror.linkerd.io/exported", "remote-discovery");
    world.serve(flat, &["10.1.0.1"]);
    world.west.create(objects::service(APPS, "taken-remote", &[("http", 1, 1)]));
    world.serve(exported("taken"), &["10.1.0.1"]);
    crate::headless::stateful(&world, "set", &["set-0"]);
    let _mirror = world.start("headless_services = true");
    world.wait_addresses("web-remote", &["127.0.50.1"], &["127.0.50.2"]);
    world.west.wait_for("the host", |west| crate::headless::hosts(west, "set-remote") == ["set-0"]);
    world.said("taken", "Conflict");
    world.settle();
    world.quiet(Duration::from_secs(20), |_| false);
}

/// Alone: no listener for peers, ready at the first contact with our own API server.
#[test]
fn the_mirror_runs_alone() {
    let world = World::joined();
    world.serve(exported("web"), &["10.1.0.1"]);
    world.west.stop();
    let builder = world.builder(&world.own, "").through(RUN_MIRROR_ONLY);
    let mut mirror = up(builder.spawn());
    assert_eq!(mirror.request("GET", "/ready").0, 503, "no contact yet");
    world.west.serve();
    mirror.eventually("it is ready", |mirror| mirror.request("GET", "/ready").0 == 200);
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    let lines = mirror.lines();
    assert!(!lines.iter().any(|line| line["message"] == "accepting connections"), "{lines:?}");
    mirror.signal("TERM");
    assert!(mirror.wait().success());
}

/// A dry run says what the mirror then does, and does nothing, not even take the Lease.
#[test]
fn a_plan_says_what_is_done_and_does_nothing() {
    let world = World::joined();
    world.serve(exported("web"), &["10.1.0.1"]);
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(path("kubeconfig"), world.west.kubeconfig(&world.own)).expect("written");
    world.ca.write_anchor(directory.path(), "ca.crt");
    world.ca.identity("plan.cluster.local").write_to(directory.path());
    let toml = "[identity]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\n\
                trust_anchors = [\"ca.crt\"]\n";
    std::fs::write(path("gateway.toml"), toml).expect("written");
    let plan = || {
        let output = Command::new(env!("CARGO_BIN_EXE_linkerd-gateway"))
            .current_dir(directory.path())
            .args(["mirror", "plan", "--config", "gateway.toml"])
            .args(["--kubeconfig", &path("kubeconfig")])
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let text = plan();
    for line in [
        "+ create Service test/web-remote",
        "+ create Endpoints test/web-remote",
        "+ create EndpointSlice test/web-remote-ipv4",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(world.west.writes_and_leases().is_empty(), "{:?}", world.west.writes_and_leases());
    assert!(world.east.writes_and_leases().is_empty());
    let mirror = world.start("");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.settle();
    drop(mirror);
    let text = plan();
    assert!(text.contains("0 to create, 0 to change, 0 to delete"), "{text}");
    world.east.delete("Service", APPS, "web");
    let text = plan();
    assert!(text.contains("- delete Service test/web-remote"), "{text}");
    assert!(world.has("Service", "web-remote"));
    // A mirror with an address that becomes one without is made anew.
    crate::headless::stateful(&world, "web", &["web-0"]);
    std::fs::write(path("gateway.toml"), format!("{toml}[mirror]\nheadless_services = true\n"))
        .expect("written");
    let text = plan();
    for line in ["- delete Service test/web-remote", "+ create Service test/web-remote"] {
        assert_eq!(text.matches(&format!("{line}\n")).count(), 1, "{line}: {text}");
    }
}

/// `/links`: state, ages, counts, addresses, errors.
#[test]
fn links_are_shown() {
    let world = World::new();
    let probes = Probes::start(&["127.0.51.1", "127.0.51.2"]);
    probes.answer("127.0.51.2", Answer::Status(503));
    world.join(probed_link("127.0.51.1,127.0.51.2", probes.port));
    world.serve(exported("web"), &["10.1.0.1"]);
    let external = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": APPS, "name": "external",
            "labels": { "mirror.linkerd.io/exported": "true" } },
        "spec": { "type": "ExternalName", "externalName": "example.com" },
    });
    world.east.create(external);
    let mirror = world.start("");
    world.wait_addresses("web-remote", &["127.0.51.1"], &["127.0.51.2"]);
    let is_whole = |link: &Value| {
        let address = |ip: &str| {
            let mut all = link["addresses"].as_array().into_iter().flatten();
            all.find(|address| address["address"] == ip).cloned().unwrap_or_default()
        };
        let (up, down) = (address("127.0.51.1"), address("127.0.51.2"));
        let mut watches = link["watches"].as_array().into_iter().flatten();
        link["services"] == json!({ "InvalidService": 1, "Mirrored": 1 })
            && link["cluster"] == CLUSTER
            && link["active"] == true
            && link["modes"] == json!(["gateway", "remote-discovery", "federated"])
            && link["target"]["status"] == "True"
            && link["credentials"]["status"] == "True"
            && link["pending"] == 0
            && (&up["liveness"], &up["ready"]) == (&json!("alive"), &json!(true))
            && up["latency_ms"].is_number()
            && (&down["liveness"], &down["ready"]) == (&json!("down"), &json!(false))
            && down["reason"].as_str().is_some_and(|reason| reason.contains("503"))
            && watches.all(|watch| watch["complete"] == true && watch["seconds"].is_number())
    };
    mirror.eventually(&format!("all of it, not {:?}", shown(&mirror, CLUSTER)), |mirror| {
        shown(mirror, CLUSTER).is_some_and(|link| is_whole(&link))
    });
    assert_eq!(links(&mirror)["leader"], true);
    assert!(world.said("external", "InvalidService").contains("ExternalName"));
}

/// Linkerd's metrics, under exactly its names.
#[test]
fn metrics_have_linkerds_names() {
    let world = World::new();
    let probes = Probes::start(&["127.0.52.1"]);
    world.join(probed_link("127.0.52.1", probes.port));
    world.serve(exported("web"), &["10.1.0.1"]);
    let mirror = world.start("");
    world.wait_addresses("web-remote", &["127.0.52.1"], &[]);
    world.condition(CLUSTER, "GatewayAlive", "True");
    let text = mirror.get("/metrics");
    for line in [
        "# TYPE gateway_alive gauge",
        "# TYPE gateway_enabled gauge",
        "# TYPE gateway_latency gauge",
        "# TYPE gateway_probe_latency_ms histogram",
        "# TYPE gateway_probes counter",
        "# TYPE service_mirror_endpoint_repairs counter",
        "# TYPE service_cache_size gauge",
        "service_cache_size{cluster=\"remote\"} 1",
        "link_cache_size{cluster=\"local\"} 1",
    ] {
        assert!(text.lines().any(|of| of == line), "{line}\n{text}");
    }
    for series in [
        "gateway_alive{target_cluster_name=\"remote\"} 1",
        "gateway_enabled{target_cluster_name=\"remote\"} 1",
        "gateway_latency{target_cluster_name=\"remote\"} ",
        "gateway_probe_latency_ms_bucket{le=\"1.0\",target_cluster_name=\"remote\"} ",
        "gateway_probe_latency_ms_count{target_cluster_name=\"remote\"} ",
        "service_mirror_endpoint_repairs{target_cluster_name=\"remote\"} ",
    ] {
        assert!(text.lines().any(|of| sorted(of).starts_with(&sorted(series))), "{series}\n{text}");
    }
    let good = "gateway_probes{target_cluster_name=\"remote\",probe_successful=\"true\"}";
    assert!(text.lines().any(|of| sorted(of).starts_with(&sorted(good))), "{text}");
    probes.answer("127.0.52.1", Answer::Reset);
    world.wait_addresses("web-remote", &[], &["127.0.52.1"]);
    assert_eq!(mirror.metric("gateway_alive{target_cluster_name=\"remote\"}"), 0.0);
    let bad = "gateway_probes{target_cluster_name=\"remote\",probe_successful=\"false\"}";
    let text = mirror.get("/metrics");
    assert!(text.lines().any(|of| sorted(of).starts_with(&sorted(bad))), "{text}");
}

/// A series with its labels in one order, and buckets' bounds without a decimal point.
fn sorted(line: &str) -> String {
    let line = line.replace("le=\"1\"", "le=\"1.0\"");
    let Some((name, rest)) = line.split_once('{') else { return line };
    let Some((labels, value)) = rest.split_once('}') else { return line.clone() };
    let mut labels: Vec<_> = labels.split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}{value}", labels.join(","))
}

/// Nothing is written to the target, Events least of all; and never by server-side apply.
#[test]
fn only_the_source_is_written_and_never_by_apply() {
    let world = World::new();
    let probes = Probes::start(&["127.0.53.1"]);
    world.join(probed_link("127.0.53.1", probes.port));
    let service = exported("web");
    world.serve(service.clone(), &["10.1.0.1"]);
    world.east.create(objects::namespace("missing"));
    world.serve(objects::exported("missing", "web", &[("http", 80, 80)]), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &["127.0.53.1"], &[]);
    probes.answer("127.0.53.1", Answer::Reset);
    world.wait_addresses("web-remote", &[], &["127.0.53.1"]);
    probes.answer("127.0.53.1", Answer::Status(200));
    world.wait_addresses("web-remote", &["127.0.53.1"], &[]);
    world.west.wait_for("the Events", |west| {
        let events = west.events();
        let has =
            |wanted: &str| events.iter().any(|(of, reason, _)| of == CLUSTER && reason == wanted);
        has("GatewayDown") && has("GatewayUp") && has("ServiceMirroringSkipped")
    });
    world.east.apply(objects::annotated(service, "a", "b"));
    world.east.delete("Service", APPS, "web");
    world.wait_gone("Service", "web-remote");
    world.settle();
    assert!(world.east.writes_and_leases().is_empty(), "{:?}", world.east.writes_and_leases());
    for write in world.west.writes_and_leases() {
        let (verb, kind) = (write.access.verb, &*write.content_type);
        match verb {
            "patch" => {
                assert_eq!(kind, "application/merge-patch+json", "{}", write.line());
                assert_eq!(write.access.resource, "links/status");
            }
            "delete" => {
                let preconditions = &write.body["preconditions"];
                assert!(preconditions["uid"].is_string(), "{}: {}", write.line(), write.body);
                assert!(preconditions["resourceVersion"].is_string());
            }
            "update" => {
                assert_eq!(kind, "application/json", "{}", write.line());
                let version = &write.body["metadata"]["resourceVersion"];
                assert!(version.is_string(), "{}: {}", write.line(), write.body);
            }
            "create" => assert_eq!(kind, "application/json", "{}", write.line()),
            other => panic!("{other}"),
        }
    }
}

/// The status of 2,000 Services: whole, within an object's size, and written in few pieces.
#[test]
fn issue_14433_the_status_of_2000_services_is_accepted() {
    let world = World::joined();
    for number in 0..2000 {
        let mut service = exported(&format!("flat-{number:04}"));
        service["metadata"]["labels"]["mirror.linkerd.io/exported"] = "remote-discovery".into();
        world.east.create(service);
    }
    let mirror = world.start("max_writes_in_flight = 64");
    // Looked at seldom: what the test asks of the server is work, too.
    let seldom = || std::thread::sleep(Duration::from_millis(300));
    world.west.wait_for("all mirrors", |west| {
        seldom();
        west.names("Service", APPS).len() == 2000
    });
    world.west.wait_for("the whole status", |west| {
        seldom();
        let link = west.get("Link", SYSTEM, CLUSTER).expect("there");
        link["status"]["mirrorServices"].as_array().is_some_and(|list| {
            list.len() == 2000
                && list.iter().all(|entry| entry["conditions"][0]["reason"] == "Mirrored")
        })
    });
    let link = world.west.get("Link", SYSTEM, CLUSTER).expect("there");
    let bytes = link.to_string().len();
    assert!(bytes < 1_400_000, "{bytes}: an object may have 1.5 MiB");
    let writes = world.west.writes();
    let patches = writes.iter().filter(|write| write.access.resource == "links/status").count();
    assert!(patches < 100, "{patches} writes of the status of 2,000 Services");
    mirror.eventually("the count", |mirror| {
        shown(mirror, CLUSTER).is_some_and(|link| link["services"]["Mirrored"] == 2000)
    });
}
