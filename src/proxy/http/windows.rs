//! The receive windows that peers are given: large enough for a long path, and together no more
//! than `http.window_budget`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pool::HOT;
use crate::observe::metrics::Metrics;

/// The most of one session: 100 ms at 1.3 Gbit/s.
const MOST: u64 = 16 << 20;
/// The most of one stream.
const MOST_STREAM: u64 = 4 << 20;
/// The least of one session: what HTTP/2 itself begins with.
const LEAST: u64 = 64 << 10;
/// Streams that may stand still on a shared connection before others do: more are not put on one
/// unless there are very many.
const SHARED_BY: u64 = HOT as u64;
/// A session takes at most this part of what is left, so that the last of many gets its share.
const SHARE: u64 = 16;

/// The windows of all sessions.
#[derive(Debug)]
pub struct Windows {
    handed_out: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Windows {
    /// None handed out yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { handed_out: AtomicU64::new(0), metrics }
    }

    /// The window of a client's new session: a share of what `budget` has left.
    pub fn take(self: &Arc<Self>, budget: u64) -> Window {
        let bytes = share(self.left(budget));
        // One upload that an endpoint does not take must not stop the client's others.
        self.hand_out(bytes, (bytes / 4).clamp(LEAST, MOST_STREAM))
    }

    /// That of a connection to an endpoint, whose streams are of several clients: those who read
    /// nothing must not use up what the others need.
    pub fn take_shared(self: &Arc<Self>, budget: u64) -> Window {
        let bytes = share(self.left(budget)).max(LEAST * SHARED_BY);
        self.hand_out(bytes, bytes / SHARED_BY)
    }

    fn left(&self, budget: u64) -> u64 {
        budget.saturating_sub(self.handed_out.load(Ordering::Relaxed))
    }

    fn hand_out(self: &Arc<Self>, bytes: u64, stream: u64) -> Window {
        self.handed_out.fetch_add(bytes, Ordering::Relaxed);
        self.metrics.http_windows(bytes.cast_signed());
        Window { bytes, stream, windows: Arc::clone(self) }
    }
}

fn share(left: u64) -> u64 {
    (left / SHARE).clamp(LEAST, MOST)
}

/// The windows of one session; given back when it drops.
#[derive(Debug)]
pub struct Window {
    bytes: u64,
    stream: u64,
    windows: Arc<Windows>,
}

impl Window {
    /// Of the session.
    pub fn session(&self) -> u32 {
        u32::try_from(self.bytes).unwrap_or(u32::MAX >> 1)
    }

    /// Of each stream.
    pub fn stream(&self) -> u32 {
        u32::try_from(self.stream).unwrap_or(u32::MAX >> 1)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.windows.handed_out.fetch_sub(self.bytes, Ordering::Relaxed);
        self.windows.metrics.http_windows(-self.bytes.cast_signed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_windows_together_keep_to_the_budget_and_are_given_back() {
        let windows = Arc::new(Windows::new(Metrics::new()));
        let budget = 256 << 20;
        let first = windows.take(budget);
        assert_eq!((first.session(), first.stream()), (16 << 20, 4 << 20));
        let many: Vec<_> = (0..1000).map(|_| windows.take(budget)).collect();
        let sum: u64 = many.iter().map(|window| u64::from(window.session())).sum();
        // Beyond the budget a session still has what HTTP/2 begins with.
        assert!(sum < budget + 1000 * LEAST, "{sum}");
        assert_eq!(many.last().map(Window::session), Some(64 << 10));
        drop((first, many));
        assert_eq!(windows.take(budget).session(), 16 << 20);
    }
}
