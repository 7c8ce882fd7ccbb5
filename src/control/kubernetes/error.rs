//! What an API server's answer means to us: the closed set that conditions, metrics and retries go
//! by.

use std::time::Duration;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer: connection, TLS, timeout.
    Unreachable,
    /// 401: the token is not accepted.
    Unauthorized,
    /// 403: a right is missing.
    Forbidden,
    /// 404: the object, or the kind, is not there.
    NotFound,
    /// 409 AlreadyExists.
    AlreadyExists,
    /// 409: it changed since it was read.
    Conflict,
    /// 410: the watch's place is no longer known.
    Gone,
    /// 422 or 400: the object is not acceptable; trying again does not help.
    Invalid,
    /// 429, or a server's error that names a time.
    Busy,
    /// Any other answer.
    Server,
    /// An answer that cannot be read.
    Malformed,
}

impl Failure {
    /// A reason as conditions and Events carry it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Invalid => "Invalid",
            Self::Busy => "Busy",
            Self::Server => "ServerError",
            Self::Malformed => "Malformed",
        }
    }

    /// The kind of an error of the client library.
    pub fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status.code, &status.reason),
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::Malformed,
            _ => Self::Unreachable,
        }
    }

    /// The kind of an answer.
    pub fn of_status(code: u16, reason: &str) -> Self {
        match code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            409 if reason == "AlreadyExists" => Self::AlreadyExists,
            409 => Self::Conflict,
            410 => Self::Gone,
            400 | 422 => Self::Invalid,
            429 => Self::Busy,
            _ => Self::Server,
        }
    }

    /// The kind of a watch's error.
    pub fn of_watch(error: &kube::runtime::watcher::Error) -> Self {
        use kube::runtime::watcher::Error;
        match error {
            Error::InitialListFailed(error)
            | Error::WatchStartFailed(error)
            | Error::WatchFailed(error) => Self::of(error),
            Error::WatchError(status) => Self::of_status(status.code, &status.reason),
            Error::NoResourceVersion => Self::Malformed,
        }
    }
}

/// How long the server asks to wait (`details.retryAfterSeconds`).
pub fn retry_after(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else { return None };
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}
