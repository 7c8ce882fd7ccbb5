//! The addresses of one gateway: those that the Link names, and what DNS says about its names.
//!
//! New addresses count at once. One that DNS no longer names goes after three answers without it,
//! because some servers answer with a changing part of what they have, or as soon as a probe of it
//! fails. A name that does not resolve keeps its last good answer, and so does the one of A and AAAA
//! that failed. Fed by `control::mirror::gateway`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::link::GatewayAddress;

/// Answers in a row after which an address that they lack is gone.
const MISSES: u8 = 3;
/// Addresses of one gateway. Each is probed and stands in every mirror, and an answer may name
/// thousands; those that are there stay, and further ones wait for a place.
pub const MAX_ADDRESSES: usize = 64;

/// What DNS said about one name; `None` for a kind of address whose question failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its A records.
    pub v4: Option<Vec<IpAddr>>,
    /// Its AAAA records.
    pub v6: Option<Vec<IpAddr>>,
}

/// How many answers in a row have lacked an address.
type Misses = BTreeMap<IpAddr, u8>;

/// One name's addresses.
#[derive(Clone, Debug, Default)]
struct Name {
    addresses: Misses,
    is_answered: bool,
}

/// All addresses of one gateway.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    literals: BTreeSet<IpAddr>,
    names: BTreeMap<Arc<str>, Name>,
    /// From before this process: they stay until all names have been answered, and then go as those
    /// go that DNS no longer names.
    carried: Misses,
    failing: BTreeSet<IpAddr>,
    all: BTreeSet<IpAddr>,
}

impl Addresses {
    /// `carried` are those that were last written.
    pub fn new(parts: &[GatewayAddress], carried: impl IntoIterator<Item = IpAddr>) -> Self {
        let carried = carried.into_iter().map(|ip| (ip.to_canonical(), 0)).collect();
        let mut addresses = Self { carried, ..Self::default() };
        addresses.replace(parts);
        addresses
    }

    /// Another list of parts; names that stay keep their answers.
    pub fn replace(&mut self, parts: &[GatewayAddress]) {
        let mut old = std::mem::take(&mut self.names);
        self.literals.clear();
        for part in parts {
            match part {
                GatewayAddress::Ip(ip) => drop(self.literals.insert(*ip)),
                GatewayAddress::Name(name) => {
                    let known = old.remove(name).unwrap_or_default();
                    self.names.insert(Arc::clone(name), known);
                }
            }
        }
        if self.names.is_empty() {
            self.carried.clear();
        }
        self.settle();
    }

    /// Takes an answer for one name; true when the set has changed. Both kinds empty is no answer.
    pub fn answered(&mut self, name: &str, answer: &Answer) -> bool {
        let named = [&answer.v4, &answer.v6].into_iter().flatten().flatten();
        let named: BTreeSet<IpAddr> = named.map(IpAddr::to_canonical).collect();
        let Some(known) = self.names.get_mut(name).filter(|_| !named.is_empty()) else {
            return false;
        };
        known.is_answered = true;
        // A question that failed says nothing about addresses of its kind.
        let is_said = |ip: &IpAddr| if ip.is_ipv4() { &answer.v4 } else { &answer.v6 }.is_some();
        count(&mut known.addresses, &named, is_said);
        known.addresses.extend(named.iter().map(|ip| (*ip, 0)));
        if self.names.values().all(|name| name.is_answered) {
            count(&mut self.carried, &named, is_said);
            let is_owned =
                |ip: &IpAddr| self.names.values().any(|name| name.addresses.contains_key(ip));
            self.carried.retain(|ip, _| !is_owned(ip));
        }
        self.settle()
    }

    /// A probe of `ip` succeeded or failed; true when the set has changed.
    pub fn probed(&mut self, ip: IpAddr, is_failing: bool) -> bool {
        if !is_failing {
            self.failing.remove(&ip);
            return false;
        }
        self.failing.insert(ip);
        self.settle()
    }

    /// All addresses in order.
    pub fn all(&self) -> &BTreeSet<IpAddr> {
        &self.all
    }

    /// All names in order, and whether each was ever answered.
    pub fn names(&self) -> impl Iterator<Item = (&Arc<str>, bool)> {
        self.names.iter().map(|(name, known)| (name, known.is_answered))
    }

    /// Drops what is gone and gathers the rest.
    fn settle(&mut self) -> bool {
        let failing = &self.failing;
        let stays = |ip: &IpAddr, misses: &mut u8| {
            *misses == 0 || (*misses < MISSES && !failing.contains(ip))
        };
        self.carried.retain(stays);
        let mut all = self.literals.clone();
        for name in self.names.values_mut() {
            name.addresses.retain(stays);
            all.extend(name.addresses.keys());
        }
        all.extend(self.carried.keys());
        if all.len() > MAX_ADDRESSES {
            let (known, new): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|ip| self.all.contains(ip));
            all = known.into_iter().chain(new).take(MAX_ADDRESSES).collect();
        }
        self.failing.retain(|ip| all.contains(ip));
        let changed = self.all != all;
        self.all = all;
        changed
    }
}

/// One more answer that lacks each of those that it is about, or none for those that it names.
fn count(misses: &mut Misses, named: &BTreeSet<IpAddr>, is_said: impl Fn(&IpAddr) -> bool) {
    for (ip, count) in misses.iter_mut().filter(|(ip, _)| is_said(ip)) {
        *count = if named.contains(ip) { 0 } else { count.saturating_add(1) };
    }
}

#[cfg(test)]
mod tests;
