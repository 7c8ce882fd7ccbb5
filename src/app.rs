//! Builds every part from a loaded configuration, runs them, and stops them in order.
//!
//! Threads: one per worker, one per listener's acceptor, one for admin; control tasks run on the
//! thread that calls [`App::run`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::Socket;
use tokio::runtime::Builder;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::GatewaySettings;
use crate::config::load::{Loaded, Sources};
use crate::control::admin::{Admin, Scope};
use crate::control::credentials::{self, Source};
use crate::control::discovery::dns::{Followers, ResolverError};
use crate::control::discovery::{Discovery, dns_names};
use crate::model::policy::Policy;
use crate::net::socket;
use crate::observe::logs::Filter;
use crate::observe::metrics::Metrics;
use crate::proxy::accept::accept;
use crate::proxy::inbound::{Gateway, Rules};
use crate::runtime::{self, Workers};
use crate::state::State;
use crate::state::connections::CancelReason;
use crate::state::readiness::Latch;
use crate::tls::provider::{offered, warm_up};

mod changes;
mod reload;
mod signals;

use changes::Changes;
use reload::Reloader;
use signals::{Request, Signals};

/// How long cancelled connections may take to write their last log line.
const CANCEL_DEADLINE: Duration = Duration::from_secs(2);

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken or not ours.
    #[error("cannot listen on {address} ({key}): {}", reason(.error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The configuration's key for it.
        key: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The task that loads credentials is gone.
    #[error("the credentials task ended before there were any; its panic is in the log")]
    Credentials,
    /// The system gives no thread, reactor or signal.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// No resolver for DNS routes.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After TERM or INT, connections finished or their deadline passed.
    Stopped,
    /// A second TERM or INT.
    Forced,
}

/// A gateway whose addresses are reserved and which does not run yet.
#[derive(Debug)]
pub struct App {
    loaded: Loaded,
    sources: Sources,
    filter: Filter,
    state: Arc<State>,
    metrics: Arc<Metrics>,
    listeners: Vec<(SocketAddr, Socket)>,
    admin: (SocketAddr, Socket),
    metrics_listeners: Vec<(SocketAddr, Socket)>,
}

impl App {
    /// Reserves all addresses of `loaded`, so that a taken port is an error now. A reload reads
    /// `sources` again and may change the log's `filter`.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub fn bind(loaded: Loaded, sources: Sources, filter: Filter) -> Result<Self, StartError> {
        let settings = &loaded.settings;
        let mut listeners = Vec::new();
        if settings.gateway.enabled {
            for listener in &settings.gateway.listen {
                listeners.push(bind(listener.address, "gateway.listen")?);
            }
        }
        let admin = bind(settings.admin.listen, "admin.listen")?;
        let metrics_listen = settings.admin.metrics_listen.iter();
        let metrics_listeners = metrics_listen
            .map(|address| bind(*address, "admin.metrics_listen"))
            .collect::<Result<_, _>>()?;
        let metrics = Metrics::new();
        let (suites, groups) = offered();
        metrics.tls_info(&suites, &groups, "aws-lc-rs");
        Ok(Self {
            loaded,
            sources,
            filter,
            state: Arc::default(),
            metrics,
            listeners,
            admin,
            metrics_listeners,
        })
    }

    /// The reserved addresses of the data path, ports filled in.
    pub fn listeners(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(address, _)| *address).collect()
    }

    /// The reserved address of the admin API, port filled in.
    pub fn admin(&self) -> SocketAddr {
        self.admin.0
    }

    /// The reserved addresses that serve only metrics, ports filled in.
    pub fn metrics_listeners(&self) -> Vec<SocketAddr> {
        self.metrics_listeners.iter().map(|(address, _)| *address).collect()
    }

    /// What no connection may end at.
    fn own_listeners(&self) -> Vec<SocketAddr> {
        let all = self.listeners().into_iter().chain([self.admin()]);
        all.chain(self.metrics_listeners()).collect()
    }

    /// Runs until TERM or INT. `ready` is called once connections are accepted.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn run(self, ready: impl FnOnce()) -> Result<Ended, StartError> {
        let control = Builder::new_current_thread().enable_all().build()?;
        control.block_on(self.control(ready))
    }

    async fn control(mut self, ready: impl FnOnce()) -> Result<Ended, StartError> {
        let mut signals = Signals::new()?;
        let tasks = TaskTracker::new();
        let stop = Stop::default();
        let gates = Gates::new(&self.state);
        let workers = self.loaded.settings.runtime.workers.unwrap_or_else(runtime::default_workers);
        let workers = Arc::new(Workers::start(workers, &self.state.readiness, warm_up)?);
        let (mut reloader, mut loaded) = self.start_control(&tasks, &stop.everything)?;
        let mut changes = Changes::new(&self.loaded);
        let admin = self.start_admin(&stop.everything)?;

        let (mut acceptors, mut ready) = (Vec::new(), Some(ready));
        loop {
            tokio::select! {
                request = signals.next() => match request {
                    Request::Reload => reloader.reload(),
                    Request::Stop => break,
                },
                () = changes.next() => reloader.reload(),
                result = &mut loaded, if ready.is_some() => {
                    result.map_err(|_| StartError::Credentials)?;
                    gates.credentials.open();
                    let addresses = self.listeners();
                    acceptors =
                        self.start_acceptors(&reloader.gateway, &workers, &stop.accepting)?;
                    gates.listeners.open();
                    for listener in addresses {
                        tracing::info!(%listener, "accepting connections");
                    }
                    ready.take().into_iter().for_each(|ready| ready());
                }
            }
        }
        let gateway = &reloader.settings.gateway;
        let forced = !acceptors.is_empty() && self.linger(gateway, &mut signals).await;
        tracing::info!(connections = self.state.connections.len(), "stopping: no new connections");
        gates.listeners.close();
        stop.accepting.cancel();
        for acceptor in acceptors {
            // An acceptor's panic has been reported by the panic hook already.
            let _ = acceptor.join();
        }
        let deadline = gateway.drain_deadline;
        let ended = match forced {
            true => Ended::Forced,
            false => finish(&self.state, &workers, deadline, &mut signals).await,
        };
        stop.everything.cancel();
        tasks.close();
        let _ = admin.join();
        if let Some(workers) = Arc::into_inner(workers) {
            workers.stop();
        }
        Ok(ended)
    }

    /// The lame duck: `/ready` says no, connections are still accepted, so that whoever balances
    /// over replicas has time to notice. True when a second signal cuts it short.
    async fn linger(&self, gateway: &GatewaySettings, signals: &mut Signals) -> bool {
        self.state.draining.cancel();
        let lame_duck = gateway.lame_duck;
        tracing::info!(
            connections = self.state.connections.len(),
            ?lame_duck,
            "draining: not ready, connections are still accepted"
        );
        tokio::select! {
            () = tokio::time::sleep(lame_duck) => false,
            () = signals.stop() => true,
        }
    }

    /// Opens the data path's listeners, one thread each.
    fn start_acceptors(
        &mut self,
        gateway: &Arc<Gateway>,
        workers: &Arc<Workers>,
        stop: &CancellationToken,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let mut acceptors = Vec::new();
        for (index, (address, socket)) in self.listeners.drain(..).enumerate() {
            let listener = socket::listen(socket)
                .map_err(|error| refused(address, "gateway.listen", error))?;
            let (gateway, workers) = (Arc::clone(gateway), Arc::clone(workers));
            let accept = accept(gateway, (index, listener), workers, stop.clone());
            acceptors.push(runtime::spawn_thread(&format!("acceptor-{index}"), async move {
                if let Err(error) = accept.await {
                    tracing::error!(listener = %address, %error, "the acceptor ended");
                }
            })?);
        }
        Ok(acceptors)
    }

    /// Starts what feeds the data path; the receiver hears of the first credentials.
    fn start_control(
        &self,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<(Reloader, oneshot::Receiver<()>), StartError> {
        let settings = &self.loaded.settings;
        let (state, metrics) = (Arc::clone(&self.state), Arc::clone(&self.metrics));
        state.policy.store(Arc::new(Policy::new(settings.policy.clone())));
        reload::publish(&state, &metrics, &self.loaded);

        let discovery = Discovery::start(&settings.routes, &state);
        let mut followers = Followers::new(&settings.dns, &discovery, &metrics, tasks, stop);
        let names = dns_names(&settings.routes);
        followers.prepare(&names)?;
        followers.replace(&names);

        let (loaded, receiver) = oneshot::channel();
        let source = Source::new(&settings.identity, &settings.routes);
        let source = Arc::new(ArcSwap::from_pointee(source));
        let look = Arc::new(Notify::new());
        let follow = credentials::follow(
            Arc::clone(&source),
            Arc::clone(&state),
            Arc::clone(&metrics),
            Arc::clone(&look),
            loaded,
        );
        tasks.spawn(stop.clone().run_until_cancelled_owned(follow));

        let own_listeners = self.own_listeners();
        let rules = Rules::new(settings, own_listeners.clone());
        let gateway = Arc::new(Gateway::new(Arc::clone(&state), Arc::clone(&metrics), rules));
        let reloader = Reloader {
            sources: self.sources.clone(),
            settings: settings.clone(),
            filter: self.filter.clone(),
            state,
            metrics,
            gateway,
            own_listeners,
            discovery,
            followers,
            source,
            look,
        };
        Ok((reloader, receiver))
    }

    /// The admin API on a thread of its own: a slow scraper costs the data path nothing.
    fn start_admin(&self, stop: &CancellationToken) -> Result<JoinHandle<()>, StartError> {
        let admin = Arc::new(Admin {
            state: Arc::clone(&self.state),
            metrics: Arc::clone(&self.metrics),
            clock: runtime::now_millis,
        });
        let listen = |(address, socket): &(SocketAddr, Socket), key| {
            let listener = socket.try_clone().and_then(socket::listen);
            listener.map_err(|error| refused(*address, key, error))
        };
        let mut listeners = vec![(listen(&self.admin, "admin.listen")?, Scope::Full)];
        for reserved in &self.metrics_listeners {
            listeners.push((listen(reserved, "admin.metrics_listen")?, Scope::Metrics));
        }
        let stop = stop.clone();
        Ok(runtime::spawn_thread("admin", async move {
            let tasks = TaskTracker::new();
            for (listener, scope) in listeners {
                let (admin, stop, tracker) = (Arc::clone(&admin), stop.clone(), tasks.clone());
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => drop(tasks.spawn(admin.serve(listener, scope, stop, tracker))),
                    Err(error) => tracing::error!(%error, "an admin listener cannot be registered"),
                }
            }
            tasks.close();
            tasks.wait().await;
        })?)
    }
}

/// Waits for connections to end, then cancels the rest.
async fn finish(
    state: &State,
    workers: &Workers,
    deadline: Duration,
    signals: &mut Signals,
) -> Ended {
    tokio::select! {
        _ = timeout(deadline, workers.finished()) => {}
        () = signals.stop() => return Ended::Forced,
    }
    let cancelled = state.connections.cancel_where(CancelReason::Stopping, |_| true);
    if cancelled > 0 {
        tracing::warn!(cancelled, "connections closed at the deadline");
        let _ = timeout(CANCEL_DEADLINE, workers.finished()).await;
    }
    Ended::Stopped
}

fn bind(address: SocketAddr, key: &'static str) -> Result<(SocketAddr, Socket), StartError> {
    let socket = socket::bind(address).map_err(|error| refused(address, key, error))?;
    let bound = socket.local_addr().ok().and_then(|bound| bound.as_socket());
    Ok((bound.unwrap_or(address), socket))
}

fn refused(address: SocketAddr, key: &'static str, error: io::Error) -> StartError {
    StartError::Listen { address, key, error }
}

fn reason(error: &io::Error) -> String {
    let cause = match error.kind() {
        io::ErrorKind::AddrInUse => "another process has this port",
        io::ErrorKind::AddrNotAvailable => "this host has no such address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => return error.to_string(),
    };
    format!("{cause} ({error})")
}

/// What ends in which order: the admin API and the control tasks outlive the acceptors.
#[derive(Default)]
struct Stop {
    accepting: CancellationToken,
    everything: CancellationToken,
}

/// The readiness gates that this file opens.
struct Gates {
    credentials: Latch,
    listeners: Latch,
}

impl Gates {
    fn new(state: &State) -> Self {
        let readiness = &state.readiness;
        Self {
            credentials: readiness.latch("credentials"),
            listeners: readiness.latch("listeners"),
        }
    }
}
