//! A short list that only grows, read without a lock: for label sets that are few, and looked up
//! with every request.
//!
//! A search compares from the front, so what comes first is found soonest; that is what is usual.

use std::sync::OnceLock;

/// At most `N` values.
#[derive(Debug)]
pub(super) struct Slots<T, const N: usize>([OnceLock<Box<T>>; N]);

impl<T, const N: usize> Default for Slots<T, N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl<T, const N: usize> Slots<T, N> {
    /// The value that `is` says it is.
    pub(super) fn find(&self, is: impl Fn(&T) -> bool) -> Option<&T> {
        self.values().find(|value| is(value))
    }

    /// As [`Slots::find`], and made when there is none; `None` when the list is full of others.
    pub(super) fn add(&self, is: impl Fn(&T) -> bool, make: impl Fn() -> T) -> Option<&T> {
        // Another thread may take a slot at the same time: then that one's value is compared, too.
        let taken = self.0.iter().map(|slot| &**slot.get_or_init(|| Box::new(make())));
        taken.into_iter().find(|value| is(value))
    }

    /// All values. They fill the list from its front without gaps.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map_while(|slot| slot.get().map(|value| &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_it_has_and_refuses_more() {
        let slots = Slots::<u8, 2>::default();
        assert_eq!(slots.find(|value| *value == 1), None);
        assert_eq!(slots.add(|value| *value == 1, || 1), Some(&1));
        assert_eq!(slots.add(|value| *value == 2, || 2), Some(&2));
        assert_eq!(slots.add(|value| *value == 1, || 1), Some(&1));
        assert_eq!(slots.add(|value| *value == 3, || 3), None);
        assert_eq!(slots.values().collect::<Vec<_>>(), [&1, &2]);
    }

    #[test]
    fn threads_that_add_the_same_at_once_get_the_same() {
        let slots = Slots::<u8, 8>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..8).for_each(|n| assert_eq!(slots.add(|v| *v == n, || n), Some(&n)));
                });
            }
        });
        let mut all: Vec<_> = slots.values().copied().collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
