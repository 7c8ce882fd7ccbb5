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
    /// The window's length in seconds, full and quick. `idle` has none.
    window: (f32, f32),
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

/// Which lanes take part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    All,
    /// What means nothing without TLS.
    Tls,
    /// What needs a hybrid key exchange, or makes a difference only to us.
    Ours,
}

/// Memory is measured first, on processes that have done nothing yet.
pub const MEASURES: &[Measure] = &[
    Measure {
        name: "idle",
        arguments: &["idle", "--repetitions", "1"],
        window: (0.0, 0.0),
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
            column("left after close", "KiB", "/memory_kib_per_connection/after_close", None),
        ],
        who: Who::All,
    },
    Measure {
        name: "handshake",
        arguments: &["handshake"],
        window: (2.0, 0.8),
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
        window: (2.0, 0.8),
        values: &[column("the same, chain never seen", "µs", "/us_per_connection", Some(215.0))],
        who: Who::Tls,
    },
    Measure {
        name: "mlkem-handshake",
        arguments: &["handshake", "--group", "mlkem"],
        window: (2.0, 0.8),
        values: &[column("the same with X25519MLKEM768", "µs", "/us_per_connection", None)],
        who: Who::Ours,
    },
    Measure {
        name: "up",
        arguments: &["up"],
        window: (2.0, 0.8),
        values: &[column("upload", "s/GiB", "/s_per_gib", Some(0.22))],
        who: Who::All,
    },
    Measure {
        name: "down",
        arguments: &["down"],
        window: (2.0, 0.8),
        values: &[column("download", "s/GiB", "/s_per_gib", Some(0.22))],
        who: Who::All,
    },
    Measure {
        name: "both",
        arguments: &["both"],
        window: (2.0, 0.8),
        values: &[column("both ways at once", "s/GiB", "/s_per_gib", Some(0.22))],
        who: Who::All,
    },
    Measure {
        name: "request",
        arguments: &["request"],
        window: (2.0, 0.8),
        values: &[column("1 KiB request, 64 connections", "µs", "/us_per_request", Some(11.1))],
        who: Who::All,
    },
    Measure {
        name: "rate",
        arguments: &["rate"],
        window: (2.0, 0.8),
        values: &[
            column("1 KiB request at 4,000/s", "µs", "/us_per_request", Some(34.9)),
            column("its latency, p50", "µs", "/latency_us/p50", None),
            column("its latency, p99", "µs", "/latency_us/p99", None),
        ],
        who: Who::All,
    },
    Measure {
        name: "churn",
        arguments: &["churn"],
        window: (2.0, 0.8),
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
        asked.is_empty() || asked.iter().any(|name| name == self.name)
    }

    /// Whether it says something about this lane.
    pub fn is_for(&self, lane: &Lane) -> bool {
        match self.who {
            Who::All => true,
            Who::Tls => lane.speech != Speech::Clear,
            Who::Ours => lane.speech == Speech::Header,
        }
    }

    /// Runs the generator against a lane once.
    ///
    /// # Errors
    /// What the generator says.
    pub fn run(
        &self,
        options: &Options,
        site: &Site,
        lane: &Lane,
        pid: u32,
    ) -> anyhow::Result<Value> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env(AS_GENERATOR, "1").args(self.arguments).arg("--json");
        command.arg("--address").arg(lane.address.to_string());
        command.arg("--backend").arg(site.backend.to_string());
        command.arg("--certs").arg(&site.certs).arg("--pid").arg(pid.to_string());
        match lane.speech {
            Speech::Header => drop(command.args(["--target", TARGET])),
            Speech::Tls => {}
            Speech::Clear => drop(command.arg("--plaintext")),
        }
        let (full, quick) = self.window;
        if self.name == "idle" {
            let (connections, settle) =
                if options.quick { ("300", "500ms") } else { ("1000", "1500ms") };
            command.args(["--connections", connections, "--settle", settle]);
        } else {
            let window = if options.quick { quick } else { full };
            let milliseconds = format!("{}ms", window * 1000.0);
            command.args(["--repetitions", "1", "--warmup", "500ms", "--duration", &milliseconds]);
        }
        let output = command.output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
