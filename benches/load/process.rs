//! What a process and its descendants (workers that it forked) have used, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// CPU time and memory at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// All threads, user and system, to the nanosecond: from `schedstat`, because `stat` counts in
    /// ticks of 10 ms.
    pub cpu: Duration,
    /// The part of the ticks that was spent in the kernel and in all.
    pub system_ticks: u64,
    /// Ticks in all.
    pub ticks: u64,
    /// Resident memory in bytes that belongs to the processes, shared pages counted once.
    pub memory: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

/// Adds up what the process and its descendants use.
///
/// # Errors
/// When the process is not there, or not ours to look at.
pub fn usage(pid: u32) -> anyhow::Result<Usage> {
    let mut sum = Usage::default();
    for pid in family(pid) {
        let directory = format!("/proc/{pid}");
        for task in fs::read_dir(format!("{directory}/task")).context("--pid: no such process")? {
            // A thread may end while we look.
            let schedstat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            let nanoseconds = schedstat.split_whitespace().next().and_then(|n| n.parse().ok());
            sum.cpu += Duration::from_nanos(nanoseconds.unwrap_or_default());
        }
        let stat = stat(pid);
        // utime and stime, the 14th and 15th field.
        let tick = |index: usize| stat.get(index).copied().unwrap_or_default();
        sum.system_ticks += tick(12);
        sum.ticks += tick(11) + tick(12);
        let rollup = fs::read_to_string(format!("{directory}/smaps_rollup"))
            .with_context(|| format!("--pid: memory of process {pid}"))?;
        sum.memory += kib(&rollup, "Pss:") * 1024;
        sum.descriptors += fs::read_dir(format!("{directory}/fd"))?.count() as u64;
    }
    Ok(sum)
}

/// CPU time of this process.
pub fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The process and everything that it started.
fn family(pid: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u64)> =
        all.map(|pid| (pid, stat(pid).get(1).copied().unwrap_or_default())).collect();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        let children = parents.iter().filter(|(_, of)| *of == u64::from(parent));
        family.extend(children.map(|(child, _)| *child));
        next += 1;
    }
    family
}

/// The numbers after the command's name, which may contain anything; index 0 is the state, which is
/// no number and reads as 0, index 1 the parent.
fn stat(pid: u32) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    after.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect()
}

fn kib(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or_default()
}
