//! The memory watermark: above it nothing is accepted, and connections are closed until enough is
//! free again, idle ones first.
//!
//! `app` runs [`follow`] as a task. It must never close more than it has to: freed memory counts as
//! free at once, although the allocator gives it back to the system only seconds later.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::MemoryWatermark;
use crate::model::outcome::Outcome;
use crate::observe::metrics::Metrics;
use crate::state::State;

mod usage;

use usage::{Cgroup, usage};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(250);
/// Percent of the cgroup's limit that `memory_watermark = "cgroup"` stands for. The rest is for
/// what grows between two looks.
const CGROUP_PERCENT: u64 = 85;
/// Percent of the watermark below which connections are accepted again.
const LOW_PERCENT: u64 = 95;
/// Percent of the watermark from which on it is watched who is idle.
const WATCH_PERCENT: u64 = 80;
/// Looks without a byte after which a connection is idle: 1 s.
const IDLE_LOOKS: u32 = 4;
/// Looks without an idle connection to close after which the others go too: 2 s.
const PATIENCE: u32 = 8;
/// One in this many connections is closed at each look, but not fewer than [`LEAST`].
const SHARE: usize = 20;
/// So that the last ones do not take for ever.
const LEAST: usize = 8;

/// The watermark in force, in bytes; a reload changes it.
#[derive(Debug)]
pub struct Watermark {
    cgroup: Option<Cgroup>,
    bytes: AtomicU64,
}

impl Watermark {
    /// As configured, for the cgroup that this process is in.
    pub fn new(setting: MemoryWatermark) -> Self {
        let cgroup = Cgroup::find(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup"));
        let watermark = Self { cgroup, bytes: AtomicU64::new(0) };
        watermark.change(setting);
        watermark
    }

    /// Puts another setting in force.
    pub fn change(&self, setting: MemoryWatermark) {
        let bytes = match setting {
            MemoryWatermark::Off => u64::MAX,
            MemoryWatermark::Bytes(bytes) => bytes,
            MemoryWatermark::Cgroup => match &self.cgroup {
                Some(cgroup) => percent(cgroup.limit, CGROUP_PERCENT),
                None => u64::MAX,
            },
        };
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes; `None` when memory is not watched.
    fn bytes(&self) -> Option<u64> {
        Some(self.bytes.load(Ordering::Relaxed)).filter(|bytes| *bytes < u64::MAX)
    }
}

/// Watches memory until it is dropped.
pub async fn follow(watermark: Arc<Watermark>, state: Arc<State>, metrics: Arc<Metrics>) {
    let mut guard = Guard { state, metrics, idle: HashMap::new(), futile: 0 };
    loop {
        let used = usage(watermark.cgroup.as_ref());
        guard.look(used, watermark.bytes());
        tokio::time::sleep(INTERVAL).await;
    }
}

struct Guard {
    state: Arc<State>,
    metrics: Arc<Metrics>,
    /// Connections by id: bytes at the last look, and looks since the last byte.
    idle: HashMap<u64, (u64, u32)>,
    /// Looks above the watermark that found nobody idle.
    futile: u32,
}

impl Guard {
    fn look(&mut self, used: u64, watermark: Option<u64>) {
        self.metrics.memory(used, watermark);
        let Some(watermark) = watermark else {
            self.idle.clear();
            self.state.pressure.set(false);
            return;
        };
        if used < percent(watermark, WATCH_PERCENT) {
            self.idle.clear();
        } else {
            self.watch();
        }
        let low = percent(watermark, LOW_PERCENT);
        let was_high = self.state.pressure.is_high();
        let is_above = used >= watermark || (was_high && used >= low);
        // With nobody left to close there is nothing to wait for: a watermark below what the process
        // itself takes must not keep everybody out.
        let is_high = is_above && !self.idle.is_empty();
        self.state.pressure.set(is_high);
        if is_high != was_high {
            report(is_high, used, watermark);
            self.futile = 0;
        }
        if is_high {
            self.shed();
        }
    }

    /// Notes who has been without a byte, and for how long.
    fn watch(&mut self) {
        let before = std::mem::take(&mut self.idle);
        let staying = self.state.connections.list().into_iter().filter(|live| !live.is_cancelled());
        let after = staying.map(|live| {
            let bytes = live.bytes.from_client().wrapping_add(live.bytes.to_client());
            let looks = match before.get(&live.id) {
                Some((then, looks)) if *then == bytes => looks.saturating_add(1),
                _ => 0,
            };
            (live.id, (bytes, looks))
        });
        self.idle = after.collect();
    }

    /// Closes a share of the connections: the longest idle; when there are none for a while, the
    /// newest.
    fn shed(&mut self) {
        let mut all: Vec<_> = self.idle.iter().map(|(id, (_, looks))| (*looks, *id)).collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        let idle = all.iter().take_while(|(looks, _)| *looks >= IDLE_LOOKS).count();
        self.futile = if idle == 0 { self.futile + 1 } else { 0 };
        let most = match idle {
            0 if self.futile <= PATIENCE => 0,
            0 => all.len(),
            idle => idle,
        };
        let count = (all.len() / SHARE).max(LEAST).min(most);
        for (_, id) in all.into_iter().take(count) {
            self.state.connections.cancel(id, Outcome::MemoryLimit);
            self.idle.remove(&id);
        }
    }
}

fn report(is_high: bool, used: u64, watermark: u64) {
    if is_high {
        tracing::warn!(
            used,
            watermark,
            "memory is above limits.memory_watermark: no connection is accepted and idle ones are closed until it is below; give the process more, or add replicas"
        );
    } else {
        tracing::info!(used, watermark, "memory is below the watermark: connections are accepted");
    }
}

fn percent(bytes: u64, percent: u64) -> u64 {
    bytes / 100 * percent
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::state::connections::Registration;

    const MIB: u64 = 1 << 20;

    fn guard(connections: usize) -> (Guard, Vec<Registration>) {
        let state = Arc::<State>::default();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let register = |_| state.connections.register(address, address, 0);
        let registrations = (0..connections).map(register).collect();
        let guard = Guard { state, metrics: Metrics::new(), idle: HashMap::new(), futile: 0 };
        (guard, registrations)
    }

    /// Which of them have been told to go, by index.
    fn cut(registrations: &[Registration]) -> Vec<usize> {
        let is_cut = |live: &Registration| {
            let mut context = Context::from_waker(Waker::noop());
            pin!(live.cancelled()).poll(&mut context) == Poll::Ready(Outcome::MemoryLimit)
        };
        (0..registrations.len()).filter(|index| is_cut(&registrations[*index])).collect()
    }

    #[test]
    fn idle_connections_go_first_and_busy_ones_only_when_that_does_not_help() {
        let (mut guard, registrations) = guard(40);
        let busy = |registrations: &[Registration]| {
            registrations[..10].iter().for_each(|live| live.bytes.add_from_client(1));
        };
        for _ in 0..=IDLE_LOOKS {
            busy(&registrations);
            guard.look(90 * MIB, Some(100 * MIB));
        }
        assert!(cut(&registrations).is_empty());
        let mut looks = 0;
        while cut(&registrations).len() < 30 {
            busy(&registrations);
            guard.look(101 * MIB, Some(100 * MIB));
            looks += 1;
            assert!(guard.state.pressure.is_high() && looks < 60);
        }
        assert_eq!(cut(&registrations), (10..40).collect::<Vec<_>>());
        for _ in 0..PATIENCE {
            busy(&registrations);
            guard.look(101 * MIB, Some(100 * MIB));
        }
        assert_eq!(cut(&registrations).len(), 30);
        busy(&registrations);
        guard.look(101 * MIB, Some(100 * MIB));
        assert!(cut(&registrations).len() > 30);
    }

    #[test]
    fn recovers_below_the_watermark_with_a_margin() {
        let (mut guard, registrations) = guard(1);
        for (used, is_high) in [(99, false), (100, true), (96, true), (94, false), (99, false)] {
            guard.look(used * MIB, Some(100 * MIB));
            assert_eq!(guard.state.pressure.is_high(), is_high, "{used}");
        }
        guard.look(100 * MIB, Some(100 * MIB));
        guard.look(100 * MIB, None);
        assert!(!guard.state.pressure.is_high(), "switched off by a reload");
        drop(registrations);
        guard.look(100 * MIB, Some(100 * MIB));
        assert!(!guard.state.pressure.is_high(), "nobody is left to close");
    }
}
