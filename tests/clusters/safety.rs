//! What the mirror never does, and what it does after it was away.

use std::time::Duration;

use serde_json::{Value, json};

use crate::pair::{APPS, Pair, SYSTEM};

/// Longer than anything that writes again waits.
const REST: Duration = Duration::from_secs(5);

/// A Service that is not a mirror and has a mirror's name stays as it is, whatever happens.
pub fn a_foreign_service_is_never_touched(pair: &Pair) {
    let foreign = pair.west.create(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "podinfo-east", "namespace": APPS, "labels": { "app": "own" } },
        "spec": { "ports": [{ "name": "http", "port": 80 }] },
    }));
    pair.serve("podinfo", &json!({ "mirror.linkerd.io/exported": "true" }), pair.at(1));
    pair.serve("other", &json!({ "mirror.linkerd.io/exported": "true" }), pair.at(1));
    pair.join(&pair.link());
    let west = pair.start_west("");
    pair.west.wait("the other mirror", |west| west.get("Service", APPS, "other-east"));
    west.eventually("the conflict is told", |west| west.get("/links").contains("podinfo"));
    pair.east.delete("Service", APPS, "podinfo");
    pair.east.delete("Service", APPS, "other");
    pair.west.wait("the other mirror's end", |west| {
        west.get("Service", APPS, "other-east").is_none().then_some(())
    });
    let after = pair.west.get("Service", APPS, "podinfo-east").expect("still there");
    assert_eq!(after["metadata"]["resourceVersion"], foreign["metadata"]["resourceVersion"]);
    assert!(pair.west.get("Endpoints", APPS, "podinfo-east").is_none());
}

/// A selector, another type, an external name: real servers have rules of their own for the way back.
pub fn a_mirror_that_was_made_something_else_is_made_a_mirror_again(pair: &Pair) {
    pair.serve("podinfo", &json!({ "mirror.linkerd.io/exported": "true" }), pair.at(1));
    pair.join(&pair.link());
    let _west = pair.start_west("");
    let mirror = |pair: &Pair| pair.west.get("Service", APPS, "podinfo-east");
    pair.west.wait("the mirror", |_| mirror(pair));
    for spec in [
        json!({ "selector": { "a": "b" } }),
        json!({ "type": "NodePort" }),
        json!({ "type": "ExternalName", "externalName": "other.example.com", "clusterIP": null,
            "clusterIPs": null }),
    ] {
        pair.west.patch("Service", APPS, "podinfo-east", &json!({ "spec": spec }));
        pair.west.wait(&format!("the mirror as it was before {spec}"), |_| {
            let spec = &mirror(pair)?["spec"];
            let is_plain = spec["type"] == "ClusterIP"
                && spec["clusterIP"].is_string()
                && spec.get("selector").is_none()
                && spec.get("externalName").is_none();
            is_plain.then_some(())
        });
    }
}

/// What was exported and withdrawn while nobody looked is made good at the next start; what a killed
/// process had begun is finished.
pub fn a_killed_mirror_converges_when_it_is_back(pair: &Pair) {
    let exported = json!({ "mirror.linkerd.io/exported": "true" });
    for index in 0..8 {
        pair.serve(&format!("svc-{index}"), &exported, pair.at(1));
    }
    pair.join(&pair.link());
    let mirrors = |pair: &Pair| {
        let all = pair.west.list("Service", APPS, "mirror.linkerd.io/mirrored-service");
        let name =
            |service: &Value| service["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut names: Vec<_> = all.iter().map(name).collect();
        names.sort();
        names
    };
    // Killed in the middle of its first writes, at different moments.
    for wait in [5, 20, 60] {
        let west = pair.start_west("");
        pair.west.wait("some mirror", |_| (!mirrors(pair).is_empty()).then_some(()));
        std::thread::sleep(Duration::from_millis(wait));
        drop(west);
    }
    pair.east.delete("Service", APPS, "svc-0");
    pair.serve("svc-8", &exported, pair.at(1));
    let _west = pair.start_west("");
    let expected: Vec<_> = (1..9).map(|index| format!("svc-{index}-east")).collect();
    pair.west.wait("exactly the exported ones", |_| (mirrors(pair) == expected).then_some(()));
    pair.west.wait("all addresses", |west| {
        let all = west.list("Endpoints", APPS, "mirror.linkerd.io/mirrored-service");
        let full = all.iter().filter(|e| !e["subsets"].as_array().is_none_or(Vec::is_empty));
        let slices = west.list("EndpointSlice", APPS, "endpointslice.kubernetes.io/managed-by");
        ((full.count(), slices.len()) == (8, 8)).then_some(())
    });
}

/// What a server or its controllers add to objects is not fought over: everything rests.
pub fn a_steady_state_is_left_alone(pair: &Pair) {
    pair.serve("podinfo", &json!({ "mirror.linkerd.io/exported": "true" }), pair.at(1));
    pair.serve("flat", &json!({ "mirror.linkerd.io/exported": "remote-discovery" }), pair.at(1));
    pair.serve("shared", &json!({ "mirror.linkerd.io/federated": "member" }), pair.at(1));
    let _east = pair.start_east();
    pair.join(&pair.link());
    let _west = pair.start_west("");
    let versions = |pair: &Pair| {
        let mut all = Vec::new();
        for kind in ["Service", "Endpoints", "EndpointSlice"] {
            all.extend(pair.west.list(kind, APPS, ""));
        }
        all.extend(pair.west.list("Link", SYSTEM, ""));
        let line = |object: &Value| {
            let of =
                |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            format!("{} {}", of("name"), of("resourceVersion"))
        };
        all.iter().map(line).collect::<Vec<_>>()
    };
    // Three Services, Endpoints and a slice of the first, and the Link.
    pair.west.wait("everything", |_| (versions(pair).len() == 6).then_some(()));
    let rests = (0..4).any(|_| {
        let before = versions(pair);
        std::thread::sleep(REST);
        versions(pair) == before
    });
    let last = versions(pair);
    assert!(rests, "something is written again and again: {last:?}");
    assert_eq!(last.len(), 6, "{last:?}");
}
