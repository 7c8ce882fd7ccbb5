//! What a real server demands of objects, kind by kind. Called by `write` with an object that has
//! its defaults; nothing here changes anything.

pub mod endpoints;
pub mod meta;
pub mod names;
pub mod other;
pub mod service;

use serde_json::Value;

use super::error::Causes;
use super::resources::{Kind, Resource};
use super::schema;

/// Rules that a test relaxes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Relaxed {
    /// Endpoints at 127.0.0.0/8 and ::1.
    pub loopback: bool,
}

/// Everything that is wrong with `new`; `old` is what it replaces.
pub fn object(
    resource: &Resource,
    version: usize,
    new: &Value,
    old: Option<&Value>,
    relaxed: Relaxed,
) -> Causes {
    let mut causes = Causes::default();
    meta::check(&mut causes, resource, new);
    match resource.check {
        Kind::ConfigMap => other::config_map(&mut causes, new),
        Kind::CoreEvent => other::core_event(&mut causes, new),
        Kind::Custom => custom(&mut causes, new, &resource.versions[version].schema),
        Kind::EndpointSlice => endpoints::slice(&mut causes, new, old, relaxed),
        Kind::Endpoints => endpoints::endpoints(&mut causes, new, relaxed),
        Kind::Event => other::event(&mut causes, new, old),
        Kind::Lease => other::lease(&mut causes, new),
        Kind::ClusterRole
        | Kind::ClusterRoleBinding
        | Kind::CustomResourceDefinition
        | Kind::Namespace
        | Kind::Node
        | Kind::Role
        | Kind::RoleBinding
        | Kind::ServiceAccount => {}
        Kind::Pod => other::pod(&mut causes, new),
        Kind::Secret => other::secret(&mut causes, new, old),
        Kind::Service => service::check(&mut causes, new, old),
    }
    causes
}

fn custom(causes: &mut Causes, new: &Value, schema: &Value) {
    for (name, of_field) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(field) = new.get(name)
            && name != "metadata"
        {
            schema::check(causes, name, field, of_field);
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if new.get(name).is_none() {
            causes.required(name, "");
        }
    }
}
