//! What a client asks to learn what the server serves: `/version`, `/api`, `/apis` and below, health.
//! Called by `http`; open to whoever has a token.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::resources::Resource;
use super::store::Store;

/// The answer to a path, if it is one of these.
pub fn answer(store: &Store, path: &[&str]) -> Option<Value> {
    match path {
        ["api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        ["apis"] => {
            let names: BTreeSet<_> = store.resources().map(|(_, r)| r.group.as_str()).collect();
            let groups: Vec<_> =
                names.iter().filter(|n| !n.is_empty()).filter_map(|n| group(store, n)).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["api", version] => resources(store, "", version),
        ["apis", name] => {
            let mut group = group(store, name)?;
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            Some(group)
        }
        ["apis", group, version] => resources(store, group, version),
        ["version"] => Some(json!({
            "major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "0",
            "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z",
            "goVersion": "go1.24", "compiler": "gc", "platform": "linux/amd64",
        })),
        _ => None,
    }
}

fn group(store: &Store, name: &str) -> Option<Value> {
    let of_group: Vec<_> =
        store.resources().filter(|(_, r)| r.group == name).map(|(_, r)| r).collect();
    let first = of_group.first()?;
    let version =
        |version: &str| json!({ "groupVersion": format!("{name}/{version}"), "version": version });
    let names: BTreeSet<_> =
        of_group.iter().flat_map(|r| &r.versions).map(|v| v.name.as_str()).collect();
    // The newest first, which for names of one form is the last one.
    let versions: Vec<_> = names.into_iter().rev().map(version).collect();
    let preferred = version(&first.versions[first.storage].name);
    Some(json!({ "name": name, "versions": versions, "preferredVersion": preferred }))
}

fn resources(store: &Store, group: &str, version: &str) -> Option<Value> {
    let mut found = Vec::new();
    let of_group = store.resources().map(|(_, r)| r).filter(|r| r.group == group);
    for resource in of_group {
        let Some(served) = resource.versions.iter().find(|v| v.name == version) else { continue };
        found.push(entry(
            resource,
            "",
            &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        ));
        if served.has_status {
            found.push(entry(resource, "/status", &["get", "patch", "update"]));
        }
    }
    let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let list = json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name,
        "resources": found });
    (!found.is_empty()).then_some(list)
}

fn entry(resource: &Resource, sub: &str, verbs: &[&str]) -> Value {
    json!({
        "name": format!("{}{sub}", resource.plural), "singularName": "", "kind": resource.kind,
        "namespaced": resource.is_namespaced, "verbs": verbs,
    })
}
