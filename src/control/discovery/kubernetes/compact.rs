//! From the API's objects to what is kept of them (`model::discovery::object`). What cannot be read
//! is left out here, never guessed.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use serde::{Deserialize, Serialize};

use crate::model::discovery::object::{
    Mesh, Pod, PodRef, Readiness, Service, ServiceKind, Slice, SliceEndpoint,
};
use crate::model::discovery::restriction::{ALLOWED_IDENTITIES, EXPORTED_PORTS, is_unknown};
use crate::model::kubernetes::object::{EndpointPort, Protocol, ServicePort};
use crate::model::service::Port;

/// Says in which namespace a pod's control plane is: set on every meshed pod.
const CONTROL_PLANE: &str = "linkerd.io/control-plane-ns";
/// The name of the proxy's container, and of the port where it takes connections.
const PROXY: &str = "linkerd-proxy";
/// Where a proxy listens that does not say otherwise.
const PROXY_PORT: u16 = 4143;
/// Names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Pod of which only this is read: a cluster has many, and each says a lot.
pub(super) type PodObject = kube::core::Object<PodSpec, PodStatus>;

/// Of a Pod's `spec`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec {
    #[serde(default)]
    service_account_name: Option<String>,
    #[serde(default)]
    host_network: Option<bool>,
    #[serde(default)]
    containers: Vec<Container>,
    #[serde(default)]
    init_containers: Option<Vec<Container>>,
}

/// Of a container.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Container {
    name: String,
    #[serde(default)]
    ports: Option<Vec<ContainerPort>>,
}

/// A port of a container.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerPort {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    container_port: u16,
}

/// Of a Pod's `status`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodStatus {
    #[serde(rename = "podIP", default)]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs", default)]
    pod_ips: Option<Vec<PodIp>>,
}

/// One address of a Pod.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct PodIp {
    #[serde(default)]
    ip: String,
}

/// What is kept of a Service.
pub(super) fn service(object: core::Service) -> Service {
    let annotations = object.metadata.annotations.unwrap_or_default();
    let annotation = |key| annotations.get(key).map(|value: &String| Arc::from(value.as_str()));
    let spec = object.spec.unwrap_or_default();
    let kind = match (spec.type_.as_deref(), spec.cluster_ip.as_deref()) {
        (Some("ExternalName"), _) => ServiceKind::ExternalName,
        (_, Some("None")) => ServiceKind::Headless,
        _ => ServiceKind::Address,
    };
    let version = object.metadata.resource_version.and_then(|version| version.parse().ok());
    Service {
        uid: object.metadata.uid.unwrap_or_default().into(),
        version: version.unwrap_or(0),
        kind,
        ports: spec.ports.unwrap_or_default().into_iter().filter_map(service_port).collect(),
        allowed_identities: annotation(ALLOWED_IDENTITIES),
        exported_ports: annotation(EXPORTED_PORTS),
        unknown_annotation: annotations
            .keys()
            .find(|key| is_unknown(key))
            .map(|key| (&**key).into()),
    }
}

fn service_port(port: core::ServicePort) -> Option<ServicePort> {
    Some(ServicePort {
        name: port.name.unwrap_or_default().into(),
        protocol: protocol(port.protocol.as_deref())?,
        port: u16::try_from(port.port).ok()?,
        // EndpointSlices have it resolved.
        target_port: None,
    })
}

fn protocol(text: Option<&str>) -> Option<Protocol> {
    text.map_or(Some(Protocol::default()), Protocol::parse)
}

/// What is kept of an EndpointSlice; `None` for one of no Service, or of names instead of addresses.
pub(super) fn slice(object: discovery::EndpointSlice) -> Option<Slice> {
    let service = object.metadata.labels?.remove(SERVICE_NAME)?;
    if object.address_type == "FQDN" {
        return None;
    }
    let port = |port: discovery::EndpointPort| {
        Some(EndpointPort {
            name: port.name.unwrap_or_default().into(),
            protocol: protocol(port.protocol.as_deref())?,
            port: u16::try_from(port.port?).ok()?,
        })
    };
    Some(Slice {
        service: service.into(),
        ports: object.ports.unwrap_or_default().into_iter().filter_map(port).collect(),
        endpoints: object.endpoints.into_iter().filter_map(endpoint).collect(),
    })
}

fn endpoint(endpoint: discovery::Endpoint) -> Option<SliceEndpoint> {
    let conditions = endpoint.conditions.unwrap_or_default();
    let pod = endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod"));
    let zones = endpoint.hints.and_then(|hints| hints.for_zones);
    let zones = zones.filter(|zones| !zones.is_empty());
    Some(SliceEndpoint {
        address: endpoint.addresses.first()?.parse().ok()?,
        readiness: Readiness::of(conditions.ready, conditions.serving, conditions.terminating),
        hostname: endpoint.hostname.map(Into::into),
        pod: pod.and_then(|pod| {
            Some(PodRef { name: pod.name?.into(), uid: pod.uid.unwrap_or_default().into() })
        }),
        zones: zones.map(|zones| zones.into_iter().map(|zone| zone.name.into()).collect()),
    })
}

/// What is kept of a Pod.
pub(super) fn pod(object: PodObject) -> Pod {
    let mesh = mesh(&object);
    let status = object.status.unwrap_or_default();
    let more = status.pod_ips.unwrap_or_default().into_iter().map(|ip| ip.ip);
    let mut addresses: Vec<IpAddr> =
        status.pod_ip.into_iter().chain(more).filter_map(|ip| ip.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Pod { uid: object.metadata.uid.unwrap_or_default().into(), addresses, mesh }
}

/// Linkerd does not mesh pods in the host's network, whatever their labels say.
fn mesh(object: &PodObject) -> Option<Mesh> {
    let control_plane = object.metadata.labels.as_ref()?.get(CONTROL_PLANE)?;
    let spec = &object.spec;
    if spec.host_network == Some(true) {
        return None;
    }
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let proxy = containers.find(|container| container.name == PROXY)?;
    let mut ports = proxy.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref() == Some(PROXY));
    let account = spec.service_account_name.as_deref().filter(|name| !name.is_empty());
    Some(Mesh {
        service_account: account.unwrap_or("default").into(),
        control_plane: control_plane.as_str().into(),
        port: Port::new(port.map_or(PROXY_PORT, |port| port.container_port))?,
    })
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn read<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("an object")
    }

    #[test]
    fn a_service_is_what_it_says() {
        let found = service(read(json!({
            "metadata": {
                "name": "web", "uid": "u", "resourceVersion": "77",
                "annotations": { ALLOWED_IDENTITIES: "a.b", EXPORTED_PORTS: "http", "x": "y" },
            },
            "spec": {
                "clusterIP": "10.96.0.1", "type": "ClusterIP",
                "ports": [
                    { "name": "http", "port": 80, "targetPort": "web" },
                    { "name": "dns", "port": 53, "protocol": "UDP" },
                    { "name": "odd", "port": 54, "protocol": "QUIC" },
                ],
            },
        })));
        assert_eq!((&*found.uid, found.version, found.kind), ("u", 77, ServiceKind::Address));
        let ports: Vec<_> = found.ports.iter().map(|p| (&*p.name, p.protocol, p.port)).collect();
        assert_eq!(ports, [("http", Protocol::Tcp, 80), ("dns", Protocol::Udp, 53)]);
        assert_eq!(found.allowed_identities.as_deref(), Some("a.b"));
        assert_eq!(found.exported_ports.as_deref(), Some("http"));
        for (spec, kind) in [
            (json!({ "clusterIP": "None" }), ServiceKind::Headless),
            (json!({ "type": "ExternalName", "externalName": "x.y" }), ServiceKind::ExternalName),
            (json!({}), ServiceKind::Address),
        ] {
            assert_eq!(service(read(json!({ "metadata": {}, "spec": spec }))).kind, kind);
        }
    }

    #[test]
    fn a_slice_belongs_to_a_service_and_has_addresses() {
        let slice = |labels: Value, kind: &str| {
            slice(read(json!({
                "metadata": { "name": "web-1", "labels": labels }, "addressType": kind,
                "ports": [{ "name": "http", "port": 8080 }, { "name": "any" }],
                "endpoints": [
                    {
                        "addresses": ["10.0.0.1", "10.0.0.9"], "hostname": "web-0",
                        "conditions": { "ready": false, "serving": true, "terminating": true },
                        "targetRef": { "kind": "Pod", "name": "web-0", "uid": "p" },
                        "hints": { "forZones": [{ "name": "a" }, { "name": "b" }] },
                    },
                    { "addresses": ["10.0.0.2"], "targetRef": { "kind": "Node", "name": "n" } },
                    { "addresses": ["not an address"] },
                ],
            })))
        };
        let found = slice(json!({ SERVICE_NAME: "web" }), "IPv4").expect("a slice");
        assert_eq!((&*found.service, found.ports.len(), found.endpoints.len()), ("web", 1, 2));
        let [first, second] = &found.endpoints[..] else { panic!("{found:?}") };
        assert_eq!(
            (first.address.to_string(), first.readiness),
            ("10.0.0.1".into(), Readiness::Terminating)
        );
        assert_eq!(first.pod, Some(PodRef { name: "web-0".into(), uid: "p".into() }));
        assert_eq!(first.zones.as_deref().map(<[_]>::len), Some(2));
        assert_eq!(
            (second.readiness, &second.pod, &second.zones),
            (Readiness::Ready, &None, &None)
        );
        assert_eq!(slice(json!({}), "IPv4"), None);
        assert_eq!(slice(json!({ SERVICE_NAME: "web" }), "FQDN"), None);
    }

    #[test]
    fn a_pod_is_meshed_when_it_has_the_label_and_the_proxy() {
        let pod = |label: bool, spec: Value| {
            let labels = if label { json!({ CONTROL_PLANE: "linkerd" }) } else { json!({}) };
            pod(read(json!({
                "metadata": { "name": "web-0", "uid": "p", "labels": labels }, "spec": spec,
                "status": { "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }] },
            })))
        };
        let proxy = |port: Value| json!({ "name": "linkerd-proxy", "ports": port });
        let app = json!({ "name": "app" });
        let named = proxy(
            json!([{ "containerPort": 4191 }, { "name": "linkerd-proxy", "containerPort": 4150 }]),
        );
        let found = pod(true, json!({ "serviceAccountName": "web", "containers": [app, named] }));
        let mesh = found.mesh.expect("meshed");
        assert_eq!(
            (&*mesh.service_account, &*mesh.control_plane, mesh.port.get()),
            ("web", "linkerd", 4150)
        );
        assert_eq!(found.addresses.len(), 2);
        // A native sidecar, and neither account nor port.
        let spec = json!({ "containers": [app], "initContainers": [proxy(Value::Null)] });
        let mesh = pod(true, spec.clone()).mesh.expect("meshed");
        assert_eq!((&*mesh.service_account, mesh.port.get()), ("default", 4143));
        assert_eq!(pod(false, spec.clone()).mesh, None);
        assert_eq!(pod(true, json!({ "containers": [app] })).mesh, None);
        let mut host = spec;
        host["hostNetwork"] = true.into();
        assert_eq!(pod(true, host).mesh, None);
    }
}
