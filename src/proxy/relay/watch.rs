//! Looks after what neither a read nor a write would notice.
//!
//! *A peer that breaks while nothing is read from it.* A direction does not read its source while
//! the other side is full, nor after the source has ended. A reset or a dead network then wakes
//! nobody, and the connection would stay for as long as the other side is silent.
//!
//! *A peer that takes a break.* Since Linux 5.11 TCP_USER_TIMEOUT also cuts a peer that keeps its
//! window closed for that long, although it acknowledges every probe. The timeout is lifted while
//! that lasts, so that a paused reader loses nothing and a vanished one is still given up.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::{Broken, Side};
use crate::net::diag::Diagnosis;
use crate::net::socket;
use crate::proxy::end::End;

/// How often it looks at most.
const LONGEST_INTERVAL: Duration = Duration::from_secs(5);
/// Looks per user timeout: a pause must be known well before it.
const LOOKS_PER_TIMEOUT: u32 = 4;

thread_local! {
    static DIAGNOSIS: Option<Diagnosis> = Diagnosis::new();
}

/// Part of one connection's relay.
pub(super) struct Watch {
    user_timeout: Duration,
    /// Boxed and made when needed: an idle connection has none.
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes that had been relayed when it last looked.
    seen: u64,
    /// The sides whose user timeout is lifted: client, endpoint.
    lifted: [bool; 2],
}

impl Watch {
    pub(super) fn new(user_timeout: Duration) -> Self {
        Self { user_timeout, timer: None, seen: 0, lifted: [false; 2] }
    }

    /// To be called whenever the relay is about to wait. `deaf` says that some source is not read,
    /// `relayed` how many bytes there were so far.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deaf: bool,
        relayed: u64,
        ends: [&End; 2],
    ) -> Result<(), Broken> {
        if self.timer.is_none() && !deaf && relayed == self.seen {
            return Ok(());
        }
        let interval = LONGEST_INTERVAL.min(self.user_timeout / LOOKS_PER_TIMEOUT);
        // It stays while bytes flow: making one for every few reads would cost more than looking.
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(interval)));
        if timer.as_mut().poll(cx) == Poll::Pending {
            return Ok(());
        }
        timer.as_mut().reset(Instant::now() + interval);
        // Registers the wake-up; the interval has only begun.
        let _ = timer.as_mut().poll(cx);
        let is_waited_for = self.look(ends)?;
        if !deaf && !is_waited_for && relayed == self.seen {
            self.timer = None;
        }
        self.seen = relayed;
        Ok(())
    }

    /// True while a peer has not acknowledged everything.
    fn look(&mut self, ends: [&End; 2]) -> Result<bool, Broken> {
        let mut is_waited_for = false;
        for ((side, end), lifted) in
            [Side::Client, Side::Endpoint].into_iter().zip(ends).zip(&mut self.lifted)
        {
            end.fault().map_err(|fault| Broken { side, fault })?;
            let sending = DIAGNOSIS.with(|d| d.as_ref().and_then(|d| d.sending(end.tcp())));
            let Some(sending) = sending else { continue };
            is_waited_for |= sending.unacknowledged > 0;
            if sending.is_paused != *lifted {
                *lifted = sending.is_paused;
                let timeout = Some(self.user_timeout).filter(|_| !sending.is_paused);
                socket::set_user_timeout(end.tcp(), timeout);
            }
        }
        Ok(is_waited_for)
    }
}
