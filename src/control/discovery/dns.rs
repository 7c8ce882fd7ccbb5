//! Follows DNS names by their TTL. The last good answer stays while DNS fails, and a failure is
//! also an answer without any usable address.
//!
//! IPv4 and IPv6 are two questions: when only one is answered, the other kind's last good addresses
//! stay.

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

use super::Discovery;
use crate::config::DnsSettings;
use crate::model::backoff::Backoff;
use crate::model::route::unusable;
use crate::model::task::Task;
use crate::observe::metrics::Metrics;
use crate::runtime::fault;
use crate::runtime::supervise::Supervisor;

/// Waits between tries while a name does not resolve.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
#[error("DNS resolver: {0}; name servers can be set with dns.servers")]
pub struct ResolverError(#[from] hickory_resolver::net::NetError);

/// One resolver for each kind of address.
#[derive(Clone)]
struct Resolver {
    v4: TokioResolver,
    v6: TokioResolver,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

/// A resolver as configured: the named servers, else the system's.
///
/// # Errors
/// When `/etc/resolv.conf` cannot be used.
fn resolver(settings: &DnsSettings) -> Result<Resolver, ResolverError> {
    let v4 = resolver_of(settings, LookupIpStrategy::Ipv4Only)?;
    let v6 = resolver_of(settings, LookupIpStrategy::Ipv6Only)?;
    Ok(Resolver { v4, v6 })
}

fn resolver_of(
    settings: &DnsSettings,
    strategy: LookupIpStrategy,
) -> Result<TokioResolver, ResolverError> {
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
    options.ip_strategy = strategy;
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
            let stop = vacant.insert(self.supervisor.token()).clone();
            let (discovery, metrics) = (Arc::clone(&self.discovery), Arc::clone(&self.metrics));
            let (name, resolver) = (Arc::clone(name), resolver.clone());
            let settings = self.settings.clone();
            let start = move || {
                let (name, resolver, settings) = (name.clone(), resolver.clone(), settings.clone());
                let (discovery, metrics) = (Arc::clone(&discovery), Arc::clone(&metrics));
                async move {
                    follow(name, resolver, settings, discovery, metrics).await;
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
    settings: DnsSettings,
    discovery: Arc<Discovery>,
    metrics: Arc<Metrics>,
) {
    // A follower that starts again after a panic goes on from the last good answers.
    let (mut failures, mut known) = (0, Known::new(discovery.answers(&name)));
    loop {
        fault::point("dns");
        let wait = match lookup(&name, &resolver, &mut known).await {
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
}

/// All usable addresses, and until when they are good. `known` is both the last good answers and
/// the new ones.
async fn lookup(
    name: &str,
    resolver: &Resolver,
    known: &mut Known,
) -> Result<(Vec<IpAddr>, Instant), LookupError> {
    let (v4, v6) = tokio::join!(ask(name, &resolver.v4), ask(name, &resolver.v6));
    let valid_until = match (&v4, &v6) {
        (Ok(v4), Ok(v6)) => [v4.1, v6.1].into_iter().flatten().min(),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => one.1,
        (Err(_), Err(_)) => None,
    };
    // Without an end, no question was answered with an address: nothing that is known is forgotten.
    let Some(valid_until) = valid_until else {
        v4?;
        v6?;
        return Err(LookupError::NoAddress);
    };
    if let Ok((addresses, _)) = v4 {
        known.v4 = addresses;
    }
    if let Ok((addresses, _)) = v6 {
        known.v6 = addresses;
    }
    Ok(([known.v4.as_slice(), known.v6.as_slice()].concat(), valid_until))
}

/// The usable addresses of one kind; without any there is no end of their validity either.
async fn ask(
    name: &str,
    resolver: &TokioResolver,
) -> Result<(Vec<IpAddr>, Option<Instant>), LookupError> {
    // A trailing dot keeps the resolver from appending search domains: routes name full names.
    let answer = match resolver.lookup_ip(format!("{name}.")).await {
        Ok(answer) => answer,
        Err(error) if error.is_no_records_found() => return Ok((Vec::new(), None)),
        Err(error) => return Err(error.into()),
    };
    let mut addresses = Vec::new();
    for address in answer.iter() {
        match unusable(address) {
            None => addresses.push(address),
            Some(reason) => tracing::warn!(%name, %address, reason, "address from DNS dropped"),
        }
    }
    let valid_until = Some(answer.valid_until()).filter(|_| !addresses.is_empty());
    Ok((addresses, valid_until))
}
