//! The index over what a watch says: what is there, and what has vanished meanwhile.
//!
//! A watch that breaks begins with a new list. Until that list is complete nothing is forgotten,
//! however long it takes; what is missing in it then is gone, also when its Delete event was never
//! seen. Fed by `control::kubernetes::watch`.

use std::collections::{HashMap, HashSet};

use super::object::ObjectKey;

/// What a watch says about objects that the caller keeps as `T`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent<T> {
    /// A list begins: the first, or one after the watch lost its place.
    ListBegins,
    /// An object of the list.
    Listed(ObjectKey, T),
    /// The list is complete.
    ListEnds,
    /// An object was created or changed.
    Applied(ObjectKey, T),
    /// An object was deleted, or left the watch's selector.
    Deleted(ObjectKey),
}

/// All objects of one watch.
#[derive(Debug)]
pub struct Index<T> {
    objects: HashMap<ObjectKey, T>,
    /// What the list in progress has named.
    listed: Option<HashSet<ObjectKey>>,
    is_complete: bool,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { objects: HashMap::new(), listed: None, is_complete: false }
    }
}

impl<T: PartialEq> Index<T> {
    /// Takes an event and says which keys changed: each with what was there before.
    pub fn take(&mut self, event: WatchEvent<T>) -> Vec<(ObjectKey, Option<T>)> {
        match event {
            WatchEvent::ListBegins => {
                self.listed = Some(HashSet::new());
                Vec::new()
            }
            WatchEvent::Listed(key, object) => {
                self.listed.get_or_insert_default().insert(key.clone());
                self.put(key, object)
            }
            WatchEvent::Applied(key, object) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                self.put(key, object)
            }
            WatchEvent::Deleted(key) => {
                let old = self.objects.remove(&key);
                old.map(|old| (key, Some(old))).into_iter().collect()
            }
            WatchEvent::ListEnds => {
                self.is_complete = true;
                let listed = self.listed.take().unwrap_or_default();
                let is_gone = |key: &ObjectKey, _: &mut T| !listed.contains(key);
                let gone = self.objects.extract_if(is_gone);
                gone.map(|(key, old)| (key, Some(old))).collect()
            }
        }
    }

    /// Puts what is known from elsewhere (the answer to a write of our own), and says what changed.
    pub fn put(&mut self, key: ObjectKey, object: T) -> Vec<(ObjectKey, Option<T>)> {
        if self.objects.get(&key) == Some(&object) {
            return Vec::new();
        }
        let old = self.objects.insert(key.clone(), object);
        vec![(key, old)]
    }
}

impl<T> Index<T> {
    /// True once a list was complete; it stays so while later lists run.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<&T> {
        self.objects.get(key)
    }

    /// All objects, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &T)> {
        self.objects.iter()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Forgets one object (the answer to a delete of our own).
    pub fn remove(&mut self, key: &ObjectKey) -> Option<T> {
        self.objects.remove(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("ns", name)
    }

    fn names(changes: Vec<(ObjectKey, Option<u8>)>) -> Vec<(String, Option<u8>)> {
        let mut names: Vec<_> =
            changes.into_iter().map(|(key, old)| (key.name.to_string(), old)).collect();
        names.sort();
        names
    }

    #[test]
    fn what_vanished_during_a_gap_is_found_when_the_new_list_is_complete_and_not_before() {
        let mut index = Index::default();
        for event in [
            WatchEvent::ListBegins,
            WatchEvent::Listed(key("a"), 1),
            WatchEvent::Listed(key("b"), 1),
        ] {
            index.take(event);
        }
        assert!(!index.is_complete());
        assert_eq!(names(index.take(WatchEvent::ListEnds)), []);
        assert!(index.is_complete());
        index.take(WatchEvent::Applied(key("c"), 1));

        assert_eq!(names(index.take(WatchEvent::ListBegins)), []);
        assert_eq!(names(index.take(WatchEvent::Listed(key("b"), 1))), []);
        assert_eq!(index.len(), 3, "a half list takes nothing away");
        // The list broke off and begins again.
        index.take(WatchEvent::ListBegins);
        assert_eq!(names(index.take(WatchEvent::Listed(key("c"), 2))), [("c".into(), Some(1))]);
        let gone = names(index.take(WatchEvent::ListEnds));
        assert_eq!(gone, [("a".into(), Some(1)), ("b".into(), Some(1))]);
    }

    #[test]
    fn says_what_changed_and_only_that() {
        let mut index = Index::default();
        assert_eq!(names(index.take(WatchEvent::Applied(key("a"), 1))), [("a".into(), None)]);
        assert_eq!(names(index.take(WatchEvent::Applied(key("a"), 1))), []);
        assert_eq!(names(index.take(WatchEvent::Applied(key("a"), 2))), [("a".into(), Some(1))]);
        assert_eq!(names(index.take(WatchEvent::Deleted(key("b")))), []);
        assert_eq!(names(index.take(WatchEvent::Deleted(key("a")))), [("a".into(), Some(2))]);
        assert!(index.is_empty());
    }
}
