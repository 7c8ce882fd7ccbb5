//! What the mirror costs: 10,000 exported Services over 10 Links.
//!
//! ```text
//! make bench-mirror            # ARGS="--quick": 1,000 over 2
//! ```
//!
//! The clusters are the fake API servers of the tests, in this process; what is measured is the
//! gateway's own process, and writes as the servers count them. The first sync is compared with what
//! a client takes that does nothing but create the same objects, as many at a time.

#![allow(clippy::expect_used, clippy::panic, reason = "a failed measurement ends the run")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};

#[path = "mirror/clusters.rs"]
mod clusters;
#[path = "mirror/gateway.rs"]
mod gateway;
#[allow(dead_code, reason = "the load generator uses the rest")]
#[path = "load/process.rs"]
mod process;
#[allow(unused_imports, reason = "one part of many is used")]
#[path = "../tests/support/mod.rs"]
mod support;

use clusters::{Clusters, OBJECTS_EACH};
use gateway::{Health, Mirror};
use process::{Usage, usage};

#[derive(Debug, Parser)]
struct Options {
    /// Services in all [default: 10000].
    #[arg(long, value_name = "N")]
    services: Option<usize>,
    /// Links that they are spread over [default: 10].
    #[arg(long, value_name = "N")]
    links: Option<usize>,
    /// How long a steady state is watched [default: 60].
    #[arg(long, value_name = "SECONDS")]
    steady: Option<u64>,
    /// 1,000 Services, 2 Links, 15 s.
    #[arg(long)]
    quick: bool,
    /// Where the results go [default: benches/results/mirror.json; with --quick nowhere].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let or = |given: Option<usize>, full, quick| {
        given.unwrap_or(if options.quick { quick } else { full })
    };
    let (services, links) = (or(options.services, 10_000, 1_000), or(options.links, 10, 2));
    let steady = options.steady.unwrap_or(if options.quick { 15 } else { 60 });
    let report = run(services, links, Duration::from_secs(steady));
    println!("{report:#}");
    let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/results/mirror.json");
    if let Some(file) = options.out.or_else(|| (!options.quick).then_some(kept))
        && let Err(error) = std::fs::write(&file, format!("{report:#}\n"))
    {
        eprintln!("{}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(services: usize, links: usize, steady: Duration) -> Value {
    let health = Health::start();
    // The same process with the same Links and nothing exported: what is there without any Service.
    let empty = {
        let clusters = Clusters::new(0, links, health.address());
        let mirror = Mirror::start(&clusters);
        clusters.wait_until_probed(links);
        std::thread::sleep(Duration::from_secs(5));
        measured(&mirror)
    };

    let clusters = Clusters::new(services, links, health.address());
    let alone = clusters.create_alone(services);
    clusters.west.reset_log();
    let begun = Instant::now();
    let mirror = Mirror::start(&clusters);
    clusters.wait_for(services);
    let first = begun.elapsed();
    let after = measured(&mirror);
    // Echoes of the last writes, and the status of the Links.
    std::thread::sleep(Duration::from_secs(10));
    let first_writes = clusters.writes();
    let full = measured(&mirror);

    // A process that finds everything as it should be.
    drop(mirror);
    clusters.west.reset_log();
    let mirror = Mirror::start(&clusters);
    mirror.wait_for(services);
    std::thread::sleep(Duration::from_secs(10));
    let (restarted, restart_writes) = (measured(&mirror), clusters.writes());

    clusters.west.reset_log();
    std::thread::sleep(steady);
    let (quiet, quiet_writes) = (measured(&mirror), clusters.writes());
    let quiet_by_line = clusters.lines();

    clusters.west.reset_log();
    health.fail(true);
    let begun = Instant::now();
    clusters.wait_until_down(services);
    let down = begun.elapsed();
    std::thread::sleep(Duration::from_secs(5));
    let down_writes = clusters.mirror_writes();
    let down_cpu = measured(&mirror).cpu - quiet.cpu;

    let per_service = |bytes: u64| bytes as f64 / services as f64 / 1024.0;
    json!({
        "services": services, "links": links,
        "first_sync": {
            "seconds": first.as_secs_f64(),
            "seconds_of_a_client_that_only_creates": alone.as_secs_f64(),
            "ratio": first.as_secs_f64() / alone.as_secs_f64(),
            "objects": services * OBJECTS_EACH,
            "writes": first_writes,
            "cpu_us_per_service": (after.cpu - empty.cpu).as_micros() as f64 / services as f64,
        },
        "steady": {
            "seconds": steady.as_secs(),
            "writes_besides_leases": quiet_writes,
            "lines": quiet_by_line,
            "cpu_ms_per_second": (quiet.cpu - restarted.cpu).as_millis() as f64 / steady.as_secs_f64(),
        },
        "restart": {
            "writes_besides_leases": restart_writes,
            "cpu_us_per_service": (restarted.cpu - empty.cpu).as_micros() as f64 / services as f64,
            "kib_per_service": per_service(restarted.memory.saturating_sub(empty.memory)),
        },
        "gateways_down": {
            "seconds_until_the_last_is_not_ready": down.as_secs_f64(),
            "writes_per_object": down_writes as f64 / (2 * services) as f64,
            "cpu_us_per_service": down_cpu.as_micros() as f64 / services as f64,
        },
        "memory": {
            "kib_per_service": per_service(full.memory.saturating_sub(empty.memory)),
            "kib_without_services": empty.memory / 1024,
            "kib": full.memory / 1024,
        },
    })
}

fn measured(mirror: &Mirror) -> Usage {
    usage(mirror.pid()).unwrap_or_else(|error| panic!("{error:#}"))
}
