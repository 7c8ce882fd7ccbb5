//! Whom the gateway believes: every odd certificate ends in its own outcome, is counted, shows its
//! owner an alert or a reset, and reaches nothing; every good one carries bytes.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

#[path = "certificates/accepted.rs"]
mod accepted;
#[path = "certificates/chains.rs"]
mod chains;
#[path = "certificates/names.rs"]
mod names;
#[path = "certificates/trust.rs"]
mod trust;
