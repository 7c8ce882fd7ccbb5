//! What an idle connection costs.

use crate::fixture::parties;
use crate::support::process::{descriptors, resident};

#[test]
fn idle_connections_cost_little_memory_and_give_it_back() {
    const COUNT: usize = 400;
    let parties = parties();
    let pid = parties.gateway.pid();
    let warm: Vec<_> = (0..20).map(|_| parties.pair()).collect();
    let (before, open) = (resident(pid), descriptors(pid));
    let pairs: Vec<_> = (0..COUNT).map(|_| parties.pair()).collect();
    let each = resident(pid).saturating_sub(before) / COUNT as u64;
    eprintln!("{each} bytes per idle connection (debug build)");
    assert!(each < 48 << 10, "{each} bytes each");
    assert_eq!(descriptors(pid), open + 2 * COUNT);
    drop(pairs);
    parties.gateway.eventually("the descriptors' return", |_| descriptors(pid) <= open);
    drop(warm);
}
