//! Threads and tasks: workers of the data path, a thread of its own for admin, the descriptor limit,
//! a clock. The only place that spawns.
//!
//! One current-thread runtime per worker: a connection lives on one thread from its handshake to
//! its end and shares nothing per read or write.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::task::Task;
use crate::observe::metrics::Metrics;
use crate::state::readiness::{Heartbeat, Readiness};

pub mod fault;
pub mod supervise;
mod thread;

use supervise::supervise;
pub use thread::{Thread, spawn_thread};

/// How often a worker says that it lives: often enough for a gate that closes after 5 s.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Turns of connections between two looks at the sockets; tokio's 61 would let a bulk stream, whose
/// turn is 1 MiB, keep its neighbours waiting for that many.
const EVENT_INTERVAL: u32 = 8;

/// How long a thread may take to end once it was told to: long enough for what it has to finish, no
/// longer than an operator waits.
pub const THREAD_DEADLINE: Duration = Duration::from_secs(5);

/// The data path's threads.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    threads: Vec<Thread>,
    stop: CancellationToken,
}

/// One thread of the data path.
#[derive(Debug)]
pub struct Worker {
    /// Its place among the workers, from 0.
    pub index: usize,
    handle: Handle,
    tasks: TaskTracker,
    open: AtomicUsize,
}

impl Workers {
    /// Starts `count` workers, each with a readiness gate that its heartbeat keeps open. `prepare`
    /// runs on each worker's thread first; when this returns, all are prepared and their gates open.
    ///
    /// # Errors
    /// When the system gives no thread or no reactor.
    pub fn start(
        count: usize,
        readiness: &Readiness,
        metrics: &Arc<Metrics>,
        prepare: fn(),
    ) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (mut workers, mut threads) = (Vec::new(), Vec::new());
        let count = count.max(1);
        // Nothing is sent: the channel ends when every worker has let go of it, panicked or not.
        let (preparing, prepared) = sync_channel::<()>(1);
        for index in 0..count {
            let runtime = Builder::new_current_thread()
                .event_interval(EVENT_INTERVAL)
                .enable_all()
                .build()?;
            let tasks = TaskTracker::new();
            workers.push(Worker {
                index,
                handle: runtime.handle().clone(),
                tasks: tasks.clone(),
                open: AtomicUsize::new(0),
            });
            let heartbeat = readiness.heartbeat(&format!("worker {index}"));
            let (stop, metrics) = (stop.clone(), Arc::clone(metrics));
            let preparing = preparing.clone();
            threads.push(Thread::spawn(&format!("worker-{index}"), move || {
                prepare();
                heartbeat.beat();
                drop(preparing);
                let beat = || live(heartbeat.clone(), stop.clone());
                runtime.block_on(supervise(Task::Heartbeat, &metrics, &stop, beat));
            })?);
        }
        drop(preparing);
        let _ = prepared.recv();
        Ok(Self { workers, threads, stop })
    }

    /// The worker with the fewest open connections.
    pub fn least_loaded(&self) -> Option<&Worker> {
        self.workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed))
    }

    /// All workers.
    pub fn all(&self) -> &[Worker] {
        &self.workers
    }

    /// Completes when every connection has ended. No new one may be started any more.
    pub async fn finished(&self) {
        for worker in &self.workers {
            worker.tasks.close();
            worker.tasks.wait().await;
        }
    }

    /// Ends the threads; connections that are still open are dropped, which resets them.
    pub fn stop(self) {
        self.stop.cancel();
        for thread in self.threads {
            thread.join(THREAD_DEADLINE);
        }
    }
}

impl Worker {
    /// Runs a connection on this worker.
    pub fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(connection, &self.handle);
    }

    /// Runs what gives it connections on this worker, uncounted: [`Workers::finished`] does not wait
    /// for it.
    pub fn serve(&self, acceptor: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.handle.spawn(acceptor)
    }

    /// Counts a connection in; call it before [`Worker::spawn`], so that a burst spreads.
    pub fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts it out.
    pub fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs what serves several connections of this worker, beside them: the other end of a pooled
/// connection, a pool's sweep. It ends with its work, at the latest with the worker's runtime.
#[allow(clippy::disallowed_methods, reason = "this is the place that spawns")]
pub fn spawn_here(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

/// Beats until `stop`. A worker is alive for as long as this runs on its thread.
async fn live(heartbeat: Heartbeat, stop: CancellationToken) -> io::Result<()> {
    let mut beat = tokio::time::interval(HEARTBEAT_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = beat.tick() => {
                fault::point("heartbeat");
                heartbeat.beat();
            }
        }
    }
}

/// Workers to start when the configuration does not say: the CPUs that affinity and the cgroup's
/// quota leave us.
pub fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Raises the soft descriptor limit to the hard one and returns it. A connection takes two
/// descriptors.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_err() {
            return limit.current;
        }
    }
    limit.maximum
}

/// Milliseconds since the process first asked: the clock of endpoint ejection.
pub fn now_millis() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_run_what_they_are_given_and_beat() {
        let readiness = Readiness::default();
        let workers = Workers::start(2, &readiness, &Metrics::new(), || {}).expect("threads");
        let (send, receive) = std::sync::mpsc::sync_channel(2);
        for _ in 0..2 {
            let worker = workers.least_loaded().expect("one");
            worker.opened();
            let (send, index) = (send.clone(), worker.index);
            worker.spawn(async move {
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                send.send((index, name)).expect("a receiver");
            });
        }
        let mut ran: Vec<_> = (0..2).map(|_| receive.recv().expect("both run")).collect();
        ran.sort();
        assert_eq!(ran, [(0, "worker-0".to_owned()), (1, "worker-1".to_owned())]);
        assert!(readiness.gates().iter().all(|(_, open)| *open));
        workers.stop();
    }
}
