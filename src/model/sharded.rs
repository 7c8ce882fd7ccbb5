//! A map in parts with a lock each: threads that open and close connections at once rarely meet.
//!
//! Held for one operation at a time, never across an await; a panic meanwhile leaves a map whole, so
//! a poisoned lock is taken all the same.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parts: more than workers on any usual host.
const SHARDS: usize = 16;

/// The map. Peers choose some of the keys, so their hash is keyed.
#[derive(Debug)]
pub struct Sharded<K, V> {
    hasher: RandomState,
    shards: [Mutex<HashMap<K, V>>; SHARDS],
}

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: Default::default() }
    }
}

impl<K: Hash, V> Sharded<K, V> {
    /// The part where `key` is or belongs, locked.
    pub fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<K, V>> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        let [first, ..] = &self.shards;
        lock(self.shards.get(index).unwrap_or(first))
    }

    /// Every part in turn, locked.
    pub fn all(&self) -> impl Iterator<Item = MutexGuard<'_, HashMap<K, V>>> {
        self.shards.iter().map(lock)
    }
}

/// Locks what is whole after every single operation.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_always_in_the_same_part_and_every_part_is_walked() {
        let map = Sharded::default();
        for key in 0..1000 {
            map.shard(&key).insert(key, key * 2);
        }
        assert!((0..1000).all(|key| map.shard(&key).get(&key) == Some(&(key * 2))));
        let parts: Vec<_> = map.all().map(|part| part.len()).collect();
        assert_eq!((parts.len(), parts.iter().sum::<usize>()), (SHARDS, 1000));
        assert!(parts.iter().all(|count| *count > 0), "{parts:?}");
    }
}
