//! Discovery in our own cluster: which Services are exported, and where their connections may lead.
//!
//! `object` holds what is kept of Services, EndpointSlices and Pods, `export` makes the routes of one
//! Service of them, `restriction` is what annotations forbid, `guard` tells what is not exported from
//! what nobody knows, and `catalog` follows the watches and says what changed. Fed by
//! `control::discovery::kubernetes`; nothing here knows an API server.

pub mod catalog;
pub mod export;
pub mod guard;
pub mod object;
pub mod restriction;
