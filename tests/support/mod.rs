//! What integration tests share. Each test binary includes this with `mod support;` and uses a
//! part of it, so what one does not use is no dead code.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::cast_possible_truncation, reason = "test code")]

pub mod backend;
pub mod certs;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod dns;
pub mod gateway;
pub mod http;
pub mod kubernetes;
pub mod namespace;
pub mod probe;
pub mod process;
pub mod server;
pub mod tcp;
