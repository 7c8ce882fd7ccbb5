//! The rules of `metadata`, the same for all kinds but for the form of the name.

use serde_json::Value;

use super::names::{self, Checked};
use crate::support::kubernetes::error::Causes;
use crate::support::kubernetes::resources::{Kind, Resource};

/// Keys and values of all annotations together, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// What is wrong with the metadata of `object`, whose name is complete.
pub fn check(causes: &mut Causes, resource: &Resource, object: &Value) {
    let meta = &object["metadata"];
    let name = meta["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.required("metadata.name", "name or generateName is required");
    } else if let Err(why) = object_name(resource, name) {
        causes.invalid("metadata.name", name, why);
    }
    for (key, value) in meta["labels"].as_object().into_iter().flatten() {
        if let Err(why) = names::qualified_name(key) {
            causes.invalid("metadata.labels", key, why);
        }
        let value = value.as_str().unwrap_or_default();
        if let Err(why) = names::label_value(value) {
            causes.invalid("metadata.labels", value, why);
        }
    }
    let mut size = 0;
    for (key, value) in meta["annotations"].as_object().into_iter().flatten() {
        // Of annotations the letters' case is free, in the prefix too.
        if let Err(why) = names::qualified_name(&key.to_ascii_lowercase()) {
            causes.invalid("metadata.annotations", key, why);
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_LIMIT {
        causes.too_long("metadata.annotations", ANNOTATIONS_LIMIT);
    }
    owners(causes, &meta["ownerReferences"]);
}

fn object_name(resource: &Resource, name: &str) -> Checked {
    match resource.check {
        Kind::Namespace => names::label(name),
        Kind::Service => names::label_1035(name),
        _ => names::subdomain(name),
    }
}

fn owners(causes: &mut Causes, owners: &Value) {
    let mut controllers = 0;
    for owner in owners.as_array().into_iter().flatten() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                causes.invalid(
                    format!("metadata.ownerReferences.{field}"),
                    "",
                    "must not be empty",
                );
            }
        }
        controllers += usize::from(owner["controller"] == true);
    }
    if controllers > 1 {
        let why = "Only one reference can have Controller set to true";
        causes.invalid("metadata.ownerReferences", "", why);
    }
}
