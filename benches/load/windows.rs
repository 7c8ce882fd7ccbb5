//! Measuring while tasks work: a warm-up, then windows that are bounded by time and count.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::options::Options;
use super::process::{self, Usage};

/// How often a window looks whether its count is reached.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long the tasks may take to end once they are told to.
const PATIENCE: Duration = Duration::from_secs(30);
/// Latencies are kept to three digits, up to a minute.
const LONGEST: u64 = 60_000_000_000;

/// What the tasks of a mode share with the windows.
pub struct Work {
    /// Finished units.
    pub units: Cell<u64>,
    /// Connections that the gateway ended without close_notify.
    pub unclean: Cell<u64>,
    /// Answers that were wrong, and what was wrong with the first.
    pub errors: Cell<u64>,
    pub first_error: RefCell<Option<String>>,
    /// Tasks end after the unit at hand.
    pub stopping: Cell<bool>,
    latency: RefCell<Histogram<u64>>,
}

/// What was measured.
pub struct Measured {
    pub windows: Vec<Window>,
    /// Units from the first to the last connection, warm-up and ending included.
    pub total: u64,
}

/// One measured stretch of time.
pub struct Window {
    pub elapsed: Duration,
    pub units: u64,
    /// What the gateway used, when it is known.
    pub gateway: Option<(Usage, Usage)>,
    /// What the generator and the backend used.
    pub own_cpu: Duration,
    pub latency: Histogram<u64>,
}

impl Work {
    /// # Errors
    /// Never in practice: the histogram's bounds are constants.
    pub fn new() -> anyhow::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            units: Cell::new(0),
            unclean: Cell::new(0),
            errors: Cell::new(0),
            first_error: RefCell::new(None),
            stopping: Cell::new(false),
            latency: RefCell::new(Histogram::new_with_bounds(1, LONGEST, 3)?),
        }))
    }

    /// One unit is finished that began, or should have begun, at `start`.
    pub fn finished(&self, start: Instant) {
        let latency = u64::try_from(start.elapsed().as_nanos()).unwrap_or(LONGEST);
        self.latency.borrow_mut().saturating_record(latency);
        self.units.set(self.units.get() + 1);
    }

    /// One unit came to nothing, and the next may begin.
    pub fn failed(&self, error: &anyhow::Error) {
        self.errors.set(self.errors.get() + 1);
        self.first_error.borrow_mut().get_or_insert_with(|| format!("{error:#}"));
    }
}

/// Lets the tasks work, measures, tells them to stop with `stop`, and waits for them.
///
/// # Errors
/// The first task's error; tasks that end too early or not at all.
pub async fn measure(
    options: &Options,
    work: &Work,
    mut tasks: JoinSet<anyhow::Result<()>>,
    units: impl Fn() -> u64,
    stop: impl FnOnce(),
) -> anyhow::Result<Measured> {
    let mut windows = Vec::new();
    {
        let measuring = async {
            tokio::time::sleep(options.warmup).await;
            for _ in 0..options.repetitions {
                windows.push(window(options, work, &units).await?);
            }
            anyhow::Ok(())
        };
        tokio::select! {
            result = measuring => result?,
            early = first_error(&mut tasks) => return Err(early),
        }
    }
    work.stopping.set(true);
    stop();
    let ending = async {
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, ending).await.context("connections did not end")??;
    Ok(Measured { windows, total: units() })
}

async fn first_error(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Error {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(error) => return error.into(),
        }
    }
    anyhow!("all connections ended before the time")
}

async fn window(
    options: &Options,
    work: &Work,
    units: &impl Fn() -> u64,
) -> anyhow::Result<Window> {
    work.latency.borrow_mut().reset();
    let gateway = || options.pid.map(process::usage).transpose();
    let (before, own_before, units_before) = (gateway()?, process::own_cpu(), units());
    let start = Instant::now();
    let enough = || options.count.is_some_and(|count| units() - units_before >= count);
    while start.elapsed() < options.duration && !enough() {
        let left = options.duration.saturating_sub(start.elapsed());
        let nap = if options.count.is_some() { LOOK_INTERVAL.min(left) } else { left };
        tokio::time::sleep(nap).await;
    }
    let window = Window {
        units: units() - units_before,
        elapsed: start.elapsed(),
        gateway: before.zip(gateway()?),
        own_cpu: process::own_cpu() - own_before,
        latency: work.latency.borrow().clone(),
    };
    if window.units == 0 {
        let error = work.first_error.borrow();
        let error = error.as_deref().unwrap_or("no answer was wrong");
        anyhow::bail!("nothing was finished in {:?}: {error}", window.elapsed);
    }
    Ok(window)
}
