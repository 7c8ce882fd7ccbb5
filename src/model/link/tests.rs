use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::kubernetes::labels::tests::labels;

fn spec(spec: Value) -> ParsedLink {
    let metadata = json!({ "namespace": "linkerd-multicluster", "name": "east", "generation": 3 });
    parse(&json!({ "metadata": metadata, "spec": spec }))
}

fn valid(fields: Value) -> Link {
    let parsed = spec(fields);
    assert_eq!(parsed.problems, []);
    parsed.link
}

#[test]
fn addresses_are_read_as_people_write_them() {
    let ip = |text: &str| Some(GatewayAddress::Ip(text.parse().expect("an address")));
    assert_eq!(GatewayAddress::parse("[2001:db8::1]"), ip("2001:db8::1"));
    assert_eq!(GatewayAddress::parse("::ffff:192.0.2.1"), ip("192.0.2.1"));
    let name = GatewayAddress::Name("gw.example.com".into());
    assert_eq!(GatewayAddress::parse("GW.example.com."), Some(name));
    for wrong in ["a b", "192.0.2.256", "192.0.2", "[192.0.2.1", "", "https://gw"] {
        assert_eq!(GatewayAddress::parse(wrong), None, "{wrong:?}");
    }
}

/// As `linkerd multicluster link-gen` writes it.
#[test]
fn every_field_of_v1alpha3_is_read() {
    let link = valid(json!({
        "targetClusterName": "east-1",
        "targetClusterDomain": "east.example.",
        "targetClusterLinkerdNamespace": "linkerd",
        "clusterCredentialsSecret": "cluster-credentials-east-1",
        "gatewayAddress": "192.0.2.1, gateway.example.com ,,::ffff:192.0.2.9,2001:db8::1,192.0.2.1,",
        "gatewayPort": "4143",
        "gatewayIdentity": "gw.ns.serviceaccount.identity.linkerd.cluster.local",
        "probeSpec": {
            "path": "/ready", "port": "4191", "period": "3s", "timeout": "30s", "failureThreshold": "3"
        },
        "selector": { "matchLabels": { "mirror.linkerd.io/exported": "true" } },
        "remoteDiscoverySelector": {
            "matchExpressions": [
                { "key": "mirror.linkerd.io/exported", "operator": "In", "values": ["remote-discovery"] }
            ]
        },
        "federatedServiceSelector": { "matchLabels": { "mirror.linkerd.io/federated": "member" } },
        "excludedAnnotations": ["a.example/*"],
        "excludedLabels": ["b", " c.example/d "],
    }));
    assert_eq!((&*link.cluster, &*link.domain), ("east-1", "east.example"));
    assert_eq!(link.credentials.as_deref(), Some("cluster-credentials-east-1"));
    assert_eq!(link.generation, 3);
    let gateway = link.gateway.clone().expect("a gateway");
    let address = |text: &str| GatewayAddress::Ip(text.parse().expect("an address"));
    let name = GatewayAddress::Name("gateway.example.com".into());
    let expected = [address("192.0.2.1"), name, address("192.0.2.9"), address("2001:db8::1")];
    assert_eq!(gateway.addresses, expected);
    assert_eq!(gateway.port, 4143);
    assert!(gateway.identity.is_some());
    let probe = link.probe.clone().expect("a probe");
    assert_eq!((&*probe.path, probe.port, probe.failure_threshold), ("/ready", 4191, 3));
    assert_eq!((probe.period, probe.timeout), (Duration::from_secs(3), Duration::from_secs(3)));
    assert_eq!(link.excluded_annotations, [ExcludedKey::Group("a.example".into())]);
    let exact = |key: &str| ExcludedKey::Exact(key.into());
    assert_eq!(link.excluded_labels, [exact("b"), exact("c.example/d")]);
    let exported = |value| link.export(&labels(&[("mirror.linkerd.io/exported", value)]), None);
    assert_eq!(exported("true"), Export::Gateway);
    assert_eq!(exported("remote-discovery"), Export::Flat);
    assert_eq!(exported("no"), Export::No);
    let federated = labels(&[("mirror.linkerd.io/federated", "member")]);
    assert_eq!(link.federates(&federated, None), Some(true));
}

/// Ports given as integers, and what guides leave out.
#[test]
fn numbers_and_defaults_are_as_the_guides_write_them() {
    let link = valid(json!({
        "gatewayAddress": "192.0.2.1",
        "gatewayPort": 14143,
        "probeSpec": { "path": "/ready", "period": 5, "timeout": "500ms", "failureThreshold": 2 },
    }));
    assert_eq!((&*link.cluster, &*link.domain), ("east", "cluster.local"));
    assert_eq!((link.credentials, link.namespace_filter), (None, None));
    let gateway = link.gateway.expect("a gateway");
    assert_eq!((gateway.port, gateway.identity), (14143, None));
    let probe = link.probe.expect("a probe");
    assert_eq!((probe.port, probe.failure_threshold), (4191, 2));
    assert_eq!(probe.period, Duration::from_secs(5));
    assert_eq!(probe.timeout, Duration::from_millis(500));
    let link = valid(
        json!({ "gatewayAddress": "g.example", "probeSpec": { "path": "/", "period": "3" } }),
    );
    assert_eq!(link.probe.map(|probe| probe.period), Some(Duration::from_secs(3)));
    assert_eq!(link.gateway.map(|gateway| gateway.port), Some(4143));
    let link = valid(json!({ "gatewayAddress": "g.example" }));
    assert_eq!(link.probe, None, "no path, no probe");
    let link = valid(json!({ "gatewayAddress": " , ", "gatewayPort": "nonsense" }));
    assert_eq!(link.gateway, None, "without an address nothing is asked of the rest");
}

#[test]
fn a_discovery_selector_that_names_the_namespace_label_is_a_namespace_filter() {
    let link = valid(json!({
        "selector": { "matchLabels": { "exported": "true" } },
        "federatedServiceSelector": { "matchLabels": { "exported": "true" } },
        "remoteDiscoverySelector": {
            "matchLabels": { "linkerd.io/is-remote-discovery": "true" },
            "matchExpressions": [{ "key": "env", "operator": "NotIn", "values": ["dev", "staging"] }]
        },
    }));
    assert!(link.remote_discovery.is_empty());
    let service = labels(&[("exported", "true"), ("linkerd.io/is-remote-discovery", "true")]);
    let marked = ("linkerd.io/is-remote-discovery", "true");
    for (namespace, export, federates) in [
        (None, Export::Unknown, None),
        (Some(labels(&[marked])), Export::Gateway, Some(true)),
        (Some(labels(&[marked, ("env", "dev")])), Export::No, Some(false)),
        (Some(labels(&[("env", "prod")])), Export::No, Some(false)),
    ] {
        assert_eq!(link.export(&service, namespace.as_ref()), export, "{namespace:?}");
        assert_eq!(link.federates(&service, namespace.as_ref()), federates);
    }
    assert_eq!(link.export(&labels(&[marked]), None), Export::No, "it selects no Services");
}

#[test]
fn a_wrong_field_is_named_and_says_what_it_stops() {
    use Stops::{Mirroring, Probing};
    let gateway = |mut fields: Value| {
        fields["gatewayAddress"] = "192.0.2.1".into();
        fields
    };
    let probe = |field: &str, value: Value| {
        gateway(json!({ "probeSpec": { "path": "/ready", field: value } }))
    };
    for (fields, field, stops) in [
        (json!("text"), "spec", Mirroring),
        (json!(null), "spec", Mirroring),
        (json!({ "targetClusterName": "East" }), "spec.targetClusterName", Mirroring),
        (json!({ "targetClusterName": "a.b" }), "spec.targetClusterName", Mirroring),
        (json!({ "targetClusterName": ["a"] }), "spec.targetClusterName", Mirroring),
        (json!({ "targetClusterDomain": "-" }), "spec.targetClusterDomain", Mirroring),
        (json!({ "gatewayAddress": "192.0.2.1,10.0.0.999" }), "spec.gatewayAddress", Mirroring),
        (json!({ "gatewayAddress": "bad host" }), "spec.gatewayAddress", Mirroring),
        (json!({ "gatewayAddress": {} }), "spec.gatewayAddress", Mirroring),
        (json!({ "gatewayAddress": "192.0.2.1,0.0.0.0" }), "spec.gatewayAddress", Mirroring),
        (json!({ "gatewayAddress": "192.0.2.1,169.254.1.1" }), "spec.gatewayAddress", Mirroring),
        (json!({ "gatewayAddress": "ff02::1" }), "spec.gatewayAddress", Mirroring),
        (gateway(json!({ "gatewayPort": "65536" })), "spec.gatewayPort", Mirroring),
        (gateway(json!({ "gatewayPort": 0 })), "spec.gatewayPort", Mirroring),
        (gateway(json!({ "gatewayPort": -1 })), "spec.gatewayPort", Mirroring),
        (gateway(json!({ "gatewayPort": 1.5 })), "spec.gatewayPort", Mirroring),
        (gateway(json!({ "gatewayPort": true })), "spec.gatewayPort", Mirroring),
        (gateway(json!({ "gatewayIdentity": "a b" })), "spec.gatewayIdentity", Mirroring),
        (json!({ "selector": [] }), "spec.selector", Mirroring),
        (json!({ "selector": { "matchLabels": 1 } }), "spec.selector.matchLabels", Mirroring),
        (json!({ "excludedLabels": [1] }), "spec.excludedLabels", Mirroring),
        (gateway(json!({ "probeSpec": "x" })), "spec.probeSpec", Probing),
        (gateway(json!({ "probeSpec": { "path": "ready" } })), "spec.probeSpec.path", Probing),
        (probe("port", json!("http")), "spec.probeSpec.port", Probing),
        (probe("period", json!("soon")), "spec.probeSpec.period", Probing),
        (probe("period", json!("1ms")), "spec.probeSpec.period", Probing),
        (probe("period", json!(u64::MAX)), "spec.probeSpec.period", Probing),
        (probe("timeout", json!(0)), "spec.probeSpec.timeout", Probing),
        (probe("failureThreshold", json!("-1")), "spec.probeSpec.failureThreshold", Probing),
    ] {
        let parsed = spec(fields.clone());
        let found: Vec<_> = parsed.problems.iter().map(|it| (&*it.field, it.stops)).collect();
        assert_eq!(found, [(field, stops)], "{fields}");
        let expected = &parsed.problems[0].expected;
        assert!(
            expected.starts_with("expected ") && !expected.starts_with("expected expected"),
            "{expected}"
        );
        assert!(expected.contains("found") || expected.contains("not set"), "{expected}");
        assert_eq!(parsed.is_frozen(), stops == Mirroring);
        assert!(stops == Mirroring || parsed.link.probe.is_none());
    }
    let parsed = parse(&json!({ "metadata": { "name": "a.b" }, "spec": {} }));
    assert!(parsed.problems[0].expected.contains("the Link's name is \"a.b\""));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[0-9a-z.:,/ ]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(
                "(matchLabels|matchExpressions|path|port|period|timeout|key|operator|values|x)",
                inner,
                0..4
            )
            .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(values in prop::collection::vec(any_json(), 15), whole in any_json()) {
        const FIELDS: [&str; 13] = [
            "targetClusterName", "targetClusterDomain", "clusterCredentialsSecret", "gatewayAddress",
            "gatewayPort", "gatewayIdentity", "probeSpec", "selector", "remoteDiscoverySelector",
            "federatedServiceSelector", "excludedAnnotations", "excludedLabels", "other",
        ];
        let spec: Value = FIELDS.iter().zip(&values)
            .map(|(field, value)| ((*field).to_owned(), value.clone())).collect();
        let parsed = parse(&json!({ "metadata": values[13], "spec": spec }));
        if !parsed.is_frozen() {
            let cluster = &parsed.link.cluster;
            prop_assert!(is_dns_label(cluster), "{}", cluster);
        }
        parse(&whole);
    }
}
