//! Faults on demand: what goes wrong with which requests, how often, and what happens just before a
//! write. Tests add them through `Cluster`; `http` takes the one that a request meets.

use std::time::Duration;

use super::cluster::Cluster;
use super::rbac::Access;

/// Which requests. An empty field matches all.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    verb: String,
    resource: String,
    namespace: String,
    name: String,
    token: String,
}

/// What happens to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks in the middle of the answer; what was asked has been done.
    Cut,
    /// What is asked is done later, and answered then.
    Delay(Duration),
    /// Each event of the watch comes twice.
    Doubled,
    /// Nothing is done, and the answer never comes.
    Hang,
    /// A watch that shows nothing, ever, and does not end.
    Silent,
    /// A refusal with this status; nothing is done.
    Status(u16),
    /// 429, with the seconds of its Retry-After.
    TooManyRequests(u64),
    /// An answer that ends properly in the middle of its JSON, what was asked has been done. Of a
    /// watch: its first event.
    Truncated,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Until it is cleared.
    Always,
    Next(usize),
}

/// What a test does before a write is executed.
pub type Hook = Box<dyn FnOnce(&Cluster) + Send>;

/// All that is in force.
#[derive(Default)]
pub struct Faults {
    faults: Vec<(Matcher, Fault, Times)>,
    hooks: Vec<(Matcher, Hook)>,
}

impl Matcher {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// A verb (`get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`) on
    /// a resource (`services`, `links/status`).
    pub fn new(verb: &str, resource: &str) -> Self {
        Self { verb: verb.into(), resource: resource.into(), ..Self::default() }
    }

    /// Any verb on a resource.
    pub fn resource(resource: &str) -> Self {
        Self::new("", resource)
    }

    /// Of one namespace only.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Of one object only.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// With one token only.
    pub fn token(mut self, token: &str) -> Self {
        self.token = token.into();
        self
    }

    pub fn matches(&self, access: &Access, token: &str) -> bool {
        let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        is(&self.verb, access.verb)
            && is(&self.resource, &access.resource)
            && is(&self.namespace, &access.namespace)
            && is(&self.name, &access.name)
            && is(&self.token, token)
    }
}

impl Faults {
    pub fn add(&mut self, matcher: Matcher, fault: Fault, times: Times) {
        self.faults.push((matcher, fault, times));
    }

    pub fn add_hook(&mut self, matcher: Matcher, hook: Hook) {
        self.hooks.push((matcher, hook));
    }

    /// Ends all faults; hooks that have not run never will.
    pub fn clear(&mut self) {
        self.faults.clear();
        self.hooks.clear();
    }

    /// The first fault that a request meets; one of its times is used up.
    pub fn take(&mut self, access: &Access, token: &str) -> Option<Fault> {
        let meets = |entry: &(Matcher, Fault, Times)| {
            // Two faults are of watches alone.
            let is_of_watch = matches!(entry.1, Fault::Doubled | Fault::Silent);
            (access.verb == "watch" || !is_of_watch) && entry.0.matches(access, token)
        };
        let place = self.faults.iter().position(meets)?;
        let (_, fault, times) = self.faults.get_mut(place)?;
        let fault = fault.clone();
        match times {
            Times::Always => {}
            Times::Next(left) if *left > 1 => *left -= 1,
            Times::Next(_) => drop(self.faults.remove(place)),
        }
        Some(fault)
    }

    /// The first hook of a write.
    pub fn take_hook(&mut self, access: &Access, token: &str) -> Option<Hook> {
        let place = self.hooks.iter().position(|(matcher, _)| matcher.matches(access, token))?;
        Some(self.hooks.remove(place).1)
    }
}
