//! The mirror's decisions: which objects a remote Service asks for here, and which writes lead
//! there from what is observed.
//!
//! Asked by `control::mirror`, which watches, applies and reports. Everything is level-triggered:
//! the same question may be asked at any time and any number of times, and nothing is decided by an
//! event alone. One remote Service and all that mirrors it is a *group* ([`group::GroupKey`]).
//!
//! Nothing here reads a clock, and nothing here writes what is not ours.

pub mod addresses;
pub mod condition;
mod copy;
pub mod desired;
pub mod federated;
pub mod group;
mod headless;
pub mod keys;
pub mod liveness;
pub mod name;
pub mod object;
mod parts;
pub mod plan;
pub mod probe;
pub mod remote;
pub mod render;
pub mod status;

#[cfg(test)]
mod tests;
