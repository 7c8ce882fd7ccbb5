//! DELETE, and what goes with what is deleted. Called by `http` for requests and by `Cluster` for
//! tests, under the store's lock.

use std::sync::Arc;

use serde_json::{Value, json};

use super::error::ApiError;
use super::resources::Kind;
use super::selectors::Selector;
use super::store::{Key, Store, Stored};
use super::write::{How, Target};

/// DELETE of one object, if it is still the one that `options` name.
pub fn delete(
    store: &mut Store,
    target: &Target,
    options: &Value,
    how: How,
) -> Result<Value, ApiError> {
    let stored = target.find(store)?;
    for (field, label) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let wanted = options["preconditions"][field].as_str();
        let found = stored.value["metadata"][field].as_str().unwrap_or_default();
        if let Some(wanted) = wanted
            && wanted != found
        {
            let why = format!(
                "Precondition failed: {label} in precondition: {wanted}, {label} in object meta: \
                 {found}"
            );
            return Err(ApiError::conflict(&target.resource, &target.name, &why));
        }
    }
    match target.resource.check {
        _ if how.is_dry_run => {}
        Kind::Namespace if !how.has_controllers => terminate(store, target, &stored),
        _ => drop(remove(store, target.place, &target.key())),
    }
    let mut details = json!({ "name": target.name, "kind": target.resource.plural,
        "uid": stored.value["metadata"]["uid"] });
    if !target.resource.group.is_empty() {
        details["group"] = target.resource.group.clone().into();
    }
    Ok(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details }))
}

/// DELETE of all that a selector matches.
pub fn collection(store: &mut Store, target: &Target, selector: &Selector, how: How) -> Value {
    for object in store.all(target.place, &target.namespace) {
        if selector.matches(&object.value) && !how.is_dry_run {
            remove(store, target.place, &object.key());
        }
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success" })
}

/// Marks a namespace: who is to empty it is not there.
fn terminate(store: &mut Store, target: &Target, stored: &Stored) {
    let mut value = stored.value.clone();
    value["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    value["status"]["phase"] = "Terminating".into();
    store.put(target.place, target.key(), value);
}

/// PUT of `/finalize`, without finalizers: a namespace that is being deleted goes.
pub fn finalize(store: &mut Store, target: &Target, body: &Value) -> Result<Value, ApiError> {
    let stored = target.find(store)?;
    let finalizers = body["spec"]["finalizers"].as_array();
    let is_free = finalizers.is_none_or(Vec::is_empty);
    if is_free && stored.value["metadata"].get("deletionTimestamp").is_some() {
        remove(store, target.place, &target.key());
    }
    Ok(stored.view(&target.resource, target.version))
}

/// Removes an object; with a Namespace goes what is in it, with a Service its cluster IP.
pub fn remove(store: &mut Store, place: usize, key: &Key) -> Option<Arc<Stored>> {
    let kind = store.resource(place)?.check;
    if kind == Kind::Namespace {
        let places: Vec<_> = store.resources().map(|(place, _)| place).collect();
        for place in places {
            if store.resource(place).is_some_and(|resource| resource.is_namespaced) {
                for object in store.all(place, &key.1) {
                    remove(store, place, &object.key());
                }
            }
        }
    }
    if kind == Kind::CustomResourceDefinition {
        store.uninstall(&key.1);
    }
    let removed = store.remove(place, key)?;
    if kind == Kind::Service {
        store.addresses.free(removed.value["spec"]["clusterIP"].as_str().unwrap_or_default());
    }
    Some(removed)
}
