//! Answers of one kind and how long they took: the histogram that all three numbers of an answer,
//! count, sum and buckets, are read from.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper ends of the buckets in milliseconds, Linkerd's. The last bucket has none.
pub(super) const BOUNDS: [u64; 25] = [
    1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1000, 2000, 3000, 4000, 5000,
    10_000, 20_000, 30_000, 40_000, 50_000,
];

/// Microseconds in a millisecond.
pub(super) const MICROS: u64 = 1000;

/// Where a response belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// `None` without a response.
    pub(super) status: Option<u16>,
    pub(super) is_failure: bool,
    pub(super) grpc: Grpc,
}

/// The `grpc-status` of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grpc {
    Code(u16),
    None,
    /// None that gRPC knows.
    Other,
}

impl Grpc {
    pub(super) fn of(code: Option<u16>) -> Self {
        match code {
            None => Self::None,
            Some(code @ 0..=16) => Self::Code(code),
            Some(_) => Self::Other,
        }
    }
}

/// Buckets, one more than [`BOUNDS`], and the sum.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Latencies {
    /// Two relaxed adds.
    pub(super) fn observe(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let index = BOUNDS.partition_point(|bound| bound * MICROS < micros);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// Adds what it has to `total`.
    pub(super) fn add_to(&self, total: &mut Total) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        total.sum_micros = total.sum_micros.wrapping_add(self.sum_micros.load(Ordering::Relaxed));
    }
}

/// Several of them together, at one moment.
#[derive(Debug, Default)]
pub(super) struct Total {
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    pub(super) sum_micros: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_is_not_longer_than_its_end() {
        let index = |latency| {
            let latencies = Latencies::default();
            latencies.observe(latency);
            let mut total = Total::default();
            latencies.add_to(&mut total);
            total.buckets.iter().position(|count| *count == 1)
        };
        for (micros, bucket) in [
            (0, 0),
            (1000, 0),
            (1001, 1),
            (5000, 4),
            (5001, 5),
            (50_000_000, 24),
            (50_000_001, 25),
            (u64::MAX, 25),
        ] {
            assert_eq!(index(Duration::from_micros(micros)), Some(bucket), "{micros}");
        }
        assert_eq!(index(Duration::MAX), Some(25));
    }
}
