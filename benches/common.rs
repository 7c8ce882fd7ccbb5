//! What `compare.rs` and `http.rs` share: certificates, processes, rounds, results.

use std::process::ExitCode;

use serde_json::Value;

pub mod configuration;
pub mod measure;
pub mod namespace;
pub mod options;
pub mod peers;
pub mod results;
pub mod rounds;
pub mod site;

/// Runs a comparison in a network namespace of its own.
pub fn main(name: &str, compare: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    let result = match namespace::inside() {
        Ok(true) => compare(),
        Ok(false) => return ExitCode::SUCCESS,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A field of a report, as in `/latency_us/p50`.
pub fn field(report: &Value, pointer: &str) -> Option<f64> {
    report.pointer(pointer)?.as_f64()
}

/// Three digits that matter.
pub fn number(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
