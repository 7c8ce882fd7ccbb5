//! Tells the operator that a limit is reached, once in a while however many connections it costs:
//! a flood must not become a flood of log lines.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::outcome::Outcome;
use crate::runtime::now_millis;

/// Milliseconds between two lines about one limit.
const INTERVAL: u64 = 10_000;

/// What has been dropped since the last line, by limit.
#[derive(Debug, Default)]
pub(super) struct Notices {
    connections: Notice,
    handshakes: Notice,
    silent: Notice,
    source: Notice,
}

#[derive(Debug, Default)]
struct Notice {
    dropped: AtomicU64,
    /// When the next line may be written.
    due: AtomicU64,
}

impl Notices {
    /// A connection ended with `outcome`; says so when the last line is old enough.
    pub(super) fn note(&self, outcome: Outcome) {
        let notice = match outcome {
            Outcome::HandshakeLimit => &self.handshakes,
            Outcome::SilentLimit => &self.silent,
            Outcome::SourceLimit => &self.source,
            _ => &self.connections,
        };
        if let Some(dropped) = notice.count(now_millis()) {
            tracing::warn!(outcome = outcome.label(), dropped, "limit reached: {}", outcome.hint());
        }
    }
}

impl Notice {
    /// Counts one; the number since the last line when another is due.
    fn count(&self, now: u64) -> Option<u64> {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        let due = self.due.load(Ordering::Relaxed);
        let next = now.saturating_add(INTERVAL);
        // Of several threads that find it due one writes.
        let mine = now >= due
            && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        mine.then(|| self.dropped.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_it_at_once_and_then_once_in_a_while_with_the_number() {
        let notice = Notice::default();
        assert_eq!(notice.count(5), Some(1));
        assert_eq!((notice.count(6), notice.count(5 + INTERVAL - 1)), (None, None));
        assert_eq!(notice.count(5 + INTERVAL), Some(3));
    }
}
