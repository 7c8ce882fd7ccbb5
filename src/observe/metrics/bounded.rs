//! A map that stops growing: peers choose some label values, so the number of series needs a cap.
//!
//! Looked up once per connection under a shared lock; the exclusive one is taken only for a key
//! that was never seen. Entries are never removed: a counter that vanished and came back would
//! read as a reset.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

/// A map with at most `limit` entries.
#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    limit: usize,
    entries: RwLock<HashMap<K, V>>,
}

impl<K: Eq + Hash, V: Clone> Bounded<K, V> {
    /// An empty map.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, entries: RwLock::default() }
    }

    /// The value of `key`, made on first sight; `None` when the map is full of others.
    pub(super) fn get(&self, key: K, make: impl FnOnce(&K) -> V) -> Option<V> {
        {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(value) = entries.get(&key) {
                return Some(value.clone());
            }
            if entries.len() >= self.limit {
                return None;
            }
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster between the two locks.
        if let Some(value) = entries.get(&key) {
            return Some(value.clone());
        }
        if entries.len() >= self.limit {
            return None;
        }
        let value = make(&key);
        entries.insert(key, value.clone());
        Some(value)
    }

    /// All values.
    pub(super) fn values(&self) -> Vec<V> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_it_has_and_refuses_more() {
        let map = Bounded::new(2);
        assert_eq!(map.get("a", |_| 1), Some(1));
        assert_eq!(map.get("b", |_| 2), Some(2));
        assert_eq!(map.get("c", |_| 3), None);
        assert_eq!(map.get("a", |_| 9), Some(1));
        assert_eq!(map.values().len(), 2);
    }
}
