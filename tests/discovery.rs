//! Discovery in our own cluster: the real binary, a fake API server that is as strict as a real one,
//! and pods at addresses of a namespace of the test's own, because loopback is refused as an endpoint.
//! Every gateway has exactly the rights of `config/kustomize/kubernetes-discovery`.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::cast_possible_truncation, reason = "test code")]

mod support;

#[path = "discovery/annotations.rs"]
mod annotations;
#[path = "discovery/away.rs"]
mod away;
#[path = "discovery/endpoints.rs"]
mod endpoints;
#[path = "discovery/exports.rs"]
mod exports;
#[path = "discovery/fixture.rs"]
mod fixture;
#[path = "discovery/mesh.rs"]
mod mesh;
