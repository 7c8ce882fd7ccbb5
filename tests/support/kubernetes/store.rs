//! What the server remembers: objects by kind, namespace and name, the last changes for watches, and
//! the lists that are being read in pieces. No rules here, those are `write`'s; `read` and `watch`
//! read it. One version counter for everything, as etcd has.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Value, json};

use super::addresses::Addresses;
use super::resources::{Kind, Resource};
use super::schema;

/// Namespace (empty for what has none) and name.
pub type Key = (String, String);
/// Lists in pieces that are kept; the oldest expires.
const SNAPSHOTS: usize = 64;

/// An object as it is stored, without `apiVersion` and `kind`.
#[derive(Debug)]
pub struct Stored {
    pub value: Value,
    /// Written once, however many lists and watches show it.
    json: OnceLock<Bytes>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Deleted,
    Modified,
}

/// One change.
#[derive(Debug)]
pub struct Event {
    pub version: u64,
    /// [`Resource`]'s place in the store.
    pub resource: usize,
    pub change: Change,
    /// After it; of a deletion the last state.
    pub object: Arc<Stored>,
    /// Before it.
    pub previous: Option<Arc<Stored>>,
    /// A fault on demand: watches do not see it.
    pub is_hidden: bool,
}

/// How an object is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In a list: without types if it is a built-in kind.
    Item,
    /// Names, labels and so on alone.
    Metadata,
    Whole,
}

/// All objects of a server.
#[derive(Debug)]
pub struct Store {
    /// Served resources; none where a CRD was removed.
    resources: Vec<Option<Arc<Resource>>>,
    /// By a resource's place.
    objects: Vec<BTreeMap<Key, Arc<Stored>>>,
    history: VecDeque<Arc<Event>>,
    history_limit: usize,
    /// Of the last change.
    pub version: u64,
    /// Changes up to this one are no longer in the history.
    pub compacted: u64,
    snapshots: VecDeque<(u64, Arc<Vec<Arc<Stored>>>)>,
    pub addresses: Addresses,
    /// A fault on demand: changes happen, but watches do not see them.
    pub is_hiding: bool,
}

impl Store {
    pub fn new(resources: Vec<Resource>, network: u8, history_limit: usize) -> Self {
        let mut store = Self {
            resources: Vec::new(),
            objects: Vec::new(),
            history: VecDeque::new(),
            history_limit,
            version: 1000,
            compacted: 0,
            snapshots: VecDeque::new(),
            addresses: Addresses::new(network),
            is_hiding: false,
        };
        resources.into_iter().for_each(|resource| store.install(resource));
        store
    }

    /// Serves `resource`, in the place of an older definition of it.
    pub fn install(&mut self, resource: Resource) {
        let name = resource.qualified();
        let place = self.resources.iter().flatten().position(|r| r.qualified() == name);
        match place {
            Some(place) => self.resources[place] = Some(Arc::new(resource)),
            None => {
                self.resources.push(Some(Arc::new(resource)));
                self.objects.push(BTreeMap::new());
            }
        }
    }

    /// Stops serving a custom resource; its objects are gone as its CRD is.
    pub fn uninstall(&mut self, qualified: &str) {
        for (resource, objects) in self.resources.iter_mut().zip(&mut self.objects) {
            if resource.as_ref().is_some_and(|r| r.qualified() == qualified) {
                *resource = None;
                objects.clear();
            }
        }
    }

    pub fn resources(&self) -> impl Iterator<Item = (usize, &Arc<Resource>)> {
        let places = self.resources.iter().enumerate();
        places.filter_map(|(place, resource)| Some((place, resource.as_ref()?)))
    }

    /// The resource at a place, unless it is no longer served.
    pub fn resource(&self, place: usize) -> Option<&Arc<Resource>> {
        self.resources.get(place)?.as_ref()
    }

    /// The place of the first resource of this kind of check.
    pub fn place_of(&self, kind: Kind) -> Option<usize> {
        self.resources().find(|(_, resource)| resource.check == kind).map(|(place, _)| place)
    }

    pub fn find(&self, place: usize, key: &Key) -> Option<&Arc<Stored>> {
        self.objects.get(place)?.get(key)
    }

    /// Objects in order; of one namespace unless that is empty.
    pub fn all(&self, place: usize, namespace: &str) -> Vec<Arc<Stored>> {
        let Some(objects) = self.objects.get(place) else { return Vec::new() };
        if namespace.is_empty() {
            return objects.values().cloned().collect();
        }
        let from = (namespace.to_owned(), String::new());
        let range = objects.range(from..).take_while(|((ns, _), _)| ns == namespace);
        range.map(|(_, object)| Arc::clone(object)).collect()
    }

    /// Writes an object under a new version, which is put into it.
    pub fn put(&mut self, place: usize, key: Key, mut value: Value) -> Arc<Stored> {
        self.version += 1;
        value["metadata"]["resourceVersion"] = self.version.to_string().into();
        let object = Stored::new(value);
        let previous = self.objects[place].insert(key, Arc::clone(&object));
        let change = if previous.is_some() { Change::Modified } else { Change::Added };
        self.remember(place, change, Arc::clone(&object), previous);
        object
    }

    /// Removes an object, and returns its last state.
    pub fn remove(&mut self, place: usize, key: &Key) -> Option<Arc<Stored>> {
        let previous = self.objects.get_mut(place)?.remove(key)?;
        self.version += 1;
        let last = previous.at(self.version);
        self.remember(place, Change::Deleted, Arc::clone(&last), Some(previous));
        Some(last)
    }

    fn remember(
        &mut self,
        resource: usize,
        change: Change,
        object: Arc<Stored>,
        previous: Option<Arc<Stored>>,
    ) {
        let version = self.version;
        let is_hidden = self.is_hiding;
        let event = Event { version, resource, change, object, previous, is_hidden };
        self.history.push_back(Arc::new(event));
        while self.history.len() > self.history_limit
            && let Some(old) = self.history.pop_front()
        {
            self.compacted = old.version;
        }
    }

    /// Changes after `version` that are not hidden, of one resource.
    pub fn since(&self, version: u64, place: usize) -> Vec<Arc<Event>> {
        let from = self.history.partition_point(|event| event.version <= version);
        let events = self.history.range(from..);
        events.filter(|e| e.resource == place && !e.is_hidden).cloned().collect()
    }

    /// Forgets all changes and all lists in pieces.
    pub fn compact(&mut self) {
        self.compacted = self.version;
        self.history.clear();
        self.snapshots.clear();
    }

    /// Counts versions from `version` on, as a cluster restored from a backup does. Objects keep
    /// their own versions unless those are newer.
    pub fn restart_at(&mut self, version: u64) {
        self.compact();
        (self.version, self.compacted) = (version, version);
        for objects in &mut self.objects {
            for object in objects.values_mut() {
                *object = object.at(version.min(object.version()));
            }
        }
    }

    /// Keeps the rest of a list, and returns the name under which it is found.
    pub fn keep(&mut self, list: Arc<Vec<Arc<Stored>>>) -> u64 {
        if self.snapshots.len() >= SNAPSHOTS {
            self.snapshots.pop_front();
        }
        let name = self.snapshots.back().map_or(1, |(name, _)| name + 1);
        self.snapshots.push_back((name, list));
        name
    }

    /// A list that was kept.
    pub fn kept(&self, name: u64) -> Option<Arc<Vec<Arc<Stored>>>> {
        self.snapshots.iter().find(|(n, _)| *n == name).map(|(_, list)| Arc::clone(list))
    }
}

impl Stored {
    pub fn new(value: Value) -> Arc<Self> {
        Arc::new(Self { value, json: OnceLock::new() })
    }

    pub fn version(&self) -> u64 {
        let version = self.value["metadata"]["resourceVersion"].as_str();
        version.and_then(|version| version.parse().ok()).unwrap_or_default()
    }

    pub fn key(&self) -> Key {
        let text = |field: &str| self.value["metadata"][field].as_str().unwrap_or_default();
        (text("namespace").to_owned(), text("name").to_owned())
    }

    /// The same with another version.
    pub fn at(&self, version: u64) -> Arc<Self> {
        let mut value = self.value.clone();
        value["metadata"]["resourceVersion"] = version.to_string().into();
        Self::new(value)
    }

    /// As a version of a resource has it: a custom one loses what that version does not know.
    pub fn view(&self, resource: &Resource, version: usize) -> Value {
        let mut value = self.value.clone();
        let schema = &resource.versions[version].schema;
        if version != resource.storage && !schema.is_null() {
            schema::prune(&mut value, schema);
        }
        value["apiVersion"] = resource.api_version(version).into();
        value["kind"] = resource.kind.clone().into();
        value
    }

    /// JSON as it is sent.
    pub fn render(&self, resource: &Resource, version: usize, form: Form) -> Bytes {
        if form == Form::Metadata {
            let partial = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": self.value["metadata"] });
            return partial.to_string().into();
        }
        if version != resource.storage {
            return self.view(resource, version).to_string().into();
        }
        let json = self.json.get_or_init(|| self.value.to_string().into());
        if form == Form::Item && resource.check != Kind::Custom {
            return json.clone();
        }
        let (kind, api_version) = (&resource.kind, resource.api_version(version));
        let types = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","#);
        [types.as_bytes(), &json[1..]].concat().into()
    }
}
