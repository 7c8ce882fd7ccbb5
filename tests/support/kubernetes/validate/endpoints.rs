//! The rules of Endpoints and EndpointSlices.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::service::{PROTOCOLS, number};
use super::{Relaxed, names};
use crate::support::kubernetes::error::Causes;

const FAMILIES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
/// Of one EndpointSlice.
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;

/// What is wrong with core/v1 Endpoints.
pub fn endpoints(causes: &mut Causes, new: &Value, relaxed: Relaxed) {
    for (index, subset) in new["subsets"].as_array().into_iter().flatten().enumerate() {
        let path = format!("subsets[{index}]");
        let mut count = 0;
        for list in ["addresses", "notReadyAddresses"] {
            for (place, address) in subset[list].as_array().into_iter().flatten().enumerate() {
                count += 1;
                let path = format!("{path}.{list}[{place}]");
                check_ip(causes, &format!("{path}.ip"), &address["ip"], None, relaxed);
                host(causes, &path, address);
            }
        }
        if count == 0 {
            causes.required(path.clone(), "must specify `addresses` or `notReadyAddresses`");
        }
        let ports = subset["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (place, port) in ports.iter().enumerate() {
            let path = format!("{path}.ports[{place}]");
            let name = port["name"].as_str().unwrap_or_default();
            if name.is_empty() {
                if ports.len() > 1 {
                    causes.required(format!("{path}.name"), "");
                }
            } else if let Err(why) = names::label(name) {
                causes.invalid(format!("{path}.name"), name, why);
            }
            number(causes, &format!("{path}.port"), &port["port"]);
            protocol(causes, &path, port);
        }
    }
}

/// What is wrong with an EndpointSlice.
pub fn slice(causes: &mut Causes, new: &Value, old: Option<&Value>, relaxed: Relaxed) {
    let family = new["addressType"].as_str().unwrap_or_default();
    if family.is_empty() {
        causes.required("addressType", "");
    } else if !FAMILIES.contains(&family) {
        causes.unsupported("addressType", family, &FAMILIES);
    }
    if let Some(old) = old
        && old["addressType"] != new["addressType"]
    {
        causes.invalid("addressType", family, "field is immutable");
    }
    let endpoints = new["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
    if endpoints.len() > MAX_ENDPOINTS {
        causes.too_long("endpoints", MAX_ENDPOINTS);
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        slice_endpoint(causes, &format!("endpoints[{index}]"), endpoint, family, relaxed);
    }
    slice_ports(causes, new);
}

fn slice_endpoint(
    causes: &mut Causes,
    path: &str,
    endpoint: &Value,
    family: &str,
    relaxed: Relaxed,
) {
    let addresses = endpoint["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    match addresses.len() {
        0 => causes.required(format!("{path}.addresses"), "must contain at least 1 address"),
        1..=MAX_ADDRESSES => {}
        _ => causes.too_long(format!("{path}.addresses"), MAX_ADDRESSES),
    }
    for (place, address) in addresses.iter().enumerate() {
        let path = format!("{path}.addresses[{place}]");
        if family == "FQDN" {
            let name = address.as_str().unwrap_or_default();
            if let Err(why) = names::subdomain(name) {
                causes.invalid(path, name, why);
            }
        } else {
            check_ip(causes, &path, address, Some(family), relaxed);
        }
    }
    host(causes, path, endpoint);
    for (place, hint) in endpoint["hints"]["forZones"].as_array().into_iter().flatten().enumerate()
    {
        let name = hint["name"].as_str().unwrap_or_default();
        if let Err(why) = names::label_value(name) {
            causes.invalid(format!("{path}.hints.forZones[{place}].name"), name, why);
        }
    }
}

fn slice_ports(causes: &mut Causes, new: &Value) {
    let ports = new["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    if ports.len() > MAX_PORTS {
        causes.too_long("ports", MAX_PORTS);
    }
    let mut known = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("ports[{index}]");
        let name = port["name"].as_str().unwrap_or_default();
        if !name.is_empty()
            && let Err(why) = names::label(name)
        {
            causes.invalid(format!("{path}.name"), name, why);
        }
        if !known.insert(name) {
            causes.duplicate(format!("{path}.name"), name);
        }
        if !port["port"].is_null() {
            number(causes, &format!("{path}.port"), &port["port"]);
        }
        protocol(causes, &path, port);
    }
}

fn protocol(causes: &mut Causes, path: &str, port: &Value) {
    let name = port["protocol"].as_str().unwrap_or_default();
    if !PROTOCOLS.contains(&name) {
        causes.unsupported(format!("{path}.protocol"), name, &PROTOCOLS);
    }
}

fn host(causes: &mut Causes, path: &str, address: &Value) {
    if let Some(name) = address["hostname"].as_str()
        && !name.is_empty()
        && let Err(why) = names::label(name)
    {
        causes.invalid(format!("{path}.hostname"), name, why);
    }
    if let Some(name) = address["nodeName"].as_str()
        && let Err(why) = names::subdomain(name)
    {
        causes.invalid(format!("{path}.nodeName"), name, why);
    }
}

/// An address that a pod or a gateway can have: a Service may not lead to the node itself.
fn check_ip(
    causes: &mut Causes,
    path: &str,
    value: &Value,
    family: Option<&str>,
    relaxed: Relaxed,
) {
    let text = value.as_str().unwrap_or_default();
    let Ok(ip) = text.parse::<IpAddr>() else {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        return causes.invalid(path, text, why);
    };
    let of = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    if family.is_some_and(|family| FAMILIES.contains(&family) && family != of) {
        let why = if ip.is_ipv4() { "must be an IPv6 address" } else { "must be an IPv4 address" };
        causes.invalid(path, text, why);
    }
    if let Some(why) = special(ip, relaxed) {
        causes.invalid(path, text, why);
    }
}

fn special(ip: IpAddr, relaxed: Relaxed) -> Option<&'static str> {
    let (link_local, link_local_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets().starts_with(&[224, 0, 0])),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] & 0xff0f == 0xff02),
    };
    if ip.is_unspecified() {
        return Some("may not be unspecified (0.0.0.0 or ::)");
    }
    if ip.is_loopback() && !relaxed.loopback {
        return Some("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        return Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    let why = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
    link_local_multicast.then_some(why)
}
