//! Files that all gateways share, and their processes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::options::Options;

/// How long one may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// What all forward to.
const BACKEND: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9000);

/// One row of the comparison. Two lanes may share a process.
#[derive(Clone, Debug)]
pub struct Lane {
    pub name: String,
    /// The command, as words.
    pub command: Vec<String>,
    pub address: SocketAddr,
    /// What the generator is told of it besides its address.
    pub arguments: Vec<&'static str>,
}

/// Files and addresses that all share.
pub struct Site {
    pub directory: PathBuf,
    pub certs: PathBuf,
    pub gateway: PathBuf,
    pub backend: SocketAddr,
}

/// What runs. Dropping it ends all.
pub struct Processes(HashMap<SocketAddr, Child>);

impl Site {
    /// Creates certificates, once for everybody, in a directory of this name.
    ///
    /// # Errors
    /// When files cannot be written or our binary does not run.
    pub fn prepare(options: &Options, name: &str) -> anyhow::Result<Self> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory)?;
        let gateway = fs::canonicalize(&options.gateway)
            .with_context(|| format!("--gateway {}", options.gateway.display()))?;
        let certs = directory.join("certs");
        let made =
            Command::new(&gateway).args(["certs", "--force", "--out"]).arg(&certs).output()?;
        if !made.status.success() {
            bail!("certificates: {}", String::from_utf8_lossy(&made.stderr));
        }
        Ok(Self { directory, certs, gateway, backend: BACKEND })
    }

    /// Starts the processes of all lanes and waits until they listen.
    ///
    /// # Errors
    /// Names the one that does not, and where its output is.
    pub fn start(&self, lanes: &[Lane]) -> anyhow::Result<Processes> {
        let mut processes = Processes(HashMap::new());
        for lane in lanes {
            if processes.0.contains_key(&lane.address) {
                continue;
            }
            let (program, arguments) = lane.command.split_first().context("an empty command")?;
            let path = self.directory.join(format!("{}.log", lane.name.replace(' ', "-")));
            let log = File::create(&path)?;
            let child = Command::new(program)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| format!("{}: {program} cannot be run", lane.name))?;
            processes.0.insert(lane.address, child);
            let begin = Instant::now();
            while TcpStream::connect(lane.address).is_err() {
                if begin.elapsed() > PATIENCE {
                    bail!("{} does not listen: see {}", lane.name, path.display());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(processes)
    }

    /// Writes a file beside the certificates.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Lane {
    /// A lane that ends TLS, and of which the generator needs to know nothing more.
    pub fn new(name: &str, command: Vec<String>, address: SocketAddr) -> Self {
        Self { name: name.to_owned(), command, address, arguments: Vec::new() }
    }

    /// What it says about its version.
    pub fn version(&self) -> Option<String> {
        let flag = if self.name.contains("HAProxy") || self.name.contains("nginx") {
            "-v"
        } else {
            "--version"
        };
        let output = Command::new(self.command.first()?).arg(flag).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find(|line| !line.trim().is_empty())?;
        // Envoy begins with its own path.
        Some(line.rsplit("version: ").next().unwrap_or(line).trim().to_owned())
    }
}

impl Processes {
    /// The process behind a lane.
    pub fn pid(&self, lane: &Lane) -> Option<u32> {
        self.0.get(&lane.address).map(Child::id)
    }
}

impl Drop for Processes {
    /// TERM first: nginx ends its worker only then.
    fn drop(&mut self) {
        for child in self.0.values() {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        }
        let begin = Instant::now();
        for child in self.0.values_mut() {
            while matches!(child.try_wait(), Ok(None)) {
                if begin.elapsed() > PATIENCE {
                    let _ = child.kill();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}
