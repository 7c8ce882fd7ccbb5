//! What discovery and mirror share of talking to API servers.

pub mod answer;
pub mod client;
pub mod error;
pub mod watch;
