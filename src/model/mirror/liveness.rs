//! Whether one address of a gateway is alive, as its probes tell: three states, and thresholds both
//! ways.
//!
//! Linkerd's controller begins with "dead" in one place and "alive" in another, so that a gateway
//! which is down when the controller starts is never reported (linkerd2#8590, #9265). Here an
//! address about which nothing is known yet keeps the readiness that was last written, and is ready
//! if none was; its first probes then decide.
//!
//! Down takes as many failures in a row as the Link's `failureThreshold` says. Up again takes two
//! successes in a row, or one if the threshold is one: an address that answers every other probe
//! must not rewrite all mirrors each time. Linkerd is content with one success.

use super::probe::{Failure, Probed};

/// What is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Nothing: not probed yet, or our own credentials do not serve. Readiness stays as it was.
    Unknown,
    /// It answers.
    Alive,
    /// It does not.
    Down,
}

impl Liveness {
    /// A word for conditions and `/links`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Alive => "alive",
            Self::Down => "down",
        }
    }
}

/// Most successes in a row that an address needs which was down.
const MOST_SUCCESSES: u32 = 2;

/// Follows the probes of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracker {
    threshold: u32,
    liveness: Liveness,
    is_ready: bool,
    /// In a row; one that could not be asked is not counted and interrupts nothing.
    failures: u32,
    successes: u32,
    last_failure: Option<Failure>,
}

impl Tracker {
    /// Nothing is known but how ready the address was when it was last written, if it was. A
    /// threshold of 0 means 1.
    pub fn new(threshold: u32, persisted: Option<bool>) -> Self {
        Self {
            threshold: threshold.max(1),
            liveness: Liveness::Unknown,
            is_ready: persisted.unwrap_or(true),
            failures: 0,
            successes: 0,
            last_failure: None,
        }
    }

    /// Another threshold, for the failures so far as well.
    pub fn set_threshold(&mut self, threshold: u32) {
        self.threshold = threshold.max(1);
    }

    /// What was probed is no longer what is probed: nothing is known, and readiness stays.
    pub fn forget(&mut self) {
        let (threshold, is_ready) = (self.threshold, self.is_ready);
        *self = Self { is_ready, ..Self::new(threshold, None) };
    }

    /// Takes a probe; true when liveness or readiness has changed.
    pub fn take(&mut self, probed: Probed) -> bool {
        let before = (self.liveness, self.is_ready);
        match probed {
            Probed::Alive(_) => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                if self.is_ready || self.successes >= self.threshold.min(MOST_SUCCESSES) {
                    (self.liveness, self.is_ready) = (Liveness::Alive, true);
                }
            }
            Probed::Failed(failure) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                self.last_failure = Some(failure);
                if self.failures >= self.threshold {
                    (self.liveness, self.is_ready) = (Liveness::Down, false);
                }
            }
            Probed::Unknown(_) => self.liveness = Liveness::Unknown,
        }
        before != (self.liveness, self.is_ready)
    }

    /// What is known now.
    pub fn liveness(&self) -> Liveness {
        self.liveness
    }

    /// Whether clients may be sent there.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// True while the newest answer was a failure, whatever the threshold says.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// The newest failure, also after it was made good.
    pub fn last_failure(&self) -> Option<Failure> {
        self.last_failure
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::mirror::probe::Unasked;

    const OK: Probed = Probed::Alive(Duration::from_millis(1));
    const FAIL: Probed = Probed::Failed(Failure::Status(503));
    const UNASKED: Probed = Probed::Unknown(Unasked::NoCredentials);

    /// Liveness and readiness after each of these.
    fn run(tracker: &mut Tracker, probes: &[Probed]) -> Vec<(Liveness, bool)> {
        let mut seen = Vec::new();
        for probe in probes {
            tracker.take(*probe);
            seen.push((tracker.liveness(), tracker.is_ready()));
        }
        seen
    }

    use Liveness::{Alive, Down, Unknown};

    #[test]
    fn a_gateway_that_is_down_before_the_controller_starts_is_reported_linkerd2_8590() {
        let mut tracker = Tracker::new(3, None);
        assert!(tracker.is_ready(), "nothing is known, nothing was persisted");
        let seen = run(&mut tracker, &[FAIL, FAIL, FAIL]);
        assert_eq!(seen, [(Unknown, true), (Unknown, true), (Down, false)]);
        assert_eq!(tracker.last_failure(), Some(Failure::Status(503)));
    }

    #[test]
    fn what_was_persisted_holds_until_the_probes_say_otherwise_linkerd2_9265() {
        let mut down = Tracker::new(3, Some(false));
        assert!(!down.is_ready());
        assert_eq!(run(&mut down, &[OK, OK]), [(Unknown, false), (Alive, true)]);
        let mut up = Tracker::new(3, Some(true));
        assert_eq!(
            run(&mut up, &[FAIL, FAIL, OK]),
            [(Unknown, true), (Unknown, true), (Alive, true)]
        );
    }

    #[test]
    fn failures_below_the_threshold_change_nothing_and_a_success_begins_anew() {
        let mut tracker = Tracker::new(3, None);
        let probes = [OK, FAIL, FAIL, OK, FAIL, FAIL, OK];
        assert!(run(&mut tracker, &probes).iter().all(|seen| *seen == (Alive, true)));
        assert_eq!(run(&mut tracker, &[FAIL, FAIL, FAIL]).last(), Some(&(Down, false)));
    }

    #[test]
    fn an_address_that_answers_every_other_probe_does_not_come_back() {
        let mut tracker = Tracker::new(3, None);
        run(&mut tracker, &[FAIL, FAIL, FAIL]);
        let flapping = [OK, FAIL, OK, FAIL, OK, FAIL];
        assert!(run(&mut tracker, &flapping).iter().all(|seen| *seen == (Down, false)));
        assert_eq!(run(&mut tracker, &[OK, OK]), [(Down, false), (Alive, true)]);
    }

    #[test]
    fn a_threshold_of_one_or_none_acts_at_once_both_ways() {
        for threshold in [0, 1] {
            let mut tracker = Tracker::new(threshold, None);
            assert_eq!(run(&mut tracker, &[FAIL, OK]), [(Down, false), (Alive, true)]);
        }
    }

    #[test]
    fn own_credentials_that_do_not_serve_never_take_a_gateway_down_nor_up() {
        let mut up = Tracker::new(2, None);
        run(&mut up, &[OK]);
        assert!(run(&mut up, &[UNASKED; 9]).iter().all(|seen| *seen == (Unknown, true)));
        let mut down = Tracker::new(2, None);
        run(&mut down, &[FAIL, FAIL]);
        assert!(run(&mut down, &[UNASKED; 9]).iter().all(|seen| *seen == (Unknown, false)));
        assert_eq!(run(&mut down, &[OK, OK]), [(Unknown, false), (Alive, true)]);
    }

    #[test]
    fn says_when_something_changed_and_only_then() {
        let mut tracker = Tracker::new(2, None);
        let changed: Vec<_> =
            [OK, OK, FAIL, FAIL, FAIL, OK, OK].map(|probe| tracker.take(probe)).to_vec();
        assert_eq!(changed, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn another_target_is_unknown_and_as_ready_as_the_old_one() {
        let mut tracker = Tracker::new(2, None);
        run(&mut tracker, &[FAIL, FAIL]);
        tracker.forget();
        assert_eq!((tracker.liveness(), tracker.is_ready()), (Unknown, false));
        assert_eq!((tracker.is_failing(), tracker.last_failure()), (false, None));
        tracker.set_threshold(1);
        assert_eq!(run(&mut tracker, &[OK]), [(Alive, true)]);
    }
}
