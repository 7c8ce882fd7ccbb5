//! The mirror on fake clusters: Linkerd's own cases, those that it lacks, and its public issues.
//! `tests/mirror.rs` tells the stories, this suite counts and compares.

#[path = "mirror_cases/gateway_mode.rs"]
mod gateway_mode;
#[path = "mirror_cases/headless.rs"]
mod headless;
#[path = "mirror_cases/probes.rs"]
mod probes;
mod support;
#[path = "mirror_cases/whole.rs"]
mod whole;
#[path = "mirror_cases/world.rs"]
mod world;
