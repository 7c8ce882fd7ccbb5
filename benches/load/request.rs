//! `request` and `rate`: small requests and answers on connections that stay open.

use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;

use super::client::{self, Client, Stream};
use super::handshake::close;
use super::options::Options;
use super::pace::Pace;
use super::pattern;
use super::report::{self, Unit};
use super::windows::{Work, measure};

/// Requests that may wait for one connection before the run counts as overloaded.
const WAITING: usize = 16_384;

/// The next request goes when the answer is there.
///
/// # Errors
/// A wrong answer or a connection that breaks.
pub async fn closed_loop(options: &Options, client: Client) -> anyhow::Result<serde_json::Value> {
    let work = Work::new()?;
    let mut tasks = JoinSet::new();
    for stream in client::hold(&client, options.connections()).await? {
        let (work, size) = (Rc::clone(&work), options.size);
        tasks.spawn_local(async move {
            let mut exchange = Exchange::new(stream, size);
            while !work.stopping.get() {
                let start = Instant::now();
                exchange.once().await?;
                work.finished(start);
            }
            close(exchange.stream, &work).await
        });
    }
    let measured = measure(options, &work, tasks, || work.units.get(), || ()).await?;
    Ok(report::windows(options, Unit::Request, &measured, &work))
}

/// Requests leave by the clock, whatever becomes of the earlier ones: latency counts from the
/// intended moment, so a stall is paid by every request that it delays.
///
/// # Errors
/// As [`closed_loop`], and when the gateway falls behind for good.
pub async fn fixed_rate(options: &Options, client: Client) -> anyhow::Result<serde_json::Value> {
    let work = Work::new()?;
    let mut tasks = JoinSet::new();
    let mut queues = Vec::new();
    for stream in client::hold(&client, options.connections()).await? {
        let (queue, due) = channel(WAITING);
        queues.push(queue);
        tasks.spawn_local(on_demand(stream, options.size, due, Rc::clone(&work)));
    }
    let (mut pace, pacing) = (Pace::new(options.rate)?, Rc::clone(&work));
    tasks.spawn_local(async move {
        for queue in queues.iter().cycle() {
            let intended = pace.next().await?;
            if pacing.stopping.get() {
                break;
            }
            queue.try_send(intended).context("the gateway does not keep up with --rate")?;
        }
        Ok(())
    });
    let measured = measure(options, &work, tasks, || work.units.get(), || ()).await?;
    Ok(report::windows(options, Unit::Request, &measured, &work))
}

async fn on_demand(
    stream: Stream,
    size: usize,
    mut due: Receiver<Instant>,
    work: Rc<Work>,
) -> anyhow::Result<()> {
    let mut exchange = Exchange::new(stream, size);
    while let Some(intended) = due.recv().await {
        exchange.once().await?;
        work.finished(intended);
    }
    close(exchange.stream, &work).await
}

/// Requests on one connection; each has other bytes than the one before.
pub struct Exchange {
    pub stream: Stream,
    answer: Vec<u8>,
    offset: u64,
}

impl Exchange {
    /// Requests of `size` bytes, at most one block of the pattern.
    pub fn new(stream: Stream, size: usize) -> Self {
        Self { stream, answer: vec![0; size.min(pattern::BLOCK)], offset: 0 }
    }

    /// One request and its answer.
    ///
    /// # Errors
    /// A wrong answer, or the connection breaks.
    pub async fn once(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(pattern::at(self.offset, self.answer.len())).await?;
        self.stream.flush().await?;
        self.stream.read_exact(&mut self.answer).await.context("reading the answer")?;
        pattern::verify(self.offset, &self.answer)?;
        self.offset += self.answer.len() as u64;
        Ok(())
    }
}
