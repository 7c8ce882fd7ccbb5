//! Named threads that are joined with a deadline.

use std::future::Future;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

/// How often a joiner looks: threads end rarely, and nobody waits for less than that.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// A thread of ours.
#[derive(Debug)]
pub struct Thread {
    name: String,
    handle: JoinHandle<()>,
}

impl Thread {
    /// Starts a thread named `name`.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let handle = std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
        Ok(Self { name: name.to_owned(), handle })
    }

    /// Waits for its end, `deadline` at most: the process ends without a thread that hangs.
    pub fn join(self, deadline: Duration) {
        let until = Instant::now() + deadline;
        while !self.handle.is_finished() {
            if Instant::now() >= until {
                tracing::warn!(thread = self.name, ?deadline, "a thread does not end; left behind");
                return;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        // A panic has been reported by the panic hook already.
        let _ = self.handle.join();
    }
}

/// Runs `main` on a current-thread runtime of its own, on a thread named `name`.
///
/// # Errors
/// When the system gives no thread or no reactor.
pub fn spawn_thread(
    name: &str,
    main: impl Future<Output = ()> + Send + 'static,
) -> io::Result<Thread> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Thread::spawn(name, move || runtime.block_on(main))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_or_hangs_does_not_keep_its_joiner() {
        let long = Duration::from_secs(20);
        let begun = Instant::now();
        Thread::spawn("panics", || panic!("on purpose")).expect("a thread").join(long);
        let hangs = Thread::spawn("hangs", move || std::thread::sleep(long)).expect("a thread");
        hangs.join(Duration::from_millis(10));
        assert!(begun.elapsed() < long / 2);
    }
}
