//! Whole objects, compared: everything that the mirror decides, nothing that a server adds.

use serde_json::{Map, Value, json};

use crate::support::kubernetes::cluster::Cluster;
use crate::world::{APPS, CLUSTER, IDENTITY};

/// What a server adds to every Service; the mirror must have stated none of it otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    ("sessionAffinity", "None"),
    ("type", "ClusterIP"),
    ("internalTrafficPolicy", "Cluster"),
    ("ipFamilyPolicy", "SingleStack"),
];

/// An object of west without what the server added.
pub fn whole(cluster: &Cluster, kind: &str, name: &str) -> Value {
    let object = cluster.get(kind, APPS, name);
    let mut object = object.unwrap_or_else(|| panic!("there is no {kind} {name}"));
    let metadata = object["metadata"].as_object_mut().expect("a map");
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "namespace", "name"]
    {
        metadata.remove(field);
    }
    let fields = object.as_object_mut().expect("a map");
    fields.remove("apiVersion");
    fields.remove("kind");
    match kind {
        "Service" => service(fields),
        "Endpoints" => {
            for subset in
                fields.get_mut("subsets").and_then(Value::as_array_mut).into_iter().flatten()
            {
                sort_ports(&mut subset["ports"]);
            }
        }
        "EndpointSlice" => {
            owner(cluster, &mut fields["metadata"]);
            sort_ports(&mut fields["ports"]);
        }
        kind => panic!("{kind}"),
    }
    object
}

fn service(fields: &mut Map<String, Value>) {
    fields.remove("status");
    let spec = fields["spec"].as_object_mut().expect("a map");
    for (field, value) in DEFAULTS {
        let found = spec.remove(*field);
        assert_eq!(found.as_ref(), Some(&json!(value)), "{field}");
    }
    spec.remove("ipFamilies");
    let is_headless = spec["clusterIP"] == "None";
    spec.remove("clusterIPs");
    if !is_headless {
        spec.remove("clusterIP");
    }
}

/// The uid of the Service that owns a slice becomes `its Service's`.
fn owner(cluster: &Cluster, metadata: &mut Value) {
    let name = metadata["ownerReferences"][0]["name"].as_str().unwrap_or_default().to_owned();
    let service = cluster.get("Service", APPS, &name);
    let uid = service.map(|service| service["metadata"]["uid"].clone());
    let stated = &mut metadata["ownerReferences"][0]["uid"];
    if uid.as_ref() == Some(&*stated) {
        *stated = "its Service's".into();
    }
}

/// A server stores ports in an order of its own.
fn sort_ports(ports: &mut Value) {
    if let Some(ports) = ports.as_array_mut() {
        ports.sort_by_key(|port| port["name"].to_string());
    }
}

/// The labels of every mirror, with those of the remote Service.
pub fn labels(more: Value) -> Value {
    let mirror = json!({
        "mirror.linkerd.io/mirrored-service": "true", "mirror.linkerd.io/cluster-name": CLUSTER,
    });
    merged(mirror, more)
}

/// The annotations of a mirror Service.
pub fn annotations(full_name: &str, version: &str, more: Value) -> Value {
    let mirror = json!({
        "mirror.linkerd.io/remote-svc-fq-name": full_name,
        "mirror.linkerd.io/remote-resource-version": version,
    });
    merged(mirror, more)
}

/// The annotations of Endpoints and slices.
pub fn endpoint_annotations(full_name: &str) -> Value {
    json!({
        "mirror.linkerd.io/remote-svc-fq-name": full_name,
        "mirror.linkerd.io/remote-gateway-identity": IDENTITY,
    })
}

/// Ports of a Service by name and number.
pub fn ports(ports: &[(&str, u16)]) -> Value {
    let port = |(name, port): &(&str, u16)| json!({ "name": name, "protocol": "TCP", "port": port, "targetPort": port });
    ports.iter().map(port).collect()
}

/// Ports of Endpoints, sorted by name.
pub fn endpoint_ports(ports: &[(&str, u16)]) -> Value {
    let port =
        |(name, port): &(&str, u16)| json!({ "name": name, "protocol": "TCP", "port": port });
    ports.iter().map(port).collect()
}

/// The whole Endpoints of a mirror; `labels` without the one that keeps Kubernetes from copying.
pub fn endpoints_object(labels: &Value, annotations: &Value, subsets: Value) -> Value {
    let skip = json!({ "endpointslice.kubernetes.io/skip-mirror": "true" });
    let mut object = json!({ "metadata": { "labels": merged(labels.clone(), skip), "annotations": annotations } });
    if subsets != json!([]) {
        object["subsets"] = subsets;
    }
    object
}

/// The whole slice of a mirror.
pub fn slice_object(
    mirror: &str,
    labels: &Value,
    annotations: &Value,
    endpoints: Value,
    ports: Value,
) -> Value {
    let own = json!({
        "kubernetes.io/service-name": mirror,
        "endpointslice.kubernetes.io/managed-by": "linkerd-gateway",
    });
    json!({
        "metadata": {
            "labels": merged(labels.clone(), own), "annotations": annotations,
            "ownerReferences": [
                { "apiVersion": "v1", "kind": "Service", "name": mirror, "uid": "its Service's" }
            ],
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    })
}

fn merged(mut map: Value, more: Value) -> Value {
    let (Value::Object(into), Value::Object(more)) = (&mut map, more) else { panic!("maps") };
    into.extend(more);
    map
}
