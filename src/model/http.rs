//! HTTP without sockets: heads, bodies, headers that a gateway changes, and what it answers itself.
//!
//! Used by `proxy::http`. What a peer writes is parsed here, so everything is fuzzed and none of it
//! may panic.

pub mod census;
pub mod chunked;
pub mod failure;
pub mod forwarded;
pub mod head;
pub mod hop;
pub mod orig_proto;
