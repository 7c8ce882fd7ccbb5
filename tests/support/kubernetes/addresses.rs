//! Cluster IPs and node ports: who has which, and what a Service keeps. Called by `write`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::error::{ApiError, Causes};
use super::store::Store;
use super::write::{How, Target};

/// Cluster IPs and node ports that Services have.
#[derive(Debug)]
pub struct Addresses {
    /// Second byte of the range 10.x.0.0/16.
    network: u8,
    last_address: u16,
    last_port: u16,
    taken: BTreeSet<String>,
}

impl Addresses {
    pub fn new(network: u8) -> Self {
        Self { network, last_address: 0, last_port: 0, taken: BTreeSet::new() }
    }

    /// The next free cluster IP.
    pub fn allocate(&mut self) -> Result<String, ApiError> {
        for _ in 0..u16::MAX {
            self.last_address = self.last_address.wrapping_add(1);
            let [high, low] = self.last_address.to_be_bytes();
            let address = format!("10.{}.{high}.{low}", self.network);
            if !matches!(low, 0 | 255) && self.taken.insert(address.clone()) {
                return Ok(address);
            }
        }
        Err(ApiError::internal("failed to allocate a serviceIP: range is full"))
    }

    /// Takes the address that a Service asks for.
    pub fn take(&mut self, address: &str) -> Result<(), &'static str> {
        if !address.starts_with(&format!("10.{}.", self.network)) {
            return Err("failed to allocate IP: the provided IP is not in the valid range");
        }
        match self.taken.insert(address.to_owned()) {
            true => Ok(()),
            false => Err("failed to allocate IP: provided IP is already allocated"),
        }
    }

    /// Frees a Service's address.
    pub fn free(&mut self, address: &str) {
        self.taken.remove(address);
    }

    /// A node port that no Service had before.
    pub fn node_port(&mut self) -> u16 {
        self.last_port = (self.last_port + 1) % 2768;
        30_000 + self.last_port
    }
}

/// A PUT that leaves the cluster IP out does not mean to lose it.
pub fn keep_address(new: &mut Value, old: &Value) {
    if new["spec"]["type"] == "ExternalName" || old["spec"]["type"] == "ExternalName" {
        return;
    }
    for field in ["clusterIP", "clusterIPs"] {
        if new["spec"].get(field).is_none_or(|value| value == "") {
            new["spec"][field] = old["spec"][field].clone();
        }
    }
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let before = old["spec"]["ports"].as_array().into_iter().flatten();
        let same =
            before.into_iter().find(|p| p["port"] == port["port"] && !p["nodePort"].is_null());
        if let Some(same) = same
            && port.get("nodePort").is_none()
        {
            port["nodePort"] = same["nodePort"].clone();
        }
    }
}

/// Gives a Service its cluster IP and node ports.
pub fn allocate(
    store: &mut Store,
    target: &Target,
    new: &mut Value,
    old: Option<&Value>,
    how: How,
) -> Result<(), ApiError> {
    let of = |value: &Value| value["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
    let (before, wanted) = (old.map(of).unwrap_or_default(), of(new));
    let is_external = new["spec"]["type"] == "ExternalName";
    if how.is_dry_run || before == wanted && !wanted.is_empty() {
        return Ok(());
    }
    store.addresses.free(&before);
    let address = match wanted.as_str() {
        _ if is_external => return Ok(()),
        "None" => wanted,
        "" => store.addresses.allocate()?,
        _ => {
            if let Err(why) = store.addresses.take(&wanted) {
                let mut causes = Causes::default();
                causes.invalid("spec.clusterIPs", &wanted, why);
                return Err(ApiError::invalid(&target.resource, &target.name, &causes));
            }
            wanted
        }
    };
    new["spec"]["clusterIPs"] = json!([address]);
    new["spec"]["clusterIP"] = address.into();
    if matches!(new["spec"]["type"].as_str(), Some("LoadBalancer" | "NodePort")) {
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if port.get("nodePort").is_none() {
                port["nodePort"] = store.addresses.node_port().into();
            }
        }
    }
    Ok(())
}
