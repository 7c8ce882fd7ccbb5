//! How much memory is used, as whoever would kill us for it counts.

use std::fs;
use std::path::{Path, PathBuf};

use tikv_jemalloc_ctl::{epoch, stats};

/// The cgroup (version 2) with the tightest memory limit that holds for this process.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    /// Its limit in bytes.
    pub limit: u64,
}

impl Cgroup {
    /// The tightest of the process's own cgroup and those above it; `None` when none has a limit.
    pub fn find(root: &Path, own: &Path) -> Option<Self> {
        let own = fs::read_to_string(own).ok()?;
        let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let own = root.join(path);
        let limited = own
            .ancestors()
            .take_while(|directory| directory.starts_with(root))
            .filter_map(|directory| {
                let limit = number(&directory.join("memory.max"))?;
                Some(Self { directory: directory.to_owned(), limit })
            });
        limited.min_by_key(|cgroup| cgroup.limit)
    }

    /// What the kernel would not give back by itself: sockets' buffers count, cached files do not.
    fn used(&self) -> Option<u64> {
        let current = number(&self.directory.join("memory.current"))?;
        let statistics = fs::read_to_string(self.directory.join("memory.stat")).ok()?;
        let cached = statistics.lines().find_map(|line| line.strip_prefix("inactive_file "));
        let cached = cached.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0);
        Some(current.saturating_sub(cached))
    }
}

/// Bytes in use: the cgroup's, else the process's, without what the allocator holds free.
pub fn usage(cgroup: Option<&Cgroup>) -> u64 {
    let used = cgroup.and_then(Cgroup::used).or_else(resident).unwrap_or(0);
    used.saturating_sub(held_free())
}

/// Resident memory of this process, in bytes.
fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

/// Pages that the allocator has not given back yet and fills first: free for all that we do.
fn held_free() -> u64 {
    // Statistics are as of the last epoch.
    let _ = epoch::advance();
    let resident = stats::resident::read().unwrap_or(0);
    let active = stats::active::read().unwrap_or(0);
    u64::try_from(resident.saturating_sub(active)).unwrap_or(0)
}

/// A file's number; `None` for the word `max`.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_on_the_way_up_holds() {
        let root = tempfile::TempDir::new().expect("a directory");
        let pod = root.path().join("pod");
        let own = pod.join("container");
        fs::create_dir_all(&own).expect("made");
        let write = |directory: &Path, name: &str, text: &str| {
            fs::write(directory.join(name), text).expect("written");
        };
        write(root.path(), "own", "0::/pod/container\n");
        write(&own, "memory.max", "max\n");
        let find = || Cgroup::find(root.path(), &root.path().join("own"));
        assert!(find().is_none());
        write(&pod, "memory.max", "1000\n");
        write(&pod, "memory.current", "700\n");
        write(&pod, "memory.stat", "anon 1\ninactive_file 100\nactive_file 50\n");
        let cgroup = find().expect("limited");
        assert_eq!((cgroup.limit, cgroup.used()), (1000, Some(600)));
        write(&own, "memory.max", "2000\n");
        assert_eq!(find().expect("limited").limit, 1000);
        write(&own, "memory.max", "500\n");
        assert_eq!(find().expect("limited").limit, 500);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(usage(None) > 1 << 20);
    }
}
