//! `handshake`: what a connection costs that does nothing else.

use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::client::{Client, Stream};
use super::options::Options;
use super::report::{self, Unit};
use super::windows::{Work, measure};

/// Connects in a loop on each of `connections` tasks.
///
/// # Errors
/// The first connection that fails.
pub async fn run(options: &Options, client: Client) -> anyhow::Result<serde_json::Value> {
    let work = Work::new()?;
    let mut tasks = JoinSet::new();
    for _ in 0..options.connections() {
        tasks.spawn_local(reconnect(client.clone(), Rc::clone(&work)));
    }
    let measured = measure(options, &work, tasks, || work.units.get(), || ()).await?;
    Ok(report::windows(options, Unit::Connection, &measured, &work))
}

async fn reconnect(client: Client, work: Rc<Work>) -> anyhow::Result<()> {
    while !work.stopping.get() {
        let start = Instant::now();
        close(client.open().await?, &work).await?;
        work.finished(start);
    }
    Ok(())
}

/// Ends our direction and waits for the end of the other.
///
/// # Errors
/// When the gateway sends what nobody asked for, or resets.
pub async fn close(mut stream: Stream, work: &Work) -> anyhow::Result<()> {
    stream.shutdown().await?;
    match stream.read(&mut [0; 1]).await {
        Ok(0) => {}
        Ok(_) => anyhow::bail!("bytes after the last answer"),
        // FIN without close_notify, which some gateways do: rustls calls that an unexpected end.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            work.unclean.set(work.unclean.get() + 1);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
