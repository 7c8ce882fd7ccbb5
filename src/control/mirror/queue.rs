//! Keys that wait for work: each once, one worker per key at a time, failures later each time.
//!
//! Filled by everything that sees a change, emptied by a reconciler. What is marked while it is
//! worked on is worked on once more, so that the last change is never missed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::model::backoff::Backoff;

/// Waits between tries of one key. The last is short enough for an API server that comes back.
const RETRY: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));

/// How work on a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// There is nothing left to do.
    Settled,
    /// It failed; it is tried again, later each time.
    Failed,
    /// It is tried again after this long.
    After(Duration),
}

/// The queue.
#[derive(Debug)]
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner<K> {
    ready: VecDeque<K>,
    /// What is in `ready`.
    queued: HashSet<K>,
    /// Being worked on; true when it was marked meanwhile.
    running: HashMap<K, bool>,
    /// What waits for a time.
    later: HashMap<K, Instant>,
    /// Failures in a row.
    failures: HashMap<K, u32>,
    /// Nothing is given out before.
    paused_until: Option<Instant>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { inner: Mutex::default(), changed: Notify::new() }
    }
}

impl<K> Default for Inner<K> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            running: HashMap::new(),
            later: HashMap::new(),
            failures: HashMap::new(),
            paused_until: None,
        }
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// Marks a key. One that waits after a failure is tried at once.
    pub fn mark(&self, key: K) {
        self.lock().mark(key);
        self.changed.notify_one();
    }

    /// Marks many.
    pub fn mark_all(&self, keys: impl IntoIterator<Item = K>) {
        let mut inner = self.lock();
        keys.into_iter().for_each(|key| inner.mark(key));
        drop(inner);
        self.changed.notify_one();
    }

    /// Gives nothing out for this long: the server asked for it.
    pub fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut inner = self.lock();
        inner.paused_until = Some(inner.paused_until.map_or(until, |before| before.max(until)));
    }

    /// The next key to work on; waits for one.
    pub async fn next(&self) -> K {
        loop {
            let until = match self.lock().take(Instant::now()) {
                Ok(key) => return key,
                Err(until) => until,
            };
            let changed = self.changed.notified();
            match until {
                Some(until) => {
                    let _ = tokio::time::timeout_at(until.into(), changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// The work on a key has ended.
    pub fn done(&self, key: K, done: Done) {
        let mut inner = self.lock();
        let again = inner.running.remove(&key).unwrap_or(false);
        let wait = match done {
            Done::Settled => {
                inner.failures.remove(&key);
                None
            }
            Done::Failed => {
                let failures = inner.failures.entry(key.clone()).or_insert(0);
                *failures += 1;
                Some(RETRY.jittered(*failures, fastrand::u8(..)))
            }
            Done::After(wait) => Some(wait),
        };
        match wait {
            // A change does not make a server answer that did not: it waits, too.
            Some(wait) if done == Done::Failed || !again => {
                inner.later.insert(key, Instant::now() + wait);
            }
            _ if again => inner.mark(key),
            _ => {}
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Forgets everything, also that something is being worked on: whoever did has ended.
    pub fn clear(&self) {
        *self.lock() = Inner::default();
    }

    /// Keys that wait or are worked on.
    pub fn len(&self) -> usize {
        let inner = self.lock();
        inner.ready.len() + inner.running.len() + inner.later.len()
    }

    /// True when there is nothing to do now: what has failed waits for its time.
    pub fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.ready.is_empty() && inner.running.is_empty()
    }

    /// True when nothing waits and nothing is worked on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nothing in here is half done after a panic.
    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Inner<K> {
    fn mark(&mut self, key: K) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = true;
            return;
        }
        self.later.remove(&key);
        if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// A key, or until when there is none.
    fn take(&mut self, now: Instant) -> Result<K, Option<Instant>> {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Err(Some(until));
        }
        let due = self.later.extract_if(|_, at| *at <= now);
        let due: Vec<_> = due.map(|(key, _)| key).collect();
        due.into_iter().for_each(|key| self.mark(key));
        match self.ready.pop_front() {
            Some(key) => {
                self.queued.remove(&key);
                self.running.insert(key.clone(), false);
                Ok(key)
            }
            None => Err(self.later.values().min().copied()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(queue: &Queue<u8>) -> Option<u8> {
        queue.lock().take(Instant::now()).ok()
    }

    #[test]
    fn a_key_waits_once_and_has_one_worker() {
        let queue = Queue::default();
        queue.mark_all([1, 2, 1]);
        assert_eq!((take(&queue), take(&queue), take(&queue)), (Some(1), Some(2), None));
        queue.mark(1);
        assert_eq!(take(&queue), None, "it is being worked on");
        queue.done(1, Done::Settled);
        queue.done(2, Done::Settled);
        assert_eq!((take(&queue), take(&queue)), (Some(1), None), "it was marked meanwhile");
        queue.done(1, Done::Settled);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn failures_wait_longer_each_time_and_a_mark_ends_the_wait() {
        let queue = Queue::default();
        queue.mark(1);
        assert_eq!(take(&queue), Some(1));
        queue.done(1, Done::Failed);
        assert_eq!(take(&queue), None);
        let begun = Instant::now();
        assert_eq!(queue.next().await, 1);
        assert!(begun.elapsed() >= RETRY.after(1));
        queue.done(1, Done::Failed);
        queue.mark(1);
        assert_eq!(take(&queue), Some(1));
        queue.done(1, Done::After(Duration::from_millis(1)));
        assert_eq!(queue.next().await, 1);
    }

    #[tokio::test]
    async fn a_pause_holds_everything_back() {
        let queue = Queue::default();
        let pause = Duration::from_millis(50);
        queue.mark(1);
        queue.pause(pause);
        let begun = Instant::now();
        assert_eq!(queue.next().await, 1);
        assert!(begun.elapsed() >= pause);
    }
}
