//! The numbers of one `tcp_*` label set, and how all of them are written.
//!
//! Encoded by hand instead of through five families: each label set is kept once, and a connection
//! looks its series up once.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, EncodeMetric, LabelSetEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::labels::Labels;
use crate::model::sharded::lock;

/// The numbers of one label set.
#[derive(Debug)]
pub(super) struct Series {
    labels: Labels,
    opened: AtomicU64,
    open: AtomicI64,
    /// Application bytes from the peer.
    pub(super) read: AtomicU64,
    /// Application bytes to the peer.
    pub(super) written: AtomicU64,
    closes: Mutex<BTreeMap<&'static str, u64>>,
}

impl Series {
    pub(super) fn new(labels: Labels) -> Arc<Self> {
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

    /// Counts a connection in.
    pub(super) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// True once it has counted a connection.
    pub(super) fn is_used(&self) -> bool {
        self.opened.load(Ordering::Relaxed) > 0
    }

    /// Counts a connection out.
    pub(super) fn closed(&self, errno: &'static str) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        *lock(&self.closes).entry(errno).or_default() += 1;
    }
}

/// One of a series' counters.
type Number = fn(&Series) -> &AtomicU64;

/// Writes all metrics of `all`, metric by metric as the format demands.
pub(super) fn encode(mut encoder: DescriptorEncoder<'_>, all: &[Arc<Series>]) -> Result<(), Error> {
    let counters: [(&str, &str, Number); 3] = [
        ("tcp_open", "Connections opened", |s| &s.opened),
        ("tcp_read_bytes", "Application bytes read from the peer", |s| &s.read),
        ("tcp_write_bytes", "Application bytes written to the peer", |s| &s.written),
    ];
    for (name, help, value) in counters {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for series in all {
            let count = ConstCounter::new(value(series).load(Ordering::Relaxed));
            let labelled = metric.encode_family(&series.labels)?;
            count.encode(labelled)?;
        }
    }
    encode_open(&mut encoder, all)?;
    encode_closes(&mut encoder, all)
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
