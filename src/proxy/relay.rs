//! Bytes both ways until both sides have ended: half-close kept, nothing lost or reordered.
//!
//! A connection owns a buffer only while it holds bytes that the other side has no room for; what
//! moves straight through passes a buffer that the worker thread owns. Everything accepted by TLS
//! is flushed before the relay waits.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::end::{End, Fault};
use crate::model::counts::ByteCounts;
use crate::model::outcome::Outcome;
use crate::net::socket;

pub mod watch;

use watch::{Waiting, Watch};

/// Bytes per read. Bulk cost is the number of system calls; the buffer is one per worker.
const SCRATCH: usize = 256 * 1024;
/// Bytes per read after the other side has had no room: what it does not take is the connection's
/// to keep.
const LEAST_WINDOW: usize = 64 * 1024;
/// Bytes of one direction before other connections of the worker get their turn.
const BYTES_PER_TURN: usize = 1024 * 1024;
/// The same in reads, for a peer that sends byte by byte.
const READS_PER_TURN: usize = 16;
/// How long what was read before a fault may take to leave.
const LAST_BYTES_DEADLINE: Duration = Duration::from_secs(1);

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Which side a fault is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The peer that connected to us.
    Client,
    /// The endpoint that we connected to.
    Endpoint,
}

/// The side that ended a connection before both were done, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The side.
    pub side: Side,
    /// What it did.
    pub fault: Fault,
}

/// How long a relay waits for what may never come.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// The TCP_USER_TIMEOUT of both sockets.
    pub user: Duration,
    /// Without a byte after one side has ended.
    pub half_closed: Duration,
    /// Without a byte while both sides are open; `None` waits for ever.
    pub idle: Option<Duration>,
}

/// Two ends with their bytes on the way. Dropping it resets both, unless they have ended cleanly.
pub struct Relay {
    client: End,
    endpoint: End,
    up: Flow,
    down: Flow,
    watch: Watch,
}

impl Relay {
    /// Between `client` and `endpoint`; `early` are bytes already read from the client.
    pub fn new(client: End, endpoint: End, early: Vec<u8>, timeouts: Timeouts) -> Self {
        Self {
            client,
            endpoint,
            up: Flow::new(Side::Client, Side::Endpoint, early),
            down: Flow::new(Side::Endpoint, Side::Client, Vec::new()),
            watch: Watch::new(timeouts),
        }
    }

    /// These have already been read from the endpoint.
    pub fn also_from_endpoint(&mut self, early: Vec<u8>) {
        self.down.pending = early;
    }

    /// Relays until both sides have ended. `bytes` has what was read before.
    ///
    /// After `Ok` both sides are disarmed. After a fault what was read before it has been written
    /// as far as a second allows.
    ///
    /// # Errors
    /// The first side that broke.
    pub async fn run(&mut self, bytes: &ByteCounts) -> Result<(), Broken> {
        let Err(broken) = poll_fn(|cx| self.poll(cx, bytes)).await else {
            self.client.disarm();
            self.endpoint.disarm();
            return Ok(());
        };
        // Boxed: only broken connections have one. Whether or not it was enough, the reset that
        // follows says that the end is not clean.
        let last_bytes = Box::pin(self.last_bytes(broken.side, bytes));
        let _ = tokio::time::timeout(LAST_BYTES_DEADLINE, last_bytes).await;
        Err(broken)
    }

    fn poll(&mut self, cx: &mut Context<'_>, bytes: &ByteCounts) -> Poll<Result<(), Broken>> {
        let Self { client, endpoint, up, down, watch } = self;
        // A fault is reported by the kernel once; afterwards the same socket reads like a clean
        // end. So nothing may be read any more once either direction has met one.
        let up_done = up.poll(cx, client, endpoint, bytes)?.is_ready();
        let down_done = down.poll(cx, endpoint, client, bytes)?.is_ready();
        if up_done && down_done {
            return Poll::Ready(Ok(()));
        }
        let waiting = Waiting {
            is_deaf: up.is_deaf() || down.is_deaf(),
            ended: if up_done { Some(Side::Client) } else { down_done.then_some(Side::Endpoint) },
            relayed: bytes.from_client() + bytes.to_client(),
        };
        watch.poll(cx, waiting, [client, endpoint])?;
        Poll::Pending
    }

    /// What the broken side sent before it broke still goes to the other one.
    async fn last_bytes(&mut self, broken: Side, bytes: &ByteCounts) {
        let Self { client, endpoint, up, down, .. } = self;
        let (flow, from, to) = match broken {
            Side::Client => (up, client, endpoint),
            Side::Endpoint => (down, endpoint, client),
        };
        flow.finish(from, to, bytes).await;
        socket::drain(to.tcp()).await;
    }
}

/// One direction.
struct Flow {
    from: Side,
    to: Side,
    /// Bytes read and not yet accepted by the other side; empty most of the time.
    pending: Vec<u8>,
    /// How many of them have been accepted.
    sent: usize,
    /// The other side's fault, met while writing.
    sink_fault: Option<Fault>,
    /// One side has broken: an end of the source is no clean end any more.
    salvaging: bool,
    /// The other side has accepted bytes that wait for room.
    is_blocked: bool,
    /// Bytes that the next read may take.
    window: usize,
    state: FlowState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FlowState {
    /// Reading and writing.
    Open,
    /// The source has ended or broken; what is pending goes out, and then, after a clean end, the
    /// end itself.
    Ending { clean: bool },
    /// Nothing more will move.
    Done,
}

impl Flow {
    fn new(from: Side, to: Side, pending: Vec<u8>) -> Self {
        let state = FlowState::Open;
        Self {
            from,
            to,
            pending,
            sent: 0,
            sink_fault: None,
            salvaging: false,
            is_blocked: false,
            window: SCRATCH,
            state,
        }
    }

    /// True while the source is not read, so that its fault wakes nobody.
    fn is_deaf(&self) -> bool {
        self.state != FlowState::Open || !self.pending.is_empty() || self.is_blocked
    }

    /// Moves bytes until there is nothing to do or the turn is over.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut End,
        to: &mut End,
        bytes: &ByteCounts,
    ) -> Poll<Result<(), Broken>> {
        let (source, sink) = (self.from, self.to);
        let mut moved = 0;
        for _ in 0..READS_PER_TURN {
            if self.state == FlowState::Done {
                return Poll::Ready(Ok(()));
            }
            if moved >= BYTES_PER_TURN {
                break;
            }
            ready!(self.poll_pending(cx, to)).map_err(|fault| Broken { side: sink, fault })?;
            if let FlowState::Ending { clean } = self.state {
                let end = if clean { to.poll_shutdown(cx) } else { to.poll_flush(cx) };
                ready!(end).map_err(|fault| Broken { side: sink, fault })?;
                self.state = FlowState::Done;
                continue;
            }
            // Nothing is read that would have to wait.
            let flushed = to.poll_flush(cx);
            self.is_blocked = flushed.is_pending();
            ready!(flushed).map_err(|fault| Broken { side: sink, fault })?;
            match ready!(self.poll_once(cx, from, to, bytes)) {
                Ok(0) => self.state = FlowState::Ending { clean: !self.salvaging },
                Ok(read) => moved += read,
                Err(fault) => {
                    self.state = FlowState::Ending { clean: false };
                    return Poll::Ready(Err(Broken { side: source, fault }));
                }
            }
        }
        // Others first; we are polled again at once.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One read, and a write of as much of it as the other side takes.
    fn poll_once(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut End,
        to: &mut End,
        bytes: &ByteCounts,
    ) -> Poll<Result<usize, Fault>> {
        BUFFER.with_borrow_mut(|buffer| {
            let window = buffer.get_mut(..self.window).unwrap_or_default();
            let read = ready!(from.poll_read(cx, window))?;
            let Some(mut rest) = window.get(..read) else { return Poll::Ready(Ok(read)) };
            match self.from {
                Side::Client => bytes.add_from_client(read as u64),
                Side::Endpoint => bytes.add_to_client(read as u64),
            }
            while !rest.is_empty() {
                match to.poll_write(cx, rest) {
                    Poll::Ready(Ok(written)) => rest = rest.get(written..).unwrap_or_default(),
                    Poll::Ready(Err(fault)) => {
                        self.sink_fault = Some(fault);
                        break;
                    }
                    Poll::Pending => break,
                }
            }
            self.pending.extend_from_slice(rest);
            self.window = match rest.is_empty() {
                // TLS gives a little less than the window for a full one.
                true if read > self.window / 2 => SCRATCH.min(self.window * 2),
                true => self.window,
                false => LEAST_WINDOW.max(self.window / 2),
            };
            Poll::Ready(Ok(read))
        })
    }

    /// Writes what is pending and gives its memory back.
    fn poll_pending(&mut self, cx: &mut Context<'_>, to: &mut End) -> Poll<Result<(), Fault>> {
        if let Some(fault) = self.sink_fault {
            return Poll::Ready(Err(fault));
        }
        while let Some(rest) = self.pending.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.sent += ready!(to.poll_write(cx, rest))?;
        }
        if self.sent > 0 {
            (self.pending, self.sent) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// After the source broke: everything it sent before that, as far as it can be had.
    async fn finish(&mut self, from: &mut End, to: &mut End, bytes: &ByteCounts) {
        self.salvaging = true;
        if self.state != FlowState::Done {
            // TLS may have decrypted good records before it met the bad one: they are read yet.
            self.state = FlowState::Open;
        }
        loop {
            let step = poll_fn(|cx| self.poll(cx, from, to, bytes)).await;
            // The source's own fault ends the reading, not the writing.
            if !matches!(step, Err(Broken { side, .. }) if side == self.from)
                || self.state == FlowState::Done
            {
                return;
            }
        }
    }
}

impl Broken {
    /// How the connection ends with this.
    pub fn outcome(self) -> Outcome {
        match (self.side, self.fault) {
            (_, Fault::Idle) => Outcome::IdleTimeout,
            (Side::Client, Fault::Reset) => Outcome::ClientReset,
            (Side::Client, Fault::Truncated) => Outcome::ClientTruncated,
            (Side::Client, Fault::Tls) => Outcome::ClientTlsError,
            (Side::Client, Fault::Unreachable) => Outcome::ClientUnreachable,
            (Side::Endpoint, Fault::Reset) => Outcome::EndpointReset,
            (Side::Endpoint, Fault::Truncated) => Outcome::EndpointTruncated,
            (Side::Endpoint, Fault::Tls) => Outcome::EndpointTlsError,
            (Side::Endpoint, Fault::Unreachable) => Outcome::EndpointUnreachable,
        }
    }
}

#[cfg(test)]
mod tests;
