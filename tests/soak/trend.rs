//! A line through memory samples, by least squares.

use std::fmt;

/// Samples: seconds and KiB.
#[derive(Default)]
pub struct Trend(Vec<(f64, f64)>);

impl Trend {
    /// Adds one.
    pub fn add(&mut self, seconds: f64, kib: f64) {
        self.0.push((seconds, kib));
    }

    fn mean(&self) -> (f64, f64) {
        let count = self.0.len() as f64;
        let sum = self.0.iter().fold((0.0, 0.0), |sum, at| (sum.0 + at.0, sum.1 + at.1));
        (sum.0 / count, sum.1 / count)
    }

    /// KiB per second.
    fn slope(&self) -> f64 {
        let mean = self.mean();
        let (mut products, mut squares) = (0.0, 0.0);
        for (seconds, kib) in &self.0 {
            products += (seconds - mean.0) * (kib - mean.1);
            squares += (seconds - mean.0).powi(2);
        }
        products / squares
    }

    /// What the line gains from the first sample to the last, in KiB.
    pub fn growth(&self) -> f64 {
        let ends = self.0.first().zip(self.0.last());
        ends.map_or(0.0, |(first, last)| self.slope() * (last.0 - first.0))
    }

    /// Three standard deviations of the samples around their line, in KiB: a load that comes and
    /// goes tilts the line of a short run by as much.
    pub fn noise(&self) -> f64 {
        let (mean, slope) = (self.mean(), self.slope());
        let residual = |at: &(f64, f64)| at.1 - mean.1 - slope * (at.0 - mean.0);
        let squares: f64 = self.0.iter().map(|at| residual(at).powi(2)).sum();
        3.0 * (squares / self.0.len() as f64).sqrt()
    }
}

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (per_hour, mean) = (self.slope() * 3600.0, self.mean().1);
        write!(
            f,
            "slope {per_hour:+.0} KiB/h around {mean:.0} KiB; over {} samples {:+.0} KiB, noise {:.0} KiB",
            self.0.len(),
            self.growth(),
            self.noise()
        )
    }
}

#[test]
fn a_leak_is_told_from_noise() {
    let mut steady = Trend::default();
    let mut leaking = Trend::default();
    for second in 0..600_u32 {
        let wobble = f64::from(second % 7) * 100.0;
        steady.add(f64::from(second), 20_000.0 + wobble);
        leaking.add(f64::from(second), 20_000.0 + wobble + f64::from(second) * 20.0);
    }
    assert!(steady.growth().abs() < 50.0, "{steady}");
    assert!((leaking.growth() - 12_000.0).abs() < 100.0, "{leaking}");
    assert!((500.0..700.0).contains(&leaking.noise()), "{leaking}");
}
