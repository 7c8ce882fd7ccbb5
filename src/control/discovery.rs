//! Where targets lead: merges its sources into one immutable route table.
//!
//! Sources are static routes, DNS and the exported Services of our own cluster. Every change builds a
//! new table and swaps it in; endpoints that stayed keep their state. Where configuration and an
//! export have the same target, configuration wins.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use super::enforce;
use crate::config::{EndpointSource, RouteSettings};
use crate::model::discovery::catalog::Gone;
use crate::model::discovery::guard::Guard;
use crate::model::route::{Endpoint, Route, RouteSource, RouteTable};
use crate::model::service::Target;
use crate::state::State;

pub mod dns;
pub mod kubernetes;

/// Builds the route table from configuration and what the sources have found.
#[derive(Debug)]
pub struct Discovery {
    state: Arc<State>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    routes: Vec<RouteSettings>,
    /// The last good answer for each DNS name.
    answers: HashMap<Arc<str>, Vec<IpAddr>>,
    /// The routes of exported Services.
    exports: Vec<Arc<Route>>,
    /// What is not exported, once our own cluster is looked at.
    guard: Option<Arc<Guard>>,
    /// Exports of which it was said that configuration hides them.
    hidden: HashSet<Target>,
}

impl Discovery {
    /// Publishes the first table: DNS routes have no endpoints yet.
    pub fn start(routes: &[RouteSettings], state: &Arc<State>) -> Arc<Self> {
        let discovery = Self { state: Arc::clone(state), known: Mutex::default() };
        discovery.replace(routes);
        Arc::new(discovery)
    }

    /// Takes other routes; answers for names that stayed are kept.
    pub fn replace(&self, routes: &[RouteSettings]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.routes = routes.to_vec();
        let names = dns_names(routes);
        known.answers.retain(|name, _| names.contains(name));
        self.publish(&mut known);
    }

    /// The last good answer for a name; empty without one.
    pub fn answers(&self, name: &str) -> Vec<IpAddr> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.answers.get(name).cloned().unwrap_or_default()
    }

    /// Takes a good answer; a table is published when it differs from the last one.
    pub fn resolved(&self, name: &Arc<str>, mut addresses: Vec<IpAddr>) {
        addresses.sort();
        addresses.dedup();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.answers.get(name) == Some(&addresses) {
            return;
        }
        tracing::info!(%name, ?addresses, "DNS answer changed; routes updated");
        known.answers.insert(Arc::clone(name), addresses);
        self.publish(&mut known);
    }

    /// Takes the routes of all exported Services, then cuts the connections to what is `gone`, and
    /// with `narrowed` those that restrictions do not allow any more. Says how many were cut.
    pub fn exported(
        &self,
        routes: Vec<Arc<Route>>,
        guard: Arc<Guard>,
        gone: &Gone,
        narrowed: bool,
    ) -> usize {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        (known.exports, known.guard) = (routes, Some(guard));
        self.publish(&mut known);
        drop(known);
        let unexported = enforce::exported(&self.state, gone);
        unexported + if narrowed { enforce::allowed(&self.state) } else { 0 }
    }

    /// Called with the lock held, so that tables follow each other in the order of their causes.
    fn publish(&self, known: &mut Known) {
        let previous = self.state.routes.load();
        let own = known.routes.iter().map(|settings| {
            let mut route = route(settings, &known.answers);
            if let Some(old) = previous.by_target(&route.target) {
                route.adopt(old);
            }
            Arc::new(route)
        });
        let table = RouteTable::of(own.chain(known.exports.iter().cloned()), known.guard.clone());
        known.tell_hidden(&table);
        self.state.routes.store(Arc::new(table));
    }
}

impl Known {
    /// Says once which exports cannot be reached because configuration has their target.
    fn tell_hidden(&mut self, table: &RouteTable) {
        if self.routes.is_empty() {
            return self.hidden.clear();
        }
        let is_hidden = |route: &&Arc<Route>| {
            let found = table.by_target(&route.target);
            found.is_some_and(|found| found.source != RouteSource::Kubernetes)
        };
        let hidden: HashSet<_> =
            self.exports.iter().filter(is_hidden).map(|route| route.target.clone()).collect();
        for route in hidden.difference(&self.hidden) {
            tracing::warn!(
                %route,
                "a [[route]] and an exported Service have the same target; the [[route]] is used"
            );
        }
        self.hidden = hidden;
    }
}

/// Every DNS name that a route needs, once.
pub fn dns_names(routes: &[RouteSettings]) -> BTreeSet<Arc<str>> {
    let name = |route: &RouteSettings| match &route.endpoints {
        EndpointSource::Dns { name, .. } => Some(Arc::clone(name)),
        EndpointSource::Static(_) => None,
    };
    routes.iter().filter_map(name).collect()
}

fn route(settings: &RouteSettings, answers: &HashMap<Arc<str>, Vec<IpAddr>>) -> Route {
    let endpoints = match &settings.endpoints {
        EndpointSource::Static(endpoints) => endpoints
            .iter()
            .map(|e| {
                let onward = e.tls.as_ref().or(settings.tls.as_ref()).cloned();
                Arc::new(Endpoint::new(e.address, e.weight, onward))
            })
            .collect(),
        EndpointSource::Dns { name, port } => answers
            .get(name)
            .into_iter()
            .flatten()
            .map(|ip| SocketAddr::new(*ip, port.get()))
            .map(|address| Arc::new(Endpoint::new(address, 1, settings.tls.clone())))
            .collect(),
    };
    Route {
        sni: settings.sni.clone(),
        default: settings.default,
        session: settings.session,
        proxy_protocol: settings.proxy_protocol,
        source: match &settings.endpoints {
            EndpointSource::Static(_) => RouteSource::Static,
            EndpointSource::Dns { .. } => RouteSource::Dns,
        },
        ..Route::new(settings.target.clone(), endpoints)
    }
}
