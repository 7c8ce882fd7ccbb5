//! Admission: how many connections may be open, how many may wait to be authenticated, and which
//! of them go first when there are too many.
//!
//! `inbound` takes a connection through it. Whoever waits for longest goes first: a good client is
//! through in a round trip or two, so under a flood the oldest are the bad ones and no client is
//! kept out by others' silence. Short locks, a few per connection; none while bytes are relayed.

use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::config::LimitSettings;
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::model::sharded::{Sharded, lock};
use crate::model::source::Source;
use crate::observe::metrics::{Metrics, Waiting};
use crate::state::connections::Live;

mod notices;
mod queue;

use notices::Notices;
use queue::Queue;

/// The most of everything, as configured.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: Option<usize>,
    /// Open connections of one identity.
    pub per_identity: Option<usize>,
    /// Connections without a complete ClientHello.
    pub silent: usize,
    /// Connections between ClientHello and the end of the handshake.
    pub handshakes: usize,
    /// Connections of one source that are not authenticated.
    pub per_source: usize,
}

impl Limits {
    /// As configured.
    pub fn new(settings: &LimitSettings) -> Self {
        Self {
            connections: settings.max_connections,
            per_identity: settings.max_connections_per_identity,
            silent: settings.max_silent_connections,
            handshakes: settings.max_handshakes,
            per_source: settings.max_unauthenticated_per_source,
        }
    }
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// `limits.max_connections` are open.
    #[error("limits.max_connections are open")]
    Connections,
    /// `limits.max_connections_per_identity` of this identity are open.
    #[error("limits.max_connections_per_identity of this identity are open")]
    Identity,
}

impl LimitError {
    /// How the connection ends with this.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Connections => Outcome::ConnectionLimit,
            Self::Identity => Outcome::IdentityLimit,
        }
    }
}

/// Who waits and who is in, over all workers.
#[derive(Debug)]
pub struct Admission {
    metrics: Arc<Metrics>,
    notices: Notices,
    silent: Mutex<Queue>,
    handshakes: Mutex<Queue>,
    sources: Sharded<Source, Queue>,
    identities: Sharded<Identity, usize>,
}

impl Admission {
    /// Nobody yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            notices: Notices::default(),
            silent: Mutex::default(),
            handshakes: Mutex::default(),
            sources: Sharded::default(),
            identities: Sharded::default(),
        }
    }

    /// Takes in a connection that was just accepted, the `open`th; it waits for its ClientHello.
    /// When there are too many, the oldest silent one goes instead of it.
    ///
    /// # Errors
    /// [`LimitError::Connections`] when all that are open have said hello.
    pub fn admit(
        self: &Arc<Self>,
        limits: &Limits,
        open: usize,
        live: &Arc<Live>,
    ) -> Result<Unauthenticated, LimitError> {
        if limits.connections.is_some_and(|most| open > most) {
            self.notices.note(Outcome::ConnectionLimit);
            let oldest = lock(&self.silent).leave_oldest();
            oldest.ok_or(LimitError::Connections)?.cancel(Outcome::ConnectionLimit);
        }
        self.metrics.waiting(Waiting::ClientHello, 1);
        let evicted = lock(&self.silent).enter(live, limits.silent);
        self.evict(evicted, Outcome::SilentLimit);
        Ok(Unauthenticated {
            admission: Arc::clone(self),
            live: Arc::clone(live),
            source: None,
            waits_for: Waiting::ClientHello,
        })
    }

    fn evict(&self, evicted: Option<Arc<Live>>, outcome: Outcome) {
        if let Some(evicted) = evicted {
            evicted.cancel(outcome);
            self.notices.note(outcome);
        }
    }

    fn queue(&self, waiting: Waiting) -> MutexGuard<'_, Queue> {
        lock(match waiting {
            Waiting::ClientHello => &self.silent,
            Waiting::Handshake => &self.handshakes,
        })
    }
}

/// A connection whose peer is not known yet; it leaves the queues when this drops.
#[derive(Debug)]
pub struct Unauthenticated {
    admission: Arc<Admission>,
    live: Arc<Live>,
    source: Option<Source>,
    waits_for: Waiting,
}

impl Unauthenticated {
    /// It comes from `ip`: the oldest of too many from there goes.
    pub fn came_from(&mut self, limits: &Limits, ip: IpAddr) {
        let source = Source::of(ip);
        self.source = Some(source);
        let mut sources = self.admission.sources.shard(&source);
        let evicted = sources.entry(source).or_default().enter(&self.live, limits.per_source);
        drop(sources);
        self.admission.evict(evicted, Outcome::SourceLimit);
    }

    /// Its ClientHello is complete: from here it costs a handshake.
    pub fn said_hello(&mut self, limits: &Limits) {
        self.leave_queue();
        self.waits_for = Waiting::Handshake;
        self.admission.metrics.waiting(Waiting::Handshake, 1);
        let evicted = self.admission.queue(Waiting::Handshake).enter(&self.live, limits.handshakes);
        self.admission.evict(evicted, Outcome::HandshakeLimit);
    }

    /// Its peer has proved to be `identity`.
    ///
    /// # Errors
    /// [`LimitError::Identity`].
    pub fn authenticated(
        self,
        limits: &Limits,
        identity: &Identity,
    ) -> Result<Authenticated, LimitError> {
        let admission = Arc::clone(&self.admission);
        let mut identities = admission.identities.shard(identity);
        let open = identities.entry(identity.clone()).or_default();
        if limits.per_identity.is_some_and(|most| *open >= most) {
            return Err(LimitError::Identity);
        }
        *open += 1;
        drop(identities);
        Ok(Authenticated { admission, identity: identity.clone() })
    }

    fn leave_queue(&self) {
        self.admission.queue(self.waits_for).leave(self.live.id);
        self.admission.metrics.waiting(self.waits_for, -1);
    }
}

impl Drop for Unauthenticated {
    fn drop(&mut self) {
        self.leave_queue();
        let Some(source) = self.source else { return };
        if let Entry::Occupied(mut queue) = self.admission.sources.shard(&source).entry(source) {
            queue.get_mut().leave(self.live.id);
            if queue.get().is_empty() {
                queue.remove();
            }
        }
    }
}

/// A connection's place in the count of its identity, left when this drops.
#[derive(Debug)]
pub struct Authenticated {
    admission: Arc<Admission>,
    identity: Identity,
}

impl Drop for Authenticated {
    fn drop(&mut self) {
        let mut identities = self.admission.identities.shard(&self.identity);
        if let Entry::Occupied(mut open) = identities.entry(self.identity.clone()) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }
}
