//! A clock that ticks at a rate, by timerfd: tokio's timer rounds to milliseconds.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Moments at a fixed distance.
pub struct Pace {
    timer: AsyncFd<OwnedFd>,
    due: Instant,
    interval: Duration,
}

impl Pace {
    /// Starts now.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(per_second: u32) -> anyhow::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd keeps what it asks for")]
        let timer = AsyncFd::new(timer)?;
        let interval = Duration::from_secs(1) / per_second.max(1);
        Ok(Self { timer, due: Instant::now(), interval })
    }

    /// Waits for the next moment and returns it; late ones come at once, one after the other.
    ///
    /// # Errors
    /// What the system says.
    pub async fn next(&mut self) -> anyhow::Result<Instant> {
        let due = self.due;
        self.due += self.interval;
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(due);
        }
        let once =
            Itimerspec { it_interval: Timespec::default(), it_value: Timespec::try_from(left)? };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        self.timer.readable().await?.clear_ready();
        // Takes the count of expirations, so that the timer is not readable any more.
        let _ = rustix::io::read(self.timer.get_ref(), &mut [0; 8]);
        Ok(due)
    }
}
