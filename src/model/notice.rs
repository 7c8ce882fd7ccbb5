//! Tells how often something has happened, once in a while: what may happen thousands of times a
//! second must not become a flood of log lines.
//!
//! Whoever logs it asks [`Notice::count`] each time and writes only when told how many there were.

use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds between two lines about the same thing.
const INTERVAL: u64 = 10_000;

/// One thing that may happen often.
#[derive(Debug, Default)]
pub struct Notice {
    /// Since the last line.
    count: AtomicU64,
    /// When the next line may be written.
    due: AtomicU64,
}

impl Notice {
    /// Counts one at `now`, in milliseconds on any steady clock; the number since the last line when
    /// another is due.
    pub fn count(&self, now: u64) -> Option<u64> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let due = self.due.load(Ordering::Relaxed);
        let next = now.saturating_add(INTERVAL);
        // Of several threads that find it due one writes.
        let mine = now >= due
            && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        mine.then(|| self.count.swap(0, Ordering::Relaxed))
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
