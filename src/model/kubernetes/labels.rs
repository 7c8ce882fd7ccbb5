//! Labels and annotations, kept small: there are several maps for each mirrored Service.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Labels or annotations: sorted by key, in one allocation that clones share. A change makes a new
/// one; there are few entries and fewer changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[Pair]>);

type Pair = (Arc<str>, Arc<str>);

impl Labels {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        self.place(key).ok().map(|place| &self.0[place].1)
    }

    /// Whether there is such a key.
    pub fn contains_key(&self, key: &str) -> bool {
        self.place(key).is_ok()
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: Arc<str>, value: Arc<str>) {
        let mut pairs = self.0.to_vec();
        match self.place(&key) {
            Ok(place) => pairs[place].1 = value,
            Err(place) => pairs.insert(place, (key, value)),
        }
        self.0 = pairs.into();
    }

    /// Takes a key away, if it is there.
    pub fn remove(&mut self, key: &str) {
        if self.contains_key(key) {
            self.0 = self.0.iter().filter(|(own, _)| **own != *key).cloned().collect();
        }
    }

    /// All pairs, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|(key, _)| key)
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| (**own).cmp(key))
    }
}

/// Of two values for one key the last counts.
impl FromIterator<Pair> for Labels {
    fn from_iter<I: IntoIterator<Item = Pair>>(pairs: I) -> Self {
        let sorted: BTreeMap<_, _> = pairs.into_iter().collect();
        // An empty one is shared by all.
        if sorted.is_empty() { Self::default() } else { Self(sorted.into_iter().collect()) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// For tests of what is made of them.
    impl std::ops::Index<&str> for Labels {
        type Output = Arc<str>;

        fn index(&self, key: &str) -> &Self::Output {
            self.get(key).unwrap_or_else(|| panic!("{key} is not among {self:?}"))
        }
    }

    impl Labels {
        pub(crate) fn put_all(&mut self, pairs: &[(&str, &str)]) {
            pairs.iter().for_each(|(key, value)| self.insert((*key).into(), (*value).into()));
        }
    }

    pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn behaves_as_a_sorted_map() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut ours, mut map) = (Labels::default(), BTreeMap::<Arc<str>, Arc<str>>::new());
        for _ in 0..500 {
            let key: Arc<str> = random.u8(b'a'..b'k').to_string().into();
            let value: Arc<str> = random.u8(..).to_string().into();
            if random.u8(0..3) == 0 {
                ours.remove(&key);
                map.remove(&key);
            } else {
                ours.insert(Arc::clone(&key), Arc::clone(&value));
                map.insert(Arc::clone(&key), value);
            }
            assert!(ours.iter().eq(map.iter()), "{ours:?} {map:?}");
            assert!(ours.keys().eq(map.keys()));
            assert_eq!(ours.get(&key), map.get(&key));
            assert_eq!(ours.contains_key("z"), map.contains_key("z"));
            assert_eq!(ours, map.clone().into_iter().rev().collect());
        }
    }

    #[test]
    fn a_change_leaves_the_clones_as_they_were() {
        let before = labels(&[("b", "1"), ("a", "2"), ("b", "3")]);
        let mut after = before.clone();
        after.insert("b".into(), "4".into());
        assert_eq!(before, labels(&[("a", "2"), ("b", "3")]));
        after.remove("a");
        after.remove("a");
        assert_eq!(after, labels(&[("b", "4")]));
    }
}
