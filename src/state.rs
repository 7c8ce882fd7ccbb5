//! The meeting point: control swaps whole snapshots in, the data path and the admin API read them.
//!
//! Nothing here blocks, and no lock is held across an await.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::model::policy::Policy;
use crate::model::route::RouteTable;
use crate::tls::credentials::Credentials;

pub mod connections;
pub mod links;
pub mod pressure;
pub mod readiness;

use connections::Connections;
use links::MirrorView;
use pressure::Pressure;
use readiness::Readiness;

/// Everything that control and the data path share.
#[derive(Debug, Default)]
pub struct State {
    /// The credentials that new handshakes use; `None` until the first good load.
    pub credentials: ArcSwapOption<Credentials>,
    /// How the last attempts to load credentials went.
    pub credentials_status: ArcSwap<CredentialsStatus>,
    /// Where targets lead.
    pub routes: ArcSwap<RouteTable>,
    /// Who may reach what.
    pub policy: ArcSwap<Policy>,
    /// The configuration in force.
    pub configuration: ArcSwap<Configuration>,
    /// Networks whose connections to the admin port begin with a PROXY header.
    pub admin_proxies: ArcSwap<Vec<IpNet>>,
    /// How the mirror fares.
    pub links: ArcSwap<MirrorView>,
    /// Live connections.
    pub connections: Arc<Connections>,
    /// Whether memory is too short to accept anything.
    pub pressure: Pressure,
    /// What `/ready` reads.
    pub readiness: Readiness,
    /// Cancelled when the process begins to stop: `/ready` says no from then on, and kept
    /// connections to the admin port end, while the data path still accepts.
    pub draining: CancellationToken,
    /// Cancelled after that, when nothing is accepted any more: HTTP sessions ask their clients to
    /// go elsewhere.
    pub closing: CancellationToken,
}

/// The configuration in force, for `/config_dump`.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// 1 at start; grows with every accepted reload.
    pub generation: u64,
    /// Every effective value, as JSON.
    pub dump: Arc<str>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self { generation: 0, dump: "{}".into() }
    }
}

/// How loading credentials goes, for `/certs` and metrics.
#[derive(Clone, Debug, Default)]
pub struct CredentialsStatus {
    /// Loads that changed the credentials in use.
    pub loaded: u64,
    /// Changes that were refused.
    pub refused: u64,
    /// When the credentials in use were loaded.
    pub loaded_at: Option<SystemTime>,
    /// Why the newest change was refused; `None` once a later one was accepted.
    pub problem: Option<Arc<str>>,
}
