//! Where targets lead: merges its sources into one immutable route table.
//!
//! Sources are static routes and DNS. Every change builds a new table and swaps it in; endpoints
//! that stayed keep their state.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{EndpointSource, RouteSettings};
use crate::model::route::{Endpoint, Route, RouteTable};
use crate::state::State;

pub mod dns;

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
        self.publish(&known);
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
        self.publish(&known);
    }

    /// Called with the lock held, so that tables follow each other in the order of their causes.
    fn publish(&self, known: &Known) {
        let routes = known.routes.iter().map(|settings| route(settings, &known.answers)).collect();
        let table = RouteTable::new(routes, &self.state.routes.load());
        self.state.routes.store(Arc::new(table));
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
        target: settings.target.clone(),
        sni: settings.sni.clone(),
        default: settings.default,
        session: settings.session,
        proxy_protocol: settings.proxy_protocol,
        endpoints,
    }
}
