use std::net::IpAddr;
use std::time::Duration;

use crate::model::mirror::probe::{Failure, Probed, Unasked};
use crate::observe::metrics::{MAX_SETS, Metrics};

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn alive(millis: u64) -> Probed {
    Probed::Alive(Duration::from_millis(millis))
}

/// The lines of `text` that begin with one of `names`, comments left out.
fn lines<'t>(text: &'t str, names: &[&str]) -> Vec<&'t str> {
    text.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).collect()
}

#[test]
fn without_a_link_there_is_no_series_that_linkerd_would_show_as_a_gateway() {
    let text = Metrics::new().encode();
    for name in ["gateway_alive", "gateway_enabled", "gateway_probes", "gateway_latency"] {
        assert_eq!(lines(&text, &[name]), Vec::<&str>::new());
        assert!(!text.contains(&format!("# TYPE {name}")), "{name}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn names_types_labels_and_buckets_are_linkerds() {
    let metrics = Metrics::new();
    metrics.gateway_enabled("east", true);
    metrics.gateway_alive("east", true);
    metrics.gateway_probed("east", ADDRESS, alive(7));
    metrics.gateway_probed("east", ADDRESS, alive(60_000));
    metrics.gateway_probed("east", ADDRESS, Probed::Failed(Failure::Refused));
    metrics.gateway_probed("east", ADDRESS, Probed::Unknown(Unasked::Expired));
    metrics.mirror_repaired("east");
    let text = metrics.encode();
    let label = "target_cluster_name=\"east\"";
    for line in [
        "# TYPE gateway_alive gauge",
        &format!("gateway_alive{{{label}}} 1"),
        "# TYPE gateway_enabled gauge",
        &format!("gateway_enabled{{{label}}} 1"),
        "# TYPE gateway_latency gauge",
        &format!("gateway_latency{{{label}}} 60000"),
        "# TYPE gateway_probes counter",
        &format!("gateway_probes{{{label},probe_successful=\"true\"}} 2"),
        &format!("gateway_probes{{{label},probe_successful=\"false\"}} 1"),
        "# TYPE service_mirror_endpoint_repairs counter",
        &format!("service_mirror_endpoint_repairs{{{label}}} 1"),
        "# TYPE gateway_probe_latency_ms histogram",
        &format!("gateway_probe_latency_ms_bucket{{{label},le=\"5\"}} 0"),
        &format!("gateway_probe_latency_ms_bucket{{{label},le=\"10\"}} 1"),
        &format!("gateway_probe_latency_ms_bucket{{{label},le=\"50000\"}} 1"),
        &format!("gateway_probe_latency_ms_bucket{{{label},le=\"+Inf\"}} 2"),
        &format!("gateway_probe_latency_ms_sum{{{label}}} 60007"),
        &format!("gateway_probe_latency_ms_count{{{label}}} 2"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let buckets = lines(&text, &["gateway_probe_latency_ms_bucket"]);
    let ends: Vec<_> =
        buckets.iter().filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()).collect();
    assert_eq!(
        ends.join(","),
        "1,2,3,4,5,10,20,30,40,50,100,200,300,400,500,1000,2000,3000,4000,5000,10000,20000,30000,\
         40000,50000,+Inf"
    );
}

#[test]
fn a_link_that_goes_takes_with_it_what_linkerd_removes_and_nothing_of_others() {
    let metrics = Metrics::new();
    for cluster in ["east", "north"] {
        metrics.gateway_enabled(cluster, true);
        metrics.gateway_alive(cluster, false);
        metrics.gateway_probed(cluster, ADDRESS, alive(7));
        metrics.gateway_probed(cluster, ADDRESS, Probed::Failed(Failure::Status(503)));
        metrics.gateway_address_alive(cluster, ADDRESS, false);
        metrics.mirror_services(cluster, 12);
        metrics.mirror_conflicts(cluster, 1);
        metrics.mirror_write(cluster, "create", "Service", "ok");
        metrics.mirror_watch_failing(cluster, "services", true);
        metrics.mirror_memory(cluster, 4096, true);
        metrics.mirror_kept(cluster, &[("service", 3), ("namespace", 0)]);
    }
    metrics.mirror_kept("local", &[("service", 5), ("link", 2)]);
    metrics.mirror_leader(true);
    metrics.gateway_gone("east");
    metrics.mirror_gone("east");
    let text = metrics.encode();
    let of = |cluster: &str| {
        let label = format!("target_cluster_name=\"{cluster}\"");
        let mut names: Vec<_> = text
            .lines()
            .filter(|line| line.contains(&label))
            .filter_map(|line| line.split('{').next())
            .collect();
        names.dedup();
        names
    };
    assert_eq!(of("east"), ["gateway_latency", "gateway_probes", "mirror_writes_total"]);
    assert_eq!(
        of("north"),
        [
            "gateway_alive",
            "gateway_enabled",
            "gateway_latency",
            "gateway_probes",
            "gateway_address_alive",
            "gateway_address_probe_failures_total",
            "mirror_services",
            "mirror_writes_total",
            "mirror_conflicts",
            "mirror_watch_failing",
            "mirror_target_too_large",
            "mirror_link_memory_bytes",
            "gateway_probe_latency_ms_bucket",
            "gateway_probe_latency_ms_sum",
            "gateway_probe_latency_ms_count",
        ]
    );
    assert!(text.contains("\nmirror_is_leader 1\n"));
    assert_eq!(
        lines(&text, &["service_cache_size", "namespace_cache_size", "link_cache_size"]),
        [
            "service_cache_size{cluster=\"local\"} 5",
            "service_cache_size{cluster=\"north\"} 3",
            "namespace_cache_size{cluster=\"north\"} 0",
            "link_cache_size{cluster=\"local\"} 2",
        ]
    );
    let reason = "address=\"192.0.2.1\",reason=\"status\"} 1";
    assert!(text.contains(reason), "{text}");
}

#[test]
fn an_address_that_goes_takes_only_its_own_series() {
    let (metrics, other) = (Metrics::new(), IpAddr::from([192, 0, 2, 10]));
    for address in [ADDRESS, other] {
        metrics.gateway_address_alive("east", address, true);
        metrics.gateway_probed("east", address, Probed::Failed(Failure::Closed));
    }
    metrics.gateway_address_gone("east", ADDRESS);
    let text = metrics.encode();
    let left = lines(&text, &["gateway_address_"]);
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|line| line.contains("\"192.0.2.10\"")), "{left:?}");
}

#[test]
fn the_number_of_series_is_bounded_and_counters_count_on_in_one() {
    let metrics = Metrics::new();
    for number in 0..MAX_SETS + 500 {
        let cluster = format!("c{number}");
        metrics.mirror_services(&cluster, 1);
        metrics.mirror_repaired(&cluster);
        metrics.gateway_probed(&cluster, ADDRESS, alive(1));
    }
    let text = metrics.encode();
    assert_eq!(lines(&text, &["mirror_services{"]).len(), MAX_SETS);
    assert_eq!(lines(&text, &["gateway_probe_latency_ms_count{"]).len(), MAX_SETS);
    let repairs = lines(&text, &["service_mirror_endpoint_repairs{"]);
    assert_eq!(repairs.len(), MAX_SETS + 1);
    let other = "service_mirror_endpoint_repairs{target_cluster_name=\"other\"} 500";
    assert!(repairs.contains(&other));
}

#[test]
fn a_name_cannot_break_the_format() {
    let metrics = Metrics::new();
    metrics.mirror_services("a\"} 1\nb\\", 2);
    let text = metrics.encode();
    assert!(
        text.contains("mirror_services{target_cluster_name=\"a\\\"} 1\\nb\\\\\"} 2\n"),
        "{text}"
    );
}
