//! Limits: they hold, they cost only those who exceed them, and a reload changes them.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

#[path = "limits/counts.rs"]
mod counts;
#[path = "limits/flood.rs"]
mod flood;
#[path = "limits/memory.rs"]
mod memory;
