//! The load generator, for any gateway that ends mutual TLS and forwards bytes or HTTP/2's requests:
//!
//! ```text
//! cargo bench --bench load -- handshake --address 127.0.0.1:4143 --backend 127.0.0.1:9000 \
//!     --certs certs-dev --target web.test.svc.cluster.local:80 --pid "$(pidof linkerd-gateway)"
//! ```
//!
//! It brings its own backend, so that the gateway's one route leads to `--backend`. What it reports
//! is the gateway's CPU time per unit of work, because generator and gateway share a machine whose
//! throughput says little. It never runs without an end: every window is bounded by time, and a
//! wrong byte, a refusal or a stall ends the run with an error; HTTP's wrong answers are counted.
//! `benches/compare.rs` and `benches/http.rs` start it once per gateway and mode.

use std::process::ExitCode;

use clap::Parser;
use linkerd_gateway::runtime::raise_descriptor_limit;

#[path = "load/backend.rs"]
mod backend;
#[path = "load/bulk.rs"]
mod bulk;
#[path = "load/churn.rs"]
mod churn;
#[path = "load/client.rs"]
mod client;
#[path = "load/handshake.rs"]
mod handshake;
#[path = "load/http.rs"]
mod http;
#[path = "load/idle.rs"]
mod idle;
#[path = "load/options.rs"]
pub mod options;
#[path = "load/origin.rs"]
mod origin;
#[path = "load/pace.rs"]
mod pace;
#[path = "load/pattern.rs"]
mod pattern;
#[path = "load/process.rs"]
mod process;
#[path = "load/report.rs"]
mod report;
#[path = "load/request.rs"]
mod request;
#[path = "load/tls.rs"]
mod tls;
#[path = "load/windows.rs"]
mod windows;

use options::{Mode, Options};
pub use report::median;

/// Runs the mode that the arguments name, and prints its report.
pub fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(report) if options.json => println!("{report:#}"),
        Ok(report) => print!("{}", report::text(&report)),
        Err(error) => {
            eprintln!("load {}: {error:#}", options.mode.name());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(options: &Options) -> anyhow::Result<serde_json::Value> {
    raise_descriptor_limit();
    let client = client::Client::new(options)?;
    let backend = backend::Backend::start(options.backend, options.service(), options.block)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let background = client::hold(&client, options.background).await?;
        let result = match options.mode {
            Mode::Handshake => handshake::run(options, client).await,
            Mode::Up | Mode::Down | Mode::Both => bulk::run(options, client, &backend).await,
            Mode::Request => request::closed_loop(options, client).await,
            Mode::Rate => request::fixed_rate(options, client).await,
            Mode::Idle => idle::run(options, &client).await,
            Mode::Churn => churn::run(options, client).await,
            Mode::Get | Mode::Post => http::closed_loop(options, client).await,
            Mode::GetRate => http::fixed_rate(options, client).await,
        };
        drop(background);
        match backend.fault() {
            Some(fault) => anyhow::bail!("the backend: {fault}"),
            None => result,
        }
    })
}
