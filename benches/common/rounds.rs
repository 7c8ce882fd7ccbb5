//! Rounds: each starts all gateways anew and gives each of them every measure in turn, so that what
//! else the machine does hits all alike.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::measure::Measure;
use super::options::Options;
use super::results::Results;
use super::site::{Lane, Site};

/// No round begins, and no further run within one, after this.
const LIMIT: Duration = Duration::from_secs(14 * 60);

/// Who takes part in what, and what came out: one table.
pub struct Contest {
    pub lanes: Vec<Lane>,
    pub results: Results,
}

impl Contest {
    /// Nothing yet.
    pub fn new(lanes: Vec<Lane>, measures: &'static [Measure]) -> Self {
        let results = Results::new(&lanes, measures);
        Self { lanes, results }
    }
}

/// All rounds, in each of them all contests one after the other.
///
/// # Errors
/// When a gateway does not start; a run that fails is one of the results.
pub fn run(options: &Options, site: &Site, contests: &mut [Contest]) -> anyhow::Result<()> {
    let begin = Instant::now();
    for round in 0..options.rounds() {
        if begin.elapsed() > LIMIT {
            eprintln!("{LIMIT:?} are over after {round} rounds; the rest is left out");
            break;
        }
        for contest in &mut *contests {
            one_round(options, site, contest, round, begin)?;
        }
    }
    Ok(())
}

/// Starts everything, gives each lane every measure, ends everything. The order of the lanes turns
/// from round to round.
fn one_round(
    options: &Options,
    site: &Site,
    Contest { lanes, results }: &mut Contest,
    round: usize,
    begin: Instant,
) -> anyhow::Result<()> {
    let processes = site.start(lanes)?;
    for measure in results.measures.iter().filter(|measure| measure.is_chosen(options)) {
        for index in 0..lanes.len() {
            let turn = (index + round) % lanes.len();
            let lane = lanes.get(turn).context("a turn is one of the lanes")?;
            let same = lanes.iter().position(|other| other.address == lane.address);
            let again = measure.per_process && same != Some(turn);
            if again || !(measure.who)(lane) || begin.elapsed() > LIMIT {
                continue;
            }
            let pid = processes.pid(lane).context("a lane's process was started")?;
            let report = measure.run(options, site, lane, pid, round);
            if let Err(error) = &report {
                eprintln!("{} of {}: {error:#}", measure.name, lane.name);
            }
            eprint!("\rround {} {} {:<40}", round + 1, measure.name, lane.name);
            results.add(measure, lane, round, report.map_err(|error| format!("{error:#}")));
        }
    }
    eprintln!();
    Ok(())
}
