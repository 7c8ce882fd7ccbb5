//! A bound on open connections that never refuses a new one.
//!
//! The port is public, and a probe that is refused makes a remote cluster call this gateway dead.
//! So when all slots are taken, the connection whose last request is longest ago gives way. Idle
//! connections, however many, cost a probe nothing: its own is always the youngest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Open connections in the order of their last use.
#[derive(Debug)]
pub(super) struct Slots {
    capacity: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// Grows with every use of any connection.
    uses: u64,
    /// Entered so far; names a connection.
    entered: u64,
    /// By last use: which connection, and how it is told to go.
    by_use: BTreeMap<u64, (u64, Arc<Notify>)>,
    /// By connection: its last use.
    last_use: BTreeMap<u64, u64>,
}

/// One connection's place; free again when it drops.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    id: u64,
    evicted: Arc<Notify>,
}

impl Slots {
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, open: Mutex::default() })
    }

    /// Takes a slot, the longest unused one when all are taken.
    pub(super) fn enter(self: &Arc<Self>) -> Slot {
        let evicted = Arc::new(Notify::new());
        let mut open = self.lock();
        while open.by_use.len() >= self.capacity {
            let Some((_, (id, oldest))) = open.by_use.pop_first() else {
                break;
            };
            open.last_use.remove(&id);
            oldest.notify_one();
        }
        open.entered += 1;
        let id = open.entered;
        open.place(id, Arc::clone(&evicted));
        drop(open);
        Slot { slots: Arc::clone(self), id, evicted }
    }

    /// A panic while it was locked leaves at most one connection in one of the two maps.
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn place(&mut self, id: u64, evicted: Arc<Notify>) {
        self.uses += 1;
        self.by_use.insert(self.uses, (id, evicted));
        self.last_use.insert(id, self.uses);
    }

    /// Nothing when it has given way already.
    fn take(&mut self, id: u64) -> Option<Arc<Notify>> {
        let last = self.last_use.remove(&id)?;
        self.by_use.remove(&last).map(|(_, evicted)| evicted)
    }
}

impl Slot {
    /// A request arrived: this is now the youngest connection.
    pub(super) fn used(&self) {
        let mut open = self.slots.lock();
        if let Some(evicted) = open.take(self.id) {
            open.place(self.id, evicted);
        }
    }

    /// Completes when the connection has to give way. One task waits here.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.lock().take(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_evicted(slot: &Slot) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(slot.evicted()).poll(&mut context).is_ready()
    }

    #[test]
    fn the_longest_unused_gives_way() {
        let slots = Slots::new(3);
        let (first, second, third) = (slots.enter(), slots.enter(), slots.enter());
        first.used();
        let fourth = slots.enter();
        assert!(is_evicted(&second));
        assert!(!is_evicted(&first) && !is_evicted(&third) && !is_evicted(&fourth));
        second.used();
        assert_eq!(slots.lock().by_use.len(), 3, "an evicted connection does not come back");
    }

    #[test]
    fn a_slot_is_free_after_its_connection() {
        let slots = Slots::new(1);
        drop(slots.enter());
        let only = slots.enter();
        assert!(!is_evicted(&only));
        drop(only);
        let open = slots.lock();
        assert!(open.by_use.is_empty() && open.last_use.is_empty());
    }
}
