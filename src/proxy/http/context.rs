//! What all requests of one session have in common.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::body::Bounds;
use super::pool;
use crate::config::{HttpSettings, Settings};
use crate::model::http::failure::Failure;
use crate::model::http::forwarded::{self, without_default_port};
use crate::model::identity::Identity;
use crate::model::route::Route;
use crate::model::service::Target;
use crate::observe::metrics::HttpSeries;
use crate::proxy::inbound::{Gateway, Rules};
use crate::proxy::route::Asked;
use crate::state::connections::{HttpLive, Live};

/// What holds for the requests of new sessions.
#[derive(Clone, Debug)]
pub struct HttpRules {
    /// As configured.
    pub settings: HttpSettings,
}

impl HttpRules {
    /// As configured.
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.http.clone() }
    }

    /// Bounds of a request's body.
    pub fn body(&self) -> Bounds {
        Bounds { size: self.settings.max_body_size, timeout: self.settings.body_timeout }
    }

    /// Bounds of connections that wait.
    pub fn pool(&self) -> pool::Bounds {
        let HttpSettings { pool_idle_timeout, max_idle_connections, .. } = self.settings;
        pool::Bounds { idle: pool_idle_timeout, most: max_idle_connections }
    }

    /// How long one session takes requests: a tenth more or less than configured.
    pub fn age(&self) -> Option<Duration> {
        self.settings.max_connection_age.map(|age| age.mul_f64(0.9 + 0.2 * fastrand::f64()))
    }
}

/// What every request of a session is told in the same words.
pub struct Words {
    /// `l5d-client-id`.
    pub client: HeaderValue,
    /// The target, by which a loop is known, and the element of `forwarded`; none for ports of this
    /// host.
    pub forwarded: Option<(String, HeaderValue)>,
}

impl Words {
    /// `None` when an identity holds what no header may.
    pub fn new(own: &Identity, client: &Identity, asked: &Asked) -> Option<Self> {
        let forwarded = match asked {
            Asked::Local(_) => None,
            Asked::Service(target) => {
                let authority = target.to_string();
                let host = without_default_port(&authority);
                let element = forwarded::element(own.as_str(), client.as_str(), host)?;
                Some((authority, element))
            }
        };
        Some(Self { client: HeaderValue::from_str(client.as_str()).ok()?, forwarded })
    }
}

/// One session, as its requests see it.
pub struct Context {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// What held when the session began.
    pub rules: Arc<Rules>,
    /// Who the client is.
    pub client: Identity,
    /// Who we are.
    pub own: Identity,
    /// Where the client connects from.
    pub source: SocketAddr,
    /// Its place among the live connections.
    pub live: Arc<Live>,
    /// Where its requests go.
    pub asked: Asked,
    /// No Linkerd proxy: a browser, curl.
    pub is_plain: bool,
    /// What its requests are told; `None` when that cannot be said.
    pub words: Option<Words>,
    /// Where its requests are counted.
    pub series: Arc<HttpSeries>,
    /// Its streams, for whoever lists connections.
    pub http: Arc<HttpLive>,
}

impl Context {
    /// The route at this moment.
    ///
    /// # Errors
    /// Why there is none.
    pub fn route(&self) -> Result<Arc<Route>, Failure> {
        let target = match &self.asked {
            Asked::Service(target) => target,
            Asked::Local(route) => return Ok(Arc::clone(route)),
        };
        let routes = self.gateway.state.routes.load();
        routes.by_target(target).cloned().ok_or_else(|| match target {
            Target::Service(name, port) if routes.not_exported(name.as_str(), *port).is_some() => {
                Failure::NotExported
            }
            _ => Failure::UnknownTarget,
        })
    }
}
