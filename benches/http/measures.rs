//! What is measured: each of them once per kind of backend.
//!
//! Eight connections with eight requests each: a source pod's proxy has one connection per service,
//! so a gateway sees a handful of busy ones, and what it does per wake-up (a record, a system call)
//! serves several requests. 64 at once keep every worker busy that the generator can feed. In
//! `get-single` no connection ever has more than one, so there is nothing to collect.

use crate::common::measure::{Column, Measure, column};
use crate::common::site::Lane;

/// Bodies fit into no single frame, record or initial window of 65,535 bytes.
const LARGE: &str = "65536";

pub const MEASURES: &[Measure] = &[
    Measure {
        name: "get",
        arguments: &["get"],
        quick: true,
        values: &values("GET 1 KiB"),
        per_process: false,
        who: all,
    },
    Measure {
        name: "get-single",
        arguments: &["get", "--connections", "64", "--streams", "1"],
        quick: false,
        values: &values("GET 1 KiB, 64 connections with one each"),
        per_process: false,
        who: all,
    },
    Measure {
        name: "get-large",
        arguments: &["get", "--size", LARGE],
        quick: true,
        values: &values("GET 64 KiB"),
        per_process: false,
        who: all,
    },
    Measure {
        name: "post-large",
        arguments: &["post", "--size", LARGE],
        quick: true,
        values: &values("POST 64 KiB"),
        per_process: false,
        who: all,
    },
    Measure {
        name: "get-rate",
        arguments: &["get-rate", "--rate", "4000"],
        quick: true,
        values: &values("GET 1 KiB at 4,000/s"),
        per_process: false,
        who: all,
    },
];

/// The cost, and what tells whether it was bought with something.
const fn values(title: &'static str) -> [Column; 4] {
    [
        column(title, "µs CPU", "/us_per_request", None),
        column(title, "requests/s", "/units_per_second", None),
        column(title, "p50 µs", "/latency_us/p50", None),
        column(title, "p99 µs", "/latency_us/p99", None),
    ]
}

fn all(_: &Lane) -> bool {
    true
}
