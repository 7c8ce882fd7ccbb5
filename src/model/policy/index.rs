//! Sets of rules as bits, and postings that fill them.

use std::collections::HashMap;
use std::hash::Hash;

/// A set of rule numbers.
#[derive(Clone, Debug)]
pub(super) struct RuleSet {
    words: Vec<u64>,
}

impl RuleSet {
    /// No rule of `rules`.
    pub(super) fn empty(rules: usize) -> Self {
        Self { words: vec![0; rules.div_ceil(64)] }
    }

    /// Adds one rule.
    pub(super) fn insert(&mut self, rule: u32) {
        if let Some(word) = self.words.get_mut((rule / 64) as usize) {
            *word |= 1 << (rule % 64);
        }
    }

    /// Adds many.
    pub(super) fn insert_all(&mut self, postings: &Postings) {
        match postings {
            Postings::Few(rules) => rules.iter().for_each(|rule| self.insert(*rule)),
            Postings::Many(words) => {
                self.words.iter_mut().zip(words).for_each(|(mine, theirs)| *mine |= theirs);
            }
        }
    }

    /// Keeps only what `add` adds to an empty set. Skipped when nothing is left to keep.
    pub(super) fn keep(&mut self, add: impl FnOnce(&mut Self)) {
        if self.words.iter().all(|word| *word == 0) {
            return;
        }
        let mut other = Self { words: vec![0; self.words.len()] };
        add(&mut other);
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine &= theirs);
    }

    /// The rules in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                (word != 0).then(|| {
                    word &= word - 1;
                    index * 64 + bit
                })
            })
        })
    }
}

/// The rules that one pattern occurs in.
#[derive(Clone, Debug)]
pub(super) enum Postings {
    /// Rule by rule.
    Few(Vec<u32>),
    /// As words of a [`RuleSet`]: cheaper once there are more rules than words.
    Many(Vec<u64>),
}

/// Patterns of one kind with the rules that each occurs in.
#[derive(Clone, Debug)]
pub(super) struct Table<K> {
    map: HashMap<K, Postings>,
}

impl<K: Eq + Hash> Table<K> {
    /// Groups `(pattern, rule)` pairs; `rules` is how many rules there are.
    pub(super) fn new(pairs: impl Iterator<Item = (K, u32)>, rules: usize) -> Self {
        let mut lists: HashMap<K, Vec<u32>> = HashMap::new();
        for (key, rule) in pairs {
            let list = lists.entry(key).or_default();
            if list.last() != Some(&rule) {
                list.push(rule);
            }
        }
        let compile = |list: Vec<u32>| {
            if list.len() <= rules.div_ceil(64) {
                return Postings::Few(list);
            }
            let mut set = RuleSet::empty(rules);
            list.iter().for_each(|rule| set.insert(*rule));
            Postings::Many(set.words)
        };
        Self { map: lists.into_iter().map(|(key, list)| (key, compile(list))).collect() }
    }

    /// Adds the rules of `key`.
    pub(super) fn add<Q: Eq + Hash + ?Sized>(&self, key: &Q, set: &mut RuleSet)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some(postings) = self.map.get(key) {
            set.insert_all(postings);
        }
    }

    /// True when no rule is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

/// Numbers rules as they are indexed.
pub(super) fn numbered<T>(rules: &[T]) -> impl Iterator<Item = (u32, &T)> {
    (0..).zip(rules)
}
