//! The rules of Services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::names;
use crate::support::kubernetes::error::Causes;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
pub const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// What is wrong with `new`, with defaults, after `old`.
pub fn check(causes: &mut Causes, new: &Value, old: Option<&Value>) {
    let spec = &new["spec"];
    let kind = spec["type"].as_str().unwrap_or_default();
    if !TYPES.contains(&kind) {
        causes.unsupported("spec.type", kind, &TYPES);
    }
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let address = spec["clusterIP"].as_str().unwrap_or_default();
    let is_external = kind == "ExternalName";
    if ports.is_empty() && address != "None" && !is_external {
        causes.required("spec.ports", "");
    }
    if is_external {
        external(causes, spec);
    } else if address == "None" && kind != "ClusterIP" {
        let why = "may not be set to 'None' for LoadBalancer services";
        causes.invalid("spec.clusterIPs[0]", "None", why);
    } else if !address.is_empty() && address != "None" && address.parse::<IpAddr>().is_err() {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        causes.invalid("spec.clusterIPs[0]", address, why);
    }
    check_ports(causes, ports);
    for (key, value) in spec["selector"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let checked = names::qualified_name(key).and_then(|()| names::label_value(value));
        if let Err(why) = checked {
            causes.invalid("spec.selector", key, why);
        }
    }
    let affinity = spec["sessionAffinity"].as_str().unwrap_or_default();
    if !["ClientIP", "None"].contains(&affinity) {
        causes.unsupported("spec.sessionAffinity", affinity, &["ClientIP", "None"]);
    }
    if let Some(old) = old {
        immutable(causes, address, is_external, &old["spec"]);
    }
}

fn external(causes: &mut Causes, spec: &Value) {
    let name = spec["externalName"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.required("spec.externalName", "");
    } else if let Err(why) = names::subdomain(name.strip_suffix('.').unwrap_or(name)) {
        causes.invalid("spec.externalName", name, why);
    }
    if !spec["clusterIP"].as_str().unwrap_or_default().is_empty() {
        causes.forbidden("spec.clusterIPs", "may not be set for ExternalName services");
    }
}

fn immutable(causes: &mut Causes, address: &str, is_external: bool, old: &Value) {
    let before = old["clusterIP"].as_str().unwrap_or_default();
    if old["type"] != "ExternalName" && !is_external && before != address && !before.is_empty() {
        causes.invalid("spec.clusterIPs[0]", address, "may not change once set");
    }
}

fn check_ports(causes: &mut Causes, ports: &[Value]) {
    let (mut known_names, mut known_ports) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            if ports.len() > 1 {
                causes.required(format!("{path}.name"), "");
            }
        } else if let Err(why) = names::label(name) {
            causes.invalid(format!("{path}.name"), name, why);
        } else if !known_names.insert(name) {
            causes.duplicate(format!("{path}.name"), name);
        }
        number(causes, &format!("{path}.port"), &port["port"]);
        let protocol = port["protocol"].as_str().unwrap_or_default();
        if !PROTOCOLS.contains(&protocol) {
            causes.unsupported(format!("{path}.protocol"), protocol, &PROTOCOLS);
        }
        if !known_ports.insert((port["port"].as_i64(), protocol)) {
            causes.duplicate(path.clone(), &format!("{} {protocol}", port["port"]));
        }
        let target = &port["targetPort"];
        match target.as_str() {
            None => number(causes, &format!("{path}.targetPort"), target),
            Some(name) => {
                if let Err(why) = names::port_name(name) {
                    causes.invalid(format!("{path}.targetPort"), name, why);
                }
            }
        }
        if let Some(protocol) = port["appProtocol"].as_str()
            && let Err(why) = names::qualified_name(protocol)
        {
            causes.invalid(format!("{path}.appProtocol"), protocol, why);
        }
    }
}

/// A port from 1 to 65535.
pub fn number(causes: &mut Causes, path: &str, port: &Value) {
    if !port.as_i64().is_some_and(|port| (1..=65_535).contains(&port)) {
        causes.invalid(path, &port.to_string(), "must be between 1 and 65535, inclusive");
    }
}
