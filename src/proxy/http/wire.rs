//! A byte end as the HTTP/2 library sees it, with writes collected and reads taken in one go.
//!
//! The library reads and flushes frame by frame. Here a read takes all that the socket has, through
//! a buffer that the worker owns, and a flush only marks: [`Wire::poll_send`], called once after
//! everything that was ready has run, hands the collected frames to the kernel in one write.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watch::Watch;
use crate::model::counts::ByteCounts;
use crate::model::http::census::Census;
use crate::model::sharded::lock;
use crate::proxy::end::{End, Fault};
use crate::proxy::relay::Side;

/// Bytes per read of the socket.
const SCRATCH: usize = 256 * 1024;
/// Collected bytes beyond which nothing more is taken until some have left.
const MOST_COLLECTED: usize = 256 * 1024;
/// Frames without work that a second forgives.
const FORGIVEN: u32 = 100;
/// Emptied buffers that a worker keeps for the next connection that writes.
const SPARE_BUFFERS: usize = 16;

thread_local! {
    static SCRATCH_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// One connection, shared by the library that speaks on it and the session that flushes it.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<State>>);

struct State {
    end: Option<End>,
    side: Side,
    bytes: Arc<ByteCounts>,
    /// Read and not asked for yet.
    ahead: Vec<u8>,
    taken: usize,
    /// Written and not sent yet.
    collected: Vec<u8>,
    sent: usize,
    fault: Option<Fault>,
    /// The peer has ended its direction.
    ended: bool,
    /// Of a client's frames; none is taken of other connections.
    census: Option<Box<Counted>>,
}

/// A census, and what time forgives.
struct Counted {
    census: Census,
    since: Instant,
    is_flood: bool,
}

impl Counted {
    fn count(&mut self, bytes: &[u8]) {
        if !self.census.count(bytes) {
            let seconds = u32::try_from(self.since.elapsed().as_secs()).unwrap_or(u32::MAX);
            self.since = Instant::now();
            self.census.forgive(seconds.saturating_mul(FORGIVEN));
            self.is_flood |= !self.census.count(&[]);
        }
    }
}

impl Wire {
    /// Around `end`, which is on this `side` of us; `early` are bytes already read from it.
    pub fn new(end: End, side: Side, bytes: Arc<ByteCounts>, early: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State {
            end: Some(end),
            side,
            bytes,
            ahead: early,
            taken: 0,
            collected: Vec::new(),
            sent: 0,
            fault: None,
            ended: false,
            census: None,
        })))
    }

    /// The peer is a client that begins HTTP/2: its frames are counted.
    pub fn count_frames(&self) {
        let mut state = self.state();
        let (census, since) = (Census::default(), Instant::now());
        let mut counted = Box::new(Counted { census, since, is_flood: false });
        counted.count(state.ahead.get(state.taken..).unwrap_or_default());
        state.census = Some(counted);
    }

    /// True once the peer has sent far more frames than its requests explain.
    pub fn is_flooded(&self) -> bool {
        self.state().census.as_ref().is_some_and(|counted| counted.is_flood)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Hands everything collected to the kernel.
    pub fn poll_send(&self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.state().poll_send(cx)
    }

    /// What went wrong with the connection itself, if anything did.
    pub fn fault(&self) -> Option<Fault> {
        self.state().fault
    }

    /// True once the peer has ended its direction cleanly.
    pub fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Ends our direction and waits for the end of the other: a reset would overtake what the peer
    /// has not read yet.
    pub fn poll_goodbye(&self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut state = self.state();
        ready!(state.poll_send(cx))?;
        let Some(end) = &mut state.end else { return Poll::Ready(Err(Fault::Reset)) };
        ready!(end.poll_shutdown(cx))?;
        SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            while ready!(end.poll_read(cx, scratch))? > 0 {}
            Poll::Ready(Ok(()))
        })
    }

    /// To be called before waiting for the peer: see [`Watch::poll`].
    pub fn poll_watch(
        &self,
        cx: &mut Context<'_>,
        watch: &mut Watch,
        is_waited_for: bool,
    ) -> Result<(), Fault> {
        let mut state = self.state();
        let written = match state.side {
            Side::Client => state.bytes.to_client(),
            Side::Endpoint => state.bytes.from_client(),
        };
        let Some(end) = &state.end else { return Ok(()) };
        let watched = watch.poll(cx, is_waited_for, written, end);
        watched.inspect_err(|fault| _ = state.fault.get_or_insert(*fault))
    }

    /// Bytes that the peer has not taken.
    pub fn waiting(&self, watch: &mut Watch) -> usize {
        let state = self.state();
        let unacknowledged = state.end.as_ref().map_or(0, |end| watch.look(end));
        let collected = state.collected.len() - state.sent;
        collected + usize::try_from(unacknowledged).unwrap_or(usize::MAX >> 1)
    }

    /// Both directions have ended: closing is no reset.
    pub fn disarm(&self) {
        if let Some(end) = &self.state().end {
            end.disarm();
        }
    }

    /// These were read by somebody who had no use for them.
    pub fn put_back(&self, bytes: &[u8]) {
        let mut state = self.state();
        let mut ahead = bytes.to_vec();
        ahead.extend_from_slice(state.ahead.get(state.taken..).unwrap_or_default());
        (state.ahead, state.taken) = (ahead, 0);
    }

    /// Takes the connection out, with bytes that were read and nobody has asked for.
    pub fn into_end(self) -> Option<(End, Vec<u8>)> {
        let mut state = self.state();
        let mut ahead = std::mem::take(&mut state.ahead);
        ahead.drain(..state.taken.min(ahead.len()));
        state.end.take().map(|end| (end, ahead))
    }
}

impl State {
    fn count_read(&self, count: usize) {
        match self.side {
            Side::Client => self.bytes.add_from_client(count as u64),
            Side::Endpoint => self.bytes.add_to_client(count as u64),
        }
    }

    fn count_written(&self, count: usize) {
        match self.side {
            Side::Client => self.bytes.add_to_client(count as u64),
            Side::Endpoint => self.bytes.add_from_client(count as u64),
        }
    }

    fn failed(&mut self, fault: Fault) -> io::Error {
        self.fault.get_or_insert(fault);
        let kind = match fault {
            Fault::Truncated => io::ErrorKind::UnexpectedEof,
            Fault::Idle | Fault::Unreachable => io::ErrorKind::TimedOut,
            Fault::Reset | Fault::Tls => io::ErrorKind::ConnectionReset,
        };
        kind.into()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.taken >= self.ahead.len() {
            return SCRATCH_BUFFER.with_borrow_mut(|scratch| {
                let Some(end) = &mut self.end else { return Poll::Ready(Ok(())) };
                let count = match ready!(end.poll_read(cx, scratch)) {
                    Ok(count) => count,
                    Err(fault) => return Poll::Ready(Err(self.failed(fault))),
                };
                self.ended |= count == 0;
                self.count_read(count);
                if let Some(counted) = &mut self.census {
                    counted.count(scratch.get(..count).unwrap_or_default());
                }
                let (now, later) =
                    scratch.get(..count).unwrap_or_default().split_at(count.min(to.remaining()));
                to.put_slice(now);
                if !later.is_empty() {
                    self.ahead = spare();
                    self.ahead.extend_from_slice(later);
                }
                self.taken = 0;
                Poll::Ready(Ok(()))
            });
        }
        let rest = self.ahead.get(self.taken..).unwrap_or_default();
        let now = rest.get(..rest.len().min(to.remaining())).unwrap_or_default();
        to.put_slice(now);
        self.taken += now.len();
        if self.taken >= self.ahead.len() {
            self.taken = 0;
            give_back(&mut self.ahead);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.collected.len() - self.sent < MOST_COLLECTED {
            if self.collected.capacity() == 0 {
                self.collected = spare();
            }
            return Poll::Ready(Ok(()));
        }
        match ready!(self.poll_send(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(fault) => Poll::Ready(Err(self.failed(fault))),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(end) = &mut self.end else { return Poll::Ready(Err(Fault::Reset)) };
        let begun = self.sent;
        let result = loop {
            let rest = self.collected.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                break end.poll_flush(cx);
            }
            match end.poll_write(cx, rest) {
                Poll::Ready(Ok(count)) => self.sent += count,
                Poll::Ready(Err(fault)) => break Poll::Ready(Err(fault)),
                Poll::Pending => break Poll::Pending,
            }
        };
        let sent = self.sent - begun;
        self.count_written(sent);
        if let Some(counted) = &mut self.census {
            counted.census.sent(sent);
        }
        if let Poll::Ready(Err(fault)) = result {
            self.fault.get_or_insert(fault);
        }
        if self.sent > 0 && self.sent == self.collected.len() {
            self.sent = 0;
            give_back(&mut self.collected);
        }
        result
    }
}

/// An empty buffer, with room if the worker has one to spare.
fn spare() -> Vec<u8> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

fn give_back(buffer: &mut Vec<u8>) {
    let mut buffer = std::mem::take(buffer);
    buffer.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < SPARE_BUFFERS && buffer.capacity() <= 2 * SCRATCH {
            spare.push(buffer);
        }
    });
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.state().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        ready!(state.poll_room(cx))?;
        state.collected.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        ready!(state.poll_room(cx))?;
        let mut count = 0;
        for piece in pieces {
            state.collected.extend_from_slice(piece);
            count += piece.len();
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing: see [`Wire::poll_send`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if let Err(fault) = ready!(state.poll_send(cx)) {
            return Poll::Ready(Err(state.failed(fault)));
        }
        let Some(end) = &mut state.end else { return Poll::Ready(Ok(())) };
        match ready!(end.poll_shutdown(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(fault) => Poll::Ready(Err(state.failed(fault))),
        }
    }
}
