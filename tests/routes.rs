//! What routes promise: which endpoint a connection reaches, how it is found, and what it must
//! prove. The real binary over loopback, and in namespaces where loopback is refused.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::cast_possible_truncation, reason = "test code")]

mod support;

#[path = "routes/balance.rs"]
mod balance;
#[path = "routes/dns.rs"]
mod dns;
#[path = "routes/onward.rs"]
mod onward;
#[path = "routes/own_listener.rs"]
mod own_listener;
#[path = "routes/ways_in.rs"]
mod ways_in;

/// What clients ask for.
const TARGET: &str = "web.test.svc.cluster.local:80";
