//! `idle`: memory of connections that do nothing, by what they have done before.

use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};

use super::client::{self, Client};
use super::options::Options;
use super::process;
use super::report;
use super::request::Exchange;

/// What every connection carries both ways before the second look.
const TRAFFIC: usize = 64 * 1024;
/// KiB per connection that count as nothing: other pages of the process come and go, too.
const GIVEN_BACK: f64 = 0.3;
/// Connections opened and closed before the first look: allocators and tables have their size then.
const WARM_UP: usize = 50;

/// Opens `connections` and looks three times.
///
/// # Errors
/// Without `--pid`; as connections fail.
pub async fn run(options: &Options, client: &Client) -> anyhow::Result<Value> {
    let pid = options.pid.context("--pid is needed: whose memory?")?;
    let settled = async || {
        tokio::time::sleep(options.settle).await;
        process::usage(pid).map(|usage| usage.memory)
    };
    let (mut first, mut second, mut after) = (Vec::new(), Vec::new(), Vec::new());
    drop(client::hold(client, WARM_UP).await?);
    // One base for all repetitions: what the first one leaves behind counts for the next ones.
    let before = settled().await?;
    for _ in 0..options.repetitions {
        let streams = client::hold(client, options.connections()).await?;
        let per_connection = |memory: u64| {
            memory.saturating_sub(before) as f64 / 1024.0 / options.connections() as f64
        };
        first.push(per_connection(settled().await?));
        let mut exchanges = Vec::with_capacity(streams.len());
        for stream in streams {
            let mut exchange = Exchange::new(stream, TRAFFIC);
            exchange.once().await?;
            exchanges.push(exchange);
        }
        second.push(per_connection(settled().await?));
        drop(exchanges);
        // Allocators give memory back over seconds (jemalloc: 10).
        let (closed, mut left) = (Instant::now(), f64::INFINITY);
        while closed.elapsed() < options.give_back && left > GIVEN_BACK {
            left = left.min(per_connection(settled().await?));
        }
        after.extend(left.is_finite().then_some(left));
    }
    Ok(json!({
        "mode": options.mode.name(),
        "options": options.describe(),
        "memory_kib_per_connection": {
            "after_one_byte": report::median(&first),
            "after_64_kib": report::median(&second),
            "after_close": report::median(&after),
        },
    }))
}
