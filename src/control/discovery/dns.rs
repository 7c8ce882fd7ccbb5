//! Follows DNS names by their TTL. The last good answer stays while DNS fails, and a failure is
//! also an answer without any usable address.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Discovery;
use crate::config::DnsSettings;
use crate::model::backoff::Backoff;
use crate::model::route::unusable;
use crate::observe::metrics::Metrics;

/// Waits between tries while a name does not resolve.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
#[error("DNS resolver: {0}; name servers can be set with dns.servers")]
pub struct ResolverError(#[from] hickory_resolver::net::NetError);

/// A resolver as configured: the named servers, else the system's.
///
/// # Errors
/// When `/etc/resolv.conf` cannot be used.
fn resolver(settings: &DnsSettings) -> Result<TokioResolver, ResolverError> {
    let mut builder: ResolverBuilder<TokioRuntimeProvider> = if settings.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = settings.servers.iter().map(|server| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut c| {
                c.port = server.port();
                c
            });
            NameServerConfig::new(server.ip(), true, connections.to_vec())
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // Names that fail are asked for again on our own schedule.
    options.cache_size = 0;
    Ok(builder.build()?)
}

/// Keeps one task for each name that a route needs.
#[derive(Debug)]
pub struct Followers {
    settings: DnsSettings,
    discovery: Arc<Discovery>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
    resolver: Option<TokioResolver>,
    following: HashMap<Arc<str>, CancellationToken>,
}

impl Followers {
    /// Follows nothing yet; tasks run on `tasks` until `stop`.
    pub fn new(
        settings: &DnsSettings,
        discovery: &Arc<Discovery>,
        metrics: &Arc<Metrics>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            settings: settings.clone(),
            discovery: Arc::clone(discovery),
            metrics: Arc::clone(metrics),
            tasks: tasks.clone(),
            stop: stop.clone(),
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
            self.resolver = Some(resolver(&self.settings)?);
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
            let stop = vacant.insert(self.stop.child_token()).clone();
            let (discovery, metrics) = (Arc::clone(&self.discovery), Arc::clone(&self.metrics));
            let (name, resolver) = (Arc::clone(name), resolver.clone());
            let follow = follow(name, resolver, self.settings.clone(), discovery, metrics);
            self.tasks.spawn(stop.run_until_cancelled_owned(follow));
        }
    }
}

/// Resolves `name` again and again until it is dropped.
async fn follow(
    name: Arc<str>,
    resolver: TokioResolver,
    settings: DnsSettings,
    discovery: Arc<Discovery>,
    metrics: Arc<Metrics>,
) {
    let mut failures = 0;
    loop {
        let wait = match lookup(&name, &resolver).await {
            Ok((addresses, valid_until)) => {
                metrics.dns(true);
                failures = 0;
                discovery.resolved(&name, addresses);
                let left = valid_until.saturating_duration_since(Instant::now());
                left.clamp(settings.min_ttl, settings.max_ttl)
            }
            Err(error) => {
                metrics.dns(false);
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

/// Why a name gives no endpoint.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error("{0}")]
    Resolve(#[from] hickory_resolver::net::NetError),
    #[error("no usable address")]
    NoAddress,
}

async fn lookup(
    name: &str,
    resolver: &TokioResolver,
) -> Result<(Vec<IpAddr>, Instant), LookupError> {
    // A trailing dot keeps the resolver from appending search domains: routes name full names.
    let answer = resolver.lookup_ip(format!("{name}.")).await?;
    let mut addresses = Vec::new();
    for address in answer.iter() {
        match unusable(address) {
            None => addresses.push(address),
            Some(reason) => tracing::warn!(%name, %address, reason, "address from DNS dropped"),
        }
    }
    if addresses.is_empty() {
        return Err(LookupError::NoAddress);
    }
    Ok((addresses, answer.valid_until()))
}
