//! What an operator sees: the process log, the access log, metrics.

pub mod access;
pub mod logs;
pub mod metrics;
pub mod process;
