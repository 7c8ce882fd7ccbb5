//! `make bench-http`: what a request costs in our gateway beside the ones that it replaces: HTTP/2
//! over mutual TLS in, HTTP/1.1 or HTTP/2 in clear text out.
//!
//! ```text
//! cargo bench --bench http -- --quick
//! cargo bench --bench http -- --measure get --only Envoy
//! ```
//!
//! Where and how it is measured is `compare.rs`'s: one network namespace, one worker each, in turn.
//! Costs are multiples of Envoy's in the same round.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use linkerd_gateway::runtime::raise_descriptor_limit;
use serde_json::{Map, Value};

mod common;
#[path = "http/configuration.rs"]
mod configuration;
#[path = "http/measures.rs"]
mod measures;
#[path = "http/peers.rs"]
mod peers;
#[path = "http/table.rs"]
mod table;

mod load;

use common::measure::AS_GENERATOR;
use common::options::Options;
use common::results;
use common::rounds::{self, Contest};
use common::site::Site;
use load::options::Upstream;

/// Compares the gateway with its peers where they serve HTTP.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

/// What goes out, its name in files and its title.
const UPSTREAMS: [(Upstream, &str, &str); 2] = [
    (Upstream::Http1, "http1", "h2 over mTLS to HTTP/1.1"),
    (Upstream::H2c, "h2c", "h2 over mTLS to h2c"),
];

fn main() -> ExitCode {
    if std::env::var_os(AS_GENERATOR).is_some() {
        return load::main();
    }
    let Arguments { options } = Arguments::parse();
    common::main("http", || compare(&options))
}

fn compare(options: &Options) -> anyhow::Result<()> {
    let begin = Instant::now();
    raise_descriptor_limit();
    if !measures::MEASURES.iter().any(|measure| measure.is_chosen(options)) {
        println!("http: none of its measures was asked for");
        return Ok(());
    }
    let site = Site::prepare(options, "http")?;
    let mut contests = Vec::new();
    for (upstream, _, _) in UPSTREAMS {
        let lanes = peers::lanes(options, &site, upstream)?;
        contests.push(Contest::new(lanes, measures::MEASURES));
    }
    rounds::run(options, &site, &mut contests)?;
    let mut all = Map::from_iter([("machine".to_owned(), results::machine())]);
    let mut failures = Vec::new();
    for ((_, name, title), Contest { results, .. }) in UPSTREAMS.into_iter().zip(contests) {
        all.insert(name.to_owned(), results.json());
        println!("{}", table::markdown(title, &results));
        failures.extend(results.failures.iter().map(|failure| format!("{name}: {failure}")));
    }
    println!("In parentheses: as a multiple of {} in the same round.", table::BASE);
    let out = options.out("http");
    results::write(&out, "json", &format!("{:#}\n", Value::Object(all)))?;
    println!("written: {}.json ({:.0?})", out.display(), begin.elapsed());
    results::judge(&failures)
}
