//! The probe Service of a Link and its Endpoints: `linkerd multicluster check` wants to see them.
//!
//! Run by the Link's task. Nothing is probed through them. They are looked at once a minute and
//! when the gateway's addresses change; what has their name and is not ours stays as it is.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{GetParams, PostParams};
use kube::core::Request;
use serde_json::{Value, json};

use super::apply::{Permit, WriteError, Writer, call, collection};
use super::link::LinkState;
use super::term::Term;
use crate::control::kubernetes::error::Failure;
use crate::model::mirror::keys;
use crate::model::mirror::name::mirror_name;
use crate::model::mirror::object::Kind;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// After a failure.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// The port's name, as in Linkerd's charts.
const PORT_NAME: &str = "mc-probe";

/// Keeps them for ever.
pub async fn run(term: &Arc<Term>, link: &Arc<LinkState>) {
    if let Writer::Record(_) = term.writer {
        return std::future::pending().await;
    }
    let mut spec = link.spec.subscribe();
    loop {
        let wait = match keep(term, link).await {
            Ok(()) => LOOK_INTERVAL,
            Err(error) => {
                link.error(format!("probe Service: {error}"));
                tracing::warn!(link = %link.name, "the probe Service is not kept: {error}");
                RETRY_INTERVAL
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = link.gateway_changed.notified() => {}
            changed = spec.changed() => if changed.is_err() { return },
        }
    }
}

async fn keep(term: &Term, link: &LinkState) -> Result<(), WriteError> {
    let parsed = link.parsed();
    let gateway = link.gateway.load();
    let (Some(probe), Some(of), Some(addresses)) =
        (&parsed.link.probe, &parsed.link.gateway, &gateway.addresses)
    else {
        return Ok(());
    };
    if parsed.is_frozen() || addresses.is_empty() {
        return Ok(());
    }
    let name = &*mirror_name("probe", &link.name);
    let labels = json!({ keys::MIRRORED_GATEWAY: keys::TRUE, keys::CLUSTER: &*link.cluster });
    let port = json!({ "name": PORT_NAME, "port": probe.port, "protocol": "TCP" });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "labels": labels },
        "spec": { "ports": [port] },
    });
    let mut ips: Vec<_> = addresses.iter().map(|address| address.ip.to_string()).collect();
    ips.sort();
    let ips: Vec<_> = ips.into_iter().map(|ip| json!({ "ip": ip })).collect();
    let identity = of.identity.as_ref().map(|identity| identity.as_str().to_owned());
    let annotations =
        identity.map_or_else(|| json!({}), |id| json!({ keys::GATEWAY_IDENTITY: id }));
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": { "name": name, "labels": labels, "annotations": annotations },
        "subsets": [{ "addresses": ips, "ports": [port] }],
    });
    one(term, link, Kind::Service, name, &service).await?;
    one(term, link, Kind::Endpoints, name, &endpoints).await
}

/// Creates one of them, or changes it where it differs in what we say.
async fn one(
    term: &Term,
    link: &LinkState,
    kind: Kind,
    name: &str,
    wanted: &Value,
) -> Result<(), WriteError> {
    let (leadership, hold) = (&*term.leadership, link.lease.hold());
    let holds = [leadership, &*hold];
    let permit = Permit { holds: &holds };
    let path = collection(kind, &term.settings.namespace);
    let request = Request::new(&*path);
    let found = call::<Value>(&term.client, request.get(name, &GetParams::default()), permit).await;
    let (verb, written) = match found {
        Err(error) if error.failure() == Some(Failure::NotFound) => {
            let body = wanted.to_string().into_bytes();
            let created = request.create(&PostParams::default(), body);
            ("create", call::<Value>(&term.client, created, permit).await)
        }
        Err(error) => return Err(error),
        Ok(found) => {
            let labels = &found["metadata"]["labels"];
            let is_ours = labels[keys::CLUSTER] == *link.cluster;
            if !is_ours || contains(&found, wanted) {
                return Ok(());
            }
            let body = merged(found, wanted).to_string().into_bytes();
            let replaced = request.replace(name, &PostParams::default(), body);
            ("update", call::<Value>(&term.client, replaced, permit).await)
        }
    };
    let result = match &written {
        Ok(_) => "ok",
        Err(error) => error.failure().map_or("NotPermitted", Failure::reason),
    };
    term.metrics.mirror_write(&link.cluster, verb, kind.label(), result);
    written.map(drop)
}

/// True when `found` says all that `wanted` says. Lists must be as long.
fn contains(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(key, value)| {
            found.get(key).is_some_and(|found| contains(found, value))
                // A server leaves empty maps out.
                || value.as_object().is_some_and(serde_json::Map::is_empty)
        }),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| contains(f, w))
        }
        _ => found == wanted,
    }
}

/// `found` with what `wanted` says; lists are replaced.
fn merged(mut found: Value, wanted: &Value) -> Value {
    match (&mut found, wanted) {
        (Value::Object(map), Value::Object(wanted)) => {
            for (key, value) in wanted {
                let old = map.remove(key).unwrap_or(Value::Null);
                map.insert(key.clone(), merged(old, value));
            }
            found
        }
        _ => wanted.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_adds_is_no_difference_and_stays() {
        let wanted = json!({ "metadata": { "labels": { "a": "1" }, "annotations": {} },
            "spec": { "ports": [{ "port": 4191 }] } });
        let found = json!({ "metadata": { "labels": { "a": "1", "b": "2" }, "uid": "u" },
            "spec": { "ports": [{ "port": 4191, "protocol": "TCP" }], "clusterIP": "10.0.0.1" } });
        assert!(contains(&found, &wanted));
        let other = json!({ "spec": { "ports": [{ "port": 4192 }] } });
        assert!(!contains(&found, &other));
        let changed = merged(found, &other);
        assert!(contains(&changed, &other));
        assert_eq!(changed["spec"]["clusterIP"], "10.0.0.1");
        assert_eq!(changed["metadata"]["uid"], "u");
        let more = json!({ "spec": { "ports": [{ "port": 1 }, { "port": 2 }] } });
        assert!(!contains(&changed, &more));
    }
}
