//! `make bench-smoke`: our cost per unit in what does not vary with the machine's load: system
//! calls counted by strace, instructions counted by callgrind.
//!
//! One connection at a time, so that nothing depends on what happens to be ready together. The
//! budget is `benches/budget.json`; whoever makes something cheaper lowers it with `--record`. What it
//! lists as `disabled` is left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::measure::{generator, report};
use crate::common::options::Options;
use crate::common::site::{Lane, Site};

/// How long strace may take to attach.
const PATIENCE: Duration = Duration::from_secs(10);

/// One mode that is counted.
struct Counted {
    mode: &'static str,
    traced_units: u32,
    /// Fewer: callgrind is fifty times slower.
    simulated_units: u32,
    /// How much above the budget is still noise. Runs differ by 1 to 5 %; how much bulk is ready for
    /// a read depends on timing, by a third and more.
    allowance: f64,
}

const COUNTED: [Counted; 6] = [
    Counted { mode: "handshake", traced_units: 300, simulated_units: 60, allowance: 1.1 },
    Counted { mode: "request", traced_units: 3000, simulated_units: 500, allowance: 1.1 },
    Counted { mode: "up", traced_units: 512, simulated_units: 48, allowance: 1.35 },
    Counted { mode: "down", traced_units: 512, simulated_units: 48, allowance: 1.35 },
    Counted { mode: "churn", traced_units: 200, simulated_units: 30, allowance: 1.1 },
    // One GET of 1 KiB after the other, HTTP/2 in and HTTP/1.1 out.
    Counted { mode: "get", traced_units: 3000, simulated_units: 500, allowance: 1.1 },
];

/// Counts, compares with the budget, or records it.
///
/// # Errors
/// Names every cost that exceeds its budget; or what could not be counted.
pub fn run(options: &Options, record: bool) -> anyhow::Result<()> {
    let site = Site::prepare(options, "compare")?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/budget.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let budget: Value = serde_json::from_str(&text)?;
    let (disabled, modes): (Vec<Counted>, Vec<Counted>) =
        COUNTED.into_iter().partition(|counted| is_disabled(&budget, counted.mode));
    let disabled: Vec<&str> = disabled.iter().map(|counted| counted.mode).collect();
    if !disabled.is_empty() {
        println!("NOT COUNTED, disabled in benches/budget.json: {}", disabled.join(", "));
    }
    let counted = json!({
        "disabled": disabled,
        "system calls": system_calls(&site, &modes)?,
        "instructions": instructions(&site, &modes)?,
    });
    if record {
        fs::write(&path, format!("{counted:#}\n"))?;
        println!("{counted:#}\nrecorded in {}", path.display());
        return Ok(());
    }
    let over = judge(&budget, &counted);
    if over.is_empty() {
        return Ok(());
    }
    bail!(
        "more than benches/budget.json allows: {}; find what was added, or, if it is worth its \
         cost, record a new budget with --smoke --record",
        over.join(", ")
    )
}

/// Whether the budget leaves a mode out: one that the gateway does not serve yet.
fn is_disabled(budget: &Value, mode: &str) -> bool {
    let disabled = budget.get("disabled").and_then(Value::as_array);
    disabled.is_some_and(|modes| modes.iter().any(|disabled| disabled == mode))
}

/// Prints a table and returns what exceeds its budget.
fn judge(budget: &Value, counted: &Value) -> Vec<String> {
    let mut over = Vec::new();
    println!("| per unit | budget | counted | |\n|---|---|---|---|");
    for (kind, modes) in counted.as_object().into_iter().flatten() {
        for (mode, value) in modes.as_object().into_iter().flatten() {
            let value = value.as_f64().unwrap_or(f64::INFINITY);
            let allowed =
                budget.get(kind).and_then(|modes| modes.get(mode)).and_then(Value::as_f64);
            // What has no budget is over it.
            let share = value / allowed.unwrap_or_default();
            println!(
                "| {kind}, {mode} | {:.1} | {value:.1} | {share:.3} |",
                allowed.unwrap_or_default()
            );
            let counted = COUNTED.iter().find(|counted| counted.mode == mode);
            if counted.is_none_or(|counted| share > counted.allowance) {
                over.push(format!("{kind} of {mode} ({share:.2} times)"));
            }
        }
    }
    over
}

/// Calls per unit, by `strace -c` attached to a gateway that is already listening.
fn system_calls(site: &Site, modes: &[Counted]) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let lane = site.ours()?;
    let processes = site.start(std::slice::from_ref(&lane))?;
    let pid = processes.pid(&lane).context("it was started")?;
    let mut calls = BTreeMap::new();
    for &Counted { mode, traced_units, .. } in modes {
        let table = site.directory.join("strace.txt");
        let mut strace = Command::new("strace")
            .args(["-c", "-f", "-o"])
            .arg(&table)
            .args(["-p", &pid.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("strace cannot be run: install it, or run benches/setup.sh")?;
        wait_until_traced(pid)?;
        let done = load(site, &lane, pid, mode, traced_units)?;
        let own = i32::try_from(strace.id()).ok().and_then(Pid::from_raw);
        kill_process(own.context("a process id")?, Signal::INT)?;
        strace.wait()?;
        let table = fs::read_to_string(&table)?;
        let total = table.lines().rfind(|line| line.ends_with("total"));
        // "100.00    0.001234           1      1234        12 total"; errors may be missing.
        let count = total.and_then(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok());
        calls.insert(mode, tenths(count.context("strace wrote no total")? / done));
    }
    Ok(calls)
}

/// Instructions per unit, by callgrind: a warm-up, counters to zero, the work, a dump.
fn instructions(site: &Site, modes: &[Counted]) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    // Empty, because the newest dump is looked for by its number.
    let directory = tempfile::TempDir::new_in(&site.directory)?;
    let file = directory.path().join("callgrind.out");
    let option = format!("--callgrind-out-file={}", file.display());
    let mut lane = site.ours()?;
    let under = ["valgrind", "--tool=callgrind", &option].map(str::to_owned);
    lane.command.splice(0..0, under);
    let processes = site.start(std::slice::from_ref(&lane)).context("install valgrind")?;
    let pid = processes.pid(&lane).context("it was started")?;
    let mut instructions = BTreeMap::new();
    for &Counted { mode, simulated_units, .. } in modes {
        load(site, &lane, pid, mode, simulated_units.div_ceil(4))?;
        control(pid, "--zero")?;
        let done = load(site, &lane, pid, mode, simulated_units)?;
        control(pid, "--dump")?;
        let dump = newest_dump(&file)?;
        let text = fs::read_to_string(&dump)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals:"));
        let total: f64 = total.context("callgrind wrote no totals")?.trim().parse()?;
        instructions.insert(mode, tenths(total / done));
    }
    Ok(instructions)
}

/// Runs the generator for so many units; the number that were really done.
fn load(site: &Site, lane: &Lane, pid: u32, mode: &str, units: u32) -> anyhow::Result<f64> {
    let mut command = generator(site, lane, pid)?;
    command.args([mode, "--connections", "1", "--streams", "1"]);
    command.args(["--warmup", "0s", "--repetitions", "1"]);
    command.args(["--duration", "60s", "--count", &units.to_string()]);
    let report = report(&mut command)?;
    report.get("total_units").and_then(Value::as_f64).context("no units were done")
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn wait_until_traced(pid: u32) -> anyhow::Result<()> {
    let begin = Instant::now();
    let traced = |task: std::io::Result<fs::DirEntry>| {
        let status = task.and_then(|task| fs::read_to_string(task.path().join("status")));
        status.is_ok_and(|status| !status.contains("TracerPid:\t0"))
    };
    while !fs::read_dir(format!("/proc/{pid}/task"))?.all(traced) {
        if begin.elapsed() > PATIENCE {
            bail!("strace does not attach: may it trace other processes (ptrace_scope)?");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn control(pid: u32, what: &str) -> anyhow::Result<()> {
    let output = Command::new("callgrind_control").args([what, &pid.to_string()]).output();
    let output = output.context("callgrind_control cannot be run: install valgrind")?;
    if !output.status.success() {
        bail!("callgrind_control {what}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Dumps are numbered: callgrind.out.1 and so on.
fn newest_dump(file: &Path) -> anyhow::Result<std::path::PathBuf> {
    let numbered = |number: u32| file.with_extension(format!("out.{number}"));
    (1..).map(numbered).take_while(|path| path.exists()).last().context("callgrind wrote no dump")
}
