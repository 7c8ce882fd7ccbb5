//! Bodies of requests: bounded in size and time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::Body;
use tokio::time::timeout;

/// Most bytes of a body. The longest that is useful is a log filter of some lines.
pub(super) const MAX_BODY: usize = 4096;
/// From the end of the headers to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What arrived.
pub(super) type Received = Result<Bytes, BodyError>;

/// Why a body is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// The client went away, or broke the protocol.
    #[error("the body broke off")]
    Broken,
    /// More than [`MAX_BODY`].
    #[error("the body is longer than {MAX_BODY} bytes")]
    TooLong,
    /// Later than [`BODY_TIMEOUT`].
    #[error("the body did not arrive within {} s", BODY_TIMEOUT.as_secs())]
    TooSlow,
}

impl BodyError {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

/// Reads a body to its end.
pub(super) async fn receive<B>(body: B) -> Received
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLong),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_elapsed) => Err(BodyError::TooSlow),
    }
}
