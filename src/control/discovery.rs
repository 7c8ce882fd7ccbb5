//! Where targets lead: merges its sources into one immutable route table.
//!
//! Sources are static routes and DNS. Every change builds a new table and swaps it in; endpoints
//! that stayed keep their state.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{EndpointSource, RouteSettings};
use crate::model::route::{Endpoint, Route, RouteTable};
use crate::state::State;

pub mod dns;

/// Builds the route table from configuration and what the sources have found.
#[derive(Debug)]
pub struct Discovery {
    routes: Vec<RouteSettings>,
    state: Arc<State>,
    /// The last good answer for each DNS name.
    answers: Mutex<HashMap<Arc<str>, Vec<IpAddr>>>,
}

impl Discovery {
    /// Publishes the first table: DNS routes have no endpoints yet.
    pub fn start(routes: &[RouteSettings], state: &Arc<State>) -> Arc<Self> {
        let discovery =
            Self { routes: routes.to_vec(), state: Arc::clone(state), answers: Mutex::default() };
        discovery.publish(&HashMap::new());
        Arc::new(discovery)
    }

    /// Every DNS name that a route needs, once.
    pub fn dns_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self
            .routes
            .iter()
            .filter_map(|route| match &route.endpoints {
                EndpointSource::Dns { name, .. } => Some(Arc::clone(name)),
                EndpointSource::Static(_) => None,
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Takes a good answer; a table is published when it differs from the last one.
    pub fn resolved(&self, name: &Arc<str>, mut addresses: Vec<IpAddr>) {
        addresses.sort();
        addresses.dedup();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.get(name) == Some(&addresses) {
            return;
        }
        tracing::info!(%name, ?addresses, "DNS answer changed; routes updated");
        answers.insert(Arc::clone(name), addresses);
        self.publish(&answers);
    }

    fn publish(&self, answers: &HashMap<Arc<str>, Vec<IpAddr>>) {
        let routes = self.routes.iter().map(|settings| route(settings, answers)).collect();
        let table = RouteTable::new(routes, &self.state.routes.load());
        self.state.routes.store(Arc::new(table));
    }
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
        endpoints,
    }
}
