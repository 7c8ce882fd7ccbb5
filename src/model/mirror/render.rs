//! Mirrors as the JSON of the API, and namespaces created for them.

use serde_json::{Map, Value, json};

use super::keys;
use super::object::{
    Meta, MirrorAddress, MirrorEndpoints, MirrorService, MirrorSlice, MirrorSubset, Object,
};
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::object::{EndpointPort, ServicePort, TargetPort, Version};

/// The body of a POST (`None`) or of a PUT that replaces the given state.
pub(super) fn object(object: &Object, replaces: Option<&Version>) -> Value {
    match object {
        Object::Service(service) => self::service(service, replaces),
        Object::Endpoints(endpoints) => self::endpoints(endpoints, replaces),
        Object::Slice(slice) => self::slice(slice, replaces),
    }
}

/// A namespace that is missing here, as Linkerd creates it for mirrors of `cluster`.
pub fn namespace(name: &str, cluster: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": name, "labels": { keys::MIRRORED: keys::TRUE, keys::CLUSTER: cluster } },
    })
}

/// Only what a mirror is made of: everything else of a Service is the server's default. The address
/// is kept on replacement: it cannot change.
fn service(service: &MirrorService, replaces: Option<&Version>) -> Value {
    let ports: Vec<_> = service.ports.iter().map(service_port).collect();
    let mut spec = json!({ "ports": ports });
    if service.is_headless {
        spec["clusterIP"] = "None".into();
    } else if let (Some(ip), Some(_)) = (service.cluster_ip, replaces) {
        spec["clusterIP"] = ip.to_string().into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(&service.meta, replaces),
        "spec": spec,
    })
}

fn endpoints(endpoints: &MirrorEndpoints, replaces: Option<&Version>) -> Value {
    let subsets: Vec<_> = endpoints.subsets.iter().map(subset).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": metadata(&endpoints.meta, replaces),
        "subsets": subsets,
    })
}

fn slice(slice: &MirrorSlice, replaces: Option<&Version>) -> Value {
    let endpoint = |address: &MirrorAddress, is_ready: bool| {
        let mut endpoint = Map::new();
        endpoint.insert("addresses".to_owned(), json!([address.ip]));
        endpoint.insert("conditions".to_owned(), json!({ "ready": is_ready }));
        if let Some(hostname) = &address.hostname {
            endpoint.insert("hostname".to_owned(), (&**hostname).into());
        }
        Value::Object(endpoint)
    };
    let endpoints: Vec<_> =
        slice.endpoints.iter().map(|one| endpoint(&one.address, one.is_ready)).collect();
    let ports: Vec<_> = slice.ports.iter().map(endpoint_port).collect();
    let mut metadata = metadata(&slice.meta, replaces);
    if let (Some(uid), Some(name)) = (&slice.meta.owner, slice.meta.labels.get(keys::SERVICE_NAME))
    {
        metadata["ownerReferences"] = json!([
            { "apiVersion": "v1", "kind": "Service", "name": &**name, "uid": &**uid }
        ]);
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": slice.family.label(),
        "endpoints": endpoints,
        "ports": ports,
    })
}

fn metadata(meta: &Meta, replaces: Option<&Version>) -> Value {
    let mut metadata = json!({
        "namespace": &*meta.key.namespace,
        "name": &*meta.key.name,
        "labels": map(&meta.labels),
        "annotations": map(&meta.annotations),
    });
    if let Some(version) = replaces {
        metadata["uid"] = (&*version.uid).into();
        metadata["resourceVersion"] = (&*version.resource_version).into();
    }
    metadata
}

fn map(labels: &Labels) -> Value {
    labels.iter().map(|(key, value)| (key.to_string(), Value::from(&**value))).collect()
}

fn subset(subset: &MirrorSubset) -> Value {
    let mut fields = Map::new();
    let addresses = |addresses: &[MirrorAddress]| addresses.iter().map(address).collect();
    if !subset.addresses.is_empty() {
        fields.insert("addresses".to_owned(), addresses(&subset.addresses));
    }
    if !subset.not_ready.is_empty() {
        fields.insert("notReadyAddresses".to_owned(), addresses(&subset.not_ready));
    }
    fields.insert("ports".to_owned(), subset.ports.iter().map(endpoint_port).collect());
    Value::Object(fields)
}

fn address(address: &MirrorAddress) -> Value {
    match &address.hostname {
        Some(hostname) => json!({ "ip": address.ip, "hostname": &**hostname }),
        None => json!({ "ip": address.ip }),
    }
}

fn service_port(port: &ServicePort) -> Value {
    let mut json = json!({ "protocol": port.protocol.label(), "port": port.port });
    if !port.name.is_empty() {
        json["name"] = (&*port.name).into();
    }
    match &port.target_port {
        Some(TargetPort::Number(number)) => json["targetPort"] = (*number).into(),
        Some(TargetPort::Name(name)) => json["targetPort"] = (&**name).into(),
        None => {}
    }
    json
}

fn endpoint_port(port: &EndpointPort) -> Value {
    let mut json = json!({ "protocol": port.protocol.label(), "port": port.port });
    if !port.name.is_empty() {
        json["name"] = (&*port.name).into();
    }
    json
}
