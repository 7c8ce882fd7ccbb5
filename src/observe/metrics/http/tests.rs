//! What `/metrics` says of HTTP.

use std::time::Duration;

use super::super::tests::{Exposition, id, target};
use super::*;

const WEB: &str = "direction=\"inbound\",authority=\"web.demo.svc.c.l:80\",tls=\"true\",\
    client_id=\"a.b\",dst_service=\"web\",dst_namespace=\"demo\"";
const OTHERS: &str = "direction=\"inbound\",authority=\"other\",tls=\"true\",client_id=\"other\"";

fn web(metrics: &Metrics) -> Arc<HttpSeries> {
    metrics.http(&target("web.demo.svc.c.l:80"), &id("a.b"))
}

fn answered(status: u16, grpc_status: Option<u16>, millis: u64) -> Answered {
    Answered { status, grpc_status, failed: false, latency: Duration::from_millis(millis) }
}

fn kind(status: &str, class: &str, grpc: &str) -> String {
    let rest = format!("classification=\"{class}\",grpc_status=\"{grpc}\"");
    format!("response_total{{{WEB},status_code=\"{status}\",{rest}}}")
}

/// The lines of `metrics` that say something of `labels`.
fn lines(metrics: &Metrics, labels: &str) -> Vec<String> {
    let text = metrics.encode();
    text.lines().filter(|line| line.contains(labels)).map(str::to_owned).collect()
}

#[test]
fn one_target_and_client_are_written_as_linkerd_does() {
    let metrics = Metrics::new();
    let series = web(&metrics);
    series.request();
    series.request();
    series.response(&answered(200, None, 7));
    let latency = Duration::from_micros(1_234_567);
    series.response(&Answered { latency, ..answered(200, None, 0) });
    let mut expected = vec![format!("request_total{{{WEB}}} 2")];
    expected.push(format!("{} 2", kind("200", "success", "")));
    let bounds = "1 2 3 4 5 10 20 30 40 50 100 200 300 400 500 1000 2000 3000 4000 5000 10000 \
        20000 30000 40000 50000 +Inf";
    let ok = format!("{WEB},status_code=\"200\"");
    for (index, bound) in bounds.split(' ').enumerate() {
        let count = usize::from(index >= 5) + usize::from(index >= 16);
        expected.push(format!("response_latency_ms_bucket{{{ok},le=\"{bound}\"}} {count}"));
    }
    expected.push(format!("response_latency_ms_sum{{{ok}}} 1241.567"));
    expected.push(format!("response_latency_ms_count{{{ok}}} 2"));
    assert_eq!(lines(&metrics, WEB), expected);
    let text = metrics.encode();
    for head in [
        "\n# HELP request HTTP requests received.\n# TYPE request counter\nrequest_total{",
        "\n# TYPE response counter\nresponse_total{",
        "\n# TYPE response_latency_ms histogram\nresponse_latency_ms_bucket{",
    ] {
        assert!(text.contains(head), "{head}");
    }
}

#[test]
fn answers_are_told_apart_by_status_class_and_grpc_status() {
    let metrics = Metrics::new();
    let series = web(&metrics);
    for answer in [
        answered(404, None, 1),
        answered(503, None, 1),
        answered(200, Some(0), 1),
        answered(200, Some(14), 1),
        answered(200, Some(99), 1),
        Answered { failed: true, ..answered(200, None, 1) },
        Answered { failed: true, ..answered(0, None, 1) },
        answered(600, None, 1),
    ] {
        series.response(&answer);
    }
    let all = Exposition::of(&metrics);
    for (status, class, grpc) in [
        ("404", "success", ""),
        ("503", "failure", ""),
        ("200", "success", "0"),
        ("200", "failure", "14"),
        ("200", "success", "other"),
        ("200", "failure", ""),
        ("", "failure", ""),
        ("other", "failure", "other"),
    ] {
        assert_eq!(all.value(&kind(status, class, grpc)), 1.0);
    }
    assert_eq!(all.count(&format!("response_total{{{WEB}")), 8);
    let count = format!("response_latency_ms_count{{{WEB},status_code=\"200\"}}");
    assert_eq!(all.value(&count), 4.0, "one histogram per status");
}

#[test]
fn a_set_of_others_is_there_before_it_is_needed() {
    let all = Exposition::of(&Metrics::new());
    assert_eq!(all.value(&format!("request_total{{{OTHERS}}}")), 0.0);
    for class in ["success", "failure"] {
        let labels = format!("status_code=\"other\",classification=\"{class}\"");
        let series = format!("response_total{{{OTHERS},{labels},grpc_status=\"other\"}}");
        assert_eq!(all.value(&series), 0.0);
    }
    assert_eq!(all.count("response_latency_ms_bucket{"), 26);
}

#[test]
fn targets_and_clients_are_bounded() {
    let metrics = Metrics::new();
    for n in 0..MAX_SETS + 50 {
        let series = metrics.http(&target("web.example:80"), &id(&format!("c{n}.example")));
        series.request();
        series.response(&answered(200, None, 1));
    }
    let all = Exposition::of(&metrics);
    assert_eq!(all.count("request_total{"), MAX_SETS + 1);
    assert_eq!(all.value(&format!("request_total{{{OTHERS}}}")), 50.0);
    let known =
        "direction=\"inbound\",authority=\"web.example:80\",tls=\"true\",client_id=\"c0.example\"";
    assert_eq!(all.value(&format!("request_total{{{known}}}")), 1.0);
}

#[test]
fn an_endpoint_that_invents_statuses_makes_a_bounded_number_of_series() {
    let metrics = Metrics::new();
    let series = web(&metrics);
    (100..=599).for_each(|status| series.response(&answered(status, None, 1)));
    // What was known before is still told apart.
    series.response(&answered(100, None, 1));
    let all = Exposition::of(&metrics);
    assert_eq!(all.count(&format!("response_total{{{WEB}")), 16 + 2);
    assert_eq!(all.value(&kind("100", "success", "")), 2.0);
    assert_eq!(all.value(&kind("other", "success", "other")), 384.0);
    assert_eq!(all.value(&kind("other", "failure", "other")), 100.0);

    for n in 0..MAX_SETS / 2 {
        let series = metrics.http(&target("web.example:80"), &id(&format!("c{n}.example")));
        (200..216).for_each(|status| series.response(&answered(status, None, 1)));
    }
    let all = Exposition::of(&metrics);
    let named = all.samples.keys().filter(|series| {
        series.starts_with("response_total{") && !series.contains("status_code=\"other\"")
    });
    assert_eq!(named.count(), MAX_ANSWERS);
    let total: f64 = all
        .samples
        .iter()
        .filter(|(series, _)| series.starts_with("response_total{"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(total, 501.0 + 8000.0, "every one is counted somewhere");
}

#[test]
fn nothing_is_lost_while_sessions_and_scrapes_race() {
    let metrics = Metrics::new();
    let rounds = 2000_u16;
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let metrics = &metrics;
            scope.spawn(move || {
                let series = web(metrics);
                for n in 0..rounds {
                    series.request();
                    metrics.http_in_flight(1);
                    let status = [200, 404, 503, 200 + worker][usize::from(n % 4)];
                    series.response(&answered(status, None, 1));
                    metrics.http_in_flight(-1);
                }
            });
        }
        scope.spawn(|| {
            let mut last = 0.0;
            for _ in 0..50 {
                let all = Exposition::of(&metrics);
                let now = all.samples.get(&kind("200", "success", "")).copied().unwrap_or_default();
                assert!(now >= last, "a counter went back");
                last = now;
            }
        });
    });
    let all = Exposition::of(&metrics);
    assert_eq!(all.value(&format!("request_total{{{WEB}}}")), f64::from(4 * rounds));
    let quarter = f64::from(rounds / 4);
    assert_eq!(all.value(&kind("200", "success", "")), 5.0 * quarter);
    assert_eq!(all.value(&kind("201", "success", "")), quarter);
    assert_eq!(all.value(&kind("404", "success", "")), 4.0 * quarter);
    assert_eq!(all.value(&kind("503", "failure", "")), 4.0 * quarter);
    assert_eq!(all.value("gateway_http_requests_in_flight"), 0.0);
}

#[test]
fn events_are_counted() {
    let metrics = Metrics::new();
    let rule: Arc<str> = "west".into();
    for allowed in [true, false, false] {
        metrics.http_authorized(allowed, &rule);
    }
    // The same rule after a reload.
    metrics.http_authorized(false, &"west".into());
    (0..40).for_each(|n| metrics.http_authorized(true, &format!("rule {n}").into()));
    metrics.http_authorized(true, &"rule 39".into());
    metrics.http_error("failfast");
    metrics.http_error("something new");
    metrics.http_protocol_error("reset_flood");
    metrics.http_session("1", 1);
    metrics.http_session("2", 3);
    metrics.http_session("2", -1);
    metrics.http_endpoint_connection("http/1", 2);
    metrics.http_endpoint_connection("http/2", 1);
    metrics.http_endpoint_request(false);
    metrics.http_endpoint_request(true);
    metrics.http_endpoint_request(true);
    metrics.http_retry();
    metrics.http_windows(65_535);
    metrics.http_windows(-5);
    metrics.http_window_budget(1 << 30);
    let all = Exposition::of(&metrics);
    let by = |rule: &str| format!("{{authz_kind=\"rule\",authz_name=\"{rule}\",tls=\"true\"}}");
    assert_eq!(all.value(&format!("inbound_http_authz_allow_total{}", by("west"))), 1.0);
    assert_eq!(all.value(&format!("inbound_http_authz_deny_total{}", by("west"))), 3.0);
    assert_eq!(all.value(&format!("inbound_http_authz_allow_total{}", by("rule 39"))), 2.0);
    for (series, value) in [
        ("inbound_http_errors_total{error=\"failfast\"}", 1.0),
        ("inbound_http_errors_total{error=\"something new\"}", 1.0),
        ("inbound_http_errors_total{error=\"unexpected\"}", 0.0),
        ("gateway_http_protocol_errors_total{reason=\"reset_flood\"}", 1.0),
        ("gateway_http_sessions{version=\"1\"}", 1.0),
        ("gateway_http_sessions{version=\"2\"}", 2.0),
        ("gateway_http_endpoint_connections{protocol=\"http/1\"}", 2.0),
        ("gateway_http_endpoint_connections{protocol=\"http/2\"}", 1.0),
        ("gateway_http_endpoint_requests_total{connection=\"new\"}", 1.0),
        ("gateway_http_endpoint_requests_total{connection=\"reused\"}", 2.0),
        ("gateway_http_retries_total", 1.0),
        ("gateway_http_windows_bytes", 65_530.0),
        ("gateway_http_window_budget_bytes", 1_073_741_824.0),
    ] {
        assert_eq!(all.value(series), value, "{series}");
    }
}
