//! The rules of the smaller kinds: Leases, Events, Secrets, ConfigMaps, Pods.

use k8s_openapi::ByteString;
use serde_json::Value;

use super::names;
use crate::support::kubernetes::error::Causes;

/// Of an Event's note, in bytes.
const MAX_NOTE: usize = 1024;
/// Of an Event's reason, action and reporters.
const MAX_WORD: usize = 128;
/// Of all data in a Secret or ConfigMap.
const MAX_DATA: usize = 1024 * 1024;

pub fn lease(causes: &mut Causes, new: &Value) {
    let spec = &new["spec"];
    if spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) {
        let value = spec["leaseDurationSeconds"].to_string();
        causes.invalid("spec.leaseDurationSeconds", &value, "must be greater than 0");
    }
    if spec["leaseTransitions"].as_i64().is_some_and(|count| count < 0) {
        let value = spec["leaseTransitions"].to_string();
        causes.invalid("spec.leaseTransitions", &value, "must be greater than or equal to 0");
    }
}

pub fn config_map(causes: &mut Causes, new: &Value) {
    let mut size = 0;
    for list in ["binaryData", "data"] {
        for (key, value) in new[list].as_object().into_iter().flatten() {
            data_key(causes, list, key);
            size += value.as_str().map_or(0, str::len);
        }
    }
    if size > MAX_DATA {
        causes.too_long("data", MAX_DATA);
    }
}

pub fn secret(causes: &mut Causes, new: &Value, old: Option<&Value>) {
    let mut size = 0;
    for (key, value) in new["data"].as_object().into_iter().flatten() {
        data_key(causes, "data", key);
        size += decode(value).map_or(0, |bytes| bytes.len());
    }
    if size > MAX_DATA {
        causes.too_long("data", MAX_DATA);
    }
    if let Some(old) = old
        && old["type"] != new["type"]
    {
        causes.invalid("type", new["type"].as_str().unwrap_or_default(), "field is immutable");
    }
}

fn data_key(causes: &mut Causes, list: &str, key: &str) {
    if let Err(why) = names::data_key(key) {
        causes.invalid(format!("{list}[{key}]"), key, why);
    }
}

/// The bytes of base64.
fn decode(value: &Value) -> Option<Vec<u8>> {
    serde_json::from_value::<ByteString>(value.clone()).ok().map(|bytes| bytes.0)
}

/// core/v1: what is demanded of an Event depends on whether it has an eventTime.
pub fn core_event(causes: &mut Causes, new: &Value) {
    common(causes, new, "involvedObject", "message", "reportingComponent");
}

/// events.k8s.io/v1, which demands more than core/v1 does. A server names the fields as core/v1 does.
pub fn event(causes: &mut Causes, new: &Value, old: Option<&Value>) {
    common(causes, new, "regarding", "note", "reportingController");
    let Some(old) = old else {
        if new["eventTime"].is_null() {
            causes.required("eventTime", "");
        }
        let kind = new["type"].as_str().unwrap_or_default();
        if !["Normal", "Warning"].contains(&kind) {
            causes.invalid("type", kind, "has invalid value");
        }
        return series(causes, &new["series"]);
    };
    if old["series"] != new["series"] {
        series(causes, &new["series"]);
    }
    for (field, shown) in [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        if old[field] != new[field] {
            causes.invalid(shown, &new[field].to_string(), "field is immutable");
        }
    }
}

fn series(causes: &mut Causes, series: &Value) {
    if series.is_null() {
        return;
    }
    if series["count"].as_i64().unwrap_or_default() < 2 {
        causes.invalid("series.count", "", "should be at least 2");
    }
    if series["lastObservedTime"].is_null() {
        causes.required("series.lastObservedTime", "");
    }
}

/// The rules of both APIs, with the names of three fields in this one.
fn common(causes: &mut Causes, new: &Value, about: &str, text: &str, reporter: &str) {
    let within = new["metadata"]["namespace"].as_str().unwrap_or_default();
    let about = new[about]["namespace"].as_str().unwrap_or_default();
    // An Event lies where what it is about lies; about what has no namespace, in `default`.
    let is_new = !new["eventTime"].is_null();
    let is_there = match (about, within) {
        ("", "default") => true,
        ("", "kube-system") => is_new,
        ("", _) => false,
        _ => is_new || about == within,
    };
    if !is_there {
        causes.invalid("involvedObject.namespace", about, "does not match event.namespace");
    }
    if !is_new {
        return;
    }
    for (field, limit) in [
        (reporter, usize::MAX),
        ("reportingInstance", MAX_WORD),
        ("action", MAX_WORD),
        ("reason", MAX_WORD),
    ] {
        match new[field].as_str().unwrap_or_default() {
            "" => causes.required(field, ""),
            word if word.len() > limit => {
                causes.invalid(field, "", &format!("can have at most {limit} characters"));
            }
            _ => {}
        }
    }
    let name = new[reporter].as_str().unwrap_or_default();
    if !name.is_empty()
        && let Err(why) = names::qualified_name(name)
    {
        causes.invalid(reporter, name, why);
    }
    if new[text].as_str().is_some_and(|text| text.len() > MAX_NOTE) {
        causes.invalid("message", "", &format!("can have at most {MAX_NOTE} characters"));
    }
}

pub fn pod(causes: &mut Causes, new: &Value) {
    let containers = new["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        causes.required("spec.containers", "");
    }
    for (index, container) in containers.iter().enumerate() {
        let name = container["name"].as_str().unwrap_or_default();
        if let Err(why) = names::label(name) {
            causes.invalid(format!("spec.containers[{index}].name"), name, why);
        }
        if container["image"].as_str().unwrap_or_default().is_empty() {
            causes.required(format!("spec.containers[{index}].image"), "");
        }
    }
    for field in ["hostname", "subdomain"] {
        if let Some(name) = new["spec"][field].as_str()
            && let Err(why) = names::label(name)
        {
            causes.invalid(format!("spec.{field}"), name, why);
        }
    }
}
