//! The tasks that feed the data path. They meet it only in [`crate::state`]; nothing here may
//! import `proxy`.

pub mod admin;
pub mod credentials;
pub mod discovery;
pub mod dns;
pub mod enforce;
pub mod kubernetes;
pub mod memory;
pub mod mirror;
