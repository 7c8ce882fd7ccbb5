//! One acceptor per listener: each socket goes, before TLS, to the worker with the fewest open
//! connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::inbound::{Gateway, serve};
use super::session::Session;
use crate::net::socket;
use crate::runtime::{Worker, Workers};

/// Wait after the system ran out of descriptors or memory: short enough to recover within a
/// second, long enough not to spin.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(100);

/// Accepts until `stop`, then takes what the kernel has already completed, and closes the listener.
///
/// # Errors
/// When the listener cannot be registered with the reactor.
pub async fn accept(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    workers: Arc<Workers>,
    stop: CancellationToken,
) -> io::Result<()> {
    let local = socket::unmapped(listener.local_addr()?);
    #[expect(deprecated, reason = "its replacement is unsafe; a std listener keeps its promise")]
    let listener = AsyncFd::new(listener)?;
    loop {
        let mut ready = tokio::select! {
            () = stop.cancelled() => break,
            ready = listener.readable() => ready?,
        };
        match socket::accept(ready.get_inner()) {
            Ok((stream, peer)) => hand_over(&gateway, &workers, stream, peer, local),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => {
                gateway.metrics.accept_failed();
                if is_exhausted(&error) {
                    tracing::error!(listener = %local, %error,
                        "cannot accept: out of descriptors or memory; raise the limit or add replicas");
                    tokio::time::sleep(EXHAUSTED_WAIT).await;
                }
            }
        }
    }
    // A connection that the kernel has completed is a promise to the peer.
    while let Ok((stream, peer)) = socket::accept(listener.get_ref()) {
        hand_over(&gateway, &workers, stream, peer, local);
    }
    Ok(())
}

fn hand_over(
    gateway: &Arc<Gateway>,
    workers: &Arc<Workers>,
    stream: std::net::TcpStream,
    peer: SocketAddr,
    listener: SocketAddr,
) {
    gateway.metrics.accepted();
    let Some(worker) = workers.least_loaded() else { return };
    let place = Place::take(gateway, workers, worker);
    // The address that the client sees: the listener's own may be the unspecified one.
    let local = stream.local_addr().map_or(listener, socket::unmapped);
    let gateway = Arc::clone(gateway);
    worker.spawn(async move {
        let connections = &gateway.state.connections;
        let registration = connections.register(peer, local, place.worker);
        let session = Session::new(registration, Arc::clone(&gateway.metrics));
        match TcpStream::from_std(stream) {
            Ok(stream) => serve(&gateway, stream, session).await,
            Err(error) => tracing::error!(%peer, %error, "cannot register a socket"),
        }
        drop(place);
    });
}

/// Running out of something, as opposed to one connection that died in the queue.
fn is_exhausted(error: &io::Error) -> bool {
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
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
