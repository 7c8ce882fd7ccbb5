//! Reloading the configuration: all of it or nothing.
//!
//! The sources are read again, checked as at start, and compared with what is in force. One bad
//! key, an unusable certificate, or a changed key that needs a restart refuses the whole, and the
//! generation stays. Live connections that a new policy does not allow are cut, exactly those.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::load::{Loaded, Sources, load};
use crate::config::print::json;
use crate::config::problem::Problems;
use crate::config::{GatewaySettings, Settings};
use crate::control::credentials::{self, Follower, LoadError, Source};
use crate::control::discovery::dns::Followers;
use crate::control::discovery::{Discovery, dns_names};
use crate::control::dns::ResolverError;
use crate::control::enforce;
use crate::control::memory::Watermark;
use crate::model::policy::Policy;
use crate::model::task::Task;
use crate::observe::logs::{Filter, LogError};
use crate::observe::metrics::Metrics;
use crate::proxy::inbound::{Gateway, Rules};
use crate::runtime::fault;
use crate::runtime::supervise::{Panicked, catch};
use crate::state::{Configuration, State};

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// Certificates that it names are unusable.
    #[error("{0}")]
    Credentials(#[from] LoadError),
    /// The log filter cannot be changed.
    #[error("{0}")]
    Log(#[from] LogError),
    /// Reading it met a bug of ours.
    #[error("{0}")]
    Panicked(#[from] Panicked),
    /// It is wrong.
    #[error("{0}")]
    Problems(#[from] Problems),
    /// DNS names need a resolver that there is not.
    #[error("{0}")]
    Resolver(#[from] ResolverError),
    /// Keys changed that are read at start only.
    #[error("{0} changed, which takes a restart")]
    Restart(String),
}

/// Everything that a reload reads and changes.
pub(super) struct Reloader {
    pub(super) sources: Sources,
    pub(super) settings: Settings,
    pub(super) filter: Filter,
    pub(super) state: Arc<State>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) gateway: Arc<Gateway>,
    pub(super) own_listeners: Vec<SocketAddr>,
    pub(super) watermark: Arc<Watermark>,
    pub(super) discovery: Arc<Discovery>,
    pub(super) followers: Followers,
    pub(super) credentials: Arc<Follower>,
}

impl Reloader {
    /// Reads the configuration again and puts it in force, or says why not. Credential files are
    /// looked at in any case.
    pub(super) fn reload(&mut self) {
        let result = catch(|| self.prepare()).unwrap_or_else(|panicked| Err(panicked.into()));
        self.metrics.reloaded(result.is_ok());
        match result {
            Ok(loaded) => {
                if let Err(panicked) = catch(|| self.commit(loaded)) {
                    self.metrics.task_restarted(Task::Reload);
                    tracing::error!(
                        "the new configuration is in force in part; reload again, or restart: \
                         {panicked}"
                    );
                }
            }
            Err(refused) => {
                if let Refused::Panicked(_) = refused {
                    self.metrics.task_restarted(Task::Reload);
                }
                let generation = self.state.configuration.load().generation;
                tracing::error!(
                    generation,
                    "configuration refused, generation {generation} stays in force: {refused}"
                );
            }
        }
        self.credentials.look.notify_one();
    }

    /// Everything that can fail, before anything changes.
    fn prepare(&mut self) -> Result<Loaded, Refused> {
        let loaded = load(&self.sources)?;
        fault::point("reload");
        let new = &loaded.settings;
        let changed = needs_restart(&self.settings, new);
        if !changed.is_empty() {
            return Err(Refused::Restart(changed.join(", ")));
        }
        if (&new.identity, &new.routes) != (&self.settings.identity, &self.settings.routes) {
            credentials::load(&Source::new(&new.identity, &new.routes))?;
        }
        self.followers.prepare(&dns_names(&new.routes))?;
        // Also when it is the same: a level that was set through the admin API ends here.
        self.filter.change(&new.log.level, new.log.access)?;
        Ok(loaded)
    }

    /// Cannot fail, but for a bug.
    fn commit(&mut self, loaded: Loaded) {
        let new = &loaded.settings;
        fault::point("commit");
        self.metrics.http_window_budget(new.http.window_budget);
        self.gateway.rules.store(Arc::new(Rules::new(new, self.own_listeners.clone())));
        self.watermark.change(new.limits.memory_watermark);
        self.discovery.replace(&new.routes);
        self.followers.replace(&dns_names(&new.routes));
        self.credentials.source.store(Arc::new(Source::new(&new.identity, &new.routes)));
        self.state.policy.store(Arc::new(Policy::new(new.policy.clone())));
        let cut = enforce::allowed(&self.state);
        let generation = publish(&self.state, &self.metrics, &loaded);
        tracing::info!(
            generation,
            routes = new.routes.len(),
            rules = new.policy.len(),
            cut,
            "configuration reloaded"
        );
        self.settings = loaded.settings;
    }
}

/// Puts the next generation of the configuration where `/config_dump`, metrics and the admin server
/// find it.
pub(super) fn publish(state: &State, metrics: &Metrics, loaded: &Loaded) -> u64 {
    let generation = state.configuration.load().generation + 1;
    let dump = json(&loaded.tree).to_string().into();
    state.configuration.store(Arc::new(Configuration { generation, dump }));
    state.admin_proxies.store(Arc::new(loaded.settings.admin.proxy_protocol.clone()));
    metrics.generation(generation);
    generation
}

/// The changed keys that are read at start only.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let changes = [
        ("runtime", old.runtime != new.runtime),
        ("gateway.enabled", old.gateway.enabled != new.gateway.enabled),
        ("gateway.listen", addresses(&old.gateway).ne(addresses(&new.gateway))),
        ("admin.listen", old.admin.listen != new.admin.listen),
        ("admin.metrics_listen", old.admin.metrics_listen != new.admin.metrics_listen),
        ("admin.shutdown", old.admin.shutdown != new.admin.shutdown),
        ("dns", old.dns != new.dns),
        ("mirror", old.mirror != new.mirror),
        ("kubernetes", old.kubernetes != new.kubernetes),
        ("log.format", old.log.format != new.log.format),
    ];
    changes.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

fn addresses(gateway: &GatewaySettings) -> impl Iterator<Item = SocketAddr> {
    gateway.listen.iter().map(|listener| listener.address)
}
