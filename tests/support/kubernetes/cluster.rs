//! What a test does with a cluster, without a client and without permissions: objects in and out,
//! waiting, faults, tokens, and what was asked of the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::delete;
use super::error::ApiError;
use super::faults::{Fault, Matcher, Times};
use super::log::Logged;
use super::rbac::{Access, Rules};
use super::resources::Resource;
use super::server::{Account, Shared, Signals, Tls};
use super::store::Store;
use super::write::{self, How, Target};

/// How long [`Cluster::wait_for`] waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// A handle on the state of a server.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

impl Cluster {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Creates an object under all rules of a server, but with its status.
    ///
    /// # Panics
    /// When a real server would refuse it.
    pub fn create(&self, object: Value) -> Value {
        self.try_create(object).unwrap_or_else(|error| panic!("{}", error.message))
    }

    /// The same, without a panic.
    pub fn try_create(&self, object: Value) -> Result<Value, ApiError> {
        self.write(object, write::create)
    }

    /// Creates an object, or puts it in the place of the one that there is.
    pub fn apply(&self, object: Value) -> Value {
        let put = |store: &mut Store, target: &Target, mut body: Value, how| {
            let mut target = target.clone();
            target.name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            match store.find(target.place, &target.key()).cloned() {
                None => write::create(store, &target, body, how),
                Some(old) => {
                    body["metadata"]["resourceVersion"] = old.version().to_string().into();
                    write::update(store, &target, body, how)
                }
            }
        };
        self.write(object, put).unwrap_or_else(|error| panic!("{}", error.message))
    }

    fn write(
        &self,
        object: Value,
        put: impl FnOnce(&mut Store, &Target, Value, How) -> Result<Arc<super::store::Stored>, ApiError>,
    ) -> Result<Value, ApiError> {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let mut store = self.shared.store.lock().expect("whole");
        let target = target_of(&store, &object, &namespace);
        let written = put(&mut store, &target, object, self.how());
        let view = written.map(|object| object.view(&target.resource, target.version));
        drop(store);
        self.shared.changed();
        view
    }

    fn how(&self) -> How {
        How {
            is_test: true,
            is_dry_run: false,
            has_controllers: true,
            relaxed: self.shared.relaxed(),
        }
    }

    /// An object by its kind (`Service`), plural (`services`) or qualified plural
    /// (`events.events.k8s.io`); the namespace is empty for what has none.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let store = self.shared.store.lock().expect("whole");
        let (place, resource) = resource_of(&store, kind);
        let object = store.find(place, &(namespace.to_owned(), name.to_owned()))?;
        Some(object.view(resource, resource.storage))
    }

    /// All objects of a kind, in all namespaces.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let store = self.shared.store.lock().expect("whole");
        let (place, resource) = resource_of(&store, kind);
        let all = store.all(place, "");
        all.iter().map(|object| object.view(resource, resource.storage)).collect()
    }

    /// How many objects of a kind are as `holds` says, without a copy of them all.
    pub fn count(&self, kind: &str, holds: impl Fn(&Value) -> bool) -> usize {
        let all = {
            let store = self.shared.store.lock().expect("whole");
            store.all(resource_of(&store, kind).0, "")
        };
        all.iter().filter(|object| holds(&object.value)).count()
    }

    /// Names of all objects of a kind in a namespace.
    pub fn names(&self, kind: &str, namespace: &str) -> Vec<String> {
        let store = self.shared.store.lock().expect("whole");
        let (place, _) = resource_of(&store, kind);
        store.all(place, namespace).iter().map(|object| object.key().1).collect()
    }

    /// What was reported by Events of both APIs, which a real server keeps as one: the name of the
    /// object, the reason and the text.
    pub fn events(&self) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let old = self.list("events").into_iter().map(|event| {
            (
                text(&event["involvedObject"]["name"]),
                text(&event["reason"]),
                text(&event["message"]),
            )
        });
        let new = self.list("events.events.k8s.io").into_iter().map(|event| {
            (text(&event["regarding"]["name"]), text(&event["reason"]), text(&event["note"]))
        });
        old.chain(new).collect()
    }

    /// Removes an object, if it is there.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let mut store = self.shared.store.lock().expect("whole");
        let (place, resource) = resource_of(&store, kind);
        let resource = Arc::clone(resource);
        let key = (namespace.to_owned(), name.to_owned());
        let removed = delete::remove(&mut store, place, &key);
        drop(store);
        self.shared.changed();
        removed.map(|object| object.view(&resource, resource.storage))
    }

    /// Applies a merge patch, of the status too.
    ///
    /// # Panics
    /// When a real server would refuse it.
    pub fn patch(&self, kind: &str, namespace: &str, name: &str, patch: &Value) -> Value {
        let mut store = self.shared.store.lock().expect("whole");
        let (place, resource) = resource_of(&store, kind);
        let target = Target {
            place,
            resource: Arc::clone(resource),
            version: resource.storage,
            namespace: namespace.into(),
            name: name.into(),
            is_status: false,
        };
        let patched = write::merge_patch(&mut store, &target, patch, self.how());
        let patched = patched.unwrap_or_else(|error| panic!("{}", error.message));
        drop(store);
        self.shared.changed();
        patched.view(&target.resource, target.version)
    }

    /// Removes what has owners of which none exists any more, as the garbage collector does.
    pub fn collect_garbage(&self) {
        let mut store = self.shared.store.lock().expect("whole");
        let places: Vec<_> = store.resources().map(|(place, _)| place).collect();
        let all: Vec<_> = places
            .iter()
            .flat_map(|place| store.all(*place, "").into_iter().map(move |o| (*place, o)))
            .collect();
        let uids: Vec<_> = all.iter().map(|(_, object)| &object.value["metadata"]["uid"]).collect();
        for (place, object) in &all {
            let owners = object.value["metadata"]["ownerReferences"].as_array();
            let owners = owners.map(Vec::as_slice).unwrap_or_default();
            if !owners.is_empty() && owners.iter().all(|owner| !uids.contains(&&owner["uid"])) {
                delete::remove(&mut store, *place, &object.key());
            }
        }
        drop(store);
        self.shared.changed();
    }

    /// Waits until `holds` is true.
    ///
    /// # Panics
    /// After half a minute, with `what` and the last requests.
    pub fn wait_for(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            if begin.elapsed() > PATIENCE {
                let log = self.requests();
                let last: Vec<_> = log.iter().rev().take(20).rev().collect();
                let last: Vec<_> =
                    last.iter().map(|entry| format!("{} {}", entry.line(), entry.code)).collect();
                panic!("{what} did not happen; the last requests:\n{}", last.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A token with these rules. The name is how refusals and the log call its holder.
    pub fn token(&self, name: &str, rules: Rules) -> String {
        self.shared.new_token(Account { name: name.into(), rules })
    }

    /// Makes a token unknown.
    pub fn revoke(&self, token: &str) {
        self.shared.accounts.lock().expect("whole").remove(token);
    }

    /// Gives a token other rules.
    pub fn allow(&self, token: &str, rules: Rules) {
        let mut accounts = self.shared.accounts.lock().expect("whole");
        accounts.get_mut(token).expect("a known token").rules = rules;
    }

    /// What was refused to whom since the last reset, each once.
    pub fn denied(&self) -> Vec<(String, Access)> {
        self.shared.log.lock().expect("whole").denied()
    }

    /// How many requests came without a known token since the last reset.
    pub fn unauthorized(&self) -> usize {
        self.shared.log.lock().expect("whole").unauthorized
    }

    /// All requests since the last reset, but for discovery.
    pub fn requests(&self) -> Vec<Logged> {
        self.shared.log.lock().expect("whole").entries().to_vec()
    }

    /// How often each `verb resource namespace/name` was asked since the last reset.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.shared.log.lock().expect("whole").counts()
    }

    /// All requests to change something.
    pub fn writes_and_leases(&self) -> Vec<Logged> {
        let log = self.shared.log.lock().expect("whole");
        log.entries().iter().filter(|entry| entry.is_write()).cloned().collect()
    }

    /// All requests to change something else than a Lease.
    pub fn writes(&self) -> Vec<Logged> {
        let mut writes = self.writes_and_leases();
        writes.retain(|entry| entry.access.resource != "leases");
        writes
    }

    /// Forgets all requests and refusals.
    pub fn reset_log(&self) {
        self.shared.log.lock().expect("whole").reset();
    }

    /// Lets requests go wrong.
    pub fn inject(&self, matcher: Matcher, fault: Fault, times: Times) {
        self.shared.faults.lock().expect("whole").add(matcher, fault, times);
    }

    /// Runs `hook` once, just before the next write that matches is executed.
    pub fn before(&self, matcher: Matcher, hook: impl FnOnce(&Self) + Send + 'static) {
        self.shared.faults.lock().expect("whole").add_hook(matcher, Box::new(hook));
    }

    /// Ends all faults and forgets all hooks. What hangs goes on hanging.
    pub fn clear_faults(&self) {
        self.shared.faults.lock().expect("whole").clear();
    }

    /// No watch ever hears of what `act` does, nor of what else happens meanwhile.
    pub fn unseen<T>(&self, act: impl FnOnce(&Self) -> T) -> T {
        self.shared.store.lock().expect("whole").is_hiding = true;
        let done = act(self);
        self.shared.store.lock().expect("whole").is_hiding = false;
        done
    }

    /// Forgets all changes: lists in pieces and watches from before are answered with 410.
    pub fn compact(&self) {
        self.shared.store.lock().expect("whole").compact();
    }

    /// Ends all open watches in the middle.
    pub fn cut_watches(&self) {
        self.signal(|signals| signals.cut += 1);
    }

    /// Tells all open watches that they are too old: an ERROR event with 410.
    pub fn expire_watches(&self) {
        self.signal(|signals| signals.expired += 1);
    }

    /// Breaks all connections.
    pub fn disconnect(&self) {
        self.signal(|signals| signals.disconnected += 1);
    }

    fn signal(&self, change: impl FnOnce(&mut Signals)) {
        self.shared.signals.send_modify(change);
    }

    /// Presents a certificate of another authority from the next connection on; open ones stay.
    pub fn change_certificate(&self) {
        *self.shared.tls.lock().expect("whole") = Some(Tls::new());
    }

    /// Serves a custom resource, in the place of an older definition of it.
    pub fn install_crd(&self, crd: &Value) {
        self.shared.store.lock().expect("whole").install(Resource::custom(crd));
    }

    /// Serves a custom resource (`links.multicluster.linkerd.io`) no longer: its objects are gone,
    /// its watches end, its paths are 404.
    pub fn remove_crd(&self, qualified: &str) {
        self.shared.store.lock().expect("whole").uninstall(qualified);
        self.signal(|_| {});
    }

    /// The version of the last change.
    pub fn version(&self) -> u64 {
        self.shared.store.lock().expect("whole").version
    }

    /// Open watches and connections there are.
    pub fn open(&self) -> usize {
        self.shared.signals.receiver_count()
    }
}

/// Where an object that says its types belongs.
fn target_of(store: &Store, object: &Value, namespace: &str) -> Target {
    let (api_version, kind) = (&object["apiVersion"], &object["kind"]);
    let found = store.resources().find_map(|(place, resource)| {
        let versions = 0..resource.versions.len();
        let mut versions =
            versions.filter(|version| resource.api_version(*version) == *api_version);
        (resource.kind == *kind).then(|| versions.next()).flatten().map(|v| (place, resource, v))
    });
    let (place, resource, version) =
        found.unwrap_or_else(|| panic!("{api_version} {kind} is not served"));
    Target {
        place,
        resource: Arc::clone(resource),
        version,
        namespace: namespace.into(),
        name: String::new(),
        is_status: false,
    }
}

fn resource_of<'s>(store: &'s Store, kind: &str) -> (usize, &'s Arc<Resource>) {
    let is_it = |r: &Resource| r.qualified() == kind || r.plural == kind || r.kind == kind;
    let found = store.resources().find(|(_, resource)| is_it(resource));
    found.unwrap_or_else(|| panic!("{kind} is not served"))
}
