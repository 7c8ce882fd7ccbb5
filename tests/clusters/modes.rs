//! The ways in which a Link may select Services, and Links as the guides write them.

use serde_json::{Value, json};

use crate::pair::{APPS, EAST, Pair, SYSTEM};

/// Services for direct traffic are mirrored without addresses; federated ones gather their members.
pub fn flat_and_federated_services_have_labels_and_no_addresses(pair: &Pair) {
    let pod = pair.at(1);
    pair.serve("flat", &json!({ "mirror.linkerd.io/exported": "remote-discovery" }), pod);
    pair.serve("shared", &json!({ "mirror.linkerd.io/federated": "member", "from": "east" }), pod);
    pair.join(&pair.link());
    let _west = pair.start_west("");

    let flat = pair.west.wait("the flat mirror", |west| west.get("Service", APPS, "flat-east"));
    let labels = &flat["metadata"]["labels"];
    assert_eq!(labels["multicluster.linkerd.io/remote-discovery"], EAST);
    assert_eq!(labels["multicluster.linkerd.io/remote-service"], "flat");
    assert!(pair.west.get("Endpoints", APPS, "flat-east").is_none());

    let federated = |pair: &Pair| pair.west.get("Service", APPS, "shared-federated");
    let service = pair.west.wait("the federated Service", |_| federated(pair));
    let remote = "multicluster.linkerd.io/remote-discovery";
    assert_eq!(service["metadata"]["annotations"][remote], "shared@east");
    assert_eq!(service["metadata"]["labels"]["from"], "east");
    assert!(service["metadata"]["labels"]["mirror.linkerd.io/cluster-name"].is_null());

    // A member of our own cluster joins; its metadata count, because it is the oldest.
    pair.west.apply(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "shared", "namespace": APPS,
            "labels": { "mirror.linkerd.io/federated": "member", "from": "west" },
        },
        "spec": { "ports": [{ "name": "http", "port": 80 }] },
    }));
    pair.west.wait("the local member", |_| {
        let service = federated(pair)?;
        let annotations = &service["metadata"]["annotations"];
        let joined = annotations["multicluster.linkerd.io/local-discovery"] == "shared"
            && annotations[remote] == "shared@east"
            && service["metadata"]["labels"]["from"] == "west";
        joined.then_some(())
    });

    pair.east.delete("Service", APPS, "shared");
    pair.west.wait("east has left", |_| {
        let service = federated(pair)?;
        service["metadata"]["annotations"].get(remote).is_none().then_some(())
    });
    pair.west.delete("Service", APPS, "shared");
    pair.west.wait("no member, no Service", |_| federated(pair).is_none().then_some(()));
}

/// Integers for ports, no Secret named, no domain, no cluster name; a filter of namespaces.
pub fn a_link_as_the_guides_write_it_works(pair: &Pair) {
    let pod = pair.at(1);
    pair.serve("podinfo", &json!({ "mirror.linkerd.io/exported": "true" }), pod);
    let discovered = json!({ "metadata": { "labels":
        { "linkerd.io/is-remote-discovery": "true", "env": "prod" } } });
    pair.east.patch("Namespace", "", APPS, &discovered);
    let mut link = pair.link();
    let spec = link["spec"].as_object_mut().expect("a spec");
    for field in ["targetClusterName", "targetClusterDomain", "clusterCredentialsSecret"] {
        spec.remove(field);
    }
    let number = |text: &Value| text.as_str().and_then(|text| text.parse::<u16>().ok());
    spec["gatewayPort"] = json!(number(&spec["gatewayPort"]));
    spec["probeSpec"]["port"] = json!(number(&spec["probeSpec"]["port"]));
    spec["probeSpec"]["failureThreshold"] = json!(2);
    spec.insert(
        "remoteDiscoverySelector".to_owned(),
        json!({
            "matchLabels": { "linkerd.io/is-remote-discovery": "true" },
            "matchExpressions":
                [{ "key": "env", "operator": "NotIn", "values": ["dev", "staging"] }],
        }),
    );
    pair.join(&link);
    let _west = pair.start_west("");
    let mirror = |pair: &Pair| pair.west.get("Service", APPS, "podinfo-east");
    let service = pair.west.wait("the mirror", |_| mirror(pair));
    let name = &service["metadata"]["annotations"]["mirror.linkerd.io/remote-svc-fq-name"];
    assert_eq!(*name, format!("podinfo.{APPS}.svc.cluster.local"));

    let staging = json!({ "metadata": { "labels": { "env": "staging" } } });
    pair.east.patch("Namespace", "", APPS, &staging);
    pair.west.wait("its namespace is filtered out", |_| mirror(pair).is_none().then_some(()));
}

/// A wrong field is named in a condition, and stops nothing else.
pub fn a_wrong_field_is_named_where_the_operator_looks(pair: &Pair) {
    pair.serve("podinfo", &json!({ "mirror.linkerd.io/exported": "true" }), pair.at(1));
    let mut broken = pair.link();
    broken["metadata"]["name"] = json!("broken");
    broken["spec"]["targetClusterName"] = json!("broken");
    broken["spec"]["gatewayPort"] = json!("http");
    pair.join(&pair.link());
    pair.west.apply(&broken);
    let west = pair.start_west("");
    pair.west.wait("the good Link's mirror", |west| west.get("Service", APPS, "podinfo-east"));
    west.eventually("the wrong field is named", |west| {
        let links = west.get("/links");
        links.contains("spec.gatewayPort") && links.contains("http")
    });
    let names = |text: &str| text.contains("spec.gatewayPort").then_some(());
    pair.west.wait("an Event", |west| {
        let events = west.list("Event", SYSTEM, "");
        events.iter().find_map(|event| names(event["message"].as_str()?))
    });
    // Linkerd's CRD has no such conditions, and prunes them.
    if pair.keeps_conditions() {
        pair.west.wait("its condition", |west| {
            names(&west.get("Link", SYSTEM, "broken")?["status"].to_string())
        });
    }
    assert!(pair.west.get("Service", APPS, "podinfo-broken").is_none());
}
