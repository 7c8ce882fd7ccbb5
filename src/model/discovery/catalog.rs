//! Everything that the watches of Services, EndpointSlices and Pods have said, and the exports that
//! follow from it.
//!
//! Only Services that an event touches are looked at again. Nothing is forgotten before a list says
//! that it is gone (`model::kubernetes::index`), and nothing is exported before every list has been
//! complete once: half of what is known is no base for a decision.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::export::{Export, Finding, Rules};
use super::object::{Pod, Service, Slice};
use crate::model::kubernetes::index::{Index, WatchEvent};
use crate::model::kubernetes::object::ObjectKey;
use crate::model::route::Route;
use crate::model::service::{Port, Target};

/// Fed by one task, in the order of events.
#[derive(Debug)]
pub struct Catalog {
    rules: Rules,
    /// One for each selector: a Service is exported while any of them has it.
    services: Vec<Index<Service>>,
    slices: Index<Slice>,
    pods: Index<Pod>,
    /// The names of the slices of a Service.
    slices_of: HashMap<ObjectKey, BTreeSet<Arc<str>>>,
    /// The exported Services of the namespace whose slices name a pod.
    users_of: HashMap<ObjectKey, BTreeSet<Arc<str>>>,
    exports: BTreeMap<ObjectKey, Export>,
    /// Services that have to be looked at again.
    touched: HashSet<ObjectKey>,
}

/// What a [`Catalog::refresh`] has changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Some route is new, gone or different.
    pub has_routes: bool,
    /// What may be reached no longer.
    pub gone: Gone,
    /// Some restriction is another one.
    pub has_restrictions: bool,
    /// Services that are exported now.
    pub exported: Vec<ObjectKey>,
    /// Services that were exported.
    pub unexported: Vec<ObjectKey>,
    /// What an operator has not been told yet, with the Service's uid.
    pub findings: Vec<(ObjectKey, Arc<str>, Finding)>,
}

/// Ports of Services that are exported no longer.
#[derive(Debug, Default)]
pub struct Gone(HashMap<Box<str>, Vec<Port>>);

impl Gone {
    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True for such a port, and for that of each of the Service's hosts. That a host alone is gone
    /// ends nothing: its pod may still have something to finish.
    pub fn has(&self, target: &Target) -> bool {
        let Target::Service(name, port) = target else { return false };
        let is_gone = |name: &str| self.0.get(name).is_some_and(|ports| ports.contains(port));
        let service = name.as_str().split_once('.').map(|(_, service)| service);
        is_gone(name.as_str()) || service.is_some_and(is_gone)
    }

    fn add(&mut self, name: &str, ports: impl Iterator<Item = Port>) {
        let ports: Vec<_> = ports.collect();
        if !ports.is_empty() {
            self.0.entry(name.into()).or_default().extend(ports);
        }
    }
}

impl Catalog {
    /// Knows nothing yet; Services come from as many watches as there are `selectors`.
    pub fn new(rules: Rules, selectors: usize) -> Self {
        Self {
            rules,
            services: (0..selectors).map(|_| Index::default()).collect(),
            slices: Index::default(),
            pods: Index::default(),
            slices_of: HashMap::new(),
            users_of: HashMap::new(),
            exports: BTreeMap::new(),
            touched: HashSet::new(),
        }
    }

    /// Takes what the watch of one selector says.
    pub fn service(&mut self, selector: usize, event: WatchEvent<Service>) {
        let Some(index) = self.services.get_mut(selector) else { return };
        self.touched.extend(index.take(event).into_iter().map(|(key, _)| key));
    }

    /// Takes what the watch of EndpointSlices says.
    pub fn slice(&mut self, event: WatchEvent<Slice>) {
        for (key, old) in self.slices.take(event) {
            let of = |slice: &Slice| ObjectKey {
                namespace: Arc::clone(&key.namespace),
                name: Arc::clone(&slice.service),
            };
            if let Some(service) = old.as_ref().map(of) {
                if let Some(slices) = self.slices_of.get_mut(&service) {
                    slices.remove(&key.name);
                    if slices.is_empty() {
                        self.slices_of.remove(&service);
                    }
                }
                touch(&mut self.touched, &self.services, service);
            }
            if let Some(service) = self.slices.get(&key).map(of) {
                let slices = self.slices_of.entry(service.clone()).or_default();
                slices.insert(Arc::clone(&key.name));
                touch(&mut self.touched, &self.services, service);
            }
        }
    }

    /// Takes what the watch of Pods says.
    pub fn pod(&mut self, event: WatchEvent<Pod>) {
        for (key, _) in self.pods.take(event) {
            for service in self.users_of.get(&key).into_iter().flatten() {
                let (namespace, name) = (Arc::clone(&key.namespace), Arc::clone(service));
                self.touched.insert(ObjectKey { namespace, name });
            }
        }
    }

    /// True once every list has been complete.
    pub fn is_complete(&self) -> bool {
        let services = self.services.iter().all(Index::is_complete);
        services && self.slices.is_complete() && self.pods.is_complete()
    }

    /// Looks at what was touched, once everything is known; until then nothing changes.
    pub fn refresh(&mut self) -> Changes {
        let mut changes = Changes::default();
        if self.is_complete() {
            for key in std::mem::take(&mut self.touched) {
                self.look(key, &mut changes);
            }
        }
        changes
    }

    /// All routes, in the order of namespaces and names.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.exports.values().flat_map(|export| &export.routes)
    }

    /// How many Services are exported.
    pub fn exported(&self) -> usize {
        self.exports.len()
    }

    fn look(&mut self, key: ObjectKey, changes: &mut Changes) {
        let old = self.exports.remove(&key);
        let new = self.export(&key, old.as_ref());
        let pods = |export: Option<&Export>| export.map(|e| e.pods.clone()).unwrap_or_default();
        let (before, now) = (pods(old.as_ref()), pods(new.as_ref()));
        for pod in before.difference(&now) {
            let pod = ObjectKey { namespace: Arc::clone(&key.namespace), name: Arc::clone(pod) };
            if let Some(users) = self.users_of.get_mut(&pod) {
                users.remove(&key.name);
                if users.is_empty() {
                    self.users_of.remove(&pod);
                }
            }
        }
        for pod in now.difference(&before) {
            let pod = ObjectKey { namespace: Arc::clone(&key.namespace), name: Arc::clone(pod) };
            self.users_of.entry(pod).or_default().insert(Arc::clone(&key.name));
        }
        changes.compare(&key, old.as_ref(), new.as_ref());
        if let Some(export) = &new {
            let uid = self.newest(&key).map(|service| Arc::clone(&service.uid)).unwrap_or_default();
            let told = old.as_ref().map(|old| &old.findings);
            let is_new = |finding: &&Finding| told.is_none_or(|told| !told.contains(finding));
            let findings = export.findings.iter().filter(is_new).cloned();
            changes.findings.extend(findings.map(|f| (key.clone(), Arc::clone(&uid), f)));
        }
        if let Some(export) = new {
            self.exports.insert(key, export);
        }
    }

    /// The export of a Service, `None` when it is not exported.
    fn export(&self, key: &ObjectKey, old: Option<&Export>) -> Option<Export> {
        let service = self.newest(key)?;
        if !self.rules.may_export(&self.rules.name(key)) {
            return None;
        }
        let in_namespace = |name: &Arc<str>| ObjectKey {
            namespace: Arc::clone(&key.namespace),
            name: Arc::clone(name),
        };
        let names = self.slices_of.get(key).into_iter().flatten();
        let slices = names.filter_map(|name| self.slices.get(&in_namespace(name)));
        let pod = |name: &str| self.pods.get(&in_namespace(&name.into()));
        Some(Export::new(key, service, slices, pod, &self.rules, old))
    }

    /// The newest state of a Service that any watch has told: one may be behind.
    fn newest(&self, key: &ObjectKey) -> Option<&Service> {
        let known = self.services.iter().filter_map(|index| index.get(key));
        known.max_by_key(|service| service.version)
    }
}

/// Slices of Services that nobody exports are of no interest.
fn touch(touched: &mut HashSet<ObjectKey>, services: &[Index<Service>], key: ObjectKey) {
    if services.iter().any(|index| index.get(&key).is_some()) {
        touched.insert(key);
    }
}

impl Changes {
    fn compare(&mut self, key: &ObjectKey, old: Option<&Export>, new: Option<&Export>) {
        match (old, new) {
            (None, Some(_)) => self.exported.push(key.clone()),
            (Some(_), None) => self.unexported.push(key.clone()),
            _ => {}
        }
        let routes = |export: Option<&Export>| export.map_or(0, |export| export.routes.len());
        let each = |export| Option::into_iter(export).flat_map(|export: &Export| &export.routes);
        self.has_routes |= routes(old) != routes(new)
            || each(old).zip(each(new)).any(|(old, new)| !Arc::ptr_eq(old, new));
        if let Some(old) = old {
            let ports = new.map(|new| new.ports.as_slice()).unwrap_or_default();
            let gone = old.ports.iter().filter(|port| !ports.contains(port));
            self.gone.add(&old.name, gone.copied());
            let restriction = |export: &Export| export.restriction().cloned();
            self.has_restrictions |= new.is_some_and(|new| restriction(old) != restriction(new));
        }
    }
}

#[cfg(test)]
mod tests;
