//! What the gateway answers itself: every refusal and failure of a request, as Linkerd words it.
//!
//! The table is Linkerd's: HTTP status, grpc-status, whether the client's proxy should leave the
//! connection, and the label of `inbound_http_errors_total`.

use http::StatusCode;

/// Why a request was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its body is longer than `http.max_body_size`.
    BodyTooLarge,
    /// Its body did not come in time (`http.body_timeout`).
    BodyTimeout,
    /// An endpoint did not take the connection, or broke it.
    Endpoint,
    /// An endpoint did not take the connection in time.
    EndpointTimeout,
    /// The request cannot be said in the endpoint's protocol.
    LengthRequired,
    /// It has passed us before.
    Loop,
    /// It breaks a rule of HTTP that its framing let through.
    Malformed,
    /// More requests are in flight than we take.
    Overload,
    /// No endpoint could be reached at all in the time there is.
    FailFast,
    /// No rule allows it.
    Denied,
    /// A Service of our own cluster that is not exported, or not with this port.
    NotExported,
    /// No route has the name and port.
    UnknownTarget,
    /// A bug, or something that cannot be.
    Unexpected,
}

/// How a failure is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of plain HTTP.
    pub status: StatusCode,
    /// Of gRPC.
    pub grpc_status: u16,
    /// In `l5d-proxy-error` and `grpc-message`.
    pub message: &'static str,
    /// `l5d-proxy-connection: close`.
    pub close: bool,
    /// The label in metrics.
    pub label: &'static str,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::Endpoint,
        Self::EndpointTimeout,
        Self::LengthRequired,
        Self::Loop,
        Self::Malformed,
        Self::Overload,
        Self::FailFast,
        Self::Denied,
        Self::NotExported,
        Self::UnknownTarget,
        Self::Unexpected,
    ];

    /// How it is answered.
    pub fn answer(self) -> Answer {
        let answer = |status, grpc_status, close, message, label| Answer {
            status,
            grpc_status,
            message,
            close,
            label,
        };
        match self {
            Self::BodyTooLarge => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                answer(status, 8, false, "request body too large", "body too large")
            }
            Self::BodyTimeout => {
                let status = StatusCode::REQUEST_TIMEOUT;
                answer(status, 4, false, "request body timed out", "body timeout")
            }
            Self::Endpoint => {
                let message = "the endpoint failed before its response";
                answer(StatusCode::BAD_GATEWAY, 14, true, message, "i/o")
            }
            Self::EndpointTimeout => {
                let message = "connecting to the endpoint timed out";
                answer(StatusCode::GATEWAY_TIMEOUT, 4, true, message, "connect timeout")
            }
            Self::LengthRequired => {
                let message = "an HTTP/1.0 request needs the length of its body";
                answer(StatusCode::LENGTH_REQUIRED, 3, false, message, "length required")
            }
            Self::Loop => {
                let status = StatusCode::LOOP_DETECTED;
                answer(status, 10, true, "gateway loop detected", "gateway loop")
            }
            Self::Malformed => {
                answer(StatusCode::BAD_REQUEST, 13, false, "malformed request", "malformed")
            }
            Self::Overload => {
                let message = "too many requests in flight";
                answer(StatusCode::SERVICE_UNAVAILABLE, 14, true, message, "loadshed")
            }
            Self::FailFast => {
                let message = "no endpoint is ready";
                answer(StatusCode::GATEWAY_TIMEOUT, 4, true, message, "failfast")
            }
            Self::Denied => {
                let message = "unauthorized request on route";
                answer(StatusCode::FORBIDDEN, 7, false, message, "unauthorized")
            }
            Self::NotExported => {
                let message = "the service or its port is not exported";
                answer(StatusCode::NOT_FOUND, 5, false, message, "not exported")
            }
            Self::UnknownTarget => {
                let message = "bad gateway domain";
                answer(StatusCode::NOT_FOUND, 5, false, message, "gateway domain invalid")
            }
            Self::Unexpected => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                answer(status, 13, true, "unexpected error", "unexpected")
            }
        }
    }
}

/// True for the content types of gRPC.
pub fn is_grpc(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_linkerd_does() {
        for (failure, status, grpc, close) in [
            (Failure::UnknownTarget, 404, 5, false),
            (Failure::NotExported, 404, 5, false),
            (Failure::Denied, 403, 7, false),
            (Failure::Loop, 508, 10, true),
            (Failure::FailFast, 504, 4, true),
            (Failure::Overload, 503, 14, true),
            (Failure::Endpoint, 502, 14, true),
            (Failure::EndpointTimeout, 504, 4, true),
            (Failure::Unexpected, 500, 13, true),
        ] {
            let answer = failure.answer();
            let found = (answer.status.as_u16(), answer.grpc_status, answer.close);
            assert_eq!(found, (status, grpc, close), "{failure:?}");
        }
    }

    #[test]
    fn messages_are_header_values() {
        for failure in Failure::ALL {
            http::HeaderValue::from_str(failure.answer().message).expect("a value");
        }
    }
}
