//! What the process is asked for by signals: HUP reloads, TERM and INT stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

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
}

impl Signals {
    /// Takes the signals over from the system's defaults.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> Request {
        let Self { terminate, interrupt, hangup } = self;
        tokio::select! {
            _ = terminate.recv() => Request::Stop,
            _ = interrupt.recv() => Request::Stop,
            _ = hangup.recv() => Request::Reload,
        }
    }

    /// The next request to stop.
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, Request::Stop) {}
    }
}
