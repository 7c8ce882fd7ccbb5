//! What west must have in the end, from what east has: written from Linkerd's rules, in the simplest
//! way, and without a line of the mirror's own code.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use crate::world::{SYSTEM, World};

const MIRRORED: &str = "mirror.linkerd.io/mirrored-service";
const CLUSTER: &str = "mirror.linkerd.io/cluster-name";

type Key = (String, String);

/// What is wanted of one mirror.
#[derive(Debug)]
struct Wanted {
    labels: Value,
    annotations: Value,
    ports: Value,
    is_headless: bool,
    /// `None`: whatever it is.
    endpoints: Option<Vec<Value>>,
}

/// What is not as it must be, for people.
pub fn differences(world: &World) -> Vec<String> {
    let Some(wanted) = wanted(world) else { return vec!["the Link's port is wrong".to_owned()] };
    let mut wrong = Vec::new();
    let services: BTreeMap<_, _> = mirrors(world, "Service").into_iter().collect();
    let endpoints: BTreeMap<_, _> = mirrors(world, "Endpoints").into_iter().collect();
    let slices: BTreeMap<_, _> = mirrors(world, "EndpointSlice").into_iter().collect();
    for (key, wanted) in &wanted {
        let Some(found) = services.get(key) else {
            wrong.push(format!("{key:?} is missing"));
            continue;
        };
        let mut differs = |what: &str, found: &Value, wanted: &Value| {
            if found != wanted {
                wrong.push(format!("{key:?}: {what} {found}, not {wanted}"));
            }
        };
        let metadata = &found["metadata"];
        differs("labels", &metadata["labels"], &wanted.labels);
        differs("annotations", &metadata["annotations"], &wanted.annotations);
        differs("ports", &ports(found, &["name", "port", "targetPort"]), &wanted.ports);
        let is_headless = found["spec"]["clusterIP"] == "None";
        differs("headless", &is_headless.into(), &wanted.is_headless.into());
        if let Some(wanted) = &wanted.endpoints {
            let found = endpoints.get(key).map(addresses).unwrap_or_default();
            differs("Endpoints", &sorted(found), &sorted(wanted.clone()));
            let of_key = slices.iter().filter(|((namespace, _), slice)| {
                *namespace == key.0
                    && slice["metadata"]["labels"]["kubernetes.io/service-name"] == *key.1
            });
            let found = of_key.flat_map(|(_, slice)| slice_addresses(slice)).collect();
            differs("slices", &sorted(found), &sorted(wanted.clone()));
        }
    }
    let stray = services.keys().chain(endpoints.keys()).collect::<BTreeSet<_>>();
    wrong.extend(stray.iter().filter(|k| !wanted.contains_key(k)).map(|k| format!("{k:?} stays")));
    let owners: BTreeSet<_> = wanted.keys().cloned().collect();
    for ((namespace, name), slice) in &slices {
        let owner = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str();
        if !owners.contains(&(namespace.clone(), owner.unwrap_or_default().to_owned())) {
            wrong.push(format!("the slice {namespace}/{name} stays"));
        }
    }
    wrong.extend(federated(world));
    wrong
}

/// `None` while the Link is not one that could be followed.
fn wanted(world: &World) -> Option<BTreeMap<Key, Wanted>> {
    let link = world.west.get("Link", SYSTEM, "east")?;
    let port: u16 = link["spec"]["gatewayPort"].as_str()?.parse().ok()?;
    let excludes_team = link["spec"]["excludedLabels"].to_string().contains("team");
    let is_up = world.probe_status.load(Ordering::Relaxed) == 200;
    let mut all = BTreeMap::new();
    for service in world.east.list("Service") {
        let (namespace, name) = key(&service);
        let is_exported = service["metadata"]["labels"]["mirror.linkerd.io/exported"] == "true";
        if !is_exported || world.west.get("Namespace", "", &namespace).is_none() {
            continue;
        }
        let root = (namespace.clone(), format!("{name}-east"));
        let pods = pods(world, &namespace, &name);
        let at_gateway = |is_any: bool| -> Vec<Value> {
            let ports = named_ports(&service, |_| port.into());
            let one = json!({ "ip": "127.0.0.1", "ready": is_up, "ports": ports });
            if is_any { vec![one] } else { vec![] }
        };
        let is_headless = service["spec"]["clusterIP"] == "None";
        let mut labels = Map::new();
        for (label, value) in service["metadata"]["labels"].as_object().into_iter().flatten() {
            let is_excluded = excludes_team && label == "team";
            if !label.starts_with("mirror.linkerd.io") && !is_excluded {
                labels.insert(label.clone(), value.clone());
            }
        }
        labels.insert(MIRRORED.into(), "true".into());
        labels.insert(CLUSTER.into(), "east".into());
        let full = format!("{name}.{namespace}.svc.cluster.local");
        let mut annotations = service["metadata"]["annotations"].as_object().cloned();
        let annotations = annotations.get_or_insert_default();
        annotations.insert("mirror.linkerd.io/remote-svc-fq-name".into(), full.clone().into());
        let version = service["metadata"]["resourceVersion"].clone();
        annotations.insert("mirror.linkerd.io/remote-resource-version".into(), version);
        let ports = ports(&service, &["name", "port", "targetPort"]);
        let ready: Vec<_> = pods.iter().filter(|pod| pod.1).map(|pod| pod.0.clone()).collect();
        if is_headless {
            hosts(world, (&mut all, &root), &service, &ready, &at_gateway(true));
        }
        let endpoints = if is_headless {
            let hosts = ready.iter().filter_map(|host| host_address(world, &service, &root, host));
            Some(hosts.collect())
        } else {
            Some(at_gateway(!ready.is_empty()))
        };
        if world.foreign.contains_key(&root) {
            continue;
        }
        let (labels, annotations) = (labels.into(), annotations.clone().into());
        all.insert(root, Wanted { labels, annotations, ports, is_headless, endpoints });
    }
    Some(all)
}

/// The mirrors of a headless Service's hosts.
fn hosts(
    world: &World,
    (all, root): (&mut BTreeMap<Key, Wanted>, &Key),
    service: &Value,
    ready: &[String],
    at_gateway: &[Value],
) {
    let (namespace, name) = key(service);
    for host in ready {
        let mirror = (namespace.clone(), format!("{host}-east"));
        if world.foreign.contains_key(&mirror) {
            continue;
        }
        let labels = json!({ MIRRORED: "true", CLUSTER: "east",
            "mirror.linkerd.io/headless-mirror-svc-name": root.1 });
        // The version is that of the endpoints when it was made, and no reason to write it anew.
        let found = world.west.get("Service", &mirror.0, &mirror.1).unwrap_or_default();
        let version = "mirror.linkerd.io/remote-resource-version";
        let annotations = json!({ version: found["metadata"]["annotations"][version],
            "mirror.linkerd.io/remote-svc-fq-name":
                format!("{host}.{name}.{namespace}.svc.cluster.local") });
        let ports = ports(service, &["name", "port", "targetPort"]);
        let endpoints = Some(at_gateway.to_vec());
        let wanted = Wanted { labels, annotations, ports, is_headless: false, endpoints };
        all.insert(mirror, wanted);
    }
}

/// Under a headless mirror a host is the address of its own mirror, at the pods' own ports.
fn host_address(world: &World, service: &Value, root: &Key, host: &str) -> Option<Value> {
    let name = format!("{host}-east");
    if world.foreign.contains_key(&(root.0.clone(), name.clone())) {
        return None;
    }
    let mirror = world.west.get("Service", &root.0, &name)?;
    let ports = named_ports(service, |port| port["targetPort"].clone());
    let ip = &mirror["spec"]["clusterIP"];
    Some(json!({ "ip": ip, "hostname": host, "ready": true, "ports": ports }))
}

/// `<name>-federated` is there exactly where a member is.
fn federated(world: &World) -> Vec<String> {
    let mut wanted = BTreeMap::new();
    for service in world.east.list("Service") {
        let (namespace, name) = key(&service);
        let is_member = service["metadata"]["labels"]["mirror.linkerd.io/federated"] == "member"
            && service["spec"]["clusterIP"] != "None"
            && world.west.get("Namespace", "", &namespace).is_some();
        if is_member {
            wanted.insert((namespace, format!("{name}-federated")), format!("{name}@east"));
        }
    }
    let mut found = BTreeMap::new();
    for service in world.west.list("Service") {
        let (namespace, name) = key(&service);
        if name.ends_with("-federated") {
            let members = "multicluster.linkerd.io/remote-discovery";
            let members = service["metadata"]["annotations"][members].as_str().unwrap_or_default();
            found.insert((namespace, name), members.to_owned());
        }
    }
    if found == wanted { vec![] } else { vec![format!("federated {found:?}, not {wanted:?}")] }
}

fn key(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// All mirrors of a kind, but for those of the gateway's probe.
fn mirrors(world: &World, kind: &str) -> Vec<(Key, Value)> {
    let all = world.west.list(kind).into_iter().filter(|object| {
        let labels = &object["metadata"]["labels"];
        labels[CLUSTER] == "east" && labels["mirror.linkerd.io/mirrored-gateway"].is_null()
    });
    all.map(|object| (key(&object), object)).collect()
}

/// The pods of a Service: their names and whether each is ready.
fn pods(world: &World, namespace: &str, name: &str) -> Vec<(String, bool)> {
    let slice = world.east.get("EndpointSlice", namespace, &format!("{name}-1"));
    let endpoints = slice.map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    let pod = |endpoint: Value| {
        let hostname = endpoint["hostname"].as_str().unwrap_or_default().to_owned();
        (hostname, endpoint["conditions"]["ready"] == true)
    };
    endpoints.unwrap_or_default().into_iter().map(pod).collect()
}

fn ports(service: &Value, fields: &[&str]) -> Value {
    let all = service["spec"]["ports"].as_array().into_iter().flatten();
    let port = |port: &Value| fields.iter().map(|field| port[*field].clone()).collect::<Value>();
    all.map(port).collect()
}

/// The ports as endpoints have them: sorted, with their numbers.
fn named_ports(service: &Value, number: impl Fn(&Value) -> Value) -> Value {
    let all = service["spec"]["ports"].as_array().into_iter().flatten();
    sorted(all.map(|port| json!([port["name"], number(port)])).collect())
}

fn sorted(mut all: Vec<Value>) -> Value {
    all.sort_by_key(ToString::to_string);
    all.into()
}

fn endpoint_ports(ports: &Value) -> Value {
    let all = ports.as_array().into_iter().flatten();
    sorted(all.map(|port| json!([port["name"], port["port"]])).collect())
}

fn addresses(endpoints: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        for (field, is_ready) in [("addresses", true), ("notReadyAddresses", false)] {
            for address in subset[field].as_array().into_iter().flatten() {
                let ports = endpoint_ports(&subset["ports"]);
                all.push(one(&address["ip"], &address["hostname"], is_ready, ports));
            }
        }
    }
    all
}

fn slice_addresses(slice: &Value) -> Vec<Value> {
    let all = slice["endpoints"].as_array().into_iter().flatten();
    let address = |endpoint: &Value| {
        let is_ready = endpoint["conditions"]["ready"] != false;
        let ports = endpoint_ports(&slice["ports"]);
        one(&endpoint["addresses"][0], &endpoint["hostname"], is_ready, ports)
    };
    all.map(address).collect()
}

fn one(ip: &Value, hostname: &Value, is_ready: bool, ports: Value) -> Value {
    let mut one = json!({ "ip": ip, "ready": is_ready, "ports": ports });
    if !hostname.is_null() {
        one["hostname"] = hostname.clone();
    }
    one
}
