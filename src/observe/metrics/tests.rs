//! What `/metrics` says, read back with a strict parser of the exposition.

use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::model::last_use::LastUse;

/// Samples by name and labels as written; panics on anything that is no OpenMetrics line.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    pub(super) samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

impl Exposition {
    pub(super) fn of(metrics: &Metrics) -> Self {
        Self::parse(&metrics.encode())
    }

    fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("ends with # EOF");
        let mut out = Self::default();
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                let before = out.types.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "declared twice: {name}");
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                assert!(rest.split_once(' ').is_some_and(|(_, help)| !help.is_empty()), "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                out.check_series(series);
                let value = value.parse().expect("a number");
                let before = out.samples.insert(series.to_owned(), value);
                assert!(before.is_none(), "twice: {series}");
            }
        }
        out
    }

    /// The name is declared with a type, counters end in `_total` once, labels are well-formed.
    fn check_series(&self, series: &str) {
        let (name, labels) = match series.split_once('{') {
            None => (series, ""),
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("a closing brace")),
        };
        let is_name = |s: &str| {
            !s.is_empty()
                && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        assert!(is_name(name), "{series}");
        let declared = ["", "_total", "_sum", "_count", "_bucket"].iter().find_map(|suffix| {
            let base = name.strip_suffix(suffix)?;
            self.types.get(base).map(|kind| (kind.as_str(), *suffix))
        });
        match declared {
            Some(("counter", "_total") | ("gauge", "")) => {}
            Some(("histogram", "_sum" | "_count" | "_bucket")) => {}
            other => panic!("{series}: {other:?}"),
        }
        assert!(!name.ends_with("_total_total"), "{series}");
        let mut seen = HashSet::new();
        let mut rest = labels;
        while !rest.is_empty() {
            let (key, after) = rest.split_once("=\"").expect("a label");
            assert!(is_name(key) && seen.insert(key), "{series}");
            let end = closing_quote(after).expect("a closing quote");
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
    }

    pub(super) fn value(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.samples))
    }

    pub(super) fn count(&self, prefix: &str) -> usize {
        self.samples.keys().filter(|s| s.starts_with(prefix)).count()
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })
}

pub(super) fn id(text: &str) -> Identity {
    Identity::parse(text).expect("an identity")
}

pub(super) fn target(text: &str) -> Target {
    Target::parse(text).expect("a target")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn everything_that_alerts_use_exists_at_start() {
    let all = Exposition::of(&Metrics::new());
    for outcome in Outcome::ALL {
        let series = format!("gateway_connections_total{{outcome=\"{}\"}}", outcome.label());
        assert_eq!(all.value(&series), 0.0);
    }
    for series in [
        "gateway_accepted_total",
        "gateway_accept_errors_total",
        "gateway_endpoint_ejections_total",
        "gateway_endpoint_connects_total{result=\"ok\"}",
        "gateway_endpoint_connects_total{result=\"error\"}",
        "control_dns_resolutions_total{client=\"route\",result=\"ok\"}",
        "control_dns_resolutions_total{client=\"route\",result=\"error\"}",
        "control_identity_cert_expiration_timestamp_seconds",
        "control_identity_cert_refresh_timestamp_seconds",
        "control_identity_cert_refreshes_total{result=\"ok\"}",
        "control_identity_cert_refreshes_total{result=\"error\"}",
        "gateway_handshake_duration_seconds_count",
        "gateway_connect_duration_seconds_bucket{le=\"+Inf\"}",
        "gateway_http_endpoint_connections{protocol=\"http/2\"}",
        "gateway_http_endpoint_requests_total{connection=\"reused\"}",
        "gateway_http_protocol_errors_total{reason=\"protocol_error\"}",
        "gateway_http_requests_in_flight",
        "gateway_http_retries_total",
        "gateway_http_sessions{version=\"1\"}",
        "gateway_http_window_budget_bytes",
        "gateway_http_windows_bytes",
        "inbound_http_authz_deny_total{authz_kind=\"rule\",authz_name=\"other\",tls=\"true\"}",
        "inbound_http_errors_total{error=\"failfast\"}",
    ] {
        assert_eq!(all.value(series), 0.0, "{series}");
    }
    for series in [
        "process_start_time_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_threads",
    ] {
        assert!(all.value(series) > 0.0, "{series}");
    }
    let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    let info = |s: &&String| s.starts_with("proxy_build_info{date=\"") && s.ends_with(version);
    assert!(all.samples.keys().any(|s| info(&s)));
}

#[test]
fn events_are_counted() {
    let metrics = Metrics::new();
    metrics.accepted();
    metrics.accept_failed();
    for outcome in Outcome::ALL {
        metrics.outcome(*outcome);
    }
    metrics.endpoint_connect(false);
    metrics.endpoint_ejected();
    metrics.dns(DnsClient::Route, true);
    metrics.worker_open(1, 1);
    metrics.worker_open(1, 1);
    metrics.worker_open(1, -1);
    metrics.handshake(Duration::from_millis(3));
    metrics.admin_request("/ready", 503);
    metrics.tls_info("A,B", "X", "aws-lc-rs");
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    metrics.credentials_loaded(at(2000), Vec::new(), at(1000));
    metrics.credentials_refused();
    let all = Exposition::of(&metrics);
    for (series, value) in [
        ("gateway_accepted_total", 1.0),
        ("gateway_accept_errors_total", 1.0),
        ("gateway_connections_total{outcome=\"not_tls\"}", 1.0),
        ("gateway_connections_total{outcome=\"cancelled\"}", 1.0),
        ("gateway_endpoint_connects_total{result=\"error\"}", 1.0),
        ("gateway_endpoint_ejections_total", 1.0),
        ("control_dns_resolutions_total{client=\"route\",result=\"ok\"}", 1.0),
        ("gateway_worker_open_connections{worker=\"1\"}", 1.0),
        ("gateway_handshake_duration_seconds_bucket{le=\"0.002\"}", 0.0),
        ("gateway_handshake_duration_seconds_bucket{le=\"0.005\"}", 1.0),
        ("admin_requests_total{path=\"/ready\",code=\"503\"}", 1.0),
        ("control_identity_cert_expiration_timestamp_seconds", 2000.0),
        ("control_identity_cert_refresh_timestamp_seconds", 1000.0),
        ("control_identity_cert_refreshes_total{result=\"ok\"}", 1.0),
        ("control_identity_cert_refreshes_total{result=\"error\"}", 1.0),
        (
            "rustls_info{tls_suites=\"A,B\",tls_kx_groups=\"X\",tls_rand=\"aws-lc-rs\",\
             tls_key_provider=\"aws-lc-rs\",tls_fips=\"false\"}",
            1.0,
        ),
    ] {
        assert_eq!(all.value(series), value, "{series}");
    }
}

#[test]
fn headers_are_counted_by_known_target_and_client() {
    let metrics = Metrics::new();
    let client = id("web.demo.serviceaccount.identity.linkerd.cluster.local");
    metrics.header(Some(SessionProtocol::Http2), Some(&target("a.b.svc.c:80")), &client);
    metrics.header(None, None, &client);
    let local = Target::Local(crate::model::service::Port::new(7).expect("not 0"));
    metrics.header(None, Some(&local), &client);
    let all = Exposition::of(&metrics);
    let name = "inbound_tcp_transport_header_connections_total";
    for labels in [
        "session_protocol=\"http/2\",target_port=\"80\",target_name=\"a.b.svc.c\"",
        "session_protocol=\"\",target_port=\"\",target_name=\"\"",
        "session_protocol=\"\",target_port=\"7\",target_name=\"\"",
    ] {
        assert_eq!(all.value(&format!("{name}{{{labels},client_id=\"{client}\"}}")), 1.0);
    }
}

const SOURCE: &str = "direction=\"inbound\",peer=\"src\",target_addr=\"10.0.0.1:4143\",\
    target_ip=\"10.0.0.1\",target_port=\"4143\",tls=\"true\",client_id=\"a.b\"";
const TLS_ENDPOINT: &str = "direction=\"outbound\",peer=\"dst\",authority=\"w.d.svc.c.l:80\",\
    target_addr=\"10.0.0.2:4143\",target_ip=\"10.0.0.2\",target_port=\"4143\",tls=\"true\",\
    server_id=\"s.t\",dst_service=\"w\",dst_namespace=\"d\"";

#[test]
fn transports_have_linkerds_names_labels_and_directions() {
    let metrics = Metrics::new();
    let bytes = Arc::<ByteCounts>::default();
    let source = metrics.client_transport(address("10.0.0.1:4143"), &id("a.b"), Arc::clone(&bytes));
    let (to, at) = (target("w.d.svc.c.l:80"), address("10.0.0.2:4143"));
    let endpoint = metrics.endpoint_transport(&to, at, Some(&id("s.t")), Arc::clone(&bytes));
    bytes.add_from_client(10);
    bytes.add_to_client(3);
    let all = Exposition::of(&metrics);
    for (labels, read, written) in [(SOURCE, 10.0, 3.0), (TLS_ENDPOINT, 3.0, 10.0)] {
        assert_eq!(all.value(&format!("tcp_open_total{{{labels}}}")), 1.0);
        assert_eq!(all.value(&format!("tcp_open_connections{{{labels}}}")), 1.0);
        assert_eq!(all.value(&format!("tcp_read_bytes_total{{{labels}}}")), read);
        assert_eq!(all.value(&format!("tcp_write_bytes_total{{{labels}}}")), written);
        assert_eq!(all.value(&format!("tcp_close_total{{{labels},errno=\"\"}}")), 0.0);
    }
    bytes.add_from_client(1);
    endpoint.close("ECONNRESET");
    drop(source);
    let all = Exposition::of(&metrics);
    assert_eq!(all.value(&format!("tcp_read_bytes_total{{{SOURCE}}}")), 11.0);
    assert_eq!(all.value(&format!("tcp_open_connections{{{SOURCE}}}")), 0.0);
    // Nobody closed it: that is no clean end.
    assert_eq!(all.value(&format!("tcp_close_total{{{SOURCE},errno=\"\"}}")), 0.0);
    assert_eq!(all.value(&format!("tcp_close_total{{{SOURCE},errno=\"ECONNABORTED\"}}")), 1.0);
    assert_eq!(all.value(&format!("tcp_close_total{{{TLS_ENDPOINT},errno=\"ECONNRESET\"}}")), 1.0);
    assert_eq!(all.value(&format!("tcp_close_total{{{TLS_ENDPOINT},errno=\"\"}}")), 0.0);
}

#[test]
fn plain_endpoints_say_why_there_is_no_tls() {
    let metrics = Metrics::new();
    let bytes = Arc::<ByteCounts>::default();
    let local = Target::Local(crate::model::service::Port::new(7).expect("not 0"));
    for (to, at) in [
        (target("web.example:80"), address("10.0.0.3:80")),
        (target("web.example:80"), address("[::1]:80")),
        (local, address("127.0.0.1:7")),
    ] {
        drop(metrics.endpoint_transport(&to, at, None, Arc::clone(&bytes)));
    }
    let all = Exposition::of(&metrics);
    for labels in [
        "direction=\"outbound\",peer=\"dst\",authority=\"web.example:80\",\
         target_addr=\"10.0.0.3:80\",target_ip=\"10.0.0.3\",target_port=\"80\",\
         tls=\"no_identity\",no_tls_reason=\"not_provided_by_service_discovery\"",
        "direction=\"outbound\",peer=\"dst\",authority=\"web.example:80\",\
         target_addr=\"[::1]:80\",target_ip=\"::1\",target_port=\"80\",\
         tls=\"no_identity\",no_tls_reason=\"loopback\"",
        "direction=\"inbound\",peer=\"dst\",\
         target_addr=\"127.0.0.1:7\",target_ip=\"127.0.0.1\",target_port=\"7\",\
         tls=\"no_identity\",no_tls_reason=\"loopback\"",
    ] {
        assert_eq!(all.value(&format!("tcp_open_total{{{labels}}}")), 1.0);
    }
}

#[test]
fn bytes_are_neither_lost_nor_doubled_while_scrapes_race() {
    let metrics = Metrics::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (rounds, bytes_each) = (500_u32, 40_u32);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let bytes = Arc::<ByteCounts>::default();
                        let at = address("10.0.0.1:4143");
                        let transport =
                            metrics.client_transport(at, &id("a.b"), Arc::clone(&bytes));
                        (0..bytes_each).for_each(|_| bytes.add_from_client(1));
                        transport.close("");
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = 0.0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    metrics.transports.settle();
                    let all = Exposition::of(&metrics).samples;
                    let series = format!("tcp_read_bytes_total{{{SOURCE}}}");
                    let now = all.get(&series).copied().unwrap_or_default();
                    assert!(now >= last, "a counter went back");
                    last = now;
                }
            });
        }
        for worker in workers {
            worker.join().expect("no panic");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let all = Exposition::of(&metrics);
    let total = f64::from(4 * rounds * bytes_each);
    assert_eq!(all.value(&format!("tcp_read_bytes_total{{{SOURCE}}}")), total);
    assert_eq!(
        all.value(&format!("tcp_close_total{{{SOURCE},errno=\"\"}}")),
        f64::from(4 * rounds)
    );
}

#[test]
fn label_sets_are_bounded() {
    let metrics = Metrics::new();
    let bytes = Arc::<ByteCounts>::default();
    let (to, at) = (target("a.b:80"), address("10.0.0.1:4143"));
    for n in 0..MAX_SETS + 50 {
        let client = id(&format!("c{n}.example"));
        metrics.header(None, Some(&to), &client);
        drop(metrics.client_transport(at, &client, Arc::clone(&bytes)));
        drop(metrics.endpoint_transport(&to, at, Some(&client), Arc::clone(&bytes)));
        let other = target(&format!("t{n}.b:80"));
        drop(metrics.endpoint_transport(&other, at, None, Arc::clone(&bytes)));
    }
    let all = Exposition::of(&metrics);
    let header = "inbound_tcp_transport_header_connections_total{";
    assert_eq!(all.count(header), MAX_SETS + 1);
    assert_eq!(all.count("tcp_open_total{direction=\"inbound\""), MAX_SETS + 1);
    assert_eq!(all.count("tcp_open_total{direction=\"outbound\""), MAX_SETS + 2);
    let header_other = "session_protocol=\"\",target_port=\"other\",target_name=\"other\"";
    assert_eq!(all.value(&format!("{header}{header_other},client_id=\"other\"}}")), 50.0);
    let source_other = "direction=\"inbound\",peer=\"src\",target_addr=\"other\",\
        target_ip=\"other\",target_port=\"other\",tls=\"true\",client_id=\"other\"";
    assert_eq!(all.value(&format!("tcp_open_total{{{source_other}}}")), 50.0);
}

#[test]
fn hostile_label_values_stay_inside_their_quotes() {
    let metrics = Metrics::new();
    metrics.tls_info("a\"} 1\nevil 1\\", "x", "y");
    let all = Exposition::of(&metrics);
    assert!(!all.samples.contains_key("evil"));
    assert_eq!(all.count("rustls_info{tls_suites=\"a\\\"} 1\\nevil 1\\\\\""), 1);
}

#[test]
fn certificates_follow_the_newest_load_and_twins_are_one_series() {
    let metrics = Metrics::new();
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    let certificate = |role, subject: &str, not_after, last_use| Certificate {
        role,
        file: "ca.crt".to_owned(),
        subject: subject.to_owned(),
        serial: "01".to_owned(),
        not_after,
        last_use,
    };
    let (old, new) = (LastUse::default(), LastUse::default());
    let first = vec![
        certificate("leaf", "CN=a \"b\"\n", now - 2 * day, None),
        certificate("anchor", "CN=twin", now + 3 * day, Some(old.clone())),
        certificate("anchor", "CN=twin", now + 9 * day, Some(new)),
    ];
    metrics.credentials_loaded(now, first, now);
    let twin = "{role=\"anchor\",file=\"ca.crt\",subject=\"CN=twin\",serial=\"01\"}";
    let last = format!("gateway_trust_anchor_last_used_timestamp_seconds{twin}");
    assert_eq!(Exposition::of(&metrics).value(&last), 0.0, "never");
    old.mark(1_800_000_000);
    let all = Exposition::of(&metrics);
    assert_eq!(all.value(&last), 1_800_000_000.0);
    let days = |series: &str| all.value(&format!("gateway_certificate_expiry_days{series}"));
    assert!((2.9..=3.0).contains(&days(twin)), "the earlier end counts");
    let leaf = "{role=\"leaf\",file=\"ca.crt\",subject=\"CN=a \\\"b\\\"\\n\",serial=\"01\"}";
    assert!((-2.1..=-2.0).contains(&days(leaf)), "expired");
    assert_eq!(all.count("gateway_trust_anchor_last_used_timestamp_seconds"), 1, "anchors only");
    metrics.credentials_loaded(now, vec![certificate("leaf", "CN=c", now, None)], now);
    let all = Exposition::of(&metrics);
    assert_eq!(all.count("gateway_certificate_expiration_timestamp_seconds"), 1);
    assert_eq!(all.count("gateway_trust_anchor_last_used_timestamp_seconds"), 0);
}
