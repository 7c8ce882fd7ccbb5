//! The gateways that are compared: which are there, how they are started and ended.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::Options;
use super::configuration::{self, Haproxy};

/// How long one may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// What all forward to.
const BACKEND: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9000);
/// Where `make bench-peers` puts Envoy.
const ENVOY: &str = "target/bench-peers/envoy/_bin/envoy";

/// How the generator speaks to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Linkerd's ALPN and a transport header.
    Header,
    /// TLS without either.
    Tls,
    /// No TLS: a floor.
    Clear,
}

/// One row of the comparison. Two lanes may share a process.
#[derive(Clone, Debug)]
pub struct Lane {
    pub name: String,
    pub speech: Speech,
    /// Another lane has the same process, and its memory.
    pub shares: bool,
    /// The command, as words.
    command: Vec<String>,
    pub address: SocketAddr,
}

/// Files and addresses that all share.
pub struct Site {
    pub directory: PathBuf,
    pub certs: PathBuf,
    gateway: PathBuf,
    pub backend: SocketAddr,
}

/// What runs. Dropping it ends all.
pub struct Processes(HashMap<SocketAddr, Child>);

impl Site {
    /// Creates certificates, once for everybody.
    ///
    /// # Errors
    /// When files cannot be written or our binary does not run.
    pub fn prepare(options: &Options) -> anyhow::Result<Self> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare");
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

    /// Ours, and every peer that is on this machine; says which is not.
    ///
    /// # Errors
    /// When a configuration cannot be written or `--peer` is malformed.
    pub fn lanes(&self, options: &Options) -> anyhow::Result<Vec<Lane>> {
        let ours = self.ours()?;
        let mut lanes = vec![
            ours.clone(),
            Lane {
                name: "the same without header".to_owned(),
                speech: Speech::Tls,
                shares: true,
                ..ours
            },
        ];
        let mut add = |peer: Option<Lane>, name: &str| match peer {
            Some(peer) if options.only.as_ref().is_none_or(|only| peer.name.contains(only)) => {
                lanes.push(peer);
            }
            Some(_) => {}
            None => eprintln!("{name} is NOT COMPARED: it is not here; `make bench-peers` gets it"),
        };
        add(self.envoy()?, "Envoy");
        add(self.haproxy(Haproxy::Tls, "HAProxy", 5001)?, "HAProxy");
        add(self.nginx()?, "nginx stream");
        add(self.haproxy(Haproxy::Clear, "HAProxy without TLS", 5004)?, "HAProxy without TLS");
        add(self.haproxy(Haproxy::Splice, "HAProxy splice", 5005)?, "HAProxy splice");
        for (index, peer) in (0..).zip(&options.peers) {
            let lane = self.other(peer, 5010 + index)?;
            lanes.push(lane);
        }
        Ok(lanes)
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

    /// Our gateway with a transport header.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn ours(&self) -> anyhow::Result<Lane> {
        let address = local(4143);
        let text = configuration::gateway(address, self.backend, &self.certs);
        let file = self.write("gateway.toml", &text)?;
        let command = words(&[&self.gateway, "run".as_ref(), "--config".as_ref(), &file]);
        let name = "linkerd-gateway".to_owned();
        Ok(Lane { name, speech: Speech::Header, shares: false, command, address })
    }

    fn haproxy(&self, kind: Haproxy, name: &str, port: u16) -> anyhow::Result<Option<Lane>> {
        let Some(program) = find("haproxy") else { return Ok(None) };
        let address = local(port);
        let pem =
            ["tls.crt", "tls.key"].map(|file| fs::read(self.certs.join("gateway").join(file)));
        let [chain, key] = pem;
        let pem = self.directory.join("haproxy.pem");
        fs::write(&pem, [chain?, key?].concat())?;
        let text = configuration::haproxy(kind, address, self.backend, &self.certs, &pem);
        let file = self.write(&format!("haproxy-{port}.cfg"), &text)?;
        let speech = if kind == Haproxy::Tls { Speech::Tls } else { Speech::Clear };
        let command = words(&[&program, "-db".as_ref(), "-f".as_ref(), &file]);
        Ok(Some(Lane { name: name.to_owned(), speech, shares: false, command, address }))
    }

    fn nginx(&self) -> anyhow::Result<Option<Lane>> {
        let Some(program) = find("nginx") else { return Ok(None) };
        let address = local(5002);
        let text = configuration::nginx(address, self.backend, &self.certs, &self.directory);
        let file = self.write("nginx.conf", &text)?;
        let command = words(&[&program, "-p".as_ref(), &self.directory, "-c".as_ref(), &file]);
        Ok(Some(Lane {
            name: "nginx stream".to_owned(),
            speech: Speech::Tls,
            shares: false,
            command,
            address,
        }))
    }

    fn envoy(&self) -> anyhow::Result<Option<Lane>> {
        let wheel = Path::new(env!("CARGO_MANIFEST_DIR")).join(ENVOY);
        let Some(program) = find("envoy").or(wheel.exists().then_some(wheel)) else {
            return Ok(None);
        };
        let address = local(5003);
        let text = configuration::envoy(address, self.backend, &self.certs);
        let file = self.write("envoy.yaml", &text)?;
        let mut command = words(&[&program, "-c".as_ref(), &file]);
        let options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
        command.extend(options.map(str::to_owned));
        Ok(Some(Lane {
            name: "Envoy".to_owned(),
            speech: Speech::Tls,
            shares: false,
            command,
            address,
        }))
    }

    fn other(&self, peer: &str, port: u16) -> anyhow::Result<Lane> {
        let (name, command) = peer.split_once('=').context("--peer: expected NAME=COMMAND")?;
        let address = local(port);
        let command = command
            .replace("{listen}", &address.to_string())
            .replace("{backend}", &self.backend.to_string())
            .replace("{certs}", &self.certs.display().to_string());
        let command = vec!["sh".to_owned(), "-c".to_owned(), format!("exec {command}")];
        Ok(Lane { name: name.to_owned(), speech: Speech::Tls, shares: false, command, address })
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Lane {
    /// The same, started by another program that is given the command.
    pub fn under(mut self, prefix: &[&str]) -> Self {
        self.command.splice(0..0, prefix.iter().map(ToString::to_string));
        self
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

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn words(words: &[&Path]) -> Vec<String> {
    words.iter().map(|word| word.display().to_string()).collect()
}

/// A program in PATH, or where Debian puts those that are not for users.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    directories.map(|directory| directory.join(program)).find(|file| file.is_file())
}
