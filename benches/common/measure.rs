//! One run of the generator, and the values that the table has from it.

use std::process::Command;

use anyhow::bail;
use serde_json::Value;

use super::options::Options;
use super::site::{Lane, Site};

/// Set for the process that generates load.
pub const AS_GENERATOR: &str = "BENCH_LOAD_GENERATOR";

/// One run of the generator.
pub struct Measure {
    pub name: &'static str,
    pub arguments: &'static [&'static str],
    /// Part of the quick form, too.
    pub quick: bool,
    pub values: &'static [Column],
    /// Belongs to a process, of which two lanes may have the same.
    pub per_process: bool,
    /// Whether it says something about this lane.
    pub who: fn(&Lane) -> bool,
}

/// One value of a report.
pub struct Column {
    pub title: &'static str,
    pub unit: &'static str,
    /// Where the generator's report has it.
    pub pointer: &'static str,
    /// What cryptography and kernel cost at least, measured on a machine with two cores by doing
    /// only that: sign and verify, X25519, `recv` and `send` of 256 KiB, a plain relay.
    pub floor: Option<f64>,
}

/// A value.
pub const fn column(
    title: &'static str,
    unit: &'static str,
    pointer: &'static str,
    floor: Option<f64>,
) -> Column {
    Column { title, unit, pointer, floor }
}

impl Measure {
    /// True unless others were asked for.
    pub fn is_chosen(&self, options: &Options) -> bool {
        let asked = &options.measures;
        let by_name = asked.iter().any(|name| name == self.name);
        by_name || asked.is_empty() && (self.quick || !options.quick)
    }

    /// Runs the generator against a lane once, in the given round.
    ///
    /// # Errors
    /// What the generator says, and answers that were wrong.
    pub fn run(
        &self,
        options: &Options,
        site: &Site,
        lane: &Lane,
        pid: u32,
        round: usize,
    ) -> anyhow::Result<Value> {
        let mut command = generator(site, lane, pid)?;
        command.args(self.arguments);
        if self.name == "idle" {
            let connections = if options.quick { "300" } else { "1000" };
            command.args(["--connections", connections, "--settle", "1s"]);
            // Once is enough for what takes so long.
            let give_back = if options.quick || round > 0 { "0s" } else { "12s" };
            command.args(["--give-back", give_back]);
        } else {
            let window = if options.quick { "600ms" } else { "2s" };
            command.args(["--repetitions", "1", "--warmup", "500ms", "--duration", window]);
        }
        report(&mut command)
    }
}

/// A generator for a lane, to be told what to do.
///
/// # Errors
/// Never in practice: this program has a path.
pub fn generator(site: &Site, lane: &Lane, pid: u32) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(AS_GENERATOR, "1").arg("--json");
    command.arg("--address").arg(lane.address.to_string());
    command.arg("--backend").arg(site.backend.to_string());
    command.arg("--certs").arg(&site.certs).arg("--pid").arg(pid.to_string());
    command.args(&lane.arguments);
    Ok(command)
}

/// Runs a generator.
///
/// # Errors
/// What it says; a run in which answers were wrong measures nothing.
pub fn report(generator: &mut Command) -> anyhow::Result<Value> {
    let output = generator.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let errors = report.get("errors").and_then(Value::as_u64).unwrap_or_default();
    if errors > 0 {
        let first = report.get("first_error").and_then(Value::as_str).unwrap_or_default();
        bail!("{errors} answers were wrong, the first: {first}");
    }
    Ok(report)
}
