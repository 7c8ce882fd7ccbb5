//! gRPC through the gateway: the official interoperability cases (grpc/grpc,
//! doc/interop-test-descriptions.md) that do not depend on compression or on Google's accounts.
//! Each case runs against the server itself first: what fails there is no fault of the gateway.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]
#![allow(clippy::cast_possible_truncation, reason = "test code")]

mod support;

#[path = "http_grpc/calls.rs"]
mod calls;
#[path = "http_grpc/cases.rs"]
mod cases;
#[path = "http_grpc/messages.rs"]
mod messages;
#[path = "http_grpc/server.rs"]
mod server;
