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
//! touches the machine's own network, and its time is bounded.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use linkerd_gateway::runtime::raise_descriptor_limit;
use serde_json::Value;

#[path = "compare/chart.rs"]
mod chart;
mod common;
#[path = "compare/configuration.rs"]
mod configuration;
#[path = "compare/measures.rs"]
mod measures;
#[path = "compare/peers.rs"]
mod peers;
#[path = "compare/smoke.rs"]
mod smoke;
#[path = "compare/table.rs"]
mod table;

mod load;

use common::measure::AS_GENERATOR;
use common::options::Options;
use common::results;
use common::rounds::{self, Contest};
use common::site::Site;

/// Compares the gateway with its peers.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Instead of comparing: count our system calls and instructions per unit, and fail when they
    /// exceed benches/budget.json.
    #[arg(long)]
    smoke: bool,
    /// With --smoke: write what is counted as the new budget.
    #[arg(long, requires = "smoke")]
    record: bool,
}

fn main() -> ExitCode {
    if std::env::var_os(AS_GENERATOR).is_some() {
        return load::main();
    }
    let Arguments { options, smoke, record } = Arguments::parse();
    common::main("compare", || if smoke { smoke::run(&options, record) } else { compare(&options) })
}

fn compare(options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    raise_descriptor_limit();
    let site = Site::prepare(options, "compare")?;
    let mut contest = Contest::new(peers::lanes(options, &site)?, measures::MEASURES);
    rounds::run(options, &site, std::slice::from_mut(&mut contest))?;
    let Contest { results, .. } = contest;
    let out = options.out("compare");
    let mut all = results.json();
    if let Value::Object(fields) = &mut all {
        fields.insert("machine".to_owned(), results::machine());
    }
    results::write(&out, "json", &format!("{all:#}\n"))?;
    results::write(&out, "svg", &chart::svg(&results))?;
    println!("{}", table::markdown(&results));
    println!("written: {0}.json, {0}.svg ({1:.0?})", out.display(), begin.elapsed());
    results::judge(&results.failures)
}
