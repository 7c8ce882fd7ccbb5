//! The server's side of RFC 9113, row by row: what a client may do wrong, and what it sees then.
//! Where the RFC leaves a choice, every choice is accepted. The real binary, with an HTTP/1.1
//! service behind.
//!
//! With `HTTP_CONFORMANCE_DIRECT=1` the same rows go to a plain hyper server, without TLS and
//! gateway: what fails there as well is a fault of a row.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::cast_possible_truncation, reason = "test code")]

mod support;

#[path = "http_conformance/floods.rs"]
mod floods;
#[path = "http_conformance/flow.rs"]
mod flow;
#[path = "http_conformance/framing.rs"]
mod framing;
#[path = "http_conformance/requests.rs"]
mod requests;
#[path = "http_conformance/rows.rs"]
mod rows;
#[path = "http_conformance/streams.rs"]
mod streams;
