//! What one step of a connection costs, without sockets: `cargo bench --bench micro [-- FILTER]`.
//!
//! Most steps happen once per connection and have about 200 µs around them, so a microsecond counts
//! and a nanosecond does not; a record happens 65,536 times per GiB.

#![allow(clippy::expect_used, reason = "bench code")]

use criterion::{criterion_group, criterion_main};

#[path = "micro/chain.rs"]
mod chain;
#[path = "micro/header.rs"]
mod header;
#[path = "micro/metrics.rs"]
mod metrics;
#[path = "micro/policy.rs"]
mod policy;
#[path = "micro/record.rs"]
mod record;
#[path = "micro/route.rs"]
mod route;

criterion_group!(
    micro,
    header::codec,
    policy::decision,
    route::lookup,
    metrics::updates,
    chain::verification,
    record::layers,
);
criterion_main!(micro);
