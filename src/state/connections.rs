//! The registry of live connections: list them, cancel one or all.
//!
//! A connection registers before TLS and leaves when its [`Registration`] drops. Shards are locked
//! for one map operation at a time, once per connection at either end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use tokio::sync::Notify;

mod http;

pub use http::HttpLive;

use crate::model::counts::ByteCounts;
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::model::service::Target;
use crate::model::sharded::Sharded;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// TLS handshake.
    Handshake,
    /// Waiting for the transport header.
    Header,
    /// Connecting to an endpoint.
    Connect,
    /// Relaying.
    Relay,
    /// Serving an HTTP session.
    Http,
}

impl Stage {
    const ALL: [Self; 5] = [Self::Handshake, Self::Header, Self::Connect, Self::Relay, Self::Http];

    /// The name in `/connections`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Header => "header",
            Self::Connect => "connect",
            Self::Relay => "relay",
            Self::Http => "http",
        }
    }
}

/// One live connection as others see it.
#[derive(Debug)]
pub struct Live {
    /// Unique for the life of the process.
    pub id: u64,
    /// The TCP peer's address: the client's, or a load balancer's in front of it.
    pub peer: SocketAddr,
    /// Our address that it connected to.
    pub local: SocketAddr,
    /// The index of its worker.
    pub worker: usize,
    /// When it was accepted.
    pub accepted_at: SystemTime,
    /// Bytes relayed so far.
    pub bytes: Arc<ByteCounts>,
    stage: AtomicU8,
    /// Source and destination of a PROXY header. Boxed: few connections have one.
    proxied: OnceLock<Box<(SocketAddr, SocketAddr)>>,
    identity: OnceLock<Identity>,
    target: OnceLock<Target>,
    endpoint: OnceLock<SocketAddr>,
    /// Shared with the session. Elsewhere, because most connections have none.
    http: OnceLock<Arc<HttpLive>>,
    /// 1 + the index of the outcome that it is to end with, or 0.
    cancelled: AtomicU8,
    cancel: Notify,
}

impl Live {
    /// What it is doing.
    pub fn stage(&self) -> Stage {
        let index = usize::from(self.stage.load(Ordering::Relaxed));
        Stage::ALL.get(index).copied().unwrap_or(Stage::Relay)
    }

    /// Enters a stage.
    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// The client's address: what a PROXY header said, else the TCP peer's.
    pub fn source(&self) -> SocketAddr {
        self.proxied.get().map_or(self.peer, |proxied| proxied.0)
    }

    /// The address that the client connected to: what a PROXY header said, else our own.
    pub fn destination(&self) -> SocketAddr {
        self.proxied.get().map_or(self.local, |proxied| proxied.1)
    }

    /// The load balancer's address, when a PROXY header named another client.
    pub fn via(&self) -> Option<SocketAddr> {
        self.proxied.get().map(|_| self.peer)
    }

    /// Records what a PROXY header said; later calls change nothing.
    pub fn proxied(&self, source: SocketAddr, destination: SocketAddr) {
        let _ = self.proxied.set(Box::new((source, destination)));
    }

    /// The client's identity, once verified.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.get()
    }

    /// Where it goes, once known.
    pub fn target(&self) -> Option<&Target> {
        self.target.get()
    }

    /// The endpoint it is connected to, once it is.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.endpoint.get().copied()
    }

    /// Records the verified identity; later calls change nothing.
    pub fn identified(&self, identity: Identity) {
        let _ = self.identity.set(identity);
    }

    /// Records the target; later calls change nothing.
    pub fn targeted(&self, target: Target) {
        let _ = self.target.set(target);
    }

    /// Records the endpoint; later calls change nothing.
    pub fn connected(&self, endpoint: SocketAddr) {
        let _ = self.endpoint.set(endpoint);
    }

    /// Records that it is an HTTP session, of version "1" or "2"; a later call changes nothing. The
    /// session counts its requests there.
    pub fn http(&self, version: &'static str) -> Arc<HttpLive> {
        Arc::clone(self.http.get_or_init(|| Arc::new(HttpLive::new(version))))
    }

    /// Its HTTP session, once it is one.
    pub fn http_session(&self) -> Option<&HttpLive> {
        self.http.get().map(|http| &**http)
    }

    /// Asks the connection to end with this outcome; it does so at its next await. The first to ask
    /// decides; false for the others.
    pub fn cancel(&self, outcome: Outcome) -> bool {
        let index = u8::try_from(outcome as usize + 1).unwrap_or(u8::MAX);
        let (success, failure) = (Ordering::Release, Ordering::Relaxed);
        let is_first = self.cancelled.compare_exchange(0, index, success, failure).is_ok();
        self.cancel.notify_one();
        is_first
    }

    /// True once it has been asked to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) != 0
    }

    /// Completes when the connection is cancelled. Only the connection itself waits here.
    pub async fn cancelled(&self) -> Outcome {
        loop {
            let index = usize::from(self.cancelled.load(Ordering::Acquire));
            match index.checked_sub(1).and_then(|index| Outcome::ALL.get(index)) {
                Some(outcome) => return *outcome,
                None => self.cancel.notified().await,
            }
        }
    }
}

/// All live connections.
#[derive(Debug, Default)]
pub struct Connections {
    live: Sharded<u64, Arc<Live>>,
    next: AtomicU64,
    open: AtomicUsize,
}

impl Connections {
    /// Adds a connection that was just accepted.
    pub fn register(
        self: &Arc<Self>,
        peer: SocketAddr,
        local: SocketAddr,
        worker: usize,
    ) -> Registration {
        let live = Arc::new(Live {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            peer,
            local,
            worker,
            accepted_at: SystemTime::now(),
            bytes: Arc::default(),
            stage: AtomicU8::new(Stage::Handshake as u8),
            proxied: OnceLock::new(),
            identity: OnceLock::new(),
            target: OnceLock::new(),
            endpoint: OnceLock::new(),
            http: OnceLock::new(),
            cancelled: AtomicU8::new(0),
            cancel: Notify::new(),
        });
        self.open.fetch_add(1, Ordering::Relaxed);
        self.live.shard(&live.id).insert(live.id, Arc::clone(&live));
        Registration { live, connections: Arc::clone(self) }
    }

    /// A snapshot, oldest first.
    pub fn list(&self) -> Vec<Arc<Live>> {
        let mut all = Vec::new();
        for shard in self.live.all() {
            all.extend(shard.values().cloned());
        }
        all.sort_unstable_by_key(|live| live.id);
        all
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cancels one; false when it is gone or going.
    pub fn cancel(&self, id: u64, outcome: Outcome) -> bool {
        let live = self.live.shard(&id).get(&id).cloned();
        live.is_some_and(|live| live.cancel(outcome))
    }

    /// Cancels all that `which` names and says how many.
    pub fn cancel_where(&self, outcome: Outcome, which: impl Fn(&Live) -> bool) -> usize {
        self.list().iter().filter(|live| which(live) && live.cancel(outcome)).count()
    }
}

/// Keeps a connection registered.
#[derive(Debug)]
pub struct Registration {
    live: Arc<Live>,
    connections: Arc<Connections>,
}

impl std::ops::Deref for Registration {
    type Target = Arc<Live>;

    fn deref(&self) -> &Arc<Live> {
        &self.live
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.live.shard(&self.live.id).remove(&self.live.id);
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_session_is_seen_by_others() {
        let all = Arc::new(Connections::default());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let live = all.register(address, address, 0);
        assert!(live.http_session().is_none());
        let session = live.http("2");
        session.started();
        live.http("1").started();
        session.ended();
        let seen = live.http_session().expect("a session");
        assert_eq!((seen.version(), seen.in_flight(), seen.requests()), ("2", 1, 2));
        for stage in Stage::ALL {
            live.enter(stage);
            assert_eq!(live.stage(), stage);
        }
    }

    #[test]
    fn what_others_see_of_a_connection_is_small() {
        let size = size_of::<Live>();
        // With the 16 bytes of its counters it fits the allocator's class of 320.
        assert!(size <= 304, "{size} bytes");
    }

    #[tokio::test]
    async fn lists_cancels_and_forgets() {
        let all = Arc::new(Connections::default());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let (first, second) =
            (all.register(address, address, 0), all.register(address, address, 1));
        let ids: Vec<_> = all.list().iter().map(|live| live.id).collect();
        assert_eq!(ids, [first.id, second.id]);
        let stopping = Outcome::Cancelled;
        assert!(all.cancel(second.id, stopping) && !all.cancel(99, stopping));
        assert_eq!(second.cancelled().await, stopping);
        let policy = Outcome::NoLongerAllowed;
        assert_eq!(all.cancel_where(policy, |_| true), 1, "one is going already");
        assert_eq!(first.cancelled().await, policy);
        drop((first, second));
        assert!(all.is_empty());
    }
}
