//! Named readiness gates: `/ready` is 200 when all of them are open. Reading never waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A worker that has not beaten for this long is stuck.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);

/// All gates.
#[derive(Debug, Default)]
pub struct Readiness {
    gates: Mutex<Vec<Gate>>,
}

#[derive(Debug)]
struct Gate {
    name: Arc<str>,
    condition: Condition,
}

#[derive(Debug)]
enum Condition {
    Latch(Arc<AtomicU64>),
    Heartbeat(Heartbeat),
}

/// Opens or closes one gate.
#[derive(Clone, Debug)]
pub struct Latch(Arc<AtomicU64>);

impl Latch {
    /// Opens the gate.
    pub fn open(&self) {
        self.0.store(1, Ordering::Release);
    }

    /// Closes it again.
    pub fn close(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Keeps one gate open while it beats.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    start: Instant,
    /// Milliseconds after `start`, plus one; 0 before the first beat.
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Beats once.
    pub fn beat(&self) {
        self.last.store(self.elapsed() + 1, Ordering::Release);
    }

    fn is_recent(&self) -> bool {
        let limit = u64::try_from(HEARTBEAT_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        match self.last.load(Ordering::Acquire) {
            0 => false,
            last => self.elapsed().saturating_sub(last - 1) < limit,
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Readiness {
    /// Adds a closed gate.
    pub fn latch(&self, name: &str) -> Latch {
        let state = Arc::<AtomicU64>::default();
        self.add(name, Condition::Latch(Arc::clone(&state)));
        Latch(state)
    }

    /// Adds a gate that is open while its heartbeat is younger than [`HEARTBEAT_TIMEOUT`].
    pub fn heartbeat(&self, name: &str) -> Heartbeat {
        let heartbeat = Heartbeat { start: Instant::now(), last: Arc::default() };
        self.add(name, Condition::Heartbeat(heartbeat.clone()));
        heartbeat
    }

    /// All gates in the order they were added, and whether each is open.
    pub fn gates(&self) -> Vec<(Arc<str>, bool)> {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().map(|gate| (Arc::clone(&gate.name), gate.is_open())).collect()
    }

    /// True while every heartbeat beats; the latches do not matter.
    pub fn is_beating(&self) -> bool {
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent = |gate: &Gate| match &gate.condition {
            Condition::Heartbeat(heartbeat) => !heartbeat.is_recent(),
            Condition::Latch(_) => false,
        };
        !gates.iter().any(is_silent)
    }

    fn add(&self, name: &str, condition: Condition) {
        let gate = Gate { name: name.into(), condition };
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).push(gate);
    }
}

impl Gate {
    fn is_open(&self) -> bool {
        match &self.condition {
            Condition::Latch(state) => state.load(Ordering::Acquire) == 1,
            Condition::Heartbeat(heartbeat) => heartbeat.is_recent(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gate_must_be_open() {
        let readiness = Readiness::default();
        let latch = readiness.latch("credentials");
        let heartbeat = readiness.heartbeat("worker 0");
        let open = |r: &Readiness| r.gates().into_iter().map(|(_, o)| o).collect::<Vec<_>>();
        assert_eq!(open(&readiness), [false, false]);
        latch.open();
        assert!(!readiness.is_beating());
        heartbeat.beat();
        assert_eq!(open(&readiness), [true, true]);
        latch.close();
        assert_eq!(open(&readiness), [false, true]);
        assert!(readiness.is_beating());
    }
}
