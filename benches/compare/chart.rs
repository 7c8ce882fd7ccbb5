//! The same as a picture: one panel per value, one bar per gateway, and how our cost grows. Plain
//! SVG without scripts or fonts of its own, readable on light and dark pages.

use std::fmt::Write;

use crate::common::measure::{Column, Measure};
use crate::common::number;
use crate::common::results::Results;

use super::measures::{GROWTH, Growth};

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
    let rows = (panels.len() + GROWTH.len()).div_ceil(PANELS_PER_ROW);
    let (width, total) = (PANEL_WIDTH * PANELS_PER_ROW, rows * height + 10);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{total}\" \
         viewBox=\"0 0 {width} {total}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let bars = panels.len();
    for index in 0..bars + GROWTH.len() {
        let (x, y) = (index % PANELS_PER_ROW * PANEL_WIDTH + 10, index / PANELS_PER_ROW * height);
        let _ = writeln!(text, "<g transform=\"translate({x} {y})\">");
        match panels.get(index) {
            Some((measure, column)) => panel(&mut text, results, measure, column),
            None => line(&mut text, results, &GROWTH[index - bars], height - 60),
        }
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

/// A line over the logarithm of open connections; the axis begins at 0 and ends at twice the first
/// value or above the highest.
fn line(text: &mut String, results: &Results, growth: &Growth, height: usize) {
    let points = growth_of(results, growth);
    if points.len() < 2 {
        return;
    }
    let _ = writeln!(
        text,
        "<text x=\"0\" y=\"24\" font-weight=\"bold\">{} over open connections, 1 at {}</text>",
        growth.0, points[0].0
    );
    let most = points.iter().map(|(_, value)| *value).fold(2.0, f64::max);
    let scale = |open: usize| (open as f64 / points[0].0 as f64).log10();
    let last = scale(points[points.len() - 1].0);
    let place = |(open, value): &(usize, f64)| {
        let x = 20.0 + scale(*open) / last * 300.0;
        (x, 34.0 + height as f64 * (1.0 - value / most))
    };
    let path: Vec<_> = points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{OURS}\" stroke-width=\"2\"/>\
         <line x1=\"20\" y1=\"{bottom}\" x2=\"320\" y2=\"{bottom}\" stroke=\"{OTHERS}\"/>",
        path.join(" "),
        bottom = 34 + height,
    );
    for point in &points {
        let (x, y) = place(point);
        let _ = writeln!(
            text,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{OURS}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.2}</text>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            y - 8.0,
            point.1,
            34 + height + 14,
            point.0,
        );
    }
}

/// Our medians over open connections, as multiples of the first.
fn growth_of(results: &Results, (_, points): &Growth) -> Vec<(usize, f64)> {
    let Some(ours) = results.lanes.first() else { return Vec::new() };
    let of = |(open, name): &(usize, &str)| {
        let measure = results.measures.iter().find(|measure| measure.name == *name)?;
        Some((*open, results.median(measure, measure.values.first()?, ours)?))
    };
    let values: Vec<_> = points.iter().filter_map(of).collect();
    let first = values.first().map_or(1.0, |(_, value)| *value);
    values.into_iter().map(|(open, value)| (open, value / first)).collect()
}
