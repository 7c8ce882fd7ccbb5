//! A response on its way back: its head, and its body in pieces, wherever they come from.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::body::{BodyFault, Piece};
use super::{client1, client2};
use crate::model::http::failure::Failure;
use crate::model::http::hop::{PROXY_CONNECTION, PROXY_ERROR};
use crate::proxy::connect::Connected;

/// What gRPC says about a request's end.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What the client gets.
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its fields, without those of one hop.
    pub headers: HeaderMap,
    /// Its body.
    pub body: ResponseBody,
    /// The endpoint's connection, when both have agreed on another protocol.
    pub upgraded: Option<Upgraded>,
}

/// An endpoint's connection that is not HTTP any more.
pub struct Upgraded {
    /// The connection.
    pub connected: Connected,
    /// What has come of the new protocol.
    pub early: Vec<u8>,
}

/// Where a response's body comes from.
pub enum ResponseBody {
    /// There is none.
    Empty,
    /// An HTTP/1 connection.
    Http1(Box<client1::Transfer>),
    /// A stream of an HTTP/2 connection.
    Http2(Box<client2::Transfer>),
    /// No response at all: the client's stream ends as the endpoint's did.
    Reset(Reason),
}

/// Why a response ends before its end.
#[derive(Debug)]
pub enum Broken {
    /// The client's own body broke.
    Client(BodyFault),
    /// The endpoint reset the stream, which is passed on.
    Reset(Reason),
    /// The endpoint's connection broke, or what it said was wrong.
    Endpoint,
}

impl Broken {
    /// The reason for the client.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Client(BodyFault::Aborted(_)) => Reason::CANCEL,
            Self::Client(_) => Reason::ENHANCE_YOUR_CALM,
            Self::Reset(reason) => *reason,
            Self::Endpoint => Reason::INTERNAL_ERROR,
        }
    }
}

impl From<client1::TransferError> for Broken {
    fn from(error: client1::TransferError) -> Self {
        match error {
            client1::TransferError::Body(fault) => Self::Client(fault),
            _ => Self::Endpoint,
        }
    }
}

impl From<client2::TransferError> for Broken {
    fn from(error: client2::TransferError) -> Self {
        match error {
            client2::TransferError::Body(fault) => Self::Client(fault),
            client2::TransferError::Reset(reason) => Self::Reset(reason),
            client2::TransferError::Connection(_) => Self::Endpoint,
        }
    }
}

impl ResponseBody {
    /// True when nothing more comes.
    pub fn is_end(&self) -> bool {
        match self {
            Self::Empty | Self::Reset(_) => true,
            Self::Http1(transfer) => transfer.is_end(),
            Self::Http2(transfer) => transfer.is_end(),
        }
    }

    /// Bytes of the request's body so far.
    pub fn request_bytes(&self) -> u64 {
        match self {
            Self::Empty | Self::Reset(_) => 0,
            Self::Http1(transfer) => transfer.request_bytes(),
            Self::Http2(transfer) => transfer.request_bytes(),
        }
    }

    /// The next piece; `None` at the end.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        match self {
            Self::Empty | Self::Reset(_) => Poll::Ready(None),
            Self::Http1(transfer) => transfer.poll_piece(cx).map_err(Broken::from),
            Self::Http2(transfer) => transfer.poll_piece(cx).map_err(Broken::from),
        }
    }

    /// The request's body goes on while the client does not take the response: it may only read
    /// after it has sent.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        match self {
            Self::Empty | Self::Reset(_) => Ok(()),
            Self::Http1(transfer) => transfer.poll_upload(cx).map_err(Broken::from),
            Self::Http2(transfer) => transfer.poll_upload(cx).map_err(Broken::from),
        }
    }

    /// So many bytes have gone on to the client.
    pub fn release(&mut self, count: usize) {
        if let Self::Http2(transfer) = self {
            transfer.release(count);
        }
    }
}

/// What we answer ourselves.
pub fn failed(failure: Failure, is_grpc: bool) -> Response {
    let answer = failure.answer();
    let mut headers = HeaderMap::with_capacity(6);
    let message = HeaderValue::from_static(answer.message);
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers.insert(PROXY_ERROR, message.clone());
    if answer.close {
        headers.insert(PROXY_CONNECTION, HeaderValue::from_static("close"));
    }
    let mut status = answer.status;
    if is_grpc {
        status = StatusCode::OK;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, answer.grpc_status.into());
        headers.insert(GRPC_MESSAGE, message);
    }
    Response { status, headers, body: ResponseBody::Empty, upgraded: None }
}

/// On a client's own HTTP/1 connection an error that says so ends it.
pub fn close_http1(headers: &mut HeaderMap) {
    if headers.contains_key(PROXY_CONNECTION) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The end of a gRPC call whose endpoint has gone: a status instead of a reset.
pub fn grpc_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    let answer = Failure::Endpoint.answer();
    trailers.insert(GRPC_STATUS, answer.grpc_status.into());
    let message = "the endpoint failed before the end of its response";
    trailers.insert(GRPC_MESSAGE, HeaderValue::from_static(message));
    trailers
}

/// An empty piece of data, to end a stream with.
pub const NOTHING: Bytes = Bytes::new();
