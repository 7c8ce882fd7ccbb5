//! What the mirror decides, without an API server, sockets or a clock.

pub mod addresses;
pub mod liveness;
pub mod probe;
