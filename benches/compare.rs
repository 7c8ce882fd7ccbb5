//! `make bench`: our gateway beside the ones that it replaces, in one table.
//!
//! ```text
//! cargo bench --bench compare -- --quick
//! cargo bench --bench compare -- --smoke
//! cargo bench --bench compare -- --peer 'other=other-proxy --listen {listen} --to {backend}'
//! ```
//!
//! All run in one network namespace of their own with one set of certificates and one worker each,
//! and every round gives each of them every measure in turn, so that what else the machine does
//! hits all alike. The load comes from this program started once more (`load.rs`). Nothing of it
//! touches the machine's own network, and it ends within [`LIMIT`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use linkerd_gateway::runtime::raise_descriptor_limit;
use serde_json::Value;

#[path = "compare/chart.rs"]
mod chart;
#[path = "compare/configuration.rs"]
mod configuration;
#[path = "compare/measure.rs"]
mod measure;
#[path = "compare/namespace.rs"]
mod namespace;
#[path = "compare/peers.rs"]
mod peers;
#[path = "compare/results.rs"]
mod results;
#[path = "compare/smoke.rs"]
mod smoke;
#[path = "compare/table.rs"]
mod table;

mod load;

use measure::MEASURES;
use peers::{Lane, Site};
use results::Results;

/// No round begins, and no further run within one, after this.
const LIMIT: Duration = Duration::from_secs(14 * 60);

/// Compares the gateway with its peers.
#[derive(Debug, Parser)]
pub struct Options {
    /// One short round instead of three: about a minute, good for a look.
    #[arg(long)]
    quick: bool,
    /// Instead of comparing: count our system calls and instructions per unit, and fail when they
    /// exceed benches/budget.json.
    #[arg(long)]
    smoke: bool,
    /// With --smoke: write what is counted as the new budget.
    #[arg(long, requires = "smoke")]
    record: bool,
    /// Rounds; the table has their medians [default: 3].
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// A further peer: NAME=COMMAND, where {listen}, {backend} and {certs} are filled in.
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    peers: Vec<String>,
    /// Only these measures, by name.
    #[arg(long = "measure", value_name = "NAME")]
    measures: Vec<String>,
    /// Only peers whose name contains this; ours is always there.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Our binary [default: the one built with this program].
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_linkerd-gateway"))]
    gateway: PathBuf,
    /// Where results go: NAME.json and NAME.svg [default: benches/results/compare, or quick].
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    if std::env::var_os(measure::AS_GENERATOR).is_some() {
        return load::main();
    }
    let options = Options::parse();
    let result = match namespace::inside() {
        Ok(true) if options.smoke => smoke::run(&options),
        Ok(true) => compare(&options),
        Ok(false) => return ExitCode::SUCCESS,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    raise_descriptor_limit();
    let site = Site::prepare(options)?;
    let lanes = site.lanes(options)?;
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    let mut results = Results::new(&lanes);
    for round in 0..rounds {
        if begin.elapsed() > LIMIT {
            eprintln!("compare: {LIMIT:?} are over after {round} rounds; the rest is left out");
            break;
        }
        one_round(options, &site, &lanes, round, begin, &mut results)?;
    }
    let name = if options.quick { "quick" } else { "compare" };
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/results").join(name);
    let out = options.out.clone().unwrap_or_else(default);
    results.write(&out)?;
    println!("{}", table::markdown(&results));
    println!("written: {0}.json, {0}.svg ({1:.0?})", out.display(), begin.elapsed());
    results.failed()
}

/// Starts everything, gives each lane every measure, ends everything. The order of the lanes turns
/// from round to round.
fn one_round(
    options: &Options,
    site: &Site,
    lanes: &[Lane],
    round: usize,
    begin: Instant,
    results: &mut Results,
) -> anyhow::Result<()> {
    let processes = site.start(lanes)?;
    for measure in MEASURES.iter().filter(|measure| measure.is_chosen(options)) {
        for index in 0..lanes.len() {
            let turn = (index + round) % lanes.len();
            let lane = lanes.get(turn).context("a turn is one of the lanes")?;
            if !measure.is_for(lane) || begin.elapsed() > LIMIT {
                continue;
            }
            let pid = processes.pid(lane).context("a lane's process was started")?;
            let report = measure.run(options, site, lane, pid, round);
            if let Err(error) = &report {
                eprintln!("{} of {}: {error:#}", measure.name, lane.name);
            }
            eprint!("\rround {} {} {:<40}", round + 1, measure.name, lane.name);
            results.add(measure, lane, report.map_err(|error| format!("{error:#}")));
        }
    }
    eprintln!();
    Ok(())
}

/// A field of a report, as in `/latency_us/p50`.
fn field(report: &Value, pointer: &str) -> Option<f64> {
    report.pointer(pointer)?.as_f64()
}
