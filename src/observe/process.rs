//! `process_*` metrics under their standard names, read from `/proc` at each scrape, and what the
//! process's log has lost.
//!
//! What cannot be read is left out of the exposition.

use std::fmt::Error;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rustix::process::Resource;
use rustix::time::ClockId;

use super::logs::lost;

/// Encodes the metrics of this process.
#[derive(Debug)]
pub(super) struct Process {
    /// Seconds since the epoch; does not change.
    start_time: Option<f64>,
}

impl Process {
    pub(super) fn new() -> Self {
        Self { start_time: start_time() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limit = rustix::process::getrlimit(Resource::Nofile).current;
        let gauges = [
            ("process_start_time_seconds", "Start, since the epoch", self.start_time),
            ("process_resident_memory_bytes", "Resident memory", kib(&status, "VmRSS:")),
            ("process_virtual_memory_bytes", "Virtual memory", kib(&status, "VmSize:")),
            ("process_open_fds", "Open file descriptors", open_fds()),
            // No limit is left out: it would read as 0 or as an arbitrary large number.
            ("process_max_fds", "Most file descriptors", limit.map(lossy)),
            ("process_threads", "Threads", number(&status, "Threads:").map(lossy)),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else {
                continue;
            };
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        let counters = [
            ("process_cpu_seconds", "User and system CPU time", cpu_seconds()),
            ("gateway_log_lines_lost", "Log lines lost: nobody read the log", lossy(lost())),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}

/// CPU time of all threads. The clock gives nanoseconds where `/proc/self/stat` gives ticks.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    std::time::Duration::try_from(time).map_or(0.0, |time| time.as_secs_f64())
}

/// The boot time plus this process's start after it.
fn start_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in parentheses and may contain anything; starttime is the
    // 22nd field, so the 20th after it.
    let (_, after) = stat.rsplit_once(')')?;
    let ticks: u64 = after.split_whitespace().nth(19)?.parse().ok()?;
    let boot = number(&fs::read_to_string("/proc/stat").ok()?, "btime")?;
    Some(lossy(boot) + lossy(ticks) / lossy(rustix::param::clock_ticks_per_second()))
}

fn open_fds() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    // Listing them takes one itself.
    u64::try_from(count.saturating_sub(1)).ok().map(lossy)
}

fn kib(text: &str, key: &str) -> Option<f64> {
    number(text, key).map(|kib| lossy(kib) * 1024.0)
}

/// The number after `key` at the start of a line.
fn number(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Metrics are floating point; above 2^53 the last digits do not matter.
#[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
fn lossy(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let age = now.expect("after the epoch").as_secs_f64() - start_time().expect("a start");
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(open_fds().is_some_and(|n| n >= 3.0));
        let _ = std::hint::black_box((0..1000_u64).map(u64::is_power_of_two).count());
        assert!(cpu_seconds() > 0.0);
        assert_eq!(kib("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12288.0));
    }
}
