//! The mirror on fake clusters: Linkerd's own cases, those that it lacks, and its public issues.
//! `tests/mirror.rs` tells the stories, this suite counts and compares.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::float_cmp, reason = "counters and gauges are whole numbers")]

mod support;

#[path = "mirror_cases/access.rs"]
mod access;
#[path = "mirror_cases/faults.rs"]
mod faults;
#[path = "mirror_cases/federated.rs"]
mod federated;
#[path = "mirror_cases/flat.rs"]
mod flat;
#[path = "mirror_cases/gateway_health.rs"]
mod gateway_health;
#[path = "mirror_cases/gateway_mode.rs"]
mod gateway_mode;
#[path = "mirror_cases/headless.rs"]
mod headless;
#[path = "mirror_cases/issues.rs"]
mod issues;
#[path = "mirror_cases/leader.rs"]
mod leader;
#[path = "mirror_cases/link_fields.rs"]
mod link_fields;
#[path = "mirror_cases/operation.rs"]
mod operation;
#[path = "mirror_cases/ownership.rs"]
mod ownership;
#[path = "mirror_cases/probes.rs"]
mod probes;
#[path = "mirror_cases/unknown.rs"]
mod unknown;
#[path = "mirror_cases/whole.rs"]
mod whole;
#[path = "mirror_cases/world.rs"]
mod world;
