//! `[log]`: what is logged, and in which form.

use tracing_subscriber::EnvFilter;

use super::values::one_of;
use crate::config::raw::{Cursor, shown};
use crate::config::schema::closest;
use crate::config::{LogFormat, LogSettings};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
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
    Some(LogSettings { level: level?, format: format?, access: access? })
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
