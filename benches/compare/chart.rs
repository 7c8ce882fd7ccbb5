//! The same as a picture: one panel per value, one bar per gateway. Plain SVG without scripts or
//! fonts of its own, readable on light and dark pages.

use std::fmt::Write;

use super::measure::{Column, Measure};
use super::results::Results;
use super::table::number;

const PANEL_WIDTH: usize = 400;
const PANELS_PER_ROW: usize = 2;
const BAR: usize = 16;
const LABEL: usize = 150;
/// Longest bar; its value stands behind it.
const LONGEST: f64 = 180.0;
const OURS: &str = "#2a7de1";
const OTHERS: &str = "#8a94a6";

/// Draws all panels.
pub fn svg(results: &Results) -> String {
    let panels: Vec<_> = results.columns().collect();
    let height = 40 + results.lanes.len() * BAR;
    let rows = panels.len().div_ceil(PANELS_PER_ROW);
    let (width, total) = (PANEL_WIDTH * PANELS_PER_ROW, rows * height + 10);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{total}\" \
         viewBox=\"0 0 {width} {total}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, (measure, column)) in panels.into_iter().enumerate() {
        let (x, y) = (index % PANELS_PER_ROW * PANEL_WIDTH + 10, index / PANELS_PER_ROW * height);
        let _ = writeln!(text, "<g transform=\"translate({x} {y})\">");
        panel(&mut text, results, measure, column);
        text.push_str("</g>\n");
    }
    text.push_str("</svg>\n");
    text
}

fn panel(text: &mut String, results: &Results, measure: &Measure, column: &Column) {
    let _ = writeln!(
        text,
        "<text x=\"0\" y=\"24\" font-weight=\"bold\">{}, {}</text>",
        column.title, column.unit
    );
    let value = |lane: &String| results.median(measure, column, lane);
    let most = results.lanes.iter().filter_map(value).fold(0.0, f64::max);
    for (index, lane) in results.lanes.iter().enumerate() {
        let Some(value) = value(lane) else { continue };
        let y = 32 + index * BAR;
        let length = if most > 0.0 { value.max(0.0) / most * LONGEST } else { 0.0 };
        let colour = if index == 0 { OURS } else { OTHERS };
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{lane}</text>\
             <rect x=\"{LABEL}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{}</text>",
            LABEL - 6,
            y + 10,
            BAR - 4,
            LABEL as f64 + length + 4.0,
            y + 10,
            number(value),
        );
    }
}
