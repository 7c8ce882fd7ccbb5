//! What the process is asked for: HUP reloads; TERM, INT and the admin API's /shutdown stop; the
//! second TERM or INT, and nothing else, forces.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// One request.
pub(super) enum Request {
    /// Look at the files again.
    Reload,
    /// Stop.
    Stop,
}

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Cancelled by the admin API's /shutdown. It counts as no signal: what asks there may ask
    /// again, and Kubernetes sends its TERM all the same.
    shutdown: CancellationToken,
    /// TERM and INT so far.
    stops: u32,
}

impl Signals {
    /// Takes the signals over from the system's defaults.
    pub(super) fn new(shutdown: CancellationToken) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            shutdown,
            stops: 0,
        })
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> Request {
        let Self { terminate, interrupt, hangup, shutdown, stops } = self;
        tokio::select! {
            _ = terminate.recv() => *stops += 1,
            _ = interrupt.recv() => *stops += 1,
            () = shutdown.cancelled() => {}
            _ = hangup.recv() => return Request::Reload,
        }
        Request::Stop
    }

    /// The second TERM or INT of all.
    pub(super) async fn forced(&mut self) {
        let Self { terminate, interrupt, stops, .. } = self;
        while *stops < 2 {
            tokio::select! {
                _ = terminate.recv() => *stops += 1,
                _ = interrupt.recv() => *stops += 1,
            }
        }
    }
}
