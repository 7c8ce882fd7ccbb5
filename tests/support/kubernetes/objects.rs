//! Objects as tests need them most: builders of JSON that a server accepts. What is missing is set by
//! indexing: `service["metadata"]["labels"]["a"] = "b".into()`.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// A port of a Service: name, number, target port.
pub type Port<'a> = (&'a str, u16, u16);

pub fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
}

/// A Service with a cluster IP; it selects Pods with `app: <name>`.
pub fn service(namespace: &str, name: &str, ports: &[Port<'_>]) -> Value {
    let ports: Vec<_> = ports
        .iter()
        .map(|(name, port, target)| json!({ "name": name, "port": port, "targetPort": target }))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "ports": ports, "selector": { "app": name } },
    })
}

/// The same, exported as Linkerd's gateway mode wants it.
pub fn exported(namespace: &str, name: &str, ports: &[Port<'_>]) -> Value {
    labelled(service(namespace, name, ports), "mirror.linkerd.io/exported", "true")
}

/// The same without a cluster IP.
pub fn headless(mut service: Value) -> Value {
    service["spec"]["clusterIP"] = "None".into();
    service
}

/// Adds a label.
pub fn labelled(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["labels"][key] = value.into();
    object
}

/// Adds an annotation.
pub fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"][key] = value.into();
    object
}

/// Endpoints of a Service as its controller writes them: all ready, at the target ports.
pub fn endpoints(service: &Value, addresses: &[&str]) -> Value {
    let ports: Vec<_> = ports_of(service);
    let addresses: Vec<_> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    let mut endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": { "namespace": service["metadata"]["namespace"],
            "name": service["metadata"]["name"], "labels": service["metadata"]["labels"] },
    });
    if service["spec"]["clusterIP"] == "None" {
        endpoints["metadata"]["labels"]["service.kubernetes.io/headless"] = "".into();
    }
    if !addresses.is_empty() {
        endpoints["subsets"] = json!([{ "addresses": addresses, "ports": ports }]);
    }
    endpoints
}

/// An EndpointSlice of a Service, named `<service>-<suffix>`, all ready, at the target ports. The
/// family is that of the first address.
pub fn slice(service: &Value, suffix: &str, addresses: &[&str]) -> Value {
    let name = service["metadata"]["name"].as_str().unwrap_or_default();
    let is_six = addresses.first().is_some_and(|address| address.contains(':'));
    let endpoint = |address: &&str| {
        json!({ "addresses": [address],
            "conditions": { "ready": true, "serving": true, "terminating": false } })
    };
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "namespace": service["metadata"]["namespace"], "name": format!("{name}-{suffix}"),
            "labels": {
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": if is_six { "IPv6" } else { "IPv4" },
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
        "ports": ports_of(service),
    });
    if service["spec"]["clusterIP"] == "None" {
        slice["metadata"]["labels"]["service.kubernetes.io/headless"] = "".into();
    }
    slice
}

fn ports_of(service: &Value) -> Vec<Value> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = |port: &Value| {
        let target =
            if port["targetPort"].is_number() { &port["targetPort"] } else { &port["port"] };
        json!({ "name": port["name"], "port": target, "protocol": "TCP" })
    };
    ports.map(port).collect()
}

/// A running Pod at an address, with the label `app: <app>`.
pub fn pod(namespace: &str, name: &str, app: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "labels": { "app": app } },
        "spec": {
            "serviceAccountName": app,
            "containers": [{ "name": "app", "image": "app:1" }],
        },
        "status": {
            "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }],
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

/// The same with Linkerd's proxy, as an ordinary container or as a native sidecar.
pub fn meshed(mut pod: Value, is_native: bool) -> Value {
    pod["metadata"]["labels"]["linkerd.io/control-plane-ns"] = "linkerd".into();
    let mut proxy = json!({ "name": "linkerd-proxy", "image": "proxy:1" });
    let spec = &mut pod["spec"];
    if is_native {
        proxy["restartPolicy"] = "Always".into();
        spec["initContainers"] = json!([proxy]);
    } else if let Some(containers) = spec["containers"].as_array_mut() {
        containers.push(proxy);
    }
    pod
}

/// The Secret through which a Link finds its target's API server.
pub fn credentials(namespace: &str, name: &str, kubeconfig: &str) -> Value {
    let data = ByteString(kubeconfig.as_bytes().to_vec());
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "mirror.linkerd.io/remote-kubeconfig",
        "metadata": { "namespace": namespace, "name": name },
        "data": { "kubeconfig": data },
    })
}

/// A Link (v1alpha3) to the cluster of its name, in gateway mode, probing every second.
pub fn link(namespace: &str, cluster: &str, gateway: &str, port: u16) -> Value {
    json!({
        "apiVersion": "multicluster.linkerd.io/v1alpha3", "kind": "Link",
        "metadata": { "namespace": namespace, "name": cluster },
        "spec": {
            "targetClusterName": cluster,
            "targetClusterDomain": "cluster.local",
            "targetClusterLinkerdNamespace": "linkerd",
            "clusterCredentialsSecret": format!("cluster-credentials-{cluster}"),
            "gatewayAddress": gateway,
            "gatewayPort": port.to_string(),
            "gatewayIdentity":
                "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local",
            "probeSpec": { "path": "/ready", "port": "4191", "period": "1s", "timeout": "1s",
                "failureThreshold": "3" },
            "selector": { "matchLabels": { "mirror.linkerd.io/exported": "true" } },
            "remoteDiscoverySelector":
                { "matchLabels": { "mirror.linkerd.io/exported": "remote-discovery" } },
            "federatedServiceSelector":
                { "matchLabels": { "mirror.linkerd.io/federated": "member" } },
        },
    })
}
