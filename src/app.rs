//! Builds every part from a loaded configuration, runs them, and stops them in order.
//!
//! Threads: one per worker, which accept, too, one for admin, and one for what talks to API servers;
//! the other control tasks run on the thread that calls [`App::run`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::GatewaySettings;
use crate::config::load::{Loaded, Sources};
use crate::control::admin::{Admin, Scope};
use crate::control::dns::ResolverError;
use crate::model::outcome::Outcome;
use crate::model::task::Task;
use crate::net::socket;
use crate::observe::logs::Filter;
use crate::observe::metrics::Metrics;
use crate::proxy::accept::accept;
use crate::proxy::inbound::Gateway;
use crate::runtime::supervise::{Supervisor, supervise};
use crate::runtime::{self, THREAD_DEADLINE, Thread, Workers};
use crate::state::State;
use crate::state::readiness::Latch;
use crate::tls::provider::{offered, warm_up};

mod changes;
mod control;
mod kubernetes;
mod listeners;
pub(crate) mod mirror;
mod reload;
mod signals;
mod systemd;

use changes::Changes;
use listeners::{Reserve, reason, refused};
use signals::{Request, Signals};
use systemd::Manager;

/// How long cancelled connections may take to write their last log line, and cancelled control
/// tasks to end.
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
    /// The system gives no thread, reactor or signal.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The service manager passed a socket that is for nothing.
    #[error(
        "the socket {socket} that the service manager passed is for no listener: give it the \
             FileDescriptorName gateway, admin or metrics, or the address of a listener"
    )]
    Passed {
        /// Its name and address.
        socket: String,
    },
    /// No resolver for DNS routes.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After TERM, INT or /shutdown, connections finished or their deadline passed.
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
        let mut reserve = Reserve::from_environment();
        let gateway = settings.gateway.listen.iter().map(|listener| listener.address);
        let gateway: Vec<_> = gateway.filter(|_| settings.gateway.enabled).collect();
        let listeners = reserve.all(&gateway, "gateway.listen")?;
        let admin = reserve.one(settings.admin.listen, "admin.listen")?;
        let metrics_listeners =
            reserve.all(&settings.admin.metrics_listen, "admin.metrics_listen")?;
        reserve.finish()?;
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

    /// Runs until TERM, INT or /shutdown. `ready` is called once connections are accepted.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn run(self, ready: impl FnOnce()) -> Result<Ended, StartError> {
        let control = Builder::new_current_thread().enable_all().build()?;
        control.block_on(self.control(ready))
    }

    async fn control(mut self, ready: impl FnOnce()) -> Result<Ended, StartError> {
        let stop = Stop::default();
        let mut signals = Signals::new(stop.asked.clone())?;
        let supervisor = Supervisor::new(&self.metrics, &stop.everything);
        let gates = Gates::new(&self.state, mirror::is_alone(&self.loaded.settings));
        let workers = self.loaded.settings.runtime.workers.unwrap_or_else(runtime::default_workers);
        let workers = Workers::start(workers, &self.state.readiness, &self.metrics, warm_up)?;
        let workers = Arc::new(workers);
        let mut reloader = self.start_control(&supervisor)?;
        let credentials = Arc::clone(&reloader.credentials);
        let apart = self.start_apart(&reloader.discovery, &stop.everything)?;
        let mut changes = Changes::new(&self.loaded);
        let admin = self.start_admin(&stop)?;

        let manager = Manager::new();
        manager.status("waiting for usable credentials");
        manager.watch(&supervisor, &self.state);

        let (mut acceptors, mut ready) = (Vec::new(), Some(ready));
        loop {
            tokio::select! {
                request = signals.next() => match request {
                    Request::Reload => manager.reload(&mut reloader),
                    Request::Stop => break,
                },
                () = changes.next() => manager.reload(&mut reloader),
                () = gates.may_serve(&credentials.loaded), if ready.is_some() => {
                    gates.credentials.iter().for_each(Latch::open);
                    let addresses = self.listeners();
                    acceptors =
                        self.start_acceptors(&reloader.gateway, &workers, &stop.accepting)?;
                    gates.listeners.iter().for_each(Latch::open);
                    for listener in addresses {
                        tracing::info!(%listener, "accepting connections");
                    }
                    manager.ready(&reloader);
                    ready.take().into_iter().for_each(|ready| ready());
                }
            }
        }
        manager.stopping();
        let gateway = &reloader.settings.gateway;
        let forced = !acceptors.is_empty() && self.linger(gateway, &mut signals).await;
        tracing::info!(connections = self.state.connections.len(), "stopping: no new connections");
        gates.listeners.iter().for_each(Latch::close);
        stop.accepting.cancel();
        self.state.closing.cancel();
        let accepted = async {
            for acceptor in acceptors {
                let _ = acceptor.await;
            }
        };
        if timeout(THREAD_DEADLINE, accepted).await.is_err() {
            tracing::warn!("an acceptor does not end; left behind");
        }
        let deadline = gateway.drain_deadline;
        let ended = match forced {
            true => Ended::Forced,
            false => finish(&self.state, &workers, deadline, &mut signals).await,
        };
        stop.everything.cancel();
        let _ = timeout(CANCEL_DEADLINE, supervisor.finished()).await;
        for thread in apart.into_iter().chain([admin]) {
            thread.join(THREAD_DEADLINE);
        }
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
            () = signals.forced() => true,
        }
    }

    /// Opens the data path's listeners, each accepted from by one worker.
    fn start_acceptors(
        &mut self,
        gateway: &Arc<Gateway>,
        workers: &Arc<Workers>,
        stop: &CancellationToken,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let mut acceptors = Vec::new();
        for ((index, (address, socket)), worker) in
            self.listeners.drain(..).enumerate().zip(workers.all().iter().cycle())
        {
            // Armed before the first connection can inherit it.
            let options = gateway.rules.load().connector.options;
            let listener = socket::prepare(&socket, &options).and_then(|()| socket::listen(socket));
            let listener = listener.map_err(|error| refused(address, "gateway.listen", error))?;
            let (listener, gateway) = (Arc::new(listener), Arc::clone(gateway));
            let (workers, stop) = (Arc::clone(workers), stop.clone());
            let metrics = Arc::clone(&self.metrics);
            acceptors.push(worker.serve(async move {
                let start = || {
                    let (gateway, listener) = (Arc::clone(&gateway), Arc::clone(&listener));
                    accept(gateway, (index, listener), Arc::clone(&workers), stop.clone())
                };
                supervise(Task::Acceptor, &metrics, &stop, start).await;
            }));
        }
        Ok(acceptors)
    }

    /// The admin API on a thread of its own: a slow scraper costs the data path nothing.
    fn start_admin(&self, stop: &Stop) -> Result<Thread, StartError> {
        let admin = Arc::new(Admin {
            state: Arc::clone(&self.state),
            metrics: Arc::clone(&self.metrics),
            clock: runtime::now_millis,
            filter: Some(self.filter.clone()),
            shutdown: self.loaded.settings.admin.shutdown.then(|| stop.asked.clone()),
        });
        let listen = |(address, socket): &(SocketAddr, Socket), key, scope| {
            let listener = socket.try_clone().and_then(socket::listen);
            let both = listener.and_then(|kept| Ok((kept.try_clone()?, kept)));
            let (copy, kept) = both.map_err(|error| refused(*address, key, error))?;
            Ok::<_, StartError>((kept, Some(copy), scope))
        };
        let mut listeners = vec![listen(&self.admin, "admin.listen", Scope::Full)?];
        for reserved in &self.metrics_listeners {
            listeners.push(listen(reserved, "admin.metrics_listen", Scope::Metrics)?);
        }
        let stop = stop.everything.clone();
        Ok(runtime::spawn_thread("admin", async move {
            let supervisor = Supervisor::new(&admin.metrics, &stop);
            for (listener, mut copy, scope) in listeners {
                let (admin, stop) = (Arc::clone(&admin), stop.clone());
                let tracker = supervisor.tracker().clone();
                supervisor.spawn(Task::Admin, move || {
                    // A copy: a panic must not close the listener.
                    let copy = copy.take().map_or_else(|| listener.try_clone(), Ok);
                    let listener = copy.and_then(TcpListener::from_std);
                    let (admin, stop, tracker) =
                        (Arc::clone(&admin), stop.clone(), tracker.clone());
                    async move {
                        admin.serve(listener?, scope, stop, tracker).await;
                        Ok(())
                    }
                });
            }
            supervisor.finished().await;
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
        () = signals.forced() => return Ended::Forced,
    }
    let cancelled = state.connections.cancel_where(Outcome::Cancelled, |_| true);
    if cancelled > 0 {
        tracing::warn!(cancelled, "connections closed at the deadline");
        let _ = timeout(CANCEL_DEADLINE, workers.finished()).await;
    }
    Ended::Stopped
}

/// What ends in which order: the admin API and the control tasks outlive the acceptors.
#[derive(Default)]
struct Stop {
    /// By the admin API.
    asked: CancellationToken,
    accepting: CancellationToken,
    everything: CancellationToken,
}

/// The readiness gates that this file opens; none in a process that only mirrors.
struct Gates {
    credentials: Option<Latch>,
    listeners: Option<Latch>,
}

impl Gates {
    fn new(state: &State, is_mirror_alone: bool) -> Self {
        let latch = |name| (!is_mirror_alone).then(|| state.readiness.latch(name));
        Self { credentials: latch("credentials"), listeners: latch("listeners") }
    }

    /// Waits for credentials, unless nothing is served with them.
    async fn may_serve(&self, loaded: &Notify) {
        if self.credentials.is_some() {
            loaded.notified().await;
        }
    }
}
