//! The table: what each gateway costs, as a multiple of ours, and ours as a multiple of the floor.

use std::fmt::Write;

use crate::common::number;
use crate::common::results::Results;

/// A table for a terminal and for a Markdown page.
pub fn markdown(results: &Results) -> String {
    let mut text = String::from("| CPU of the gateway per unit, lower is better |");
    for lane in &results.lanes {
        let _ = write!(text, " {lane} |");
    }
    let _ = writeln!(text, " floor |\n|---|{}---|", "---|".repeat(results.lanes.len()));
    for (measure, column) in results.columns() {
        let _ = write!(text, "| {}, {} |", column.title, column.unit);
        let value = |lane: &String| results.median(measure, column, lane);
        let ours = results.lanes.first().and_then(value);
        for (index, lane) in results.lanes.iter().enumerate() {
            let cell = match (value(lane), ours) {
                (None, _) => String::new(),
                (Some(value), Some(ours)) if index > 0 && ours > 0.0 => {
                    format!("{} ({:.2})", number(value), value / ours)
                }
                (Some(value), _) => number(value),
            };
            let _ = write!(text, " {cell} |");
        }
        let floor = match (column.floor, ours) {
            (Some(floor), Some(ours)) => format!("{} ({:.2})", number(floor), floor / ours),
            _ => String::new(),
        };
        let _ = writeln!(text, " {floor} |");
    }
    text.push_str("\nIn parentheses: as a multiple of the first column.\n");
    text
}
