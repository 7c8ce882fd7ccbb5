//! `[log]`: what is logged, and in which form.

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::LONGEST;
use super::values::{duration, one_of};
use crate::config::raw::{Cursor, shown};
use crate::config::schema::closest;
use crate::config::{LogFormat, LogSettings};
use crate::model::access::LoggedRequests;
use crate::model::outcome::Outcome;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Fewer samples than this say nothing.
const MOST_SAMPLE: u64 = 1_000_000;
const EXPECTED: &str = "a filter like \"info\" or \"warn,linkerd_gateway=debug\"";

pub(super) fn log(at: &Cursor<'_>) -> Option<LogSettings> {
    let level = at.required("level", "a log filter", |at| match at.text().map(filter) {
        Some(Ok(filter)) => Some(filter.to_owned()),
        Some(Err(expected)) => at.wrong(&expected),
        None => at.wrong(EXPECTED),
    });
    let format = at.required("format", "a format", |at| {
        one_of(at, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    let access = at.required("access", "true or false", Cursor::boolean);
    let outcomes = at.optional("access_outcomes", outcomes);
    let min_duration = at
        .required("access_min_duration", "a duration", |at| duration(at, Duration::ZERO..=LONGEST));
    let sample = at.required("access_sample", "a number", |at| at.integer(1..=MOST_SAMPLE));
    let requests = at.required("access_requests", "which requests", |at| {
        let all = ("all", LoggedRequests::All);
        one_of(at, &[all, ("problems", LoggedRequests::Problems), ("off", LoggedRequests::Off)])
    });
    Some(LogSettings {
        level: level?,
        format: format?,
        access: access?,
        access_outcomes: outcomes?,
        access_min_duration: min_duration?,
        access_sample: sample?,
        access_requests: requests?,
    })
}

fn outcomes(at: &Cursor<'_>) -> Option<Vec<Outcome>> {
    let list = at.list("a list of outcomes like [\"denied\"]", outcome)?;
    if list.is_empty() {
        return at.refuse("is empty, so nothing would be logged: name at least one, leave the key out for all, or set log.access = false");
    }
    Some(list)
}

/// An outcome by its label.
fn outcome(at: &Cursor<'_>) -> Option<Outcome> {
    let find = |text: &str| Outcome::ALL.iter().copied().find(|o| o.label() == text);
    let labels = || Outcome::ALL.iter().map(|outcome| outcome.label());
    match at.text() {
        Some(text) => find(text).or_else(|| match closest(text, labels()) {
            Some(near) => at.wrong(&format!("an outcome: did you mean \"{near}\"?")),
            None => at.wrong(&format!("one of {}", labels().collect::<Vec<_>>().join(", "))),
        }),
        None => at.wrong("the label of an outcome, like \"denied\""),
    }
}

/// A log filter without the space around it; the admin API takes one, too.
///
/// # Errors
/// What was expected instead, and why if that is known.
pub fn filter(text: &str) -> Result<&str, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(EXPECTED.to_owned());
    }
    if let Err(error) = EnvFilter::builder().parse(text) {
        return Err(format!("{EXPECTED} ({})", shown(&error.to_string())));
    }
    // The parser takes a misspelt level for the name of a crate, which would silence everything.
    for word in text.split(',').map(str::trim) {
        let known = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        let near = closest(&word.to_ascii_lowercase(), LEVELS).filter(|_| !known);
        if let Some(level) = near {
            return Err(format!("{EXPECTED}: did you mean \"{level}\"?"));
        }
    }
    Ok(text)
}
