//! Links as they come: of every version, as guides write them, and wrong.

use serde_json::{Value, json};

use crate::probes::Probes;
use crate::support::kubernetes::{Options, objects, resources};
use crate::world::{
    APPS, CLUSTER, GATEWAY, QUIET, SYSTEM, World, crd, exported, link, links, options, probed_link,
    shown,
};

/// A CRD that serves one version only.
fn only(mut crd: Value, version: &str) -> Value {
    let versions = crd["spec"]["versions"].as_array_mut().expect("a list");
    versions.retain(|served| served["name"] == version);
    versions[0]["storage"] = true.into();
    crd
}

/// Each of Linkerd's three versions, and of ours.
#[test]
fn links_of_every_served_version_work() {
    for version in ["v1alpha1", "v1alpha2", "v1alpha3"] {
        for definition in [crd(), resources::linkerd_links()] {
            let west = Options { crds: vec![only(definition, version)], ..options() };
            let world = World::with(west, options());
            let mut link = link();
            link["apiVersion"] = format!("multicluster.linkerd.io/{version}").into();
            world.join(link);
            world.serve(exported("web"), &["10.1.0.1"]);
            let mirror = world.start("");
            world.wait_addresses("web-remote", &[GATEWAY], &[]);
            mirror.eventually("its version", |mirror| links(mirror)["link_version"] == version);
            if version == "v1alpha1" {
                world.settle();
                let writes = world.west.writes();
                let status = writes.iter().filter(|write| write.access.resource.contains("links"));
                assert_eq!(status.count(), 0, "it has no status");
            } else {
                world.said("web", "Mirrored");
            }
        }
    }
}

/// As guides write them: ports as numbers, and everything with a default left out.
#[test]
fn a_link_of_a_guide_needs_little() {
    let world = World::new();
    world.west.apply(world.secret("whatever-it-is-called"));
    world.west.create(json!({
        "apiVersion": "multicluster.linkerd.io/v1alpha1", "kind": "Link",
        "metadata": { "namespace": SYSTEM, "name": CLUSTER },
        "spec": {
            "gatewayAddress": GATEWAY, "gatewayPort": 888,
            "selector": { "matchExpressions": [
                { "key": "mirror.linkerd.io/exported", "operator": "In", "values": ["true", "yes"] },
                { "key": "private", "operator": "DoesNotExist" },
            ] },
        },
    }));
    world.serve(exported("web"), &["10.1.0.1"]);
    world.serve(objects::labelled(exported("hidden"), "private", "true"), &["10.1.0.2"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.settle();
    assert_eq!(world.west.names("Service", APPS), ["web-remote"]);
    let endpoints = world.west.get("Endpoints", APPS, "web-remote").expect("there");
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 888);
    let annotations = &endpoints["metadata"]["annotations"];
    assert_eq!(
        *annotations,
        json!({ "mirror.linkerd.io/remote-svc-fq-name": "web.test.svc.cluster.local" })
    );
}

/// A `remoteDiscoverySelector` on `linkerd.io/is-remote-discovery` chooses namespaces.
#[test]
fn a_selector_of_namespaces_filters_them() {
    let world = World::new();
    let mut link = link();
    link["spec"]["remoteDiscoverySelector"] = json!({
        "matchLabels": { "linkerd.io/is-remote-discovery": "true" },
        "matchExpressions":
            [{ "key": "env", "operator": "NotIn", "values": ["dev", "staging"] }],
    });
    world.join(link);
    for (name, env) in [("prod", "prod"), ("dev", "dev")] {
        let namespace = objects::namespace(name);
        let namespace = objects::labelled(namespace, "linkerd.io/is-remote-discovery", "true");
        world.east.create(objects::labelled(namespace, "env", env));
        world.west.create(objects::namespace(name));
    }
    for namespace in ["prod", "dev", APPS] {
        let service = objects::exported(namespace, "web", &[("http", 80, 8080)]);
        world.serve(service, &["10.1.0.1"]);
    }
    let _mirror = world.start("");
    let has = |namespace: &str| world.west.get("Endpoints", namespace, "web-remote").is_some();
    world.west.wait_for("the one of prod", |_| has("prod"));
    world.settle();
    assert!(!has("dev") && !has(APPS));
    // Namespaces change.
    let env = |value: &str| json!({ "metadata": { "labels": { "env": value } } });
    world.east.patch("Namespace", "", "dev", &env("prod"));
    world.west.wait_for("the one of dev", |_| has("dev"));
    world.east.patch("Namespace", "", "prod", &env("staging"));
    world.west.wait_for("the end of the one of prod", |west| {
        west.get("Service", "prod", "web-remote").is_none()
    });
}

/// A wrong field freezes the Link, and is named.
#[test]
fn a_wrong_field_is_named_and_nothing_is_changed_until_it_is_corrected() {
    let (world, mirror) = World::mirroring(&["web"]);
    let port = |port: Value| json!({ "spec": { "gatewayPort": port } });
    world.west.patch("Link", SYSTEM, CLUSTER, &port("http".into()));
    let (reason, message) = world.condition(CLUSTER, "SpecValid", "False");
    assert_eq!(reason, "InvalidField");
    for part in ["spec.gatewayPort", "a number from 1 to 65535", "http"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    world.east.delete("Service", APPS, "web");
    world.serve(exported("new"), &["10.1.0.1"]);
    world.quiet(QUIET, |line| line.contains("links") || line.contains("events"));
    assert!(world.has("Service", "web-remote") && !world.has("Service", "new-remote"));
    let problems = shown(&mirror, CLUSTER).expect("shown")["field_problems"].to_string();
    assert!(problems.contains("spec.gatewayPort"), "{problems}");

    world.west.patch("Link", SYSTEM, CLUSTER, &port(999.into()));
    world.wait_gone("Service", "web-remote");
    world.wait_addresses("new-remote", &[GATEWAY], &[]);
    let endpoints = world.west.get("Endpoints", APPS, "new-remote").expect("there");
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], 999);
    world.condition(CLUSTER, "SpecValid", "True");
}

/// A wrong field of the probe stops probing, and nothing else.
#[test]
fn a_wrong_field_of_the_probe_only_stops_probing() {
    let world = World::new();
    let probes = Probes::start(&["127.0.30.1"]);
    let mut link = probed_link("127.0.30.1", probes.port);
    link["spec"]["probeSpec"]["failureThreshold"] = "many".into();
    world.join(link);
    world.serve(exported("web"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &["127.0.30.1"], &[]);
    let (reason, message) = world.condition(CLUSTER, "SpecValid", "False");
    assert_eq!(reason, "InvalidProbe");
    assert!(message.contains("spec.probeSpec.failureThreshold"), "{message}");
    assert_eq!(probes.count("127.0.30.1"), 0);
    let threshold = json!({ "spec": { "probeSpec": { "failureThreshold": 2 } } });
    world.west.patch("Link", SYSTEM, CLUSTER, &threshold);
    world.condition(CLUSTER, "GatewayAlive", "True");
    assert!(probes.count("127.0.30.1") > 0);
}

/// Every field that changes is followed.
#[test]
fn a_changed_link_changes_its_mirrors() {
    let world = World::joined();
    world.serve(exported("web"), &["10.1.0.1"]);
    world.serve(objects::labelled(exported("api"), "tier", "front"), &["10.1.0.2"]);
    let _mirror = world.start("");
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.wait_addresses("api-remote", &[GATEWAY], &[]);
    let spec = json!({ "spec": {
        "selector": { "matchLabels": { "tier": "front" } }, "gatewayAddress": "192.0.2.1",
        "gatewayIdentity": "other-identity", "targetClusterDomain": "east.local",
    } });
    world.west.patch("Link", SYSTEM, CLUSTER, &spec);
    world.wait_gone("Service", "web-remote");
    world.wait_addresses("api-remote", &["192.0.2.1"], &[]);
    world.west.wait_for("the annotations", |west| {
        let endpoints = west.get("Endpoints", APPS, "api-remote").expect("kept");
        endpoints["metadata"]["annotations"]
            == json!({
                "mirror.linkerd.io/remote-svc-fq-name": "api.test.svc.east.local",
                "mirror.linkerd.io/remote-gateway-identity": "other-identity",
            })
    });
}

/// No CRD is no error.
#[test]
fn without_the_crd_the_mirror_waits_and_works_when_it_comes() {
    let world = World::with(Options { crds: vec![], ..options() }, options());
    world.serve(exported("web"), &["10.1.0.1"]);
    let mirror = world.start("");
    mirror.eventually("a problem that says it", |mirror| {
        let problem = links(mirror)["problem"].clone();
        problem.as_str().is_some_and(|text| text.contains("links.multicluster.linkerd.io"))
    });
    world.west.install_crd(&crd());
    world.join(link());
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    // And goes again: mirrors stay.
    world.west.remove_crd("links.multicluster.linkerd.io");
    world.quiet(QUIET, |line| line.contains("links") || line.contains("events"));
    assert!(world.has("Endpoints", "web-remote"));
}

/// Linkerd's CRD has no conditions: they are pruned, and not written for ever.
#[test]
fn a_crd_that_prunes_our_conditions_is_not_written_for_ever() {
    let west = Options { crds: vec![resources::linkerd_links()], ..options() };
    let world = World::with(west, options());
    world.join(link());
    world.serve(exported("web"), &["10.1.0.1"]);
    let mirror = world.start("");
    world.said("web", "Mirrored");
    world.settle();
    world.west.reset_log();
    world.quiet(QUIET * 2, |_| false);
    assert!(shown(&mirror, CLUSTER).is_some_and(|link| link["target"]["status"] == "True"));
    // One change, one write.
    world.serve(exported("new"), &["10.1.0.1"]);
    world.said("new", "Mirrored");
    world.settle();
    let writes = world.west.writes();
    let patches = writes.iter().filter(|write| write.access.resource == "links/status").count();
    assert!((1..=3).contains(&patches), "{patches}");
}

/// Namespaces are created where that is configured.
#[test]
fn namespaces_are_created_only_if_configured() {
    let world = World::joined();
    world.east.create(objects::namespace("new"));
    world.serve(objects::exported("new", "web", &[("http", 80, 8080)]), &["10.1.0.1"]);
    let _mirror = world.start("create_namespaces = true");
    world.west.wait_for("the mirror", |west| west.get("Endpoints", "new", "web-remote").is_some());
    let namespace = world.west.get("Namespace", "", "new").expect("created");
    let labels = &namespace["metadata"]["labels"];
    assert_eq!(labels["mirror.linkerd.io/mirrored-service"], "true");
    assert_eq!(labels["mirror.linkerd.io/cluster-name"], CLUSTER);
    world.east.delete("Service", "new", "web");
    world.west.wait_for("its end", |west| west.get("Service", "new", "web-remote").is_none());
    world.settle();
    assert!(world.west.get("Namespace", "", "new").is_some(), "never deleted");

    // For a Service that is a member of a federated one and nothing else, too.
    world.east.create(objects::namespace("only"));
    let service = objects::service("only", "web", &[("http", 80, 8080)]);
    world.serve(objects::labelled(service, "mirror.linkerd.io/federated", "member"), &["10.1.0.1"]);
    world.west.wait_for("the federated Service", |west| {
        west.get("Service", "only", "web-federated").is_some()
    });
}
