//! What clients and endpoints that mean harm get out of HTTP sessions: nothing that is not theirs, no
//! answer of somebody else's, and no resource for longer than they are there. The real binary over
//! loopback.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::cast_possible_truncation, reason = "test code")]

mod support;

#[allow(dead_code, reason = "shared with others")]
#[path = "http/fixture.rs"]
mod fixture;
#[path = "http_attacks/leave_http.rs"]
mod leave_http;
#[path = "http_attacks/resources.rs"]
mod resources;
#[path = "http_attacks/retries.rs"]
mod retries;
#[path = "http_attacks/slow.rs"]
mod slow;
#[path = "http_attacks/words.rs"]
mod words;
