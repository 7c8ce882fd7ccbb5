//! When something was last used, in whole seconds of the wall clock.
//!
//! Clones share one moment: `tls` marks an anchor whenever it vouched for a peer, `/certs` and the
//! metrics read it, and a reload hands it on to the anchors that stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A moment that is moved on by every use.
#[derive(Clone, Debug, Default)]
pub struct LastUse(Arc<AtomicU64>);

impl LastUse {
    /// Used at `now`, in seconds since the epoch. Stored only when it is another second: under
    /// load all threads would write to one cache line otherwise.
    pub fn mark(&self, now: u64) {
        if self.0.load(Ordering::Relaxed) != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    /// Seconds since the epoch; 0 for never.
    pub fn seconds(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
