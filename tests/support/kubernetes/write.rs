//! The verbs that change something, with a real server's rules: who wins a race, which fields belong
//! to whom, what cannot change. Called by `http` for requests and by `Cluster` for tests, under the
//! store's lock.

use std::sync::Arc;

use serde_json::{Value, json};

use super::addresses::{allocate, keep_address};
use super::error::{ApiError, Causes};
use super::resources::{Kind, Resource};
use super::store::{Key, Store, Stored};
use super::validate::{self, Relaxed};
use super::{schema, typed};

/// Of one object, as etcd's default for a request.
const MAX_OBJECT: usize = 1_572_864;
/// Letters of generated names.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// `generateName` is cut to leave room for five letters in 63.
const MAX_PREFIX: usize = 58;

/// What a URL names.
#[derive(Clone, Debug)]
pub struct Target {
    /// Place of the resource in the store.
    pub place: usize,
    pub resource: Arc<Resource>,
    /// Index in the resource's versions.
    pub version: usize,
    /// Empty for all namespaces, or for what has none.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
    /// `/status`.
    pub is_status: bool,
}

/// Who writes, and how.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// A test sets status and everything else in one step.
    pub is_test: bool,
    pub is_dry_run: bool,
    /// [`super::Options::has_controllers`].
    pub has_controllers: bool,
    pub relaxed: Relaxed,
}

impl Target {
    pub fn key(&self) -> Key {
        (self.namespace.clone(), self.name.clone())
    }

    /// Whether `/status` exists in this version.
    pub fn has_status(&self) -> bool {
        self.resource.versions[self.version].has_status
    }

    /// The object, or a 404.
    pub fn find(&self, store: &Store) -> Result<Arc<Stored>, ApiError> {
        let found = store.find(self.place, &self.key()).cloned();
        found.ok_or_else(|| ApiError::not_found(&self.resource, &self.name))
    }
}

/// POST.
pub fn create(
    store: &mut Store,
    target: &Target,
    body: Value,
    how: How,
) -> Result<Arc<Stored>, ApiError> {
    if !body["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::internal(message));
    }
    let mut new = typed::decode(&target.resource, target.version, body)?;
    let target = &name(store, target, &mut new)?;
    begin(target, &mut new, how);
    typed::default(&target.resource, &mut new);
    check(target, &new, None, how)?;
    if store.find(target.place, &target.key()).is_some() {
        return Err(ApiError::already_exists(&target.resource, &target.name));
    }
    if target.resource.check == Kind::Service {
        allocate(store, target, &mut new, None, how)?;
    }
    if target.resource.check == Kind::CustomResourceDefinition && !how.is_dry_run {
        store.install(Resource::custom(&new));
    }
    finish(store, target, new, how)
}

/// Gives a new object its place, and says which target that is.
fn name(store: &Store, target: &Target, new: &mut Value) -> Result<Target, ApiError> {
    let mut target = target.clone();
    place(&target, new)?;
    let meta = &mut new["metadata"];
    let prefix = meta["generateName"].as_str().unwrap_or_default();
    if meta["name"].as_str().unwrap_or_default().is_empty() && !prefix.is_empty() {
        let mut name: String = prefix.chars().take(MAX_PREFIX).collect();
        name.extend((0..5).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())])));
        meta["name"] = name.into();
    }
    target.name = meta["name"].as_str().unwrap_or_default().to_owned();
    if target.resource.is_namespaced {
        let namespaces = store.place_of(Kind::Namespace);
        let key = (String::new(), target.namespace.clone());
        if let Some(place) = namespaces
            && let Some(resource) = store.resource(place)
        {
            let Some(namespace) = store.find(place, &key) else {
                return Err(ApiError::not_found(resource, &target.namespace));
            };
            if namespace.value["status"]["phase"] == "Terminating" {
                return Err(ApiError::terminating(&target.resource, &target.name, &key.1));
            }
        }
    }
    Ok(target)
}

/// The namespace of an object is that of its URL.
fn place(target: &Target, new: &mut Value) -> Result<(), ApiError> {
    let says = new["metadata"]["namespace"].as_str().unwrap_or_default();
    if !says.is_empty() && says != target.namespace {
        let message = "the namespace of the provided object does not match the namespace sent on \
                       the request";
        return Err(ApiError::bad_request(message));
    }
    if target.resource.is_namespaced {
        new["metadata"]["namespace"] = target.namespace.clone().into();
    }
    Ok(())
}

/// What only the server sets.
fn begin(target: &Target, new: &mut Value, how: How) {
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    let uid = format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0xfff,
        low & 0xffff_ffff_ffff
    );
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let meta = &mut new["metadata"];
    meta["uid"] = uid.into();
    meta["creationTimestamp"] = now.into();
    for field in ["deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink"]
    {
        meta.as_object_mut().and_then(|meta| meta.remove(field));
    }
    if has_generation(&target.resource) {
        meta["generation"] = 1.into();
    }
    if target.has_status() && !how.is_test {
        new.as_object_mut().and_then(|new| new.remove("status"));
    }
}

fn has_generation(resource: &Resource) -> bool {
    matches!(resource.check, Kind::Custom | Kind::EndpointSlice)
}

/// PUT.
pub fn update(
    store: &mut Store,
    target: &Target,
    body: Value,
    how: How,
) -> Result<Arc<Stored>, ApiError> {
    let mut new = typed::decode(&target.resource, target.version, body)?;
    place(target, &mut new)?;
    if new["metadata"]["name"].as_str() != Some(&target.name) {
        let message = "the name of the object does not match the name on the URL";
        return Err(ApiError::bad_request(message));
    }
    let Some(stored) = store.find(target.place, &target.key()).cloned() else {
        return create_by_put(store, target, new, how);
    };
    let old = decoded(target, &stored);
    race(target, &new["metadata"], &old["metadata"])?;
    inherit(target, &mut new, &old, how);
    typed::default(&target.resource, &mut new);
    if target.resource.check == Kind::Service {
        keep_address(&mut new, &old);
    }
    check(target, &new, Some(&old), how)?;
    if target.resource.check == Kind::Service && !target.is_status {
        allocate(store, target, &mut new, Some(&old), how)?;
    }
    if new == old {
        // Nothing is written, so nobody is told.
        return Ok(stored);
    }
    count_generation(target, &mut new, &old);
    finish(store, target, new, how)
}

/// Some kinds are created by a PUT, but not if it says which object it means.
fn create_by_put(
    store: &mut Store,
    target: &Target,
    mut new: Value,
    how: How,
) -> Result<Arc<Stored>, ApiError> {
    if !target.resource.creates_on_update || target.is_status {
        return Err(ApiError::not_found(&target.resource, &target.name));
    }
    if let Some(uid) = new["metadata"]["uid"].as_str() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
        return Err(ApiError::conflict(&target.resource, &target.name, &why));
    }
    new["apiVersion"] = target.resource.api_version(target.version).into();
    new["kind"] = target.resource.kind.clone().into();
    new["metadata"].as_object_mut().and_then(|meta| meta.remove("resourceVersion"));
    create(store, target, new, how)
}

/// An object as the target's version has it, without types.
fn decoded(target: &Target, stored: &Stored) -> Value {
    let mut value = stored.value.clone();
    if target.version != target.resource.storage {
        schema::prune(&mut value, &target.resource.versions[target.version].schema);
    }
    value
}

/// Refuses who has not read the latest version, or means another object.
fn race(target: &Target, new: &Value, old: &Value) -> Result<(), ApiError> {
    let (resource, name) = (&target.resource, &target.name);
    if let Some(uid) = new["uid"].as_str()
        && old["uid"] != uid
    {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old["uid"].as_str().unwrap_or_default()
        );
        return Err(ApiError::conflict(resource, name, &why));
    }
    match new["resourceVersion"].as_str().unwrap_or_default() {
        "" | "0" if resource.updates_unconditionally => Ok(()),
        "" | "0" => {
            let mut causes = Causes::default();
            causes.invalid("metadata.resourceVersion", "0", "must be specified for an update");
            Err(ApiError::invalid(resource, name, &causes))
        }
        version if old["resourceVersion"] == version => Ok(()),
        _ => Err(ApiError::modified(resource, name)),
    }
}

/// Takes from the old object what this request cannot change.
fn inherit(target: &Target, new: &mut Value, old: &Value, how: How) {
    if target.is_status {
        let status = new["status"].take();
        let labels = new["metadata"]["labels"].take();
        let annotations = new["metadata"]["annotations"].take();
        *new = old.clone();
        new["status"] = status;
        if target.resource.check != Kind::Custom {
            new["metadata"]["labels"] = labels;
            new["metadata"]["annotations"] = annotations;
        }
        return;
    }
    if target.has_status() && !how.is_test {
        new["status"] = old["status"].clone();
    }
    let kept = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "generation",
        "generateName",
        "resourceVersion",
    ];
    for field in kept {
        new["metadata"][field] = old["metadata"][field].clone();
    }
    new["metadata"].as_object_mut().and_then(|meta| meta.remove("managedFields"));
}

fn check(target: &Target, new: &Value, old: Option<&Value>, how: How) -> Result<(), ApiError> {
    let (resource, version) = (&target.resource, target.version);
    let causes = validate::object(resource, version, new, old, how.relaxed);
    causes.check(resource, &target.name)
}

/// Everything but metadata and, where it is apart, status counts as a new generation.
fn count_generation(target: &Target, new: &mut Value, old: &Value) {
    if !has_generation(&target.resource) {
        return;
    }
    let content = |value: &Value| {
        let fields = value.as_object().into_iter().flatten();
        let is_content =
            |name: &str| name != "metadata" && !(name == "status" && target.has_status());
        fields
            .filter(|(name, _)| is_content(name))
            .map(|(name, field)| (name.clone(), field.clone()))
            .collect::<Vec<_>>()
    };
    // Of an EndpointSlice its labels count too.
    let labels = |value: &Value| value["metadata"]["labels"].clone();
    let is_slice = target.resource.check == Kind::EndpointSlice;
    if content(new) != content(old) || is_slice && labels(new) != labels(old) {
        let generation = old["metadata"]["generation"].as_u64().unwrap_or_default();
        new["metadata"]["generation"] = (generation + 1).into();
    }
}

fn finish(
    store: &mut Store,
    target: &Target,
    mut new: Value,
    how: How,
) -> Result<Arc<Stored>, ApiError> {
    if target.version != target.resource.storage {
        // What another version wrote is completed by the stored one's defaults.
        schema::default(&mut new, &target.resource.versions[target.resource.storage].schema);
    }
    if new.to_string().len() > MAX_OBJECT {
        return Err(ApiError::internal("etcdserver: request is too large"));
    }
    if how.is_dry_run {
        return Ok(Stored::new(new));
    }
    Ok(store.put(target.place, target.key(), new))
}

/// PATCH with a JSON merge patch.
pub fn merge_patch(
    store: &mut Store,
    target: &Target,
    patch: &Value,
    how: How,
) -> Result<Arc<Stored>, ApiError> {
    if !patch.is_object() {
        return Err(ApiError::bad_request("a merge patch must be an object"));
    }
    let stored = target.find(store)?;
    let mut body = stored.view(&target.resource, target.version);
    merge(&mut body, patch);
    let version = &mut body["metadata"]["resourceVersion"];
    if version.as_str().unwrap_or_default().is_empty() {
        *version = stored.version().to_string().into();
    }
    update(store, target, body, how)
}

/// RFC 7386.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (name, change) in changes {
        if change.is_null() {
            value.as_object_mut().and_then(|fields| fields.remove(name));
        } else {
            merge(&mut value[name], change);
        }
    }
}
