//! A network namespace for the whole comparison: loopback without anybody else's traffic, rules or
//! congestion control.

use std::process::Command;

use anyhow::{Context, bail};

const INSIDE: &str = "INSIDE_BENCH_NAMESPACE";
/// Loopback with bbr, which many systems have as default, is paced and hides every difference.
const SYSCTLS: [(&str, &str); 2] =
    [("tcp_congestion_control", "reno"), ("ip_local_port_range", "10000 65535")];

/// True inside. Outside this program is run once more, inside, to its end; false when it went well.
///
/// # Errors
/// When a namespace cannot be made (it needs root, or user namespaces), or the run inside failed.
pub fn inside() -> anyhow::Result<bool> {
    if std::env::var_os(INSIDE).is_some() {
        run(&["ip", "link", "set", "lo", "up"])?;
        for (key, value) in SYSCTLS {
            std::fs::write(format!("/proc/sys/net/ipv4/{key}"), value).context(key)?;
        }
        return Ok(true);
    }
    let kinds = [["-n"].as_slice(), ["-r", "-n"].as_slice()];
    let works = |kind: &&&[&str]| {
        Command::new("unshare").args(**kind).arg("true").output().is_ok_and(|o| o.status.success())
    };
    let Some(kind) = kinds.iter().find(works) else {
        bail!("no network namespace can be made: run it as root, or allow user namespaces");
    };
    let status = Command::new("unshare")
        .args(*kind)
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()?;
    if !status.success() {
        bail!("the run in its namespace ended with {status}");
    }
    Ok(false)
}

fn run(command: &[&str]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("a command has a program")?;
    let status = Command::new(program).args(arguments).status();
    let status = status.with_context(|| format!("{program} cannot be run: install iproute2"))?;
    if !status.success() {
        bail!("{} ended with {status}", command.join(" "));
    }
    Ok(())
}
