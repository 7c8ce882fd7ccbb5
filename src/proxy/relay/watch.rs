//! Notices a peer that breaks while nothing is read from it.
//!
//! A direction does not read its source while the other side is full, nor after the source has
//! ended. A reset or a dead network then wakes nobody, and the connection would stay for as long
//! as the other side is silent. So it looks, as long as there is something to look for.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::{Broken, Side};
use crate::proxy::end::End;

/// How often it looks. Two system calls then; a connection that is read from costs nothing.
const INTERVAL: Duration = Duration::from_secs(5);

/// Part of one connection's relay.
#[derive(Default)]
pub(super) struct Watch {
    /// Boxed and made when needed: most connections never need it.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    /// To be called whenever the relay is about to wait. `deaf` says that some source is not read.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deaf: bool,
        client: &End,
        endpoint: &End,
    ) -> Result<(), Broken> {
        if self.timer.is_none() && !deaf {
            return Ok(());
        }
        // It stays when reading goes on: under load that changes with every few reads.
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(INTERVAL)));
        while timer.as_mut().poll(cx) == Poll::Ready(()) {
            if !deaf {
                self.timer = None;
                return Ok(());
            }
            for (side, end) in [(Side::Client, client), (Side::Endpoint, endpoint)] {
                end.fault().map_err(|fault| Broken { side, fault })?;
            }
            timer.as_mut().reset(Instant::now() + INTERVAL);
        }
        Ok(())
    }
}
