//! Gateways that are compared: where they are on this machine, and how they are started.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::configuration::{self, TARGET};
use super::options::Options;
use super::site::{Lane, Site};

/// Where `make bench-peers` puts Envoy.
const ENVOY: &str = "target/bench-peers/envoy/_bin/envoy";

/// The lanes of a comparison, ours first.
pub struct Lanes<'o> {
    options: &'o Options,
    pub lanes: Vec<Lane>,
}

impl<'o> Lanes<'o> {
    /// Ours, as it is measured.
    pub fn new(options: &'o Options, ours: Vec<Lane>) -> Self {
        Self { options, lanes: ours }
    }

    /// Adds a peer, unless it was not asked for; says so when it is not on this machine.
    pub fn add(&mut self, name: &str, peer: Option<Lane>) {
        match peer {
            Some(peer) if self.options.takes(&peer.name) => self.lanes.push(peer),
            Some(_) => {}
            None => eprintln!("{name} is NOT COMPARED: it is not here; `make bench-peers` gets it"),
        }
    }

    /// Adds what `--peer` names, on ports from this one on.
    ///
    /// # Errors
    /// When `--peer` is malformed.
    pub fn add_others(&mut self, site: &Site, first_port: u16) -> anyhow::Result<()> {
        for (port, peer) in (first_port..).zip(&self.options.peers) {
            let (name, command) = peer.split_once('=').context("--peer: expected NAME=COMMAND")?;
            let address = local(port);
            let command = command
                .replace("{listen}", &address.to_string())
                .replace("{backend}", &site.backend.to_string())
                .replace("{certs}", &site.certs.display().to_string());
            let command = vec!["sh".to_owned(), "-c".to_owned(), format!("exec {command}")];
            self.lanes.push(Lane::new(name, command, address));
        }
        Ok(())
    }
}

impl Site {
    /// Our gateway with a transport header.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn ours(&self) -> anyhow::Result<Lane> {
        let address = local(4143);
        let text = configuration::gateway(address, self.backend, &self.certs);
        let file = self.write("gateway.toml", &text)?;
        let command = words(&[&self.gateway, "run".as_ref(), "--config".as_ref(), &file]);
        let arguments = vec!["--target", TARGET];
        Ok(Lane { arguments, ..Lane::new("linkerd-gateway", command, address) })
    }

    /// HAProxy with a configuration; `None` when it is not here.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn haproxy(
        &self,
        name: &str,
        address: SocketAddr,
        text: &str,
    ) -> anyhow::Result<Option<Lane>> {
        let Some(program) = find("haproxy") else { return Ok(None) };
        let file = self.write(&format!("haproxy-{}.cfg", address.port()), text)?;
        let command = words(&[&program, "-db".as_ref(), "-f".as_ref(), &file]);
        Ok(Some(Lane::new(name, command, address)))
    }

    /// The gateway's chain and key in one file, as HAProxy wants them.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn pem(&self) -> anyhow::Result<PathBuf> {
        let read = |file| fs::read(self.certs.join("gateway").join(file));
        let pem = self.directory.join("haproxy.pem");
        fs::write(&pem, [read("tls.crt")?, read("tls.key")?].concat())?;
        Ok(pem)
    }

    /// nginx with a configuration; `None` when it is not here.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn nginx(
        &self,
        name: &str,
        address: SocketAddr,
        text: &str,
    ) -> anyhow::Result<Option<Lane>> {
        let Some(program) = find("nginx") else { return Ok(None) };
        let file = self.write("nginx.conf", text)?;
        let command = words(&[&program, "-p".as_ref(), &self.directory, "-c".as_ref(), &file]);
        Ok(Some(Lane::new(name, command, address)))
    }

    /// Envoy with a configuration; `None` when it is not here.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn envoy(&self, address: SocketAddr, text: &str) -> anyhow::Result<Option<Lane>> {
        let wheel = Path::new(env!("CARGO_MANIFEST_DIR")).join(ENVOY);
        let Some(program) = find("envoy").or(wheel.exists().then_some(wheel)) else {
            return Ok(None);
        };
        let file = self.write(&format!("envoy-{}.yaml", address.port()), text)?;
        let mut command = words(&[&program, "-c".as_ref(), &file]);
        let options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"];
        command.extend(options.map(str::to_owned));
        Ok(Some(Lane::new("Envoy", command, address)))
    }
}

/// A port on loopback.
pub fn local(port: u16) -> SocketAddr {
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
