//! What the kernel knows of a process: memory, CPU time, sockets.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// Resident memory in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// CPU time used so far by all threads.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // The command's name is in parentheses and may contain spaces.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = |n: usize| fields.split_whitespace().nth(n).and_then(|f| f.parse::<u64>().ok());
    let ticks = ticks(11).expect("utime") + ticks(12).expect("stime");
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Open descriptors.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count()
}

/// Copies of the connected TCP sockets of a process; needs the right to trace it.
pub fn sockets(pid: u32) -> std::io::Result<Vec<socket2::Socket>> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let process = pidfd_open(raw, PidfdFlags::empty())?;
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok()).expect("a number");
        let copy: OwnedFd = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
        let socket = socket2::Socket::from(copy);
        if socket.peer_addr().is_ok_and(|address| address.as_socket().is_some()) {
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

/// Replaces `path` in one step, as careful writers do: a reader sees the old or the new content.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let temporary = path.with_extension("new");
    fs::write(&temporary, content).expect("written");
    fs::rename(&temporary, path).expect("renamed");
}
