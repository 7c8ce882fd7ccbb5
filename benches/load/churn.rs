//! `churn`: connections of all lifetimes at once, to see what they cost and what they leave behind.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::client::Client;
use super::handshake::close;
use super::options::Options;
use super::process;
use super::report::{self, Unit};
use super::request::Exchange;
use super::windows::{Work, measure};

/// Requests of one connection at most.
const REQUESTS: u32 = 8;
/// Pause between requests at most.
const PAUSE: Duration = Duration::from_millis(5);

/// Keeps `connections` tasks busy with connections of 1 to [`REQUESTS`] requests.
///
/// # Errors
/// The first connection that fails.
pub async fn run(options: &Options, client: Client) -> anyhow::Result<Value> {
    let work = Work::new()?;
    let mut tasks = JoinSet::new();
    for seed in 0..options.connections() {
        let random = fastrand::Rng::with_seed(seed as u64);
        tasks.spawn_local(come_and_go(client.clone(), options.size, random, Rc::clone(&work)));
    }
    let measured = measure(options, &work, tasks, || work.units.get(), || ()).await?;
    let mut report = report::windows(options, Unit::Connection, &measured, &work);
    let grown = measured.windows.first().zip(measured.windows.last()).and_then(|(first, last)| {
        let (before, after) = (first.gateway?.0, last.gateway?.1);
        let left = options.pid.map(process::usage)?.ok()?;
        Some(json!({
            "memory_kib_first_window": before.memory / 1024,
            "memory_kib_last_window": after.memory / 1024,
            "descriptors_after": left.descriptors,
        }))
    });
    if let (Some(report), Some(grown)) = (report.as_object_mut(), grown) {
        report.insert("growth".to_owned(), grown);
    }
    Ok(report)
}

async fn come_and_go(
    client: Client,
    size: usize,
    mut random: fastrand::Rng,
    work: Rc<Work>,
) -> anyhow::Result<()> {
    while !work.stopping.get() {
        let start = Instant::now();
        let mut exchange = Exchange::new(client.open().await?, size);
        for _ in 0..random.u32(1..=REQUESTS) {
            exchange.once().await?;
            tokio::time::sleep(PAUSE.mul_f32(random.f32())).await;
        }
        match random.u8(..4) {
            // Dropped with an answer read and no end announced: a FIN without close_notify, which
            // the gateway must take for a truncation.
            0 => drop(exchange),
            _ => close(exchange.stream, &work).await?,
        }
        work.finished(start);
    }
    Ok(())
}
