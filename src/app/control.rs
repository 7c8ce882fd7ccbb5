//! Starts what feeds the data path: credentials, routes, the memory watermark; and what a reload
//! changes.

use std::sync::Arc;

use super::reload::{self, Reloader};
use super::{App, StartError};
use crate::control::credentials::{Follower, Source};
use crate::control::discovery::dns::Followers;
use crate::control::discovery::{Discovery, dns_names};
use crate::control::memory::{self, Watermark};
use crate::model::policy::Policy;
use crate::model::task::Task;
use crate::proxy::inbound::{Gateway, Rules};
use crate::runtime::supervise::Supervisor;

impl App {
    /// Starts what feeds the data path.
    pub(super) fn start_control(&self, supervisor: &Supervisor) -> Result<Reloader, StartError> {
        let settings = &self.loaded.settings;
        let (state, metrics) = (Arc::clone(&self.state), Arc::clone(&self.metrics));
        state.policy.store(Arc::new(Policy::new(settings.policy.clone())));
        reload::publish(&state, &metrics, &self.loaded);

        let discovery = Discovery::start(&settings.routes, &state);
        let mut followers = Followers::new(&settings.dns, &discovery, &metrics, supervisor);
        let names = dns_names(&settings.routes);
        followers.prepare(&names)?;
        followers.replace(&names);

        let source = Source::new(&settings.identity, &settings.routes);
        let credentials = Follower::new(source, &state, &metrics);
        let follower = Arc::clone(&credentials);
        supervisor.spawn_until(supervisor.token(), Task::Credentials, move || {
            let follower = Arc::clone(&follower);
            async move {
                follower.follow().await;
                Ok(())
            }
        });

        let watermark = Arc::new(Watermark::new(settings.limits.memory_watermark));
        let parts = (Arc::clone(&watermark), Arc::clone(&state), Arc::clone(&metrics));
        supervisor.spawn_until(supervisor.token(), Task::Memory, move || {
            let (watermark, state, metrics) = parts.clone();
            async move {
                memory::follow(watermark, state, metrics).await;
                Ok(())
            }
        });

        let own_listeners = self.own_listeners();
        let rules = Rules::new(settings, own_listeners.clone());
        let gateway = Arc::new(Gateway::new(Arc::clone(&state), Arc::clone(&metrics), rules));
        Ok(Reloader {
            sources: self.sources.clone(),
            settings: settings.clone(),
            filter: self.filter.clone(),
            state,
            metrics,
            gateway,
            own_listeners,
            watermark,
            discovery,
            followers,
            credentials,
        })
    }
}
