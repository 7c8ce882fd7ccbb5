//! Every path of the admin API, and the methods it takes.

use hyper::Method;

/// Everything that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Certs,
    ConfigDump,
    /// One live connection.
    Connection,
    Connections,
    Environment,
    Links,
    Live,
    LogLevel,
    Metrics,
    Policy,
    Ready,
    Routes,
    Shutdown,
}

impl Page {
    /// Those with a path of their own.
    const ALL: [Self; 12] = [
        Self::Certs,
        Self::ConfigDump,
        Self::Connections,
        Self::Environment,
        Self::Links,
        Self::Live,
        Self::LogLevel,
        Self::Metrics,
        Self::Policy,
        Self::Ready,
        Self::Routes,
        Self::Shutdown,
    ];

    /// What a path asks for.
    pub(super) fn find(path: &str) -> Option<Self> {
        let exact = Self::ALL.into_iter().find(|page| page.path() == path);
        exact.or_else(|| path.strip_prefix("/connections/").map(|_| Self::Connection))
    }

    /// Its path, also the metric label.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Certs => "/certs",
            Self::ConfigDump => "/config_dump",
            Self::Connection => "/connections/<id>",
            Self::Connections => "/connections",
            Self::Environment => "/env.json",
            Self::Links => "/links",
            Self::Live => "/live",
            Self::LogLevel => "/proxy-log-level",
            Self::Metrics => "/metrics",
            Self::Policy => "/policy",
            Self::Ready => "/ready",
            Self::Routes => "/routes",
            Self::Shutdown => "/shutdown",
        }
    }

    /// The methods it takes, as the `Allow` header lists them.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::Connection => "DELETE",
            Self::Connections => "GET, HEAD, DELETE",
            Self::LogLevel => "GET, HEAD, PUT",
            Self::Shutdown => "POST",
            _ => "GET, HEAD",
        }
    }

    /// True when it takes this method.
    pub(super) fn takes(self, method: &Method) -> bool {
        self.methods().split(", ").any(|known| known == method.as_str())
    }

    /// True when the request's body matters.
    pub(super) fn reads_body(self, method: &Method) -> bool {
        self == Self::LogLevel && method == Method::PUT
    }

    /// Served to anyone: the port is part of the gateway's public Service.
    pub(super) fn is_public(self) -> bool {
        matches!(self, Self::Live | Self::Ready)
    }
}
