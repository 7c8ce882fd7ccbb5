//! Connections that wait for the same thing, oldest first.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::state::connections::Live;

/// Ids grow with time, so the order of the ids is the order of age.
#[derive(Debug, Default)]
pub(super) struct Queue(BTreeMap<u64, Arc<Live>>);

impl Queue {
    /// Adds a connection, and takes out the oldest when there are more than `most`.
    pub(super) fn enter(&mut self, live: &Arc<Live>, most: usize) -> Option<Arc<Live>> {
        self.0.insert(live.id, Arc::clone(live));
        if self.0.len() > most { self.leave_oldest() } else { None }
    }

    /// Removes a connection; it may have been taken out already.
    pub(super) fn leave(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// Takes out the oldest.
    pub(super) fn leave_oldest(&mut self) -> Option<Arc<Live>> {
        self.0.pop_first().map(|(_, live)| live)
    }

    /// True when nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
