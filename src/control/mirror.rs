//! The source cluster's side: what is done for each Link.

pub mod gateway;
pub mod probe;
