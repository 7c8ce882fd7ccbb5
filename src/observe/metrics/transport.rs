//! Linkerd's `tcp_*` metrics: connections open, opened, closed and their bytes.
//!
//! The data path adds bytes to its own [`ByteCounts`] and pays nothing here. A scrape, and the
//! close of a connection, *settles*: what has been counted since the last time is added to the
//! connection's series. Settling may happen on several threads at once and neither loses nor
//! doubles a byte.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, EncodeMetric, LabelSetEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::bounded::Bounded;
use super::labels::{self, Labels};
use crate::model::counts::ByteCounts;
use crate::model::identity::Identity;
use crate::model::service::Target;

/// Locks taken by connections that open or close at once should rarely meet.
const SHARDS: usize = 16;

/// One connection in the metrics, from open to close.
///
/// Dropping it without [`Transport::close`] counts a clean close.
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
    live: [Mutex<HashMap<u64, Arc<Live>>>; SHARDS],
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
            live: Default::default(),
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
        for shard in &self.live {
            lock(shard).values().for_each(|live| live.settle());
        }
    }

    fn open(
        self: &Arc<Self>,
        series: Arc<Series>,
        side: Side,
        bytes: Arc<ByteCounts>,
    ) -> Transport {
        series.opened.fetch_add(1, Ordering::Relaxed);
        series.open.fetch_add(1, Ordering::Relaxed);
        let settled = Settled::default();
        let live = Arc::new(Live { series, side, bytes, settled });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.shard(id).insert(id, Arc::clone(&live));
        Transport { id, live, all: Arc::clone(self), errno: "" }
    }

    fn remove(&self, id: u64) {
        self.shard(id).remove(&id);
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, HashMap<u64, Arc<Live>>> {
        let index = usize::try_from(id).unwrap_or_default() % SHARDS;
        let [first, ..] = &self.live;
        lock(self.live.get(index).unwrap_or(first))
    }

    /// Every series that was ever used.
    fn series(&self) -> Vec<Arc<Series>> {
        let mut all = self.clients.values();
        all.extend(self.endpoints.values());
        let used = |series: &&Arc<Series>| series.opened.load(Ordering::Relaxed) > 0;
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

/// The numbers of one label set.
#[derive(Debug)]
struct Series {
    labels: Labels,
    opened: AtomicU64,
    open: AtomicI64,
    read: AtomicU64,
    written: AtomicU64,
    closes: Mutex<BTreeMap<&'static str, u64>>,
}

impl Series {
    fn new(labels: Labels) -> Arc<Self> {
        Arc::new(Self {
            labels,
            opened: AtomicU64::new(0),
            open: AtomicI64::new(0),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            // Present from the start, so that a rate over closes sees the first one.
            closes: Mutex::new(BTreeMap::from([("", 0)])),
        })
    }

    fn closed(&self, errno: &'static str) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        *lock(&self.closes).entry(errno).or_default() += 1;
    }
}

/// One of a series' counters.
type Number = fn(&Series) -> &AtomicU64;

impl Collector for Transports {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let all = self.series();
        let counters: [(&str, &str, Number); 3] = [
            ("tcp_open", "Connections opened", |s| &s.opened),
            ("tcp_read_bytes", "Application bytes read from the peer", |s| &s.read),
            ("tcp_write_bytes", "Application bytes written to the peer", |s| &s.written),
        ];
        for (name, help, value) in counters {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for series in &all {
                let count = ConstCounter::new(value(series).load(Ordering::Relaxed));
                let labelled = metric.encode_family(&series.labels)?;
                count.encode(labelled)?;
            }
        }
        encode_open(&mut encoder, &all)?;
        encode_closes(&mut encoder, &all)
    }
}

fn encode_open(encoder: &mut DescriptorEncoder<'_>, all: &[Arc<Series>]) -> Result<(), Error> {
    let name = "tcp_open_connections";
    let mut metric =
        encoder.encode_descriptor(name, "Connections open now", None, MetricType::Gauge)?;
    for series in all {
        let count = ConstGauge::new(series.open.load(Ordering::Relaxed));
        let labelled = metric.encode_family(&series.labels)?;
        count.encode(labelled)?;
    }
    Ok(())
}

fn encode_closes(encoder: &mut DescriptorEncoder<'_>, all: &[Arc<Series>]) -> Result<(), Error> {
    let mut metric =
        encoder.encode_descriptor("tcp_close", "Connections closed", None, MetricType::Counter)?;
    for series in all {
        for (errno, count) in lock(&series.closes).iter() {
            let labels = WithErrno(&series.labels, errno);
            let labelled = metric.encode_family(&labels)?;
            let count = ConstCounter::new(*count);
            count.encode(labelled)?;
        }
    }
    Ok(())
}

/// A series' labels and the `errno` of `tcp_close_total`.
struct WithErrno<'a>(&'a Labels, &'static str);

impl EncodeLabelSet for WithErrno<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), Error> {
        self.0.encode(encoder)?;
        ("errno", self.1).encode(encoder.encode_label())
    }
}

/// A panic while a map was locked leaves the map whole: one insert, remove or add.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
