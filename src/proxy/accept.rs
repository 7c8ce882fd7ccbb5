//! One acceptor per listener, on one of the workers: each socket goes, before TLS, to the worker with
//! the fewest open connections. One that stays where it was accepted wakes nobody
//! (`benches/README.md`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::inbound::{Gateway, serve};
use super::session::Session;
use crate::model::notice::Notice;
use crate::model::outcome::Outcome;
use crate::net::socket::{self, Options};
use crate::runtime::supervise::caught;
use crate::runtime::{Worker, Workers, fault, now_millis};
use crate::state::connections::Registration;

/// Wait after the system ran out of descriptors or memory: short enough to recover within a
/// second, long enough not to spin.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(100);

/// Connections accepted before those that there are get their turn.
const ACCEPTS_PER_TURN: u32 = 16;

/// Failed accepts after which the rest of the queue is given up: 2 s without descriptors.
const FAILURES_WHILE_EMPTYING: u32 = 20;

/// Accepts until `stop`, then takes what the kernel has already completed. The listener, which is
/// the `index`th of `gateway.listen`, is shared so that a panic here does not close it: what waits
/// in its queue is accepted by the next run.
///
/// # Errors
/// When the listener cannot be registered with the reactor, or not be tuned.
pub async fn accept(
    gateway: Arc<Gateway>,
    (index, listener): (usize, Arc<TcpListener>),
    workers: Arc<Workers>,
    stop: CancellationToken,
) -> io::Result<()> {
    let local = socket::unmapped(listener.local_addr()?);
    let from = Listener { index, address: local };
    let exhausted = Notice::default();
    #[expect(deprecated, reason = "its replacement is unsafe; a std listener keeps its promise")]
    let listener = AsyncFd::new(listener)?;
    let mut inheritance = Inheritance { options: None, is_complete: false };
    inheritance.settle(listener.get_ref(), gateway.rules.load().connector.options)?;
    loop {
        let mut ready = tokio::select! {
            () = stop.cancelled() => break,
            ready = listener.readable() => ready?,
        };
        fault::point("acceptor");
        if gateway.state.pressure.is_high() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = gateway.state.pressure.relieved() => {}
            }
        }
        inheritance.settle(ready.get_inner(), gateway.rules.load().connector.options)?;
        for _ in 0..ACCEPTS_PER_TURN {
            match socket::accept(ready.get_inner()) {
                Ok((stream, peer)) => {
                    inheritance.give(&stream);
                    hand_over(&gateway, &workers, stream, peer, from);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    inheritance.is_complete = true;
                    ready.clear_ready();
                    break;
                }
                Err(error) => {
                    failed(&gateway, local, &exhausted, &error).await;
                    break;
                }
            }
        }
        tokio::task::yield_now().await;
    }
    // A connection that the kernel has completed is a promise to the peer. One that cannot be
    // accepted must not cost those behind it theirs; whoever keeps coming after the end is not
    // waited for.
    fault::point("acceptor_stopping");
    let (mut accepted, mut failures) = (0, 0);
    while accepted < socket::BACKLOG && failures < FAILURES_WHILE_EMPTYING {
        match socket::accept(listener.get_ref()) {
            Ok((stream, peer)) => {
                inheritance.give(&stream);
                hand_over(&gateway, &workers, stream, peer, from);
                accepted += 1;
                if accepted % ACCEPTS_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => {
                failures += 1;
                failed(&gateway, local, &exhausted, &error).await;
            }
        }
    }
    Ok(())
}

/// Socket options that connections have from their listener, at no system call of their own.
struct Inheritance {
    /// What the listener has.
    options: Option<Options>,
    /// Its queue has been empty since it has them: nothing older waits in it.
    is_complete: bool,
}

impl Inheritance {
    /// Gives the listener what a reload may have changed.
    fn settle(&mut self, listener: &TcpListener, options: Options) -> io::Result<()> {
        if self.options != Some(options) {
            socket::prepare(listener, &options)?;
            *self = Self { options: Some(options), is_complete: false };
        }
        Ok(())
    }

    /// Gives a connection what it may have come too early to inherit.
    fn give(&self, stream: &std::net::TcpStream) {
        if let Some(options) = self.options.filter(|_| !self.is_complete) {
            // It fails only for a connection that is gone, which its first read will tell.
            let _ = socket::prepare(stream, &options);
        }
    }
}

/// An accept failed: waits when that is for want of something, and tells of it.
async fn failed(gateway: &Gateway, listener: SocketAddr, exhausted: &Notice, error: &io::Error) {
    gateway.metrics.accept_failed();
    if !is_exhausted(error) {
        return;
    }
    if let Some(failures) = exhausted.count(now_millis()) {
        tracing::error!(%listener, %error, failures,
            "cannot accept: out of descriptors or memory; raise the limit or add replicas");
    }
    tokio::time::sleep(EXHAUSTED_WAIT).await;
}

/// Where a connection arrived.
#[derive(Clone, Copy)]
struct Listener {
    /// Its place in `gateway.listen`.
    index: usize,
    address: SocketAddr,
}

fn hand_over(
    gateway: &Arc<Gateway>,
    workers: &Arc<Workers>,
    stream: std::net::TcpStream,
    peer: SocketAddr,
    listener: Listener,
) {
    gateway.metrics.accepted();
    let Some(worker) = workers.least_loaded() else { return };
    let place = Place::take(gateway, workers, worker);
    // The address that the client sees.
    let local = match listener.address {
        any if any.ip().is_unspecified() => stream.local_addr().map_or(any, socket::unmapped),
        own => own,
    };
    let registration = gateway.state.connections.register(peer, local, worker.index);
    worker.spawn(live(Arc::clone(gateway), stream, registration, listener.index, place));
}

/// A connection on its worker, to its outcome.
#[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice")]
fn live(
    gateway: Arc<Gateway>,
    stream: std::net::TcpStream,
    registration: Registration,
    listener: usize,
    place: Place,
) -> impl Future<Output = ()> {
    async move {
        let _place = place;
        let Some(stream) = registered(&gateway, stream, registration.peer) else { return };
        let mut session = Session::new(registration, Arc::clone(&gateway.metrics));
        session.listener = u16::try_from(listener).unwrap_or(u16::MAX);
        let outcome = {
            let life = pin!(serve(&gateway, stream, &mut session));
            caught(life).await
        };
        // After a panic both sockets have been dropped here, which resets them.
        let outcome = outcome.unwrap_or(Outcome::Panicked);
        session.finish(outcome, &gateway.rules.load().access);
    }
}

/// The socket in its worker's reactor.
fn registered(
    gateway: &Gateway,
    stream: std::net::TcpStream,
    peer: SocketAddr,
) -> Option<TcpStream> {
    TcpStream::from_std(stream)
        .inspect_err(|error| {
            gateway.metrics.accept_failed();
            tracing::error!(%peer, %error, "cannot register a socket: the connection is reset");
        })
        .ok()
}

/// Running out of something, as opposed to one connection that died in the queue.
fn is_exhausted(error: &io::Error) -> bool {
    socket::is_one_of(error, &[Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM])
}

/// A connection's place in its worker's count; given back also when the connection panics.
struct Place {
    gateway: Arc<Gateway>,
    workers: Arc<Workers>,
    worker: usize,
}

impl Place {
    fn take(gateway: &Arc<Gateway>, workers: &Arc<Workers>, worker: &Worker) -> Self {
        worker.opened();
        gateway.metrics.worker_open(worker.index, 1);
        let (gateway, workers) = (Arc::clone(gateway), Arc::clone(workers));
        Self { gateway, workers, worker: worker.index }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gateway.metrics.worker_open(self.worker, -1);
        if let Some(worker) = self.workers.all().get(self.worker) {
            worker.closed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Sources, load};
    use crate::observe::metrics::Metrics;
    use crate::proxy::inbound::Rules;
    use crate::state::State;
    use crate::state::readiness::Readiness;

    /// What every connection holds for its whole life, beside its buffers and TLS states.
    #[test]
    fn the_future_of_a_connection_is_small() {
        let file = Some("config/minimal.toml".into());
        let loaded = load(&Sources { file, ..Sources::default() }).expect("a configuration");
        let rules = Rules::new(&loaded.settings, Vec::new());
        let metrics = Metrics::new();
        let workers = Workers::start(1, &Readiness::default(), &metrics, || {});
        let workers = Arc::new(workers.expect("a thread"));
        let gateway = Arc::new(Gateway::new(Arc::<State>::default(), metrics, rules));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let stream = std::net::TcpStream::connect(address).expect("connected");
        let worker = workers.least_loaded().expect("one");
        let place = Place::take(&gateway, &workers, worker);
        let registration = gateway.state.connections.register(address, address, 0);
        let life = live(Arc::clone(&gateway), stream, registration, 0, place);
        let size = size_of_val(&life);
        eprintln!("{size} bytes per connection's future");
        // With the task's own 136 bytes it fits the allocator's class of 1,280.
        assert!(size <= 1144, "{size}");
    }
}
