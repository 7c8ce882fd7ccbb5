//! What arrives on the wire: headers in every split, and everything that is no TLS, no header or
//! nothing at all. Each attack ends in its own outcome, is counted, shows its peer an alert or a
//! reset, reaches nothing, and leaves a gateway that serves the next client.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

#[path = "wire/bytes.rs"]
mod bytes;
#[path = "wire/header.rs"]
mod header;
#[path = "wire/hello.rs"]
mod hello;
#[path = "wire/slow.rs"]
mod slow;
