//! Follows the DNS names of routes by their TTL. The last good answer stays while DNS fails.
//!
//! IPv4 and IPv6 are two questions (`control/dns.rs`): when only one is answered, the other kind's
//! last good addresses stay.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Discovery;
use crate::config::DnsSettings;
use crate::control::dns::{RETRY, Resolver, ResolverError};
use crate::model::mirror::addresses::Answer;
use crate::model::task::Task;
use crate::observe::metrics::{DnsClient, Metrics};
use crate::runtime::fault;
use crate::runtime::supervise::Supervisor;

/// Keeps one task for each name that a route needs.
#[derive(Debug)]
pub struct Followers {
    settings: DnsSettings,
    discovery: Arc<Discovery>,
    metrics: Arc<Metrics>,
    supervisor: Supervisor,
    resolver: Option<Resolver>,
    following: HashMap<Arc<str>, CancellationToken>,
}

impl Followers {
    /// Follows nothing yet.
    pub fn new(
        settings: &DnsSettings,
        discovery: &Arc<Discovery>,
        metrics: &Arc<Metrics>,
        supervisor: &Supervisor,
    ) -> Self {
        Self {
            settings: settings.clone(),
            discovery: Arc::clone(discovery),
            metrics: Arc::clone(metrics),
            supervisor: supervisor.clone(),
            resolver: None,
            following: HashMap::new(),
        }
    }

    /// Makes sure that `names` can be followed: there is a resolver, if one is needed.
    ///
    /// # Errors
    /// [`ResolverError`].
    pub fn prepare(&mut self, names: &BTreeSet<Arc<str>>) -> Result<(), ResolverError> {
        if self.resolver.is_none() && !names.is_empty() {
            self.resolver = Some(Resolver::new(&self.settings)?);
        }
        Ok(())
    }

    /// Follows exactly `names`, after [`Followers::prepare`]; names that stay are not asked anew.
    pub fn replace(&mut self, names: &BTreeSet<Arc<str>>) {
        self.following.retain(|name, stop| {
            let stays = names.contains(name);
            if !stays {
                stop.cancel();
            }
            stays
        });
        let Some(resolver) = &self.resolver else { return };
        for name in names {
            let Entry::Vacant(vacant) = self.following.entry(Arc::clone(name)) else { continue };
            let stop = vacant.insert(self.supervisor.token()).clone();
            let (discovery, metrics) = (Arc::clone(&self.discovery), Arc::clone(&self.metrics));
            let (name, resolver) = (Arc::clone(name), resolver.clone());
            let start = move || {
                let (name, resolver) = (name.clone(), resolver.clone());
                let (discovery, metrics) = (Arc::clone(&discovery), Arc::clone(&metrics));
                async move {
                    follow(name, resolver, discovery, metrics).await;
                    Ok(())
                }
            };
            self.supervisor.spawn_until(stop, Task::Dns, start);
        }
    }
}

/// Resolves `name` again and again until it is dropped.
async fn follow(
    name: Arc<str>,
    resolver: Resolver,
    discovery: Arc<Discovery>,
    metrics: Arc<Metrics>,
) {
    // A follower that starts again after a panic goes on from the last good answers.
    let (mut failures, mut known) = (0, Known::new(discovery.answers(&name)));
    loop {
        fault::point("dns");
        let wait = match resolver.lookup(&name).await {
            Ok((answer, wait)) => {
                metrics.dns(DnsClient::Route, true);
                failures = 0;
                discovery.resolved(&name, known.take(answer));
                wait
            }
            Err(error) => {
                metrics.dns(DnsClient::Route, false);
                failures += 1;
                if failures == 1 {
                    tracing::warn!(%name, %error, "DNS fails; the last good answer stays in use");
                }
                RETRY.jittered(failures, fastrand::u8(..))
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// The last good answers of one name.
struct Known {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

impl Known {
    fn new(answers: Vec<IpAddr>) -> Self {
        let (v4, v6) = answers.into_iter().partition(IpAddr::is_ipv4);
        Self { v4, v6 }
    }
    /// The newest answer where there is one, of each kind.
    fn take(&mut self, answer: Answer) -> Vec<IpAddr> {
        if let Some(addresses) = answer.v4 {
            self.v4 = addresses;
        }
        if let Some(addresses) = answer.v6 {
            self.v6 = addresses;
        }
        [self.v4.as_slice(), self.v6.as_slice()].concat()
    }
}
