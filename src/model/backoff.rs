//! Exponential backoff as a pure value: how long to wait before the next try.
//!
//! Used for endpoint ejection, credential retries and DNS. The caller sleeps and passes the
//! random part in.

use std::time::Duration;

/// Doubles from `first` to `most`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// A backoff from `first` to `most`.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most }
    }

    /// The wait after `failures` failures in a row (1 for the first), without jitter.
    pub fn after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.most)
    }

    /// [`Backoff::after`] lengthened by up to a tenth; `random` in 0..=255 chooses how much.
    pub fn jittered(&self, failures: u32, random: u8) -> Duration {
        let base = self.after(failures);
        base + base.mul_f64(f64::from(random) / 2550.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_most() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let waits: Vec<_> = (0..8).map(|n| backoff.after(n).as_secs()).collect();
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.after(u32::MAX).as_secs(), 30);
        assert_eq!(backoff.jittered(7, 255).as_secs(), 33);
    }
}
