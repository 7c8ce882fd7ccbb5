//! What HTTP sessions promise: each request is passed on as what it was, says who sent it, and ends
//! as it ended at its service. The real binary over loopback.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::cast_possible_truncation, reason = "test code")]

mod support;

#[path = "http/balance.rs"]
mod balance;
#[path = "http/bodies.rs"]
mod bodies;
#[path = "http/cancel.rs"]
mod cancel;
#[path = "http/failures.rs"]
mod failures;
#[path = "http/fixture.rs"]
mod fixture;
#[path = "http/headers.rs"]
mod headers;
#[path = "http/http1.rs"]
mod http1;
#[path = "http/http2.rs"]
mod http2;
#[path = "http/leftovers.rs"]
mod leftovers;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/meshed.rs"]
mod meshed;
#[path = "http/orig_proto.rs"]
mod orig_proto;
#[path = "http/policy.rs"]
mod policy;
#[path = "http/pool.rs"]
mod pool;
#[path = "http/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "http/seen.rs"]
mod seen;
#[path = "http/stop.rs"]
mod stop;
#[path = "http/ways_in.rs"]
mod ways_in;
