//! What the relay promises between two peers that have found each other: every byte, every end,
//! and nothing that looks like an end and is none. The real binary over loopback.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::cast_possible_truncation, reason = "test code")]

mod support;

#[path = "relay/blocked.rs"]
mod blocked;
#[path = "relay/bulk.rs"]
mod bulk;
#[path = "relay/cost.rs"]
mod cost;
#[path = "relay/fixture.rs"]
mod fixture;
#[path = "relay/half_close.rs"]
mod half_close;
#[path = "relay/idle.rs"]
mod idle;
#[path = "relay/onward.rs"]
mod onward;
#[path = "relay/reset.rs"]
mod reset;
#[path = "relay/sockets.rs"]
mod sockets;
#[path = "relay/stop.rs"]
mod stop;
#[path = "relay/unreachable.rs"]
mod unreachable;
