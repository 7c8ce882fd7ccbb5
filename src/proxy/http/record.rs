//! The facts of one request, gathered on its way; counted and logged once, when this drops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::{HeaderMap, Method, StatusCode, Uri};

use super::context::Context;
use super::outgoing::Request;
use super::response::GRPC_STATUS;
use crate::model::http::failure::Failure;

/// One request from its head to the end of its response.
pub struct Record {
    context: Arc<Context>,
    started: Instant,
    method: Method,
    uri: Uri,
    version: &'static str,
    rule: Option<Arc<str>>,
    /// The endpoint that took it.
    pub endpoint: Option<SocketAddr>,
    status: Option<StatusCode>,
    grpc_status: Option<u16>,
    failure: Option<Failure>,
    /// Bytes of its body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// Endpoints that it was tried on in vain.
    pub retries: u32,
    /// The response is complete.
    ended: bool,
}

impl Record {
    /// A request whose head has come.
    pub fn new(context: &Arc<Context>, request: &Request) -> Self {
        context.gateway.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            context: Arc::clone(context),
            started: Instant::now(),
            method: request.method.clone(),
            uri: request.uri.clone(),
            version: match request.version {
                http::Version::HTTP_10 => "HTTP/1.0",
                http::Version::HTTP_11 => "HTTP/1.1",
                _ => "HTTP/2",
            },
            rule: None,
            endpoint: None,
            status: None,
            grpc_status: None,
            failure: None,
            request_bytes: 0,
            response_bytes: 0,
            retries: 0,
            ended: false,
        }
    }

    /// Policy decided.
    pub fn authorized(&mut self, allowed: bool, rule: &Arc<str>) {
        self.context.gateway.metrics.authorized(allowed, rule);
        self.rule = Some(Arc::clone(rule));
    }

    /// We answer it ourselves.
    pub fn failed(&mut self, failure: Failure) {
        self.failure = Some(failure);
    }

    /// The response's head goes to the client.
    pub fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = Some(status);
        self.trailers(headers);
    }

    /// The response's trailers, where gRPC says how it went.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        let status = trailers.get(GRPC_STATUS).and_then(|status| status.to_str().ok());
        self.grpc_status = status.and_then(|status| status.parse().ok()).or(self.grpc_status);
    }

    /// The response's last byte went to the client.
    pub fn ended(&mut self) {
        self.ended = true;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.context.gateway.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
