//! `[limits]`: timeouts, and the most of everything.

use std::time::Duration;

use super::values::{duration, size};
use super::{LONGEST, SHORTEST};
use crate::config::raw::Cursor;
use crate::config::{LimitSettings, MemoryWatermark};

const SECOND: Duration = Duration::from_secs(1);
/// The kernel's own bound of TCP_KEEPIDLE (`MAX_TCP_KEEPIDLE`), in seconds.
const MOST_KEEPALIVE: Duration = Duration::from_secs(32_767);
/// More connections than any host has descriptors.
const MOST_CONNECTIONS: usize = 1 << 30;
/// Below it the process itself would be above the watermark, and nothing ever accepted.
const LEAST_MEMORY: u64 = 16 << 20;

/// Reads the section.
pub fn limits(at: &Cursor<'_>) -> Option<LimitSettings> {
    let timeout = |name| at.required(name, "a duration", |at| duration(at, SHORTEST..=LONGEST));
    let handshake_timeout = timeout("handshake_timeout");
    let connect_timeout = timeout("connect_timeout");
    let connect_total_timeout = timeout("connect_total_timeout");
    let tcp_user_timeout = timeout("tcp_user_timeout");
    let half_closed_timeout = timeout("half_closed_timeout");
    let idle_timeout = at.optional("idle_timeout", |at| duration(at, SHORTEST..=LONGEST));
    let keepalive = at.required("keepalive", "a duration", |at| {
        // The kernel counts in whole seconds and refuses 0.
        duration(at, SECOND..=MOST_KEEPALIVE)
    });
    let number = |at: &Cursor<'_>| at.integer(1..=MOST_CONNECTIONS);
    let max_connections = at.optional("max_connections", number);
    let per_identity = at.optional("max_connections_per_identity", number);
    let silent = at.required("max_silent_connections", "a number", number);
    let handshakes = at.required("max_handshakes", "a number", number);
    let per_source = at.required("max_unauthenticated_per_source", "a number", number);
    let watermark = at.required("memory_watermark", "a size", watermark);
    if connect_timeout.zip(connect_total_timeout).is_some_and(|(one, all)| one > all) {
        if let Some(at) = at.child("connect_total_timeout") {
            at.wrong::<()>("a duration of at least connect_timeout, which it bounds");
        }
        return None;
    }
    Some(LimitSettings {
        handshake_timeout: handshake_timeout?,
        connect_timeout: connect_timeout?,
        connect_total_timeout: connect_total_timeout?,
        keepalive: keepalive?,
        tcp_user_timeout: tcp_user_timeout?,
        half_closed_timeout: half_closed_timeout?,
        idle_timeout: idle_timeout?,
        max_connections: max_connections?,
        max_connections_per_identity: per_identity?,
        max_silent_connections: silent?,
        max_handshakes: handshakes?,
        max_unauthenticated_per_source: per_source?,
        memory_watermark: watermark?,
    })
}

fn watermark(at: &Cursor<'_>) -> Option<MemoryWatermark> {
    at.parsed("\"cgroup\", \"off\" or a size from 16MiB, like \"512MiB\"", |text| match text {
        "cgroup" => Some(MemoryWatermark::Cgroup),
        "off" => Some(MemoryWatermark::Off),
        text => size(text).filter(|size| *size >= LEAST_MEMORY).map(MemoryWatermark::Bytes),
    })
}
