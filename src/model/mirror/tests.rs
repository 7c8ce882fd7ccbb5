//! Tests of the mirror's decisions: what Linkerd's own tests assert, what they lack, and what must hold
//! for any input.

mod cluster;
mod convergence;
mod created;
mod deleted;
mod federated;
mod fixture;
mod headless;
mod names;
mod objects;
mod ownership;
mod status;
mod updated;
