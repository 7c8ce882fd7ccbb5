//! Watches the gateway of one Link: follows its names in DNS, probes each of its addresses, and says
//! which are ready and why others are not.
//!
//! The mirror gives a [`GatewaySpec`] and reads a [`GatewayState`]; both may change at any time.
//! Everything runs inside one future, so that nothing outlives it and one slow address delays no
//! other. It never writes to an API server.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use hyper::http::uri::PathAndQuery;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::session::Session;
use super::probe::Target;
use crate::control::dns::Resolver;
use crate::model::identity::Identity;
use crate::model::link::GatewayAddress;
use crate::model::mirror::liveness::Liveness;
use crate::model::mirror::probe::{Failure, Schedule, Unasked};
use crate::model::service::Port;
use crate::model::task::Task;
use crate::observe::metrics::Metrics;
use crate::runtime::supervise::Supervisor;
use crate::state::State;

mod session;
#[cfg(test)]
mod tests;

/// What a Link says about its gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySpec {
    /// `targetClusterName`, the label of its metrics.
    pub cluster: Arc<str>,
    /// `gatewayAddress`.
    pub addresses: Vec<GatewayAddress>,
    /// `probeSpec`; without one nothing is probed and every address is ready.
    pub probe: Option<ProbeSpec>,
    /// The Link says wrongly how to probe: nothing is, and readiness stays as it was.
    pub keeps_readiness: bool,
    /// How ready each address was when it was last written. Read by the first spec of a monitor.
    pub persisted: BTreeMap<IpAddr, bool>,
}

/// How the addresses of a gateway are probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSpec {
    /// `probeSpec.port`, used as it is at every address: for a NodePort gateway it is the node port.
    pub port: Port,
    /// `probeSpec.path`.
    pub path: PathAndQuery,
    /// `gatewayIdentity`; `None` is plain HTTP.
    pub identity: Option<Identity>,
    /// `probeSpec.period` and `probeSpec.timeout`.
    pub schedule: Schedule,
    /// `probeSpec.failureThreshold`.
    pub threshold: u32,
}

impl ProbeSpec {
    fn target(&self, ip: IpAddr) -> Target {
        Target {
            address: SocketAddr::new(ip, self.port.get()),
            path: self.path.clone(),
            identity: self.identity.clone(),
            timeout: self.schedule.timeout(),
        }
    }

    /// True when both ask the same of the same.
    fn asks_as(&self, other: &Self) -> bool {
        (self.port, &self.path, &self.identity) == (other.port, &other.path, &other.identity)
    }
}

/// What is known about a gateway.
#[derive(Clone, Debug, Default)]
pub struct GatewayState {
    /// In order. Empty while nothing is known: then what was written must stay.
    pub addresses: Vec<AddressState>,
    /// The Link's names, in order.
    pub names: Vec<NameState>,
    /// Its addresses are probed.
    pub is_probing: bool,
}

/// One address of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressState {
    /// The address.
    pub ip: IpAddr,
    /// What its probes say.
    pub liveness: Liveness,
    /// Whether clients may be sent there.
    pub is_ready: bool,
    /// The newest failure, also after it was made good.
    pub last_failure: Option<Failure>,
    /// Why it could not be asked the last time.
    pub unasked: Option<Unasked>,
    /// How long the last success took.
    pub latency: Option<Duration>,
    /// When `liveness` or `is_ready` last changed, or the address appeared.
    pub changed_at: SystemTime,
}

/// One name of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameState {
    /// As in the Link.
    pub name: Arc<str>,
    /// It was answered at least once.
    pub is_answered: bool,
    /// Why it does not resolve now.
    pub problem: Option<String>,
}

impl GatewayState {
    /// True when only latencies differ, for which nobody needs to be woken.
    fn says_as(&self, other: &Self) -> bool {
        let without = |a: &AddressState| AddressState { latency: None, ..a.clone() };
        self.is_probing == other.is_probing
            && self.names == other.names
            && self.addresses.iter().map(without).eq(other.addresses.iter().map(without))
    }
}

/// Watches one gateway.
#[derive(Debug)]
pub struct GatewayMonitor {
    spec: watch::Receiver<GatewaySpec>,
    published: watch::Sender<GatewayState>,
    /// `None` when the host has no usable one: names do not resolve then, addresses need none.
    resolver: Option<Resolver>,
    state: Arc<State>,
    metrics: Arc<Metrics>,
}

impl GatewayMonitor {
    /// Does nothing until it runs; the second value is what it will say.
    pub fn new(
        spec: watch::Receiver<GatewaySpec>,
        resolver: Option<Resolver>,
        state: Arc<State>,
        metrics: Arc<Metrics>,
    ) -> (Self, watch::Receiver<GatewayState>) {
        let (published, receiver) = watch::channel(GatewayState::default());
        (Self { spec, published, resolver, state, metrics }, receiver)
    }

    /// Runs as a task until `token` is cancelled or nobody can change the spec any more.
    pub fn spawn(self, supervisor: &Supervisor, token: CancellationToken) {
        let this = Arc::new(self);
        supervisor.spawn_until(token, Task::GatewayProbes, move || {
            let this = Arc::clone(&this);
            async move {
                this.run().await;
                Ok(())
            }
        });
    }

    /// Runs until nobody can change the spec any more. Run again, it goes on with the readiness that
    /// it has published.
    pub async fn run(&self) {
        let mut spec = self.spec.clone();
        let first = spec.borrow_and_update().clone();
        let mut session = Session::new(self, first);
        loop {
            session.publish();
            tokio::select! {
                changed = spec.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let new = spec.borrow_and_update().clone();
                    session.replace(new);
                }
                Some(event) = session.work.next() => session.take(event),
            }
        }
    }
}
