//! Whether memory is short: set by control, waited for by the acceptors.

use tokio::sync::watch;

/// True while no connection may be accepted.
#[derive(Debug)]
pub struct Pressure(watch::Sender<bool>);

impl Default for Pressure {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Pressure {
    /// Says how it is now.
    pub fn set(&self, is_high: bool) {
        self.0.send_replace(is_high);
    }

    /// True while memory is short.
    pub fn is_high(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits while memory is short.
    pub async fn relieved(&self) {
        // The sender lives as long as this: there is no error to meet.
        let _ = self.0.subscribe().wait_for(|is_high| !is_high).await;
    }
}
