//! The pure core: what a connection is decided by, without sockets, clock, runtime or logging.
//!
//! Bytes and the current time are passed in. Everything here is property-tested or fuzzed, and
//! nothing here may import another part of this crate.

pub mod access;
pub mod backoff;
pub mod balance;
pub mod certificate;
pub mod classify;
pub mod counts;
pub mod discovery;
pub mod header;
pub mod http;
pub mod identity;
pub mod kubernetes;
pub mod last_use;
pub mod link;
pub mod mirror;
pub mod notice;
pub mod outcome;
pub mod policy;
pub mod route;
pub mod service;
pub mod sharded;
pub mod source;
pub mod task;
