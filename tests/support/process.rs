//! What a process holds, from /proc.

use std::path::Path;

/// Open descriptors.
pub fn descriptors(pid: u32) -> usize {
    let directory = format!("/proc/{pid}/fd");
    std::fs::read_dir(directory).expect("a live process").count()
}

/// Memory in KiB that is in RAM now.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a live process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let value = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("VmRSS");
    value.trim().parse().expect("a number")
}

/// Replaces `path` in one step, as careful writers do: a reader sees the old or the new content.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, content).expect("written");
    std::fs::rename(&temporary, path).expect("renamed");
}
