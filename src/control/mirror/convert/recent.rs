//! Equal values that arrive soon after one another are kept once.
//!
//! The objects of one mirror have the same names, labels and annotations, and thousands of objects
//! have the same keys. What is shared is decided by a small table of the values seen last: its size
//! is fixed, whatever a cluster puts into its labels.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, RandomState};

/// Values that are remembered, a power of two.
const SLOTS: usize = 2048;

/// The table. A newcomer takes the place of whatever had its slot.
pub(super) struct Recent<T> {
    hasher: RandomState,
    slots: Vec<Option<T>>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        let slots = std::iter::repeat_with(|| None).take(SLOTS).collect();
        Self { hasher: RandomState::new(), slots }
    }
}

impl<T: Clone> Recent<T> {
    /// The value equal to `value` that was seen lately, or else the one that `make` makes of it.
    pub(super) fn share<Q>(&mut self, value: &Q, make: impl FnOnce() -> T) -> T
    where
        T: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let place = self.hasher.hash_one(value) % SLOTS as u64;
        let slot = usize::try_from(place).ok().and_then(|place| self.slots.get_mut(place));
        let Some(slot) = slot else { return make() };
        match slot {
            Some(known) if (*known).borrow() == value => known.clone(),
            _ => slot.insert(make()).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn equal_values_are_one_and_the_table_does_not_grow() {
        let mut recent = Recent::<Arc<str>>::default();
        let mut share = |text: &str| recent.share(text, || text.into());
        let (one, other) = (share("a"), share("b"));
        assert!(Arc::ptr_eq(&one, &share("a")) && &*other == "b");
        // Which slot a text has is random: each of the others takes its place by 1 in `SLOTS`.
        for number in 0..100 * SLOTS {
            let text = number.to_string();
            assert_eq!(&*share(&text), text);
        }
        assert_eq!(recent.slots.len(), SLOTS);
        assert_eq!(Arc::strong_count(&other), 1, "what was replaced is let go");
    }
}
