//! The facts of one request, gathered on its way; counted and logged once, when this drops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::{HeaderMap, Method, StatusCode, Uri, Version};

use super::context::Context;
use super::outgoing::Request;
use super::response::GRPC_STATUS;
use crate::model::http::failure::Failure;
use crate::observe::access::{RequestRecord, is_problem, log_request};
use crate::observe::metrics::Answered;

/// One request from its head to the end of its response.
pub struct Record {
    context: Arc<Context>,
    number: u64,
    started: Instant,
    method: Method,
    uri: Uri,
    version: Version,
    rule: Option<Arc<str>>,
    endpoint: Option<SocketAddr>,
    status: Option<StatusCode>,
    grpc_status: Option<u16>,
    failure: Option<Failure>,
    /// Bytes of its body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    retries: u32,
    has_ended: bool,
}

impl Record {
    /// A request whose head has come.
    pub fn new(context: &Arc<Context>, request: &Request) -> Self {
        let gateway = &context.gateway;
        gateway.in_flight.fetch_add(1, Ordering::Relaxed);
        gateway.metrics.http_in_flight(1);
        context.series.request();
        context.http.started();
        Self {
            number: context.http.requests(),
            context: Arc::clone(context),
            started: Instant::now(),
            method: request.method.clone(),
            uri: request.uri.clone(),
            version: request.spoken,
            rule: None,
            endpoint: None,
            status: None,
            grpc_status: None,
            failure: None,
            request_bytes: 0,
            response_bytes: 0,
            retries: 0,
            has_ended: false,
        }
    }

    /// Policy decided.
    pub fn authorized(&mut self, allowed: bool, rule: &Arc<str>) {
        self.context.gateway.metrics.http_authorized(allowed, rule);
        self.rule = Some(Arc::clone(rule));
    }

    /// This endpoint has it.
    pub fn served_by(&mut self, endpoint: SocketAddr) {
        self.endpoint = Some(endpoint);
    }

    /// It is sent again.
    pub fn repeated(&mut self) {
        self.context.gateway.metrics.http_retry();
        self.retries += 1;
    }

    /// We answer it ourselves.
    pub fn failed(&mut self, failure: Failure) {
        self.context.gateway.metrics.http_error(failure.answer().label);
        self.failure = Some(failure);
    }

    /// The response's head goes to the client.
    pub fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = Some(status);
        self.trailed(headers);
    }

    /// The response's trailers, where gRPC says how it went.
    pub fn trailed(&mut self, trailers: &HeaderMap) {
        let status = trailers.get(GRPC_STATUS).and_then(|status| status.to_str().ok());
        self.grpc_status = status.and_then(|status| status.parse().ok()).or(self.grpc_status);
    }

    /// The response's last byte went to the client.
    pub fn ended(&mut self) {
        self.has_ended = true;
    }

    fn log(&self, status: u16, failed: bool) {
        let error = self.failure.map(|failure| failure.answer().message);
        let selection = &self.context.rules.access_requests;
        if !selection.wants(is_problem(status, self.grpc_status, error, failed)) {
            return;
        }
        log_request(
            &RequestRecord {
                id: self.context.live.id,
                request: self.number,
                peer: self.context.source,
                identity: Some(&self.context.client),
                method: self.method.as_str(),
                path: self.uri.path(),
                version: match self.version {
                    Version::HTTP_10 => "HTTP/1.0",
                    Version::HTTP_11 => "HTTP/1.1",
                    _ => "HTTP/2",
                },
                route: Some(self.context.asked.target()),
                rule: self.rule.as_deref(),
                endpoint: self.endpoint,
                status,
                grpc_status: self.grpc_status,
                request_bytes: self.request_bytes,
                response_bytes: self.response_bytes,
                latency: self.started.elapsed(),
                error,
                retries: self.retries,
                failed,
            },
            selection,
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let gateway = &self.context.gateway;
        gateway.in_flight.fetch_sub(1, Ordering::Relaxed);
        gateway.metrics.http_in_flight(-1);
        self.context.http.ended();
        let status = self.status.map_or(0, |status| status.as_u16());
        let failed = !self.has_ended;
        let (grpc_status, latency) = (self.grpc_status, self.started.elapsed());
        self.context.series.response(&Answered { status, grpc_status, failed, latency });
        self.log(status, failed);
    }
}
