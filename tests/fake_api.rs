//! The fake API server is as strict as a real one: what it would wrongly accept, or hide, a test of
//! the gateway would not see.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

#[path = "fake_api/access.rs"]
mod access;
#[path = "fake_api/client.rs"]
mod client;
#[path = "fake_api/faults.rs"]
mod faults;
#[path = "fake_api/links.rs"]
mod links;
#[path = "fake_api/lists.rs"]
mod lists;
#[path = "fake_api/validation.rs"]
mod validation;
#[path = "fake_api/watches.rs"]
mod watches;
#[path = "fake_api/writes.rs"]
mod writes;
