//! The table: CPU per request, as a multiple of Envoy's in the same round, then what came with it.

use std::fmt::Write;

use crate::common::measure::{Column, Measure};
use crate::common::results::Results;
use crate::common::{field, number};
use crate::load;

/// Whose cost is 1.
pub const BASE: &str = "Envoy";

/// A table for a terminal and for a Markdown page, under a title.
pub fn markdown(title: &str, results: &Results) -> String {
    let mut text = format!("| {title} |");
    for lane in &results.lanes {
        let _ = write!(text, " {lane} |");
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(results.lanes.len()));
    for (measure, column) in results.columns() {
        let _ = write!(text, "| {}, {} |", column.title, column.unit);
        for lane in &results.lanes {
            let cell = match (
                results.median(measure, column, lane),
                ratio(results, measure, column, lane),
            ) {
                (Some(value), Some(ratio)) if lane != BASE => {
                    format!("{} ({ratio:.2})", number(value))
                }
                (Some(value), _) => number(value),
                (None, _) => String::new(),
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

/// The median over the rounds of a lane's value as a multiple of [`BASE`]'s in the same round.
fn ratio(results: &Results, measure: &Measure, column: &Column, lane: &str) -> Option<f64> {
    let of = |(round, report)| {
        let (_, base) = results.reports(measure, BASE).find(|(other, _)| *other == round)?;
        let base = field(base, column.pointer).filter(|base| *base > 0.0)?;
        Some(field(report, column.pointer)? / base)
    };
    let values: Vec<f64> = results.reports(measure, lane).filter_map(of).collect();
    load::median(&values)
}
