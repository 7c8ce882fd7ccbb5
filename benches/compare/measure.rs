//! What is measured: one row of the table per value.

use std::process::Command;

use anyhow::bail;
use serde_json::Value;

use super::Options;
use super::configuration::TARGET;
use super::peers::{Lane, Site, Speech};

/// Set for the process that generates load.
pub const AS_GENERATOR: &str = "BENCH_LOAD_GENERATOR";

/// One run of the generator.
pub struct Measure {
    pub name: &'static str,
    arguments: &'static [&'static str],
    /// Part of the quick form, too.
    quick: bool,
    pub values: &'static [Column],
    who: Who,
}

/// One value of a report.
pub struct Column {
    pub title: &'static str,
    pub unit: &'static str,
    /// Where the generator's report has it.
    pub pointer: &'static str,
    /// What cryptography and kernel cost at least, measured on a machine with two cores by doing
    /// only that: sign and verify, X25519, `recv` and `send` of 256 KiB, a plain relay.
    pub floor: Option<f64>,
}

/// One unit beside more and more idle connections: a title, and how many are open in each measure.
pub type Growth = (&'static str, &'static [(usize, &'static str)]);

/// What is plotted over open connections; 64 of them are busy.
pub const GROWTH: &[Growth] = &[
    ("1 KiB request", &[(64, "request"), (1064, "group-request"), (8964, "crowd-request")]),
    ("handshake", &[(64, "handshake"), (1064, "group-handshake"), (8964, "crowd-handshake")]),
];

/// Which lanes take part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    All,
    /// Processes, each once.
    Processes,
    /// What means nothing without TLS.
    Tls,
    /// What peers may lack, and what is compared with ourselves: growth with open connections.
    Ours,
}

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
        who: Who::Processes,
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
        who: Who::All,
    },
    Measure {
        name: "first-handshake",
        arguments: &["handshake", "--leaves", "1500"],
        quick: false,
        values: &[column("the same, chain never seen", "µs", "/us_per_connection", Some(215.0))],
        who: Who::Tls,
    },
    Measure {
        name: "mlkem-handshake",
        arguments: &["handshake", "--group", "mlkem"],
        quick: false,
        values: &[column("the same with X25519MLKEM768", "µs", "/us_per_connection", None)],
        who: Who::Ours,
    },
    Measure {
        name: "up",
        arguments: &["up"],
        quick: true,
        values: &[column("upload", "s/GiB", "/s_per_gib", Some(0.22))],
        who: Who::All,
    },
    Measure {
        name: "down",
        arguments: &["down"],
        quick: true,
        values: &[column("download", "s/GiB", "/s_per_gib", Some(0.22))],
        who: Who::All,
    },
    Measure {
        name: "both",
        arguments: &["both"],
        quick: false,
        values: &[column("both ways at once", "s/GiB", "/s_per_gib", Some(0.22))],
        who: Who::All,
    },
    Measure {
        name: "request",
        arguments: &["request"],
        quick: true,
        values: &[column("1 KiB request, 64 connections", "µs", "/us_per_request", Some(11.1))],
        who: Who::All,
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
        who: Who::All,
    },
    Measure {
        name: "group-request",
        arguments: &["request", "--background", "1000"],
        quick: false,
        values: &[column("1 KiB request beside 1,000 idle", "µs", "/us_per_request", None)],
        who: Who::Ours,
    },
    Measure {
        name: "group-handshake",
        arguments: &["handshake", "--background", "1000"],
        quick: false,
        values: &[column("handshake beside 1,000 idle", "µs", "/us_per_connection", None)],
        who: Who::Ours,
    },
    Measure {
        name: "crowd-request",
        arguments: &["request", "--background", "8900"],
        quick: false,
        values: &[column("1 KiB request beside 8,900 idle", "µs", "/us_per_request", None)],
        who: Who::Ours,
    },
    Measure {
        name: "crowd-handshake",
        arguments: &["handshake", "--background", "8900"],
        quick: false,
        values: &[column("handshake beside 8,900 idle", "µs", "/us_per_connection", None)],
        who: Who::Ours,
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
        who: Who::All,
    },
];

const fn column(
    title: &'static str,
    unit: &'static str,
    pointer: &'static str,
    floor: Option<f64>,
) -> Column {
    Column { title, unit, pointer, floor }
}

impl Measure {
    /// True unless others were asked for.
    pub fn is_chosen(&self, options: &Options) -> bool {
        let asked = &options.measures;
        let by_name = asked.iter().any(|name| name == self.name);
        by_name || asked.is_empty() && (self.quick || !options.quick)
    }

    /// Whether it says something about this lane.
    pub fn is_for(&self, lane: &Lane) -> bool {
        match self.who {
            Who::All => true,
            Who::Processes => !lane.shares,
            Who::Tls => lane.speech != Speech::Clear,
            Who::Ours => lane.speech == Speech::Header,
        }
    }

    /// Runs the generator against a lane once, in the given round.
    ///
    /// # Errors
    /// What the generator says.
    pub fn run(
        &self,
        options: &Options,
        site: &Site,
        lane: &Lane,
        pid: u32,
        round: usize,
    ) -> anyhow::Result<Value> {
        let mut command = generator(site, lane, pid)?;
        command.args(self.arguments);
        if self.name == "idle" {
            let connections = if options.quick { "300" } else { "1000" };
            command.args(["--connections", connections, "--settle", "1s"]);
            // Once is enough for what takes so long.
            let give_back = if options.quick || round > 0 { "0s" } else { "12s" };
            command.args(["--give-back", give_back]);
        } else {
            let window = if options.quick { "600ms" } else { "2s" };
            command.args(["--repetitions", "1", "--warmup", "500ms", "--duration", window]);
        }
        report(&mut command)
    }
}

/// A generator for a lane, to be told what to do.
///
/// # Errors
/// Never in practice: this program has a path.
pub fn generator(site: &Site, lane: &Lane, pid: u32) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(AS_GENERATOR, "1").arg("--json");
    command.arg("--address").arg(lane.address.to_string());
    command.arg("--backend").arg(site.backend.to_string());
    command.arg("--certs").arg(&site.certs).arg("--pid").arg(pid.to_string());
    command.args(match lane.speech {
        Speech::Header => ["--target", TARGET].as_slice(),
        Speech::Tls => &[],
        Speech::Clear => &["--plaintext"],
    });
    Ok(command)
}

/// Runs a generator.
///
/// # Errors
/// What it says.
pub fn report(generator: &mut Command) -> anyhow::Result<Value> {
    let output = generator.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
