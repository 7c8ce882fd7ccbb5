//! What was measured, and its file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::load;

use super::field;
use super::measure::{Column, Measure};
use super::site::Lane;

/// Reports by measure and lane.
pub struct Results {
    pub measures: &'static [Measure],
    /// The lanes in the table's order; ours is the first.
    pub lanes: Vec<String>,
    versions: BTreeMap<String, Option<String>>,
    /// By round.
    reports: BTreeMap<(&'static str, String), BTreeMap<usize, Value>>,
    pub failures: Vec<String>,
}

impl Results {
    /// Nothing yet.
    pub fn new(lanes: &[Lane], measures: &'static [Measure]) -> Self {
        Self {
            measures,
            lanes: lanes.iter().map(|lane| lane.name.clone()).collect(),
            versions: lanes.iter().map(|lane| (lane.name.clone(), lane.version())).collect(),
            reports: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// Adds a run.
    pub fn add(
        &mut self,
        measure: &Measure,
        lane: &Lane,
        round: usize,
        report: Result<Value, String>,
    ) {
        let key = (measure.name, lane.name.clone());
        match report {
            Ok(report) => drop(self.reports.entry(key).or_default().insert(round, report)),
            Err(error) => self.failures.push(format!("{} of {}: {error}", measure.name, lane.name)),
        }
    }

    /// The median over the rounds.
    pub fn median(&self, measure: &Measure, column: &Column, lane: &str) -> Option<f64> {
        let values: Vec<f64> =
            self.reports(measure, lane).filter_map(|(_, r)| field(r, column.pointer)).collect();
        load::median(&values)
    }

    /// The columns that anybody has a value for.
    pub fn columns(&self) -> impl Iterator<Item = (&'static Measure, &'static Column)> {
        let all = self.measures.iter().flat_map(|m| m.values.iter().map(move |column| (m, column)));
        all.filter(|(measure, column)| {
            self.lanes.iter().any(|lane| self.median(measure, column, lane).is_some())
        })
    }

    /// Every report.
    pub fn json(&self) -> Value {
        let medians: Vec<Value> = self
            .columns()
            .map(|(measure, column)| {
                let of = |lane: &String| (lane.clone(), self.median(measure, column, lane));
                let lanes: BTreeMap<_, _> = self.lanes.iter().map(of).collect();
                json!({
                    "measure": measure.name, "title": column.title, "unit": column.unit,
                    "floor": column.floor, "medians": lanes,
                })
            })
            .collect();
        let runs: Vec<Value> = self
            .reports
            .iter()
            .map(|((measure, lane), reports)| {
                let reports: Vec<&Value> = reports.values().collect();
                json!({ "measure": measure, "lane": lane, "reports": reports })
            })
            .collect();
        json!({
            "versions": self.versions,
            "medians": medians,
            "failures": self.failures,
            "runs": runs,
        })
    }

    /// A lane's reports with their rounds.
    pub fn reports(&self, measure: &Measure, lane: &str) -> impl Iterator<Item = (&usize, &Value)> {
        self.reports.get(&(measure.name, lane.to_owned())).into_iter().flatten()
    }
}

/// What a reader must know of this machine to compare figures.
pub fn machine() -> Value {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({ "cpus": cpus, "kernel": kernel.trim() })
}

/// Writes results beside the others, in `path` with this extension.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, extension: &str, text: &str) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let file = path.with_extension(extension);
    fs::write(&file, text).with_context(|| file.display().to_string())
}

/// # Errors
/// Lists what went wrong, if anything.
pub fn judge(failures: &[String]) -> anyhow::Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{} runs failed:\n{}", failures.len(), failures.join("\n"))
}
