//! Indexes that another cluster's API server cannot fill without end.
//!
//! Those of one cluster share a [`Room`]. What finds none is left out, and from then on absence means
//! nothing, as before the first list: nothing is deleted because of it. A later list that fits is
//! complete again. Kept by `control::mirror::remote`.

use std::sync::Arc;

use super::index::{Index, WatchEvent};
use super::labels::Labels;
use super::object::ObjectKey;

/// About how many bytes it costs to keep something, as if nothing of it were shared.
pub trait Weigh {
    /// Bytes.
    fn weight(&self) -> usize;
}

impl<T: Weigh> Weigh for Arc<T> {
    fn weight(&self) -> usize {
        (**self).weight()
    }
}

impl Weigh for Labels {
    fn weight(&self) -> usize {
        /// Two pointers with lengths, and the counts before each text.
        const PAIR: usize = 64;
        self.iter().map(|(key, value)| PAIR + key.len() + value.len()).sum()
    }
}

/// What several indexes may weigh together.
#[derive(Debug)]
pub struct Room {
    max: usize,
    used: usize,
}

impl Room {
    /// Room for `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { max, used: 0 }
    }

    /// Takes some of it; false when there is not as much.
    pub fn take(&mut self, bytes: usize) -> bool {
        let has_it = self.used.saturating_add(bytes) <= self.max;
        self.used += if has_it { bytes } else { 0 };
        has_it
    }

    /// Gives it back.
    pub fn give(&mut self, bytes: usize) {
        self.used -= bytes;
    }

    /// How many bytes are taken.
    pub fn used(&self) -> usize {
        self.used
    }
}

/// All objects of one watch, or as many as there is room for.
#[derive(Debug)]
pub struct Bounded<T> {
    index: Index<T>,
    /// Something was left out since the last list that was not.
    lacks: bool,
    /// Something was left out since a list began.
    left_out: bool,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { index: Index::default(), lacks: false, left_out: false }
    }
}

impl<T: PartialEq + Weigh> Bounded<T> {
    /// Takes an event and says which keys changed: each with what was there before. What finds no
    /// room changes nothing.
    pub fn take(&mut self, event: WatchEvent<T>, room: &mut Room) -> Vec<(ObjectKey, Option<T>)> {
        match &event {
            WatchEvent::Listed(key, new) | WatchEvent::Applied(key, new) => {
                let old = self.index.get(key).map_or(0, |old| cost(key, old));
                if (room.used - old).saturating_add(cost(key, new)) > room.max {
                    (self.lacks, self.left_out) = (true, true);
                    return Vec::new();
                }
            }
            WatchEvent::ListBegins => self.left_out = false,
            WatchEvent::ListEnds => self.lacks = self.left_out,
            WatchEvent::Deleted(_) => {}
        }
        let changes = self.index.take(event);
        for (key, old) in &changes {
            room.used += self.index.get(key).map_or(0, |new| cost(key, new));
            room.used -= old.as_ref().map_or(0, |old| cost(key, old));
        }
        changes
    }

    /// Forgets everything.
    pub fn clear(&mut self, room: &mut Room) {
        room.used -= self.iter().map(|(key, object)| cost(key, object)).sum::<usize>();
        *self = Self::default();
    }
}

impl<T> Bounded<T> {
    /// True once a list was complete, unless something was left out: only then absence means
    /// anything.
    pub fn is_complete(&self) -> bool {
        self.index.is_complete() && !self.lacks
    }

    /// True once a list has ended, also where something of it was left out.
    pub fn is_listed(&self) -> bool {
        self.index.is_complete()
    }

    /// Something found no room.
    pub fn lacks(&self) -> bool {
        self.lacks
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<&T> {
        self.index.get(key)
    }

    /// All objects, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &T)> {
        self.index.iter()
    }
}

fn cost(key: &ObjectKey, object: &impl Weigh) -> usize {
    key.namespace.len() + key.name.len() + size_of::<ObjectKey>() + object.weight()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for usize {
        fn weight(&self) -> usize {
            *self
        }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("ns", name)
    }

    /// Room for objects that weigh so much together, with two keys.
    fn room(weight: usize) -> Room {
        Room::new(weight + 2 * cost(&key("a"), &0))
    }

    #[test]
    fn what_finds_no_room_is_left_out_and_absence_means_nothing_then() {
        let (mut room, mut index) = (room(10), Bounded::default());
        index.take(WatchEvent::ListBegins, &mut room);
        for (name, weight) in [("a", 4), ("b", 7), ("c", 1)] {
            index.take(WatchEvent::Listed(key(name), weight), &mut room);
        }
        index.take(WatchEvent::ListEnds, &mut room);
        assert_eq!((index.get(&key("a")), index.get(&key("b"))), (Some(&4), None));
        assert!(index.lacks() && !index.is_complete());
        // One that goes makes room, but what was left out is not known before the next list.
        index.take(WatchEvent::Deleted(key("a")), &mut room);
        assert!(index.lacks() && !index.is_complete());
        index.take(WatchEvent::ListBegins, &mut room);
        for (name, weight) in [("b", 7), ("c", 1)] {
            index.take(WatchEvent::Listed(key(name), weight), &mut room);
        }
        assert!(!index.is_complete(), "not before the list ends");
        index.take(WatchEvent::ListEnds, &mut room);
        assert!(index.is_complete() && index.get(&key("b")).is_some());
    }

    #[test]
    fn one_that_grows_too_much_stays_as_it_was() {
        let (mut room, mut index) = (room(10), Bounded::default());
        index.take(WatchEvent::Listed(key("a"), 5), &mut room);
        index.take(WatchEvent::ListEnds, &mut room);
        assert!(index.is_complete());
        assert_eq!(index.take(WatchEvent::Applied(key("a"), 1000), &mut room), []);
        assert_eq!(index.get(&key("a")), Some(&5));
        assert!(!index.is_complete());
    }

    #[test]
    fn room_is_given_back_to_the_last_byte() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut room = Room::new(2000);
        let (mut one, mut other) = (Bounded::default(), Bounded::default());
        for _ in 0..5000 {
            let name = key(&random.u8(b'a'..b'k').to_string());
            let event = match random.u8(0..20) {
                0 => WatchEvent::ListBegins,
                1 => WatchEvent::ListEnds,
                2..6 => WatchEvent::Deleted(name),
                6..12 => WatchEvent::Listed(name, random.usize(0..600)),
                _ => WatchEvent::Applied(name, random.usize(0..600)),
            };
            let index = if random.bool() { &mut one } else { &mut other };
            if random.u8(..) == 0 {
                index.clear(&mut room);
            }
            index.take(event, &mut room);
            let all = one.iter().chain(other.iter());
            assert_eq!(room.used, all.map(|(key, object)| cost(key, object)).sum::<usize>());
            assert!(room.used <= room.max);
        }
    }
}
