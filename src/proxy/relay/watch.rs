//! Looks after what neither a read nor a write would notice.
//!
//! *A peer that breaks while nothing is read from it.* A direction does not read its source while
//! the other side is full, nor after the source has ended. A reset or a dead network then wakes
//! nobody, and the connection would stay for as long as the other side is silent.
//!
//! *A peer that takes a break.* Since Linux 5.11 TCP_USER_TIMEOUT also cuts a peer that keeps its
//! window closed for that long, although it acknowledges every probe. The timeout is lifted while
//! that lasts, so that a paused reader loses nothing and a vanished one is still given up.
//!
//! *A connection that nobody uses.* One that is half closed ends after a while without a byte, one
//! that is open only when that is configured.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::{Broken, Side, Timeouts};
use crate::net::diag::{Diagnosis, Sending};
use crate::net::socket;
use crate::proxy::end::{End, Fault};

/// How often it looks at most.
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);
/// Looks per user timeout: a pause must be known well before it.
const LOOKS_PER_TIMEOUT: u32 = 4;

thread_local! {
    static DIAGNOSIS: Option<Diagnosis> = Diagnosis::new();
}

/// What the kernel knows of what is sent to `end`.
fn sending(end: &End) -> Option<Sending> {
    DIAGNOSIS.with(|diagnosis| diagnosis.as_ref()?.sending(end.tcp()))
}

/// Bytes that `end` has not acknowledged. Its TCP_USER_TIMEOUT, `user_timeout`, is lifted while it
/// lives and does not read.
pub fn look(end: &End, user_timeout: Duration, is_lifted: &mut bool) -> u32 {
    let Some(sending) = sending(end) else { return 0 };
    if sending.is_paused != *is_lifted {
        *is_lifted = sending.is_paused;
        let timeout = Some(user_timeout).filter(|_| !sending.is_paused);
        socket::set_user_timeout(end.tcp(), timeout);
    }
    sending.unacknowledged
}

/// How often to look, to keep the shortest of some timeouts to within a quarter.
pub fn interval(shortest: Duration) -> Duration {
    LONGEST_INTERVAL.min(shortest / LOOKS_PER_TIMEOUT)
}

/// True when it is time to look; the next time is an `interval` later. Made when it is first asked.
pub fn is_due(
    timer: &mut Option<Pin<Box<Sleep>>>,
    interval: Duration,
    cx: &mut Context<'_>,
) -> bool {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep(interval)));
    if timer.as_mut().poll(cx) == Poll::Pending {
        return false;
    }
    timer.as_mut().reset(Instant::now() + interval);
    // Registers the wake-up; the interval has only begun.
    let _ = timer.as_mut().poll(cx);
    true
}

/// What a relay is doing when it is about to wait.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    /// Some source is not read.
    pub(super) is_deaf: bool,
    /// The side whose direction is done; the other one is waited for.
    pub(super) ended: Option<Side>,
    /// Bytes so far.
    pub(super) relayed: u64,
}

/// Part of one connection's relay.
pub(super) struct Watch {
    timeouts: Timeouts,
    /// Boxed and made when needed: an idle connection has none.
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes that had been relayed when it last looked.
    seen: u64,
    /// Since when nothing has been relayed, as far as it has looked.
    quiet_since: Option<Instant>,
    /// The sides whose user timeout is lifted: client, endpoint.
    lifted: [bool; 2],
}

impl Watch {
    pub(super) fn new(timeouts: Timeouts) -> Self {
        Self { timeouts, timer: None, seen: 0, quiet_since: None, lifted: [false; 2] }
    }

    /// To be called whenever the relay is about to wait.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        waiting: Waiting,
        ends: [&End; 2],
    ) -> Result<(), Broken> {
        let is_timed = waiting.is_deaf || self.timeouts.idle.is_some();
        if self.timer.is_none() && !is_timed && waiting.relayed == self.seen {
            return Ok(());
        }
        let interval = self.interval();
        // It stays while bytes flow: making one for every few reads would cost more than looking.
        if !is_due(&mut self.timer, interval, cx) {
            return Ok(());
        }
        let is_waited_for = self.look(ends)?;
        self.check_quiet(waiting)?;
        if !is_timed && !is_waited_for && waiting.relayed == self.seen {
            self.timer = None;
        }
        self.seen = waiting.relayed;
        Ok(())
    }

    fn interval(&self) -> Duration {
        let Timeouts { user, half_closed, idle } = self.timeouts;
        interval(user.min(half_closed).min(idle.unwrap_or(half_closed)))
    }

    fn check_quiet(&mut self, waiting: Waiting) -> Result<(), Broken> {
        let limit = match waiting.ended {
            Some(_) => Some(self.timeouts.half_closed),
            None => self.timeouts.idle,
        };
        if limit.is_none() || waiting.relayed != self.seen {
            self.quiet_since = None;
            return Ok(());
        }
        let since = *self.quiet_since.get_or_insert_with(Instant::now);
        let silent = match waiting.ended {
            Some(Side::Client) => Side::Endpoint,
            _ => Side::Client,
        };
        if limit.is_some_and(|limit| since.elapsed() >= limit) {
            return Err(Broken { side: silent, fault: Fault::Idle });
        }
        Ok(())
    }

    /// True while a peer has not acknowledged everything.
    fn look(&mut self, ends: [&End; 2]) -> Result<bool, Broken> {
        let mut is_waited_for = false;
        for ((side, end), lifted) in
            [Side::Client, Side::Endpoint].into_iter().zip(ends).zip(&mut self.lifted)
        {
            end.fault().map_err(|fault| Broken { side, fault })?;
            is_waited_for |= look(end, self.timeouts.user, lifted) > 0;
        }
        Ok(is_waited_for)
    }
}
