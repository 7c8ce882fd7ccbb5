//! What operators rely on when they write a configuration: `load` in process, and `check` and
//! `config` as the real binary.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "config/binary.rs"]
mod binary;
#[allow(dead_code, reason = "each test binary uses a part")]
#[path = "support/certs.rs"]
mod certs;
#[path = "config/hostile.rs"]
mod hostile;
#[path = "config/layers.rs"]
mod layers;
#[path = "config/problems.rs"]
mod problems;
#[path = "config/reference.rs"]
mod reference;
#[path = "config/rules.rs"]
mod rules;
#[path = "config/schema.rs"]
mod schema;
#[path = "config/support.rs"]
mod support;
