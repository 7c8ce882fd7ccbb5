//! Which requests of HTTP sessions have a line in the access log, as configuration says it and the
//! log asks it.

/// `log.access_requests`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoggedRequests {
    /// All.
    All,
    /// None.
    Off,
    /// Those that went wrong.
    #[default]
    Problems,
}
