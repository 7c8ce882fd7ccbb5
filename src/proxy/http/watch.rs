//! Looks after an HTTP/1 peer that is not read, or does not read: nothing else would notice that the
//! one has gone, and TCP_USER_TIMEOUT would cut the other. The relay has its own (`relay/watch.rs`).
//! Peers of HTTP/2 are always read, and always read.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::Sleep;

use crate::proxy::end::{End, Fault};
use crate::proxy::relay::watch;

/// Of one connection.
pub struct Watch {
    user_timeout: Duration,
    /// Made when needed: an idle connection has none.
    timer: Option<Pin<Box<Sleep>>>,
    /// Bytes that had been written when it last looked.
    seen: u64,
    is_lifted: bool,
}

impl Watch {
    /// Of a connection whose TCP_USER_TIMEOUT is this.
    pub fn new(user_timeout: Duration) -> Self {
        Self { user_timeout, timer: None, seen: 0, is_lifted: false }
    }

    /// How long it may take to notice something.
    pub fn interval(&self) -> Duration {
        watch::interval(self.user_timeout)
    }

    /// To be called whenever the connection is about to wait. `is_waited_for` while something has to
    /// come of the peer; `written` are the bytes so far.
    ///
    /// # Errors
    /// The peer has gone.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        is_waited_for: bool,
        written: u64,
        end: &End,
    ) -> Result<(), Fault> {
        if self.timer.is_none() && !is_waited_for && written == self.seen {
            return Ok(());
        }
        let interval = self.interval();
        if !watch::is_due(&mut self.timer, interval, cx) {
            return Ok(());
        }
        end.fault()?;
        let unacknowledged = self.look(end);
        if !is_waited_for && unacknowledged == 0 && written == self.seen {
            self.timer = None;
        }
        self.seen = written;
        Ok(())
    }

    /// Bytes that the peer has not acknowledged; its timeout is lifted while it lives and does not
    /// read.
    pub fn look(&mut self, end: &End) -> u32 {
        watch::look(end, self.user_timeout, &mut self.is_lifted)
    }
}
