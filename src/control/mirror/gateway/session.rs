//! One run of a monitor: who is probed, which names are followed, and what was found.
//!
//! Each probe and each question is a future that ends with an [`Event`], upon which the next one
//! starts: so there is never more than one for an address or a name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{AbortHandle, Abortable, Aborted, BoxFuture};
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::{AddressState, GatewayMonitor, GatewaySpec, GatewayState, NameState, ProbeSpec};
use crate::control::dns::RETRY;
use crate::control::mirror::probe::Prober;
use crate::model::link::GatewayAddress;
use crate::model::mirror::addresses::{Addresses, Answer};
use crate::model::mirror::liveness::{Liveness, Tracker};
use crate::model::mirror::probe::{Probed, Unasked};
use crate::observe::metrics::DnsClient;
use crate::runtime::fault;

/// Addresses that are gone and remembered: another cluster's DNS may name new ones for ever.
const MOST_KNOWN: usize = 1024;

/// See above.
pub(super) struct Session<'m> {
    monitor: &'m GatewayMonitor,
    spec: GatewaySpec,
    addresses: Addresses,
    probed: BTreeMap<IpAddr, Address>,
    /// How ready addresses were that are not probed now.
    known: BTreeMap<IpAddr, bool>,
    names: BTreeMap<Arc<str>, Name>,
    /// What is under way.
    pub(super) work: FuturesUnordered<BoxFuture<'static, Result<Event, Aborted>>>,
}

/// Something has ended.
pub(super) enum Event {
    /// A probe, after this long.
    Probed(IpAddr, Box<Prober>, Probed, Duration),
    /// A question, with the time to wait before the next.
    Answered(Arc<str>, Result<(Answer, Duration), String>),
}

struct Address {
    tracker: Tracker,
    latency: Option<Duration>,
    unasked: Option<Unasked>,
    changed_at: SystemTime,
    /// `None` without probes.
    running: Option<Running>,
}

struct Name {
    failures: u32,
    problem: Option<String>,
    running: Option<Running>,
}

/// A future of [`Session::work`]; it ends where it is when this is dropped.
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<'m> Session<'m> {
    pub(super) fn new(monitor: &'m GatewayMonitor, spec: GatewaySpec) -> Self {
        // After a panic what was published is newer than what was written.
        let published = monitor.published.borrow().clone();
        let mut known = spec.persisted.clone();
        known.extend(published.addresses.iter().map(|a| (a.ip, a.is_ready)));
        let addresses = Addresses::new(&spec.addresses, known.keys().copied());
        let mut session = Self {
            monitor,
            spec,
            addresses,
            probed: BTreeMap::new(),
            known,
            names: BTreeMap::new(),
            work: FuturesUnordered::new(),
        };
        session.tell_enabled();
        session.follow_names();
        session.follow_addresses();
        session
    }

    /// Takes another spec; what did not change goes on.
    pub(super) fn replace(&mut self, spec: GatewaySpec) {
        let old = std::mem::replace(&mut self.spec, spec);
        if old.cluster != self.spec.cluster {
            self.monitor.metrics.gateway_gone(&old.cluster);
        }
        self.tell_enabled();
        if old.probe != self.spec.probe || old.keeps_readiness != self.spec.keeps_readiness {
            self.probe_otherwise(old.probe.as_ref());
        }
        self.addresses.replace(&self.spec.addresses);
        self.follow_names();
        self.follow_addresses();
    }

    /// The Link says otherwise how to probe than `old` did.
    fn probe_otherwise(&mut self, old: Option<&ProbeSpec>) {
        let new = self.spec.probe.clone();
        let both = old.zip(new.as_ref());
        let asks_the_same = both.is_some_and(|(old, new)| old.asks_as(new));
        for address in self.probed.values_mut() {
            match &new {
                None if self.spec.keeps_readiness => address.running = None,
                None => *address = Address::new(1, None),
                Some(new) => address.tracker.set_threshold(new.threshold),
            }
            if !asks_the_same {
                address.tracker.forget();
                (address.latency, address.unasked) = (None, None);
            }
        }
        // Another threshold alone is no reason to ask anew.
        if !(asks_the_same && both.is_some_and(|(old, new)| old.schedule == new.schedule)) {
            let all: Vec<_> = self.probed.keys().copied().collect();
            all.into_iter().for_each(|ip| self.start_probing(ip));
        }
    }

    /// Takes what has ended, and starts what is next.
    pub(super) fn take(&mut self, event: Result<Event, Aborted>) {
        fault::point("gateway_probes");
        match event {
            Ok(Event::Probed(ip, prober, probed, taken)) => self.probed(ip, prober, probed, taken),
            Ok(Event::Answered(name, answered)) => self.answered(&name, answered),
            Err(Aborted) => {}
        }
    }

    fn probed(&mut self, ip: IpAddr, prober: Box<Prober>, probed: Probed, taken: Duration) {
        let Some(spec) = self.spec.probe.clone() else { return };
        let Some(address) = self.probed.get_mut(&ip) else { return };
        let was_down = address.tracker.liveness() == Liveness::Down;
        let changed = address.tracker.take(probed);
        match probed {
            Probed::Alive(latency) => (address.latency, address.unasked) = (Some(latency), None),
            Probed::Failed(_) => address.unasked = None,
            Probed::Unknown(why) => address.unasked = Some(why),
        }
        if changed {
            address.changed_at = SystemTime::now();
            tell(&self.spec.cluster, ip, &address.tracker, was_down, probed);
        }
        let is_failing = address.tracker.is_failing();
        let metrics = &self.monitor.metrics;
        metrics.gateway_probed(&self.spec.cluster, ip, probed);
        match address.tracker.liveness() {
            // It stays as it was while nothing is known.
            Liveness::Unknown => {}
            known => {
                let is_alive = known == Liveness::Alive;
                metrics.gateway_address_alive(&self.spec.cluster, ip, is_alive);
            }
        }
        self.tell_alive();
        let wait = spec.schedule.wait(taken, fastrand::u8(..));
        self.probe(ip, prober, wait);
        if self.addresses.probed(ip, is_failing) {
            self.follow_addresses();
        }
    }

    fn answered(&mut self, name: &Arc<str>, answered: Result<(Answer, Duration), String>) {
        let Some(known) = self.names.get_mut(name) else { return };
        self.monitor.metrics.dns(DnsClient::Mirror, answered.is_ok());
        let wait = match answered {
            Ok((answer, wait)) => {
                (known.failures, known.problem) = (0, None);
                if self.addresses.answered(name, &answer) {
                    tracing::info!(cluster = %self.spec.cluster, %name,
                        addresses = ?self.addresses.all(), "the gateway's addresses have changed");
                    self.follow_addresses();
                }
                wait
            }
            Err(error) => {
                known.failures += 1;
                if known.failures == 1 {
                    tracing::warn!(cluster = %self.spec.cluster, %name, error,
                        "the gateway's name does not resolve; its last good answer stays in use");
                }
                known.problem = Some(error);
                RETRY.jittered(known.failures, fastrand::u8(..))
            }
        };
        self.tell_alive();
        self.ask(name, wait);
    }

    /// Follows exactly the names of the spec.
    fn follow_names(&mut self) {
        let wanted = self.spec.addresses.iter().filter_map(|address| match address {
            GatewayAddress::Name(name) => Some(Arc::clone(name)),
            GatewayAddress::Ip(_) => None,
        });
        let wanted: Vec<Arc<str>> = wanted.collect();
        self.names.retain(|name, _| wanted.contains(name));
        for name in wanted {
            if !self.names.contains_key(&name) {
                let new = Name { failures: 0, problem: None, running: None };
                self.names.insert(Arc::clone(&name), new);
                self.ask(&name, Duration::ZERO);
            }
        }
    }

    /// Probes exactly the addresses that there are.
    fn follow_addresses(&mut self) {
        let all = self.addresses.all();
        let gone: Vec<_> = self.probed.keys().filter(|ip| !all.contains(ip)).copied().collect();
        for ip in gone {
            let has_room = self.known.len() < MOST_KNOWN || self.known.contains_key(&ip);
            let gone = self.probed.remove(&ip).filter(|_| has_room);
            self.known.extend(gone.map(|address| (ip, address.tracker.is_ready())));
            self.monitor.metrics.gateway_address_gone(&self.spec.cluster, ip);
        }
        let new: Vec<_> = all.iter().filter(|ip| !self.probed.contains_key(ip)).copied().collect();
        for ip in new {
            let threshold = self.spec.probe.as_ref().map(|probe| probe.threshold);
            // Without probes nobody would ever find that it is alive again.
            let counts = threshold.is_some() || self.spec.keeps_readiness;
            let known = self.known.get(&ip).copied().filter(|_| counts);
            self.probed.insert(ip, Address::new(threshold.unwrap_or(1), known));
            self.start_probing(ip);
        }
    }

    fn start_probing(&mut self, ip: IpAddr) {
        if let Some(spec) = &self.spec.probe {
            let prober = Box::new(Prober::new(spec.target(ip)));
            self.probe(ip, prober, Duration::ZERO);
        }
    }

    fn probe(&mut self, ip: IpAddr, mut prober: Box<Prober>, wait: Duration) {
        let state = Arc::clone(&self.monitor.state);
        let running = self.start(async move {
            prober.wait(wait).await;
            let begun = Instant::now();
            let probed = prober.probe(state.credentials.load_full()).await;
            Event::Probed(ip, prober, probed, begun.elapsed())
        });
        if let Some(address) = self.probed.get_mut(&ip) {
            address.running = Some(running);
        }
    }

    fn ask(&mut self, name: &Arc<str>, wait: Duration) {
        let (resolver, asked) = (self.monitor.resolver.clone(), Arc::clone(name));
        let running = self.start(async move {
            sleep(wait).await;
            let answered = match resolver {
                Some(resolver) => resolver.lookup(&asked).await.map_err(|error| error.to_string()),
                None => Err("no name server is known: set dns.servers".to_owned()),
            };
            Event::Answered(asked, answered)
        });
        if let Some(known) = self.names.get_mut(name) {
            known.running = Some(running);
        }
    }

    fn start(&self, work: impl Future<Output = Event> + Send + 'static) -> Running {
        let (handle, registration) = AbortHandle::new_pair();
        self.work.push(Box::pin(Abortable::new(work, registration)));
        Running(handle)
    }

    fn tell_enabled(&self) {
        let is_enabled = self.spec.probe.is_some();
        self.monitor.metrics.gateway_enabled(&self.spec.cluster, is_enabled);
    }

    /// `gateway_alive`: one address is enough. It stays as it was while that is not known.
    fn tell_alive(&self) {
        let of = |liveness| self.probed.values().filter(move |a| a.tracker.liveness() == liveness);
        let is_alive = of(Liveness::Alive).next().is_some();
        let is_down = match self.probed.len() {
            // Without an address it is down when no name is left that may still be answered.
            0 => self.names.values().all(|name| name.problem.is_some()),
            all => of(Liveness::Down).count() == all,
        };
        if self.spec.probe.is_some() && (is_alive || is_down) {
            self.monitor.metrics.gateway_alive(&self.spec.cluster, is_alive);
        }
    }

    /// Says what is known; only what is more than a latency wakes anybody.
    pub(super) fn publish(&self) {
        let address = |(ip, address): (&IpAddr, &Address)| AddressState {
            ip: *ip,
            liveness: address.tracker.liveness(),
            is_ready: address.tracker.is_ready(),
            last_failure: address.tracker.last_failure(),
            unasked: address.unasked,
            latency: address.latency,
            changed_at: address.changed_at,
        };
        let name = |(name, is_answered): (&Arc<str>, bool)| NameState {
            name: Arc::clone(name),
            is_answered,
            problem: self.names.get(name).and_then(|known| known.problem.clone()),
        };
        let new = GatewayState {
            addresses: self.probed.iter().map(address).collect(),
            names: self.addresses.names().map(name).collect(),
            is_probing: self.spec.probe.is_some(),
        };
        self.monitor.published.send_if_modified(|old| {
            let is_news = !new.says_as(old);
            *old = new;
            is_news
        });
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.monitor.metrics.gateway_gone(&self.spec.cluster);
    }
}

impl Address {
    fn new(threshold: u32, persisted: Option<bool>) -> Self {
        Self {
            tracker: Tracker::new(threshold, persisted),
            latency: None,
            unasked: None,
            changed_at: SystemTime::now(),
            running: None,
        }
    }
}

fn tell(cluster: &str, ip: IpAddr, tracker: &Tracker, was_down: bool, probed: Probed) {
    match (tracker.liveness(), probed) {
        (Liveness::Down, Probed::Failed(failure)) => tracing::warn!(
            cluster, address = %ip, reason = %failure,
            "the gateway's address is down; mirrors do not send clients there"),
        (Liveness::Alive, _) if was_down => {
            tracing::info!(cluster, address = %ip, "the gateway's address is alive again");
        }
        (Liveness::Alive, _) => {
            tracing::info!(cluster, address = %ip, "the gateway's address is alive");
        }
        (_, Probed::Unknown(why)) => tracing::warn!(
            cluster, address = %ip, reason = why.label(), hint = why.hint(),
            "the gateway's address cannot be probed; it stays as ready as it was"),
        _ => {}
    }
}
