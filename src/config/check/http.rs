//! `[http]`: sessions whose requests are seen.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::values::{bytes, duration};
use super::{LONGEST, SHORTEST};
use crate::config::HttpSettings;
use crate::config::raw::Cursor;

const SECOND: Duration = Duration::from_secs(1);
/// More requests than any host has memory for.
const MOST_REQUESTS: usize = 1 << 30;
/// More streams than any client opens.
const MOST_STREAMS: u32 = 1_000_000;
/// Less would refuse ordinary requests, more only helps who fills memory.
const HEADER_LISTS: RangeInclusive<u64> = 4 << 10..=1 << 20;
/// Less than a few sessions need; more than any host has.
const BUDGETS: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// Reads the section.
pub fn http(at: &Cursor<'_>) -> Option<HttpSettings> {
    let streams =
        at.required("max_concurrent_streams", "a number", |at| at.integer(1..=MOST_STREAMS));
    let number = |at: &Cursor<'_>| at.integer(1..=MOST_REQUESTS);
    let in_flight = at.required("max_requests_in_flight", "a number", number);
    let headers = at.required("max_header_list_size", "a size", |at| {
        bytes(at, "a size from 4KiB to 1MiB, like \"64KiB\"", HEADER_LISTS)
    });
    let body = at.optional("max_body_size", |at| bytes(at, "a size like \"100MiB\"", 0..=u64::MAX));
    let body_timeout = at.optional("body_timeout", |at| duration(at, SHORTEST..=LONGEST));
    let age = at.required("max_connection_age", "a duration", |at| match at.text() {
        Some("off") => Some(None),
        _ => duration(at, SECOND..=LONGEST).map(Some),
    });
    let idle =
        at.required("pool_idle_timeout", "a duration", |at| duration(at, SHORTEST..=LONGEST));
    let max_idle = at.required("max_idle_connections", "a number", number);
    let budget = at.required("window_budget", "a size", |at| {
        bytes(at, "a size from 1MiB to 1024GiB, like \"256MiB\"", BUDGETS)
    });
    Some(HttpSettings {
        max_concurrent_streams: streams?,
        max_requests_in_flight: in_flight?,
        max_header_list_size: u32::try_from(headers?).ok()?,
        max_body_size: body?,
        body_timeout: body_timeout?,
        max_connection_age: age?,
        pool_idle_timeout: idle?,
        max_idle_connections: max_idle?,
        window_budget: budget?,
    })
}
