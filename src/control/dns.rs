//! Questions to DNS, for routes and for the mirror's gateways: A and AAAA are two, each answered or
//! not on its own.
//!
//! Who asks keeps the last good answer and decides when to ask again; nothing is cached here.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{ResolverBuilder, TokioResolver};

use crate::config::DnsSettings;
use crate::model::backoff::Backoff;
use crate::model::mirror::addresses::Answer;
use crate::model::route::unusable;

/// Waits between tries while a name does not resolve.
pub const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
#[error("DNS resolver: {0}; name servers can be set with dns.servers")]
pub struct ResolverError(#[from] hickory_resolver::net::NetError);

/// One resolver for each kind of address.
#[derive(Clone)]
pub struct Resolver {
    v4: TokioResolver,
    v6: TokioResolver,
    min_ttl: Duration,
    max_ttl: Duration,
}

/// Why a name gives no address.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The servers did not answer, or have no such name.
    #[error("{0}")]
    Resolve(#[from] hickory_resolver::net::NetError),
    /// It exists, without an address that could be used.
    #[error("no usable address")]
    NoAddress,
}

impl Resolver {
    /// A resolver as configured: the named servers, else the system's.
    ///
    /// # Errors
    /// When `/etc/resolv.conf` cannot be used.
    pub fn new(settings: &DnsSettings) -> Result<Self, ResolverError> {
        let v4 = resolver_of(settings, LookupIpStrategy::Ipv4Only)?;
        let v6 = resolver_of(settings, LookupIpStrategy::Ipv6Only)?;
        Ok(Self { v4, v6, min_ttl: settings.min_ttl, max_ttl: settings.max_ttl })
    }

    /// The usable addresses of a name, and how long to wait before the next question: its TTL within
    /// the configured bounds.
    ///
    /// # Errors
    /// When neither question was answered with an address: nothing that is known may be forgotten
    /// then.
    pub async fn lookup(&self, name: &str) -> Result<(Answer, Duration), LookupError> {
        let (v4, v6) = tokio::join!(ask(name, &self.v4), ask(name, &self.v6));
        let valid_until = match (&v4, &v6) {
            (Ok(v4), Ok(v6)) => [v4.1, v6.1].into_iter().flatten().min(),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => one.1,
            (Err(_), Err(_)) => None,
        };
        let Some(valid_until) = valid_until else {
            v4?;
            v6?;
            return Err(LookupError::NoAddress);
        };
        let addresses = |answered: Result<(Vec<IpAddr>, _), _>| answered.ok().map(|(all, _)| all);
        let answer = Answer { v4: addresses(v4), v6: addresses(v6) };
        let left = valid_until.saturating_duration_since(Instant::now());
        Ok((answer, left.clamp(self.min_ttl, self.max_ttl)))
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
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

/// The usable addresses of one kind; without any there is no end of their validity either.
async fn ask(
    name: &str,
    resolver: &TokioResolver,
) -> Result<(Vec<IpAddr>, Option<Instant>), LookupError> {
    // A trailing dot keeps the resolver from appending search domains: full names are expected.
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
