//! What was measured, and its file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::measure::{Column, Growth, MEASURES, Measure};
use super::peers::Lane;
use super::{chart, field, load};

/// Reports by measure and lane.
pub struct Results {
    /// The lanes in the table's order; ours is the first.
    pub lanes: Vec<String>,
    versions: BTreeMap<String, Option<String>>,
    reports: BTreeMap<(&'static str, String), Vec<Value>>,
    failures: Vec<String>,
}

impl Results {
    /// Nothing yet.
    pub fn new(lanes: &[Lane]) -> Self {
        Self {
            lanes: lanes.iter().map(|lane| lane.name.clone()).collect(),
            versions: lanes.iter().map(|lane| (lane.name.clone(), lane.version())).collect(),
            reports: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    /// Adds a run.
    pub fn add(&mut self, measure: &Measure, lane: &Lane, report: Result<Value, String>) {
        match report {
            Ok(report) => {
                self.reports.entry((measure.name, lane.name.clone())).or_default().push(report);
            }
            Err(error) => self.failures.push(format!("{} of {}: {error}", measure.name, lane.name)),
        }
    }

    /// The median over the rounds.
    pub fn median(&self, measure: &Measure, column: &Column, lane: &str) -> Option<f64> {
        let reports = self.reports.get(&(measure.name, lane.to_owned()))?;
        let values: Vec<f64> =
            reports.iter().filter_map(|report| field(report, column.pointer)).collect();
        load::median(&values)
    }

    /// Our medians over open connections, as multiples of the first.
    pub fn growth(&self, (_, points): &Growth) -> Vec<(usize, f64)> {
        let Some(ours) = self.lanes.first() else { return Vec::new() };
        let of = |(open, name): &(usize, &str)| {
            let measure = MEASURES.iter().find(|measure| measure.name == *name)?;
            Some((*open, self.median(measure, measure.values.first()?, ours)?))
        };
        let values: Vec<_> = points.iter().filter_map(of).collect();
        let first = values.first().map_or(1.0, |(_, value)| *value);
        values.into_iter().map(|(open, value)| (open, value / first)).collect()
    }

    /// The columns that anybody has a value for.
    pub fn columns(&self) -> impl Iterator<Item = (&'static Measure, &'static Column)> {
        let all = MEASURES.iter().flat_map(|m| m.values.iter().map(move |column| (m, column)));
        all.filter(|(measure, column)| {
            self.lanes.iter().any(|lane| self.median(measure, column, lane).is_some())
        })
    }

    /// Writes `path`.json with every report, and `path`.svg.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
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
            .map(|((measure, lane), reports)| json!({ "measure": measure, "lane": lane, "reports": reports }))
            .collect();
        let cpus = std::thread::available_parallelism()?.get();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let all = json!({
            "machine": { "cpus": cpus, "kernel": kernel.trim() },
            "versions": self.versions,
            "medians": medians,
            "failures": self.failures,
            "runs": runs,
        });
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let write = |extension: &str, text: String| {
            let file = path.with_extension(extension);
            fs::write(&file, text).with_context(|| file.display().to_string())
        };
        write("json", format!("{all:#}\n"))?;
        write("svg", chart::svg(self))
    }

    /// # Errors
    /// Lists what went wrong, if anything.
    pub fn failed(&self) -> anyhow::Result<()> {
        if self.failures.is_empty() {
            return Ok(());
        }
        bail!("{} runs failed:\n{}", self.failures.len(), self.failures.join("\n"))
    }
}
