//! The report: JSON for `compare`, the same as a few lines for people.

use std::fmt::Write;

use serde_json::{Value, json};

use super::options::Options;
use super::windows::{Measured, Window, Work};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    Connection,
    Mebibyte,
    Request,
}

impl Unit {
    /// The name of the cost, and how many seconds of CPU per unit are 1 of it.
    fn cost(self) -> (&'static str, f64) {
        match self {
            Self::Connection => ("us_per_connection", 1e6),
            Self::Mebibyte => ("s_per_gib", 1024.0),
            Self::Request => ("us_per_request", 1e6),
        }
    }
}

/// A mode's report: medians over the windows, and each window.
pub fn windows(options: &Options, unit: Unit, measured: &Measured, work: &Work) -> Value {
    let windows = &measured.windows;
    let (name, scale) = unit.cost();
    let cost = |window: &Window| {
        let (before, after) = window.gateway?;
        let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        Some(cpu / window.units as f64 * scale)
    };
    let system = |window: &Window| {
        let (before, after) = window.gateway?;
        let ticks = after.ticks.saturating_sub(before.ticks);
        (ticks > 0).then(|| (after.system_ticks - before.system_ticks) as f64 / ticks as f64)
    };
    let own = |window: &Window| window.own_cpu.as_secs_f64() / window.units as f64 * scale;
    let rate = |window: &Window| window.units as f64 / window.elapsed.as_secs_f64();
    let latency = |window: &Window, quantile: f64| {
        let histogram = &window.latency;
        (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile) as f64 / 1e3)
    };
    let quantiles = |of: &dyn Fn(f64) -> Option<f64>| json!({ "p50": of(0.5), "p90": of(0.9), "p99": of(0.99), "p999": of(0.999), "max": of(1.0) });
    let each: Vec<Value> = windows
        .iter()
        .map(|window| {
            json!({
                "seconds": window.elapsed.as_secs_f64(),
                "units": window.units,
                name: cost(window),
                "latency_us": quantiles(&|quantile| latency(window, quantile)),
            })
        })
        .collect();
    let over = |value: &dyn Fn(&Window) -> Option<f64>| {
        let values: Option<Vec<f64>> = windows.iter().map(value).collect();
        values.and_then(|values| median(&values))
    };
    json!({
        "mode": options.mode.name(),
        "options": options.describe(),
        name: over(&cost),
        "system_share": over(&system),
        "generator": over(&|window| Some(own(window))),
        "units_per_second": over(&|window| Some(rate(window))),
        "latency_us": quantiles(&|quantile| over(&|window| latency(window, quantile))),
        "total_units": measured.total,
        "unclean_ends": work.unclean.get(),
        "errors": work.errors.get(),
        "first_error": *work.first_error.borrow(),
        "windows": each,
    })
}

/// The middle value, of an even number the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// One line per fact; windows are left out.
pub fn text(report: &Value) -> String {
    let mut text = String::new();
    for (key, value) in report.as_object().into_iter().flatten() {
        match value {
            Value::Array(_) | Value::Null => {}
            Value::Object(fields) => {
                let fields = fields.iter().filter(|(_, value)| !value.is_null());
                let fields: Vec<_> = fields.map(|(k, v)| format!("{k} {}", number(v))).collect();
                let _ = writeln!(text, "{key:<26} {}", fields.join("  "));
            }
            value => drop(writeln!(text, "{key:<26} {}", number(value))),
        }
    }
    text
}

fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if !value.is_u64() => format!("{number:.3}"),
        _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    }
}
