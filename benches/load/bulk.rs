//! `up`, `down` and `both`: as many bytes as go through, every one verified.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::task::JoinSet;

use super::backend::Backend;
use super::client::{Client, Stream};
use super::options::{Mode, Options};
use super::pattern::{self, BLOCK};
use super::report::{self, Unit};
use super::windows::{Work, measure};

/// Units of a window's count.
const MIB: u64 = 1024 * 1024;

/// What our side of all connections has moved.
#[derive(Default)]
struct Moved {
    sent: Cell<u64>,
    received: Cell<u64>,
}

/// Fills each of `connections` in the mode's direction.
///
/// # Errors
/// A wrong or missing byte, or a connection that breaks.
pub async fn run(
    options: &Options,
    client: Client,
    backend: &Backend,
) -> anyhow::Result<serde_json::Value> {
    let work = Work::new()?;
    let moved = Rc::new(Moved::default());
    let mut tasks = JoinSet::new();
    for _ in 0..options.connections() {
        let (read, write) = tokio::io::split(client.connect(b"").await?);
        let block = (options.mode != Mode::Down).then_some(options.block);
        tasks.spawn_local(send(write, block, Rc::clone(&moved), Rc::clone(&work)));
        tasks.spawn_local(receive(read, Rc::clone(&moved), Rc::clone(&work)));
    }
    // Counted where they arrive, so that what waits in buffers is not.
    let arrived = || (backend.received() + moved.received.get()) / MIB;
    let measured = measure(options, &work, tasks, arrived, || backend.stop_sources()).await?;
    backend.ended().await?;
    let ours = (moved.sent.get(), moved.received.get());
    let theirs = (backend.received(), backend.sent());
    if ours != theirs {
        anyhow::bail!("bytes were lost: (sent, received) {ours:?}, the backend {theirs:?}");
    }
    Ok(report::windows(options, Unit::Mebibyte, &measured, &work))
}

async fn send(
    mut write: WriteHalf<Stream>,
    block: Option<usize>,
    moved: Rc<Moved>,
    work: Rc<Work>,
) -> anyhow::Result<()> {
    let mut offset = 0;
    while !work.stopping.get() {
        let Some(block) = block else {
            // An end of our direction would make it a half-closed connection, which is no download.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let count = write.write(pattern::at(offset, block)).await.context("writing")?;
        offset += count as u64;
        moved.sent.set(moved.sent.get() + count as u64);
    }
    Ok(write.shutdown().await?)
}

async fn receive(
    mut read: ReadHalf<Stream>,
    moved: Rc<Moved>,
    work: Rc<Work>,
) -> anyhow::Result<()> {
    let (mut buffer, mut offset) = (vec![0; BLOCK], 0);
    loop {
        let count = match read.read(&mut buffer).await {
            // FIN without close_notify; the sums tell whether a byte is missing.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                work.unclean.set(work.unclean.get() + 1);
                0
            }
            result => result.context("reading")?,
        };
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        pattern::verify(offset, bytes)?;
        offset += count as u64;
        moved.received.set(moved.received.get() + count as u64);
    }
}
