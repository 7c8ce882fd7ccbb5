//! A body becomes an object as the server would decode it: fields of a wrong type are refused,
//! fields that the kind does not have are dropped, defaults are filled in. Called by `write` before
//! `validate`.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event as CoreEvent, Namespace, Node, Pod, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::error::ApiError;
use super::resources::{Kind, Resource};
use super::schema;

/// Decodes `body`, which must say what it is, into an object without `apiVersion` and `kind`.
pub fn decode(resource: &Resource, version: usize, body: Value) -> Result<Value, ApiError> {
    let Value::Object(fields) = &body else {
        return Err(ApiError::bad_request("the object provided is unrecognized: not an object"));
    };
    let (api_version, kind) = (resource.api_version(version), &resource.kind);
    let says = (body["apiVersion"].as_str(), body["kind"].as_str());
    if says != (Some(&api_version), Some(kind)) {
        let message = format!(
            "the object provided ({says:?}) does not match what the URL is for \
             ({api_version}, Kind={kind})"
        );
        return Err(ApiError::bad_request(message));
    }
    let names: Vec<String> =
        fields.iter().filter(|f| !f.1.is_null()).map(|f| f.0.clone()).collect();
    let mut object = match resource.check {
        Kind::ClusterRole => through::<ClusterRole>(resource, body),
        Kind::ClusterRoleBinding => through::<ClusterRoleBinding>(resource, body),
        Kind::ConfigMap => through::<ConfigMap>(resource, body),
        Kind::CoreEvent => through::<CoreEvent>(resource, body),
        Kind::Custom => custom(resource, version, body),
        Kind::CustomResourceDefinition => through::<CustomResourceDefinition>(resource, body),
        Kind::EndpointSlice => through::<EndpointSlice>(resource, body),
        Kind::Endpoints => through::<Endpoints>(resource, body),
        Kind::Event => through::<Event>(resource, body),
        Kind::Lease => through::<Lease>(resource, body),
        Kind::Namespace => through::<Namespace>(resource, body),
        Kind::Node => through::<Node>(resource, body),
        Kind::Pod => through::<Pod>(resource, body),
        Kind::Role => through::<Role>(resource, body),
        Kind::RoleBinding => through::<RoleBinding>(resource, body),
        Kind::Secret => through::<Secret>(resource, body),
        Kind::Service => through::<Service>(resource, body),
        Kind::ServiceAccount => through::<ServiceAccount>(resource, body),
    }?;
    // A server would only warn. To a test it is a mistake of the program.
    let unknown = names.iter().find(|name| object.get(name.as_str()).is_none());
    if let Some(name) = unknown
        && resource.check != Kind::Custom
    {
        let message = format!("strict decoding error: unknown field \"{name}\"");
        return Err(ApiError::bad_request(message));
    }
    if let Some(fields) = object.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    Ok(object)
}

fn through<T: DeserializeOwned + Serialize>(
    resource: &Resource,
    body: Value,
) -> Result<Value, ApiError> {
    let typed = serde_json::from_value::<T>(body);
    let value = typed.and_then(|typed| serde_json::to_value(&typed));
    value.map_err(|error| {
        let message = format!("{} in version \"v1\" cannot be handled: {error}", resource.kind);
        ApiError::bad_request(message)
    })
}

fn custom(resource: &Resource, version: usize, mut body: Value) -> Result<Value, ApiError> {
    if !body["metadata"].is_null() {
        body["metadata"] = through::<ObjectMeta>(resource, body["metadata"].take())?;
    }
    let schema = &resource.versions[version].schema;
    schema::prune(&mut body, schema);
    schema::default(&mut body, schema);
    Ok(body)
}

/// Fills in what the kind's defaults are.
pub fn default(resource: &Resource, object: &mut Value) {
    match resource.check {
        Kind::EndpointSlice => protocols(&mut object["ports"]),
        Kind::Endpoints => {
            let subsets = object["subsets"].as_array_mut();
            for subset in subsets.into_iter().flatten() {
                protocols(&mut subset["ports"]);
            }
        }
        Kind::CustomResourceDefinition => {
            object["status"]["conditions"] = json!([{ "type": "Established", "status": "True" }]);
        }
        Kind::Namespace => set(&mut object["status"], "phase", "Active"),
        Kind::Pod => {
            set(&mut object["spec"], "restartPolicy", "Always");
            set(&mut object["spec"], "serviceAccountName", "default");
            set(&mut object["status"], "phase", "Pending");
        }
        Kind::Secret => secret(object),
        Kind::Service => service(object),
        _ => {}
    }
    remove_nulls(object);
}

fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if object[field].is_null() {
        object[field] = value.into();
    }
}

/// What indexing for writing has left behind.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        Value::Object(fields) => {
            fields.values_mut().for_each(remove_nulls);
            fields.retain(|_, field| !field.is_null());
        }
        _ => {}
    }
}

fn protocols(ports: &mut Value) {
    for port in ports.as_array_mut().into_iter().flatten() {
        set(port, "protocol", "TCP");
    }
}

fn secret(object: &mut Value) {
    set(object, "type", "Opaque");
    if let Value::Object(texts) = object["stringData"].take() {
        for (key, text) in texts {
            let bytes = text.as_str().unwrap_or_default().as_bytes().to_vec();
            let data = serde_json::to_value(k8s_openapi::ByteString(bytes)).unwrap_or_default();
            object["data"][key] = data;
        }
    }
}

fn service(object: &mut Value) {
    let spec = &mut object["spec"];
    set(spec, "sessionAffinity", "None");
    set(spec, "type", "ClusterIP");
    protocols(&mut spec["ports"]);
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        let number = port["port"].clone();
        set(port, "targetPort", number);
    }
    if spec["type"] != "ExternalName" {
        set(spec, "internalTrafficPolicy", "Cluster");
        set(spec, "ipFamilies", json!(["IPv4"]));
        set(spec, "ipFamilyPolicy", "SingleStack");
    }
    if matches!(spec["type"].as_str(), Some("LoadBalancer" | "NodePort")) {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    set(&mut object["status"], "loadBalancer", json!({}));
}
