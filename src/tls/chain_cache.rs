//! Chains that have been verified: a returning peer pays no chain building.
//!
//! The peer's CertificateVerify signature is checked in every handshake all the same; only what is
//! the same for the same bytes is remembered. A cache belongs to one [`super::verify::Verifier`],
//! so a change of trust starts an empty one. Positive results only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};

use super::verify::{Role, VerifiedChain};

/// Longest time in seconds that an entry serves without being verified again.
const MAX_AGE: u64 = 3600;
/// Locks that different peers rarely share.
const SHARDS: usize = 16;
/// Entries of one shard; 8,192 in all, at about 300 bytes each.
const MAX_ENTRIES: usize = 512;
/// Entries of one identity in one shard: one peer that renews without end cannot push out others.
const MAX_PER_IDENTITY: usize = 4;

/// SHA-256 over role and all presented certificates, each preceded by its length.
pub type ChainKey = [u8; 32];

/// A bounded map from presented chains to their verified form.
#[derive(Debug, Default)]
pub struct ChainCache {
    shards: [Mutex<HashMap<ChainKey, Entry>>; SHARDS],
}

#[derive(Debug)]
struct Entry {
    chain: Arc<VerifiedChain>,
    verified_at: u64,
}

impl Entry {
    /// A clock that stepped back behind the verification misses, too.
    fn is_fresh(&self, now: u64) -> bool {
        (self.verified_at..self.verified_at.saturating_add(MAX_AGE)).contains(&now)
            && (self.chain.not_before..=self.chain.not_after).contains(&now)
    }
}

/// The key of a chain presented in a role.
pub fn key<'c>(role: Role, chain: impl Iterator<Item = &'c [u8]>) -> ChainKey {
    let mut context = Context::new(&SHA256);
    context.update(&[role as u8]);
    for certificate in chain {
        context.update(&(certificate.len() as u64).to_be_bytes());
        context.update(certificate);
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

impl ChainCache {
    /// The verified form of a chain, when it is known and still valid at `now` (Unix seconds).
    pub fn find(&self, key: &ChainKey, now: u64) -> Option<Arc<VerifiedChain>> {
        let shard = self.shard(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(key).filter(|entry| entry.is_fresh(now)).map(|entry| Arc::clone(&entry.chain))
    }

    /// Remembers a chain verified at `now`.
    pub fn insert(&self, key: ChainKey, chain: Arc<VerifiedChain>, now: u64) {
        let Some(shard) = self.shard(&key) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |e: &Entry| e.chain.identity == chain.identity;
        if shard.values().filter(|e| same(e)).count() >= MAX_PER_IDENTITY {
            drop_oldest(&mut shard, same);
        } else if shard.len() >= MAX_ENTRIES {
            shard.retain(|_, entry| entry.is_fresh(now));
            if shard.len() >= MAX_ENTRIES {
                drop_oldest(&mut shard, |_| true);
            }
        }
        shard.insert(key, Entry { chain, verified_at: now });
    }

    fn shard(&self, key: &ChainKey) -> Option<&Mutex<HashMap<ChainKey, Entry>>> {
        self.shards.get(usize::from(*key.first()?) % SHARDS)
    }
}

fn drop_oldest(shard: &mut HashMap<ChainKey, Entry>, which: impl Fn(&Entry) -> bool) {
    let candidates = shard.iter().filter(|(_, entry)| which(entry));
    let oldest = candidates.min_by_key(|(_, entry)| entry.verified_at).map(|(key, _)| *key);
    if let Some(key) = oldest {
        shard.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::identity::Identity;

    fn chain(name: &str, not_before: u64, not_after: u64) -> Arc<VerifiedChain> {
        let identity = Identity::parse(name).expect("an identity");
        Arc::new(VerifiedChain { identity, anchor: 0, length: 2, not_before, not_after })
    }

    #[test]
    fn an_entry_serves_within_its_hour_and_its_validity_only() {
        let cache = ChainCache::default();
        let key = key(Role::Client, [b"leaf".as_slice()].into_iter());
        cache.insert(key, chain("a.b", 50, 2000), 1000);
        for (now, hit) in [(1000, true), (999, false), (2000, true), (2001, false)] {
            assert_eq!(cache.find(&key, now).is_some(), hit, "{now}");
        }
        cache.insert(key, chain("a.b", 50, 100_000), 1000);
        for (now, hit) in [(4599, true), (4600, false)] {
            assert_eq!(cache.find(&key, now).is_some(), hit, "{now}");
        }
    }

    #[test]
    fn keys_tell_roles_orders_and_boundaries_apart() {
        let of = |role, parts: &[&'static [u8]]| key(role, parts.iter().copied());
        let keys = [
            of(Role::Client, &[b"ab", b"c"]),
            of(Role::Client, &[b"a", b"bc"]),
            of(Role::Client, &[b"c", b"ab"]),
            of(Role::Client, &[b"ab"]),
            of(Role::Server, &[b"ab", b"c"]),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn it_is_bounded_in_all_and_per_identity() {
        let cache = ChainCache::default();
        for n in 0..20_000_u64 {
            let key = key(Role::Client, [n.to_be_bytes().as_slice()].into_iter());
            let name = if n % 2 == 0 { "busy.ns".to_owned() } else { format!("w{n}.ns") };
            cache.insert(key, chain(&name, 0, u64::MAX), n / 10_000);
        }
        let entries = || cache.shards.iter().map(|s| s.lock().expect("whole"));
        assert!(entries().all(|s| s.len() <= MAX_ENTRIES));
        let busy = |e: &&Entry| e.chain.identity.as_str() == "busy.ns";
        assert!(entries().all(|s| s.values().filter(busy).count() <= MAX_PER_IDENTITY));
    }
}
