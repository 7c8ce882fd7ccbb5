//! Linkerd's `tcp_*` metrics: connections open, opened, closed and their bytes.
//!
//! The data path adds bytes to its own [`ByteCounts`] and pays nothing here. A scrape, and the
//! close of a connection, *settles*: what has been counted since the last time is added to the
//! connection's series. Settling may happen on several threads at once and neither loses nor
//! doubles a byte.

use std::fmt::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::bounded::Bounded;
use super::labels;
use super::series::{self, Series};
use crate::model::counts::ByteCounts;
use crate::model::identity::Identity;
use crate::model::service::Target;
use crate::model::sharded::Sharded;

/// The `errno` of a connection that we ended ourselves: refused, cancelled, panicked.
const ABORTED: &str = "ECONNABORTED";

/// One connection in the metrics, from open to close.
///
/// Dropping it without [`Transport::close`] counts as `ECONNABORTED`: we ended it ourselves.
#[derive(Debug)]
pub struct Transport {
    id: u64,
    live: Arc<Live>,
    all: Arc<Transports>,
    errno: &'static str,
}

impl Transport {
    /// Counts the close; `errno` is "" for a clean one, else "ECONNRESET", "ETIMEDOUT" and so on.
    pub fn close(mut self, errno: &'static str) {
        self.errno = errno;
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.all.remove(self.id);
        self.live.settle();
        self.live.series.closed(self.errno);
    }
}

/// All series and all live connections.
#[derive(Debug)]
pub(super) struct Transports {
    clients: Bounded<(SocketAddr, Identity), Arc<Series>>,
    endpoints: Bounded<(Target, SocketAddr, Option<Identity>), Arc<Series>>,
    /// For what exceeds the bounds: clients, plain endpoints, endpoints with TLS.
    other: [Arc<Series>; 3],
    live: Sharded<u64, Arc<Live>>,
    next: AtomicU64,
}

impl Transports {
    pub(super) fn new(limit: usize) -> Self {
        let other = [
            labels::client_transport(None, None),
            labels::endpoint_transport_other(false),
            labels::endpoint_transport_other(true),
        ];
        Self {
            clients: Bounded::new(limit),
            endpoints: Bounded::new(limit),
            other: other.map(Series::new),
            live: Sharded::default(),
            next: AtomicU64::new(0),
        }
    }

    pub(super) fn client(
        self: &Arc<Self>,
        local: SocketAddr,
        client: &Identity,
        bytes: Arc<ByteCounts>,
    ) -> Transport {
        let make = |key: &(SocketAddr, Identity)| {
            Series::new(labels::client_transport(Some(key.0), Some(&key.1)))
        };
        let series = self.clients.get((local, client.clone()), make);
        let [other, _, _] = &self.other;
        self.open(series.unwrap_or_else(|| Arc::clone(other)), Side::Client, bytes)
    }

    pub(super) fn endpoint(
        self: &Arc<Self>,
        target: &Target,
        endpoint: SocketAddr,
        server: Option<&Identity>,
        bytes: Arc<ByteCounts>,
    ) -> Transport {
        let make = |key: &(Target, SocketAddr, Option<Identity>)| {
            Series::new(labels::endpoint_transport(&key.0, key.1, key.2.as_ref()))
        };
        let series = self.endpoints.get((target.clone(), endpoint, server.cloned()), make);
        let [_, plain, tls] = &self.other;
        let other = if server.is_some() { tls } else { plain };
        self.open(series.unwrap_or_else(|| Arc::clone(other)), Side::Endpoint, bytes)
    }

    /// Adds what live connections have relayed since the last time to their series.
    pub(super) fn settle(&self) {
        for shard in self.live.all() {
            shard.values().for_each(|live| live.settle());
        }
    }

    fn open(
        self: &Arc<Self>,
        series: Arc<Series>,
        side: Side,
        bytes: Arc<ByteCounts>,
    ) -> Transport {
        series.opened();
        let settled = Settled::default();
        let live = Arc::new(Live { series, side, bytes, settled });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.live.shard(&id).insert(id, Arc::clone(&live));
        Transport { id, live, all: Arc::clone(self), errno: ABORTED }
    }

    fn remove(&self, id: u64) {
        self.live.shard(&id).remove(&id);
    }

    /// Every series that was ever used.
    fn series(&self) -> Vec<Arc<Series>> {
        let mut all = self.clients.values();
        all.extend(self.endpoints.values());
        let used = |series: &&Arc<Series>| series.is_used();
        all.extend(self.other.iter().filter(used).cloned());
        all
    }
}

/// Which of our two connections a transport is.
#[derive(Clone, Copy, Debug)]
enum Side {
    Client,
    Endpoint,
}

#[derive(Debug)]
struct Live {
    series: Arc<Series>,
    side: Side,
    bytes: Arc<ByteCounts>,
    settled: Settled,
}

impl Live {
    fn settle(&self) {
        let (from_client, to_client) = (self.bytes.from_client(), self.bytes.to_client());
        let (read, written) = match self.side {
            Side::Client => (from_client, to_client),
            Side::Endpoint => (to_client, from_client),
        };
        advance(&self.settled.read, read, &self.series.read);
        advance(&self.settled.written, written, &self.series.written);
    }
}

/// What the series already has of a connection.
#[derive(Debug, Default)]
struct Settled {
    read: AtomicU64,
    written: AtomicU64,
}

/// Moves `settled` up to `now` and adds the difference to `total`. The maximum makes this exact
/// when two threads settle at once and the one with the older reading comes second.
fn advance(settled: &AtomicU64, now: u64, total: &AtomicU64) {
    let before = settled.fetch_max(now, Ordering::Relaxed);
    if now > before {
        total.fetch_add(now - before, Ordering::Relaxed);
    }
}

impl Collector for Transports {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        series::encode(encoder, &self.series())
    }
}
