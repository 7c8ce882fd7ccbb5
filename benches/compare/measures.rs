//! What is measured: one row of the table per value.

use crate::common::measure::{Measure, column};
use crate::common::site::Lane;

use super::peers::CLEAR;

/// One unit beside more and more idle connections: a title, and how many are open in each measure.
pub type Growth = (&'static str, &'static [(usize, &'static str)]);

/// What is plotted over open connections; 64 of them are busy.
pub const GROWTH: &[Growth] = &[
    ("1 KiB request", &[(64, "request"), (1064, "group-request"), (8964, "crowd-request")]),
    ("handshake", &[(64, "handshake"), (1064, "group-handshake"), (8964, "crowd-handshake")]),
];

/// Memory is measured first, on processes that have done nothing yet.
pub const MEASURES: &[Measure] = &[
    Measure {
        name: "idle",
        arguments: &["idle", "--repetitions", "1"],
        quick: true,
        values: &[
            column(
                "idle connection after one byte",
                "KiB",
                "/memory_kib_per_connection/after_one_byte",
                Some(3.3),
            ),
            column(
                "idle connection after 64 KiB",
                "KiB",
                "/memory_kib_per_connection/after_64_kib",
                Some(3.3),
            ),
            column("left 12 s after close", "KiB", "/memory_kib_per_connection/after_close", None),
        ],
        per_process: true,
        who: all,
    },
    Measure {
        name: "handshake",
        arguments: &["handshake"],
        quick: true,
        values: &[column(
            "handshake + connect + echo + close",
            "µs",
            "/us_per_connection",
            Some(141.0),
        )],
        per_process: false,
        who: all,
    },
    Measure {
        name: "first-handshake",
        arguments: &["handshake", "--leaves", "1500"],
        quick: false,
        values: &[column("the same, chain never seen", "µs", "/us_per_connection", Some(215.0))],
        per_process: false,
        who: tls,
    },
    Measure {
        name: "mlkem-handshake",
        arguments: &["handshake", "--group", "mlkem"],
        quick: false,
        values: &[column("the same with X25519MLKEM768", "µs", "/us_per_connection", None)],
        per_process: false,
        who: ours,
    },
    Measure {
        name: "up",
        arguments: &["up"],
        quick: true,
        values: &[column("upload", "s/GiB", "/s_per_gib", Some(0.22))],
        per_process: false,
        who: all,
    },
    Measure {
        name: "down",
        arguments: &["down"],
        quick: true,
        values: &[column("download", "s/GiB", "/s_per_gib", Some(0.22))],
        per_process: false,
        who: all,
    },
    Measure {
        name: "both",
        arguments: &["both"],
        quick: false,
        values: &[column("both ways at once", "s/GiB", "/s_per_gib", Some(0.22))],
        per_process: false,
        who: all,
    },
    Measure {
        name: "request",
        arguments: &["request"],
        quick: true,
        values: &[column("1 KiB request, 64 connections", "µs", "/us_per_request", Some(11.1))],
        per_process: false,
        who: all,
    },
    Measure {
        name: "rate",
        arguments: &["rate"],
        quick: true,
        values: &[
            column("1 KiB request at 4,000/s", "µs", "/us_per_request", Some(34.9)),
            column("its latency, p50", "µs", "/latency_us/p50", None),
            column("its latency, p99", "µs", "/latency_us/p99", None),
        ],
        per_process: false,
        who: all,
    },
    Measure {
        name: "group-request",
        arguments: &["request", "--background", "1000"],
        quick: false,
        values: &[column("1 KiB request beside 1,000 idle", "µs", "/us_per_request", None)],
        per_process: false,
        who: ours,
    },
    Measure {
        name: "group-handshake",
        arguments: &["handshake", "--background", "1000"],
        quick: false,
        values: &[column("handshake beside 1,000 idle", "µs", "/us_per_connection", None)],
        per_process: false,
        who: ours,
    },
    Measure {
        name: "crowd-request",
        arguments: &["request", "--background", "8900"],
        quick: false,
        values: &[column("1 KiB request beside 8,900 idle", "µs", "/us_per_request", None)],
        per_process: false,
        who: ours,
    },
    Measure {
        name: "crowd-handshake",
        arguments: &["handshake", "--background", "8900"],
        quick: false,
        values: &[column("handshake beside 8,900 idle", "µs", "/us_per_connection", None)],
        per_process: false,
        who: ours,
    },
    Measure {
        name: "churn",
        arguments: &["churn"],
        quick: false,
        values: &[column(
            "churn: connect, 1 to 8 requests, close",
            "µs",
            "/us_per_connection",
            None,
        )],
        per_process: false,
        who: all,
    },
];

fn all(_: &Lane) -> bool {
    true
}

/// What means nothing without TLS.
fn tls(lane: &Lane) -> bool {
    !lane.arguments.contains(&CLEAR)
}

/// What peers may lack, and what is compared with ourselves: growth with open connections.
fn ours(lane: &Lane) -> bool {
    lane.arguments.contains(&"--target")
}
