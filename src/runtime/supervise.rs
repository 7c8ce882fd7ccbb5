//! Tasks that survive their own panics: caught, counted, told in the log, and started again with a
//! backoff.
//!
//! A panic is a bug of ours. It must not take from anybody what the bug has nothing to do with: a
//! control task starts again with what it had found so far, a connection ends alone. Nothing here
//! hides one: each is counted in `gateway_task_restarts_total` and logged at level error.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::backoff::Backoff;
use crate::model::task::Task;
use crate::observe::metrics::Metrics;

/// Waits before a task starts again: short enough for a listener's queue, long enough not to spin.
const RESTART: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
/// A task that ran for this long before it failed starts its backoff anew.
const STEADY: Duration = Duration::from_secs(60);
/// Starts after the stop, for a task that still has something to hand over.
const STARTS_WHILE_STOPPING: u32 = 3;

/// What was running has panicked; the panic hook has told where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a panic, which is a bug in this program; please report it with this log")]
pub struct Panicked;

/// Runs `future`; a panic in it ends it instead of the thread. Drop it then: it cannot go on.
///
/// # Errors
/// [`Panicked`].
pub async fn caught<F: Future>(mut future: Pin<&mut F>) -> Result<F::Output, Panicked> {
    // Half-done state is dropped with the future, and our locks guard maps that are whole after
    // every single operation.
    let poll = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(payload) => Poll::Ready(Err(told(payload))),
    });
    poll.await
}

/// The same for what is not async.
///
/// # Errors
/// [`Panicked`].
pub fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(told)
}

/// The panic hook has logged what the payload says.
fn told(_payload: Box<dyn Any + Send>) -> Panicked {
    Panicked
}

/// Owns control tasks: each has a name and a token, and all are joined at the end.
#[derive(Clone, Debug)]
pub struct Supervisor {
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Supervisor {
    /// For tasks that end when `stop` is cancelled.
    pub fn new(metrics: &Arc<Metrics>, stop: &CancellationToken) -> Self {
        Self { metrics: Arc::clone(metrics), tasks: TaskTracker::new(), stop: stop.clone() }
    }

    /// A token that the stop cancels too.
    pub fn token(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// What spawns tasks that must have ended, too, before [`Supervisor::finished`] completes.
    pub fn tracker(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Spawns what `start` gives, which ends wherever it is when `token` is cancelled.
    pub fn spawn_until<F>(
        &self,
        token: CancellationToken,
        task: Task,
        start: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = io::Result<()>> + Send,
    {
        let metrics = Arc::clone(&self.metrics);
        self.tasks.spawn(async move {
            token.run_until_cancelled(supervise(task, &metrics, &token, start)).await;
        });
    }

    /// Spawns what `start` gives, which watches the stop itself because it has something to finish.
    pub fn spawn<F>(&self, task: Task, start: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = io::Result<()>> + Send,
    {
        let (metrics, stop) = (Arc::clone(&self.metrics), self.stop.clone());
        self.tasks.spawn(async move { supervise(task, &metrics, &stop, start).await });
    }

    /// Completes when every task has ended; none may be spawned any more.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Runs what `start` gives to its end, and again whenever that is a panic or an error. After `stop`
/// it does not wait and soon gives up.
pub async fn supervise<F>(
    task: Task,
    metrics: &Metrics,
    stop: &CancellationToken,
    mut start: impl FnMut() -> F,
) where
    F: Future<Output = io::Result<()>>,
{
    let (mut failures, mut while_stopping) = (0, 0);
    loop {
        let begun = Instant::now();
        // Boxed, and with `start` inside: what fails is gone before the wait.
        let mut run = Box::pin(async { start().await });
        let ended = caught(run.as_mut()).await;
        drop(run);
        let error = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        failures = if begun.elapsed() >= STEADY { 1 } else { failures + 1 };
        while_stopping += u32::from(stop.is_cancelled());
        metrics.task_restarted(task);
        let wait = RESTART.jittered(failures, fastrand::u8(..));
        tracing::error!(
            task = task.label(),
            failures,
            "a task failed and starts again in {wait:?}; {}: {error}",
            task.meaning()
        );
        if while_stopping >= STARTS_WHILE_STOPPING {
            return;
        }
        stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_future_alone() {
        let bad = pin!(async {
            tokio::task::yield_now().await;
            panic!("on purpose");
        });
        assert_eq!(caught(bad).await, Err::<(), _>(Panicked));
        assert_eq!(caught(pin!(async { 7 })).await, Ok(7));
        assert_eq!(catch(|| panic!("on purpose")), Err::<(), _>(Panicked));
    }

    #[tokio::test]
    async fn a_failed_task_starts_again_and_later_each_time() {
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        let starts = AtomicU32::new(0);
        let begun = Instant::now();
        let start = || async {
            match starts.fetch_add(1, Ordering::Relaxed) {
                0 => panic!("on purpose"),
                1 => Err(io::Error::other("on purpose")),
                _ => Ok(()),
            }
        };
        supervise(Task::Dns, &metrics, &stop, start).await;
        assert_eq!(starts.load(Ordering::Relaxed), 3);
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(300), "{waited:?}");
        let counted = metrics.encode().contains("gateway_task_restarts_total{task=\"dns\"} 2\n");
        assert!(counted);
    }

    #[tokio::test]
    async fn a_task_that_fails_while_stopping_is_given_up_without_a_wait() {
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        stop.cancel();
        let starts = AtomicU32::new(0);
        let begun = Instant::now();
        let start = || async {
            starts.fetch_add(1, Ordering::Relaxed);
            Err(io::Error::other("on purpose"))
        };
        supervise(Task::Acceptor, &metrics, &stop, start).await;
        assert_eq!(starts.load(Ordering::Relaxed), STARTS_WHILE_STOPPING);
        assert!(begun.elapsed() < RESTART.after(1) + RESTART.after(2));
    }

    #[tokio::test]
    async fn a_cancelled_token_ends_its_task_alone() {
        let stop = CancellationToken::new();
        let supervisor = Supervisor::new(&Metrics::new(), &stop);
        let (one, other) = (supervisor.token(), supervisor.token());
        for token in [&one, &other] {
            let start = || std::future::pending::<io::Result<()>>();
            supervisor.spawn_until(token.clone(), Task::Dns, start);
        }
        one.cancel();
        while supervisor.tracker().len() > 1 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        supervisor.finished().await;
    }
}
