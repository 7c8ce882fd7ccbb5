//! Sockets, without a word of TLS or of what flows through them.

pub mod diag;
pub mod proxy_protocol;
pub mod socket;
