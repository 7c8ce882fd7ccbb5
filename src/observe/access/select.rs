//! Which connections have a line in the access log (`log.access_outcomes`, `access_min_duration`,
//! `access_sample`).
//!
//! The metrics count every connection, and what is left out here is counted by its reason. Short
//! duration and sampling leave out clean ends only: whatever went wrong is logged, unless its
//! outcome is not wanted at all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::outcome::Outcome;

/// Why a line was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// It was a clean end and lasted too short.
    Duration = 0,
    /// Its outcome is not wanted.
    Outcome = 1,
    /// It was a clean end and no sample.
    Sample = 2,
}

impl Skipped {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::Duration, Self::Outcome, Self::Sample];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Outcome => "outcome",
            Self::Sample => "sample",
        }
    }
}

/// What an operator wants to see.
#[derive(Debug)]
pub struct Selection {
    /// By [`Outcome`]; `None` wants all.
    outcomes: Option<Vec<bool>>,
    min_duration: Duration,
    /// One of so many clean ends is logged.
    sample: u64,
    /// Clean ends so far, while they are sampled.
    clean: AtomicU64,
}

impl Default for Selection {
    fn default() -> Self {
        Self::new(None, Duration::ZERO, 1)
    }
}

impl Selection {
    /// Ends with these outcomes, `None` for all; of the clean ones those that lasted at least
    /// `min_duration`, and of these one in `sample`.
    pub fn new(outcomes: Option<&[Outcome]>, min_duration: Duration, sample: u64) -> Self {
        let wanted = |list: &[Outcome]| Outcome::ALL.iter().map(|o| list.contains(o)).collect();
        Self {
            outcomes: outcomes.map(wanted),
            min_duration,
            sample: sample.max(1),
            clean: AtomicU64::new(0),
        }
    }

    /// Decides about one end: how many the line stands for when it is a sample.
    ///
    /// # Errors
    /// Why there is no line.
    pub fn decide(&self, outcome: Outcome, total: Duration) -> Result<Option<u64>, Skipped> {
        if let Some(outcomes) = &self.outcomes
            && !outcomes.get(outcome as usize).is_some_and(|wanted| *wanted)
        {
            return Err(Skipped::Outcome);
        }
        if outcome != Outcome::Closed {
            return Ok(None);
        }
        if total < self.min_duration {
            return Err(Skipped::Duration);
        }
        if self.sample == 1 {
            return Ok(None);
        }
        if !self.clean.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.sample) {
            return Err(Skipped::Sample);
        }
        Ok(Some(self.sample))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_left_out_by_default() {
        let all = Selection::default();
        for outcome in Outcome::ALL {
            assert_eq!(all.decide(*outcome, Duration::ZERO), Ok(None));
        }
    }

    #[test]
    fn only_clean_ends_are_left_out_for_their_duration_or_as_no_sample() {
        let some = Selection::new(None, SECOND, 3);
        for outcome in Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Closed) {
            assert_eq!(some.decide(*outcome, Duration::ZERO), Ok(None));
        }
        assert_eq!(some.decide(Outcome::Closed, SECOND / 2), Err(Skipped::Duration));
        let clean: Vec<_> = (0..7).map(|_| some.decide(Outcome::Closed, SECOND)).collect();
        let skipped = Err(Skipped::Sample);
        let line = Ok(Some(3));
        assert_eq!(clean, [line, skipped, skipped, line, skipped, skipped, line]);
    }

    #[test]
    fn an_unwanted_outcome_is_left_out_even_as_a_warning() {
        let some = Selection::new(Some(&[Outcome::Denied]), Duration::ZERO, 1);
        assert_eq!(some.decide(Outcome::Denied, Duration::ZERO), Ok(None));
        assert_eq!(some.decide(Outcome::ConnectFailed, SECOND), Err(Skipped::Outcome));
        assert_eq!(some.decide(Outcome::Closed, SECOND), Err(Skipped::Outcome));
    }
}
