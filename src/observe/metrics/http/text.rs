//! `request_total`, `response_total` and `response_latency_ms` in the OpenMetrics text format.
//!
//! Numbers of one scrape that belong together are read together: a histogram's count is the sum of
//! its buckets. Counters that go up between two lines of a scrape do so in the next one as well.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::labels::OTHER;
use super::answers::{BOUNDS, Grpc, Kind, Latencies, MICROS, Total};
use super::series::HttpSeries;

/// Writes the metrics of `all`, metric by metric as the format demands. The last one is shown even
/// before it has counted anything.
pub(super) fn write(out: &mut impl Write, all: &[Arc<HttpSeries>]) -> fmt::Result {
    let shown = |index: usize| index + 1 == all.len();
    head(out, "request", "counter", "HTTP requests received")?;
    for series in all {
        let count = series.requests.load(Ordering::Relaxed);
        writeln!(out, "request_total{{{}}} {count}", series.labels)?;
    }
    head(out, "response", "counter", "HTTP requests ended, by what was answered")?;
    for (index, series) in all.iter().enumerate() {
        responses(out, series, shown(index))?;
    }
    let help = "From a request's head to the end of its response, in milliseconds";
    head(out, "response_latency_ms", "histogram", help)?;
    for (index, series) in all.iter().enumerate() {
        latencies(out, series, shown(index))?;
    }
    Ok(())
}

fn head(out: &mut impl Write, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {name} {help}.\n# TYPE {name} {kind}")
}

fn responses(out: &mut impl Write, series: &HttpSeries, is_shown: bool) -> fmt::Result {
    for (Kind { status, is_failure, grpc }, latencies) in series.answers() {
        let mut code = String::new();
        match grpc {
            Grpc::Code(number) => write!(code, "{number}")?,
            Grpc::None => {}
            Grpc::Other => code.push_str(OTHER),
        }
        let answer = (&*status_code(*status), class(*is_failure), &*code);
        response(out, series, answer, latencies.count())?;
    }
    for (latencies, is_failure) in series.other().iter().zip([false, true]) {
        let count = latencies.count();
        if is_shown || count > 0 {
            response(out, series, (OTHER, class(is_failure), OTHER), count)?;
        }
    }
    Ok(())
}

fn response(
    out: &mut impl Write,
    series: &HttpSeries,
    (status, class, code): (&str, &str, &str),
    count: u64,
) -> fmt::Result {
    writeln!(
        out,
        "response_total{{{},status_code=\"{status}\",classification=\"{class}\",grpc_status=\"{code}\"}} {count}",
        series.labels,
    )
}

/// Linkerd's histograms are by status alone.
fn latencies(out: &mut impl Write, series: &HttpSeries, is_shown: bool) -> fmt::Result {
    let mut statuses: Vec<Option<u16>> = series.answers().map(|(kind, _)| kind.status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    for status in statuses {
        let of_status = series.answers().filter(|(kind, _)| kind.status == status);
        histogram(out, series, &status_code(status), of_status.map(|(_, latencies)| latencies))?;
    }
    let other = series.other();
    if is_shown || other.iter().any(|latencies| latencies.count() > 0) {
        histogram(out, series, OTHER, other.iter())?;
    }
    Ok(())
}

fn histogram<'a>(
    out: &mut impl Write,
    series: &HttpSeries,
    status: &str,
    parts: impl Iterator<Item = &'a Latencies>,
) -> fmt::Result {
    let mut total = Total::default();
    parts.for_each(|part| part.add_to(&mut total));
    let labels = format_args!("{},status_code=\"{status}\"", series.labels);
    let mut count = 0;
    let ends = BOUNDS.iter().map(Some).chain([None]);
    for (end, bucket) in ends.zip(total.buckets) {
        count += bucket;
        write!(out, "response_latency_ms_bucket{{{labels},le=\"")?;
        match end {
            Some(end) => write!(out, "{end}")?,
            None => out.write_str("+Inf")?,
        }
        writeln!(out, "\"}} {count}")?;
    }
    let (whole, part) = (total.sum_micros / MICROS, total.sum_micros % MICROS);
    writeln!(out, "response_latency_ms_sum{{{labels}}} {whole}.{part:03}")?;
    writeln!(out, "response_latency_ms_count{{{labels}}} {count}")
}

/// Empty, which is as good as absent, without a response: Linkerd leaves the label out then.
fn status_code(status: Option<u16>) -> String {
    status.map(|status| status.to_string()).unwrap_or_default()
}

fn class(is_failure: bool) -> &'static str {
    if is_failure { "failure" } else { "success" }
}
