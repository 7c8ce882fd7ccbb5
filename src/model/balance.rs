//! Which endpoint takes the next connection: power of two choices, passive ejection, weights.
//!
//! Pure: the random numbers and the time are passed in. Called by `proxy::connect` through
//! [`crate::model::route::Route`]. Endpoint states are atomics because every worker shares them,
//! once per connection.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::backoff::Backoff;

/// Connect failures in a row before an endpoint is ejected.
const FAILURES_TO_EJECT: u32 = 3;
/// How long an endpoint is ejected, from its first ejection on.
const EJECTION: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// What is known of one endpoint, shared by all workers and kept across route reloads.
#[derive(Debug, Default)]
pub struct EndpointState {
    /// Connections open or being opened.
    open: AtomicU32,
    /// Connect failures since the last success.
    failures: AtomicU32,
    /// Milliseconds on the caller's clock until which it is not chosen; 0 when in use.
    ejected_until: AtomicU64,
    /// Somebody tries it after an ejection.
    on_trial: AtomicBool,
}

impl EndpointState {
    /// Counts a connection in.
    pub fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts it out.
    pub fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections open or being opened.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// A connect succeeded: the endpoint is whole again.
    pub fn succeeded(&self) {
        // Written only on a change, so that healthy endpoints stay a shared, unmodified line.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
            self.on_trial.store(false, Ordering::Relaxed);
        }
    }

    /// A connect failed at `now`. True when this ejects the endpoint.
    pub fn failed(&self, now: u64) -> bool {
        // Of many attempts that were under way when it died, those that fail after its ejection say
        // nothing new: counted, they would make the first ejection the longest.
        if !self.on_trial.swap(false, Ordering::Relaxed) && self.is_ejected(now) {
            return false;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let Some(over) = failures.checked_sub(FAILURES_TO_EJECT) else {
            return false;
        };
        let wait = u64::try_from(EJECTION.after(over.saturating_add(1)).as_millis());
        let until = now.saturating_add(wait.unwrap_or(u64::MAX));
        self.ejected_until.fetch_max(until, Ordering::Relaxed) <= now
    }

    /// True when it is not to be chosen at `now`.
    pub fn is_ejected(&self, now: u64) -> bool {
        self.ejected_until.load(Ordering::Relaxed) > now
    }

    /// Takes the one trial of an endpoint whose ejection has just ended: until the trial's result
    /// is known, or a second passes, others keep away from it.
    fn take_trial(&self, now: u64) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let is_taken = until <= now
            && self.ejected_until.compare_exchange(until, now + 1000, success, failure).is_ok();
        if is_taken {
            self.on_trial.store(true, Ordering::Relaxed);
        }
        is_taken
    }
}

/// A candidate of [`choose`].
pub trait Candidate {
    /// Its shared state.
    fn state(&self) -> &EndpointState;
    /// Its share; 0 is chosen only when nothing else is left.
    fn weight(&self) -> u32;
}

/// Chooses among `candidates` those that `tried` has not: two at random by weight, of them the one
/// with fewer open connections per weight. Ejected ones only when no other is left.
///
/// `random` gives independent 32-bit numbers. Returns an index, `None` when all have been tried.
pub fn choose<C: Candidate>(
    candidates: &[C],
    tried: impl Fn(usize) -> bool,
    now: u64,
    mut random: impl FnMut() -> u32,
) -> Option<usize> {
    let fresh = |i: usize, _: &C| !tried(i);
    let healthy = |i: usize, c: &C| fresh(i, c) && c.weight() > 0 && !c.state().is_ejected(now);
    for _ in 0..candidates.len() {
        let Some(index) = two_choices(candidates, healthy, &mut random) else {
            break;
        };
        if candidates.get(index).is_some_and(|c| c.state().take_trial(now)) {
            return Some(index);
        }
    }
    let drained = |i: usize, c: &C| fresh(i, c) && !c.state().is_ejected(now);
    two_choices(candidates, |i, c| fresh(i, c) && c.weight() > 0, &mut random)
        .or_else(|| two_choices(candidates, drained, &mut random))
        .or_else(|| two_choices(candidates, fresh, &mut random))
}

/// Two different ones where there are two: an endpoint compared with itself would get its requests
/// however slow it is.
fn two_choices<C: Candidate>(
    candidates: &[C],
    eligible: impl Fn(usize, &C) -> bool,
    random: &mut impl FnMut() -> u32,
) -> Option<usize> {
    let first = draw(candidates, &eligible, random())?;
    let Some(second) = draw(candidates, |i, c| i != first.0 && eligible(i, c), random()) else {
        return Some(first.0);
    };
    Some(if is_freer(second.1, first.1) { second.0 } else { first.0 })
}

/// One of those that are eligible, each by its weight.
fn draw<C: Candidate>(
    candidates: &[C],
    eligible: impl Fn(usize, &C) -> bool,
    random: u32,
) -> Option<(usize, &C)> {
    let all = || candidates.iter().enumerate().filter(|(i, c)| eligible(*i, c));
    let sum: u64 = all().map(|(_, c)| share(c)).sum();
    let mut at = (u64::from(random) * sum) >> 32;
    all().find(|(_, c)| {
        let here = at < share(*c);
        at = at.saturating_sub(share(*c));
        here
    })
}

fn share(candidate: &impl Candidate) -> u64 {
    u64::from(candidate.weight().max(1))
}

/// True when `this` would have fewer connections per weight than `other`, each with one more. Of two
/// without any neither: the draw has heeded their weights.
fn is_freer<C: Candidate>(this: &C, other: &C) -> bool {
    let (ours, theirs) = (u64::from(this.state().open()), u64::from(other.state().open()));
    // Per weight without division.
    (ours | theirs) != 0 && (ours + 1) * share(other) < (theirs + 1) * share(this)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Peer(EndpointState, u32);

    impl Candidate for Peer {
        fn state(&self) -> &EndpointState {
            &self.0
        }
        fn weight(&self) -> u32 {
            self.1
        }
    }

    fn peers(weights: &[u32]) -> Vec<Peer> {
        weights.iter().map(|w| Peer(EndpointState::default(), *w)).collect()
    }

    fn numbers() -> impl FnMut() -> u32 {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            u32::try_from(seed >> 32).expect("32 bits")
        }
    }

    fn shares(peers: &[Peer], picks: u32) -> Vec<u32> {
        let mut random = numbers();
        for _ in 0..picks {
            let index = choose(peers, |_| false, 0, &mut random).expect("one");
            peers[index].0.opened();
        }
        peers.iter().map(|p| p.0.open()).collect()
    }

    #[test]
    fn open_connections_even_out() {
        for open in shares(&peers(&[1, 1, 1, 1]), 4000) {
            assert!((990..=1010).contains(&open), "{open}");
        }
    }

    #[test]
    fn weights_are_shares_and_zero_gets_nothing() {
        let open = shares(&peers(&[3, 1, 0]), 4000);
        assert!((2950..=3050).contains(&open[0]), "{open:?}");
        assert_eq!(open[2], 0);
    }

    #[test]
    fn one_after_the_other_they_are_shared_by_weight() {
        let (peers, mut random) = (peers(&[3, 1]), numbers());
        let picks = (0..4000).filter_map(|_| choose(&peers, |_| false, 0, &mut random));
        let heavy = picks.filter(|index| *index == 0).count();
        assert!((2900..=3100).contains(&heavy), "{heavy}");
    }

    #[test]
    fn of_two_the_busy_one_is_never_chosen() {
        let (peers, mut random) = (peers(&[1, 1]), numbers());
        peers[0].0.opened();
        for _ in 0..1000 {
            assert_eq!(choose(&peers, |_| false, 0, &mut random), Some(1));
        }
    }

    #[test]
    fn an_endpoint_is_ejected_and_comes_back_through_one_trial() {
        let peers = peers(&[1, 1]);
        for now in 0..3 {
            assert_eq!(peers[0].0.failed(now), now == 2);
        }
        let mut random = numbers();
        for _ in 0..50 {
            assert_eq!(choose(&peers, |_| false, 500, &mut random), Some(1));
        }
        // After a second one connection tries it; the others wait for the result.
        let picks: Vec<_> = (0..50).map(|_| choose(&peers, |_| false, 1100, &mut random)).collect();
        assert_eq!(picks.iter().filter(|p| **p == Some(0)).count(), 1);
        peers[0].0.failed(1100);
        assert!(peers[0].0.is_ejected(3000), "the second ejection is longer");
        peers[0].0.succeeded();
        assert!(!peers[0].0.is_ejected(3000));
    }

    #[test]
    fn when_all_are_ejected_ejection_is_ignored() {
        let peers = peers(&[1, 1]);
        for peer in &peers {
            for _ in 0..5 {
                peer.0.failed(0);
            }
        }
        assert!(choose(&peers, |_| false, 1, numbers()).is_some());
        assert_eq!(choose(&peers, |i| i == 0, 1, numbers()), Some(1));
        assert_eq!(choose(&peers, |_| true, 1, numbers()), None);
    }

    #[test]
    fn a_drained_endpoint_serves_only_when_alone() {
        let peers = peers(&[0]);
        assert_eq!(choose(&peers, |_| false, 0, numbers()), Some(0));
        assert_eq!(choose::<Peer>(&[], |_| false, 0, numbers()), None);
    }
}
