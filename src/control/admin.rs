//! The admin server on 4191: probes for everyone, the rest of the API from loopback only. `page`
//! lists its paths, `views` shows, `actions` changes.
//!
//! `app` runs [`Admin::serve`] on a thread of its own, so that probes are answered however busy the
//! data path is. Plain and TLS, HTTP/1 and HTTP/2 with prior knowledge share the port: the first
//! byte tells TLS, the HTTP/2 preface the rest. The TCP peer's address decides what a client may
//! ask, never a header. The port is public, so everything a client can hold is bounded: see
//! `admin/slots.rs` and `admin/connection.rs`.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::notice::Notice;
use crate::model::task::Task;
use crate::observe::logs::Filter;
use crate::observe::metrics::Metrics;
use crate::runtime::fault;
use crate::runtime::supervise::caught;
use crate::state::State;

mod actions;
mod answer;
mod body;
mod connection;
mod environment;
mod page;
mod query;
mod slots;
#[cfg(test)]
mod tests;
mod views;

use connection::Connection;
use slots::Slots;

/// Connections from other hosts. A probe holds one for milliseconds, a remote cluster's prober
/// one for good.
const MAX_REMOTE: usize = 256;
/// Connections from loopback, counted apart: remote clients cannot lock the operator out.
const MAX_LOOPBACK: usize = 64;
/// After an accept that failed for want of descriptors or memory: long enough not to spin, short
/// against any probe's timeout.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the admin server shows.
#[derive(Debug)]
pub struct Admin {
    /// What the parts of the process share.
    pub state: Arc<State>,
    /// For `/metrics`, and to count requests.
    pub metrics: Arc<Metrics>,
    /// Milliseconds on the clock that ejections are measured with.
    pub clock: fn() -> u64,
    /// What the process logs; `None` where it cannot be changed.
    pub filter: Option<Filter>,
    /// Asks the process to stop; `None` where it is not configured.
    pub shutdown: Option<CancellationToken>,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Probes for everyone, everything for loopback.
    Full,
    /// Probes and metrics for everyone, nothing else.
    Metrics,
}

impl Admin {
    /// Serves until `stop` is cancelled, then ends its connections, each in at most 2 s. All tasks
    /// are spawned through `tracker`.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        scope: Scope,
        stop: CancellationToken,
        tracker: TaskTracker,
    ) {
        let open = TaskTracker::new();
        self.accept(listener, scope, &stop, &tracker, &open).await;
        open.close();
        open.wait().await;
    }

    /// Accepts until `stop`; each connection holds a token of `open` while it lasts.
    async fn accept(
        self: &Arc<Self>,
        listener: TcpListener,
        scope: Scope,
        stop: &CancellationToken,
        tracker: &TaskTracker,
        open: &TaskTracker,
    ) {
        let (remote, loopback) = (Slots::new(MAX_REMOTE), Slots::new(MAX_LOOPBACK));
        let failing = Notice::default();
        loop {
            fault::point("admin");
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if is_about_one_connection(&error) => continue,
                Err(error) => {
                    if let Some(failures) = failing.count((self.clock)()) {
                        tracing::warn!(%error, failures,
                            "the admin server cannot accept; it tries again until descriptors or memory are free");
                    }
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                    }
                }
            };
            // A dual-stack listener reports IPv4 peers as ::ffff:a.b.c.d.
            let peer: IpAddr = peer.ip().to_canonical();
            let slots = if peer.is_loopback() { &loopback } else { &remote };
            let connection = Connection {
                admin: Arc::clone(self),
                scope,
                peer,
                slot: Arc::new(slots.enter()),
                stop: stop.clone(),
                tracker: tracker.clone(),
            };
            let (token, tls, admin) = (open.token(), self.tls(), Arc::clone(self));
            tracker.spawn(async move {
                if let Err(panicked) = caught(pin!(connection.run(stream, tls))).await {
                    let task = Task::AdminConnection;
                    admin.metrics.task_restarted(task);
                    tracing::error!(task = task.label(), %peer, "{}: {panicked}", task.meaning());
                }
                drop(token);
            });
        }
    }

    /// How TLS is served now; `None` while there are no credentials.
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.state.credentials.load().as_ref().map(|credentials| Arc::clone(&credentials.admin))
    }
}

/// accept(2) also reports errors of the connection that it takes from the queue: the next one is
/// not affected. All others stay until something is freed.
fn is_about_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
