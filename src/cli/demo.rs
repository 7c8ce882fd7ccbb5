//! `demo`: a gateway with a small built-in service behind it, development certificates, and a page
//! of commands that a newcomer can paste.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Failure;
use super::certs::authority::{Authority, LEAF, LEAF_KEY};
use super::certs::names::{LeafNames, LeafRequest, account_identity};
use super::certs::{self, files};
use super::run::{self, Addresses};
use crate::config::load::{Sources, load};
use crate::control::credentials::{self, Source};

mod services;

use services::Services;

/// A server name of the demo's HTTP service, for plain mTLS clients.
const WEB_NAME: &str = "web.demo.example";

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Port of the gateway.
    #[arg(long, default_value_t = 4143)]
    port: u16,
    /// Port of the admin API.
    #[arg(long, default_value_t = 4191)]
    admin_port: u16,
    /// Directory of the development certificates, created when missing.
    #[arg(long, value_name = "DIR", default_value = "certs-dev")]
    certs: PathBuf,
}

/// Runs `demo`.
///
/// # Errors
/// Exit 69 when a port is taken, 64 when existing certificates cannot be used.
pub fn demo(args: &DemoArgs) -> Result<(), Failure> {
    certificates(&args.certs).with_context(|| unusable(&args.certs)).map_err(Failure::usage)?;
    let services = Services::start().map_err(Failure::unavailable)?;
    let file = args.certs.join("demo.toml");
    let text = configuration(args, &services);
    let written = std::fs::write(&file, text).with_context(|| format!("{}", file.display()));
    written.map_err(Failure::unavailable)?;
    let sources = Sources::from_process(Some(file.clone()));
    let loaded = load(&sources).map_err(Failure::usage)?;
    let settings = &loaded.settings;
    // `run` would wait for better files; nobody will bring them here.
    credentials::load(&Source::new(&settings.identity, &settings.routes))
        .with_context(|| unusable(&args.certs))
        .map_err(Failure::usage)?;
    run::serve(sources, advice, |addresses| {
        let page = page(args, addresses, &file);
        // A closed standard output costs the page, not the gateway.
        let _ = super::output::print(page.as_bytes());
    })
}

fn unusable(certs: &Path) -> String {
    format!(
        "the development certificates in {0} cannot be used: remove {0} and start again, which \
         makes new ones, or name another directory with --certs",
        certs.display()
    )
}

/// How to move a listener, by the configuration's key for it.
fn advice(key: &str) -> String {
    let flag = if key == "admin.listen" { "--admin-port" } else { "--port" };
    format!("choose another port with {flag}")
}

/// Creates what is missing: the gateway's authority with a certificate for the web route, and a
/// stranger's authority whose client nobody should believe.
fn certificates(root: &Path) -> anyhow::Result<()> {
    let web = LeafRequest::parse(&format!("web={WEB_NAME}"))?;
    authority(root, &["gateway", "client"], &[web])?;
    authority(&root.join("stranger"), &["client"], &[])
}

fn authority(root: &Path, accounts: &[&str], further: &[LeafRequest]) -> anyhow::Result<()> {
    let authority = if Authority::exists(root) {
        Authority::load(root)?
    } else {
        let created = Authority::create(certs::TRUST_DOMAIN, certs::ANCHOR_DAYS, certs::DAYS)?;
        files::write(root, &created.files())?;
        created
    };
    let mut leaves = further.to_vec();
    for account in accounts {
        let (name, namespace) = match *account {
            "gateway" => ("linkerd-gateway", "linkerd-multicluster"),
            other => (other, "default"),
        };
        let identity = account_identity(name, namespace, certs::TRUST_DOMAIN, false)?;
        leaves
            .push(LeafRequest { directory: account.into(), names: LeafNames::Identity(identity) });
    }
    let is_missing = |leaf: &LeafRequest| {
        let exists = |name| root.join(&leaf.directory).join(name).exists();
        !exists(LEAF) || !exists(LEAF_KEY)
    };
    for leaf in leaves.into_iter().filter(is_missing) {
        let issued = authority.issue(&leaf.names, certs::DAYS)?;
        files::write(root, &issued.files(&leaf.directory))?;
    }
    Ok(())
}

fn configuration(args: &DemoArgs, services: &Services) -> String {
    let DemoArgs { port, admin_port, certs } = args;
    let Services { http, echo } = services;
    let path =
        |name: &str| toml_edit::Value::from(certs.join(name).display().to_string()).to_string();
    format!(
        r#"# Written by `linkerd-gateway demo` at every start; config/gateway.toml explains every key.
[gateway]
listen = ["[::]:{port}"]
lame_duck = "0s"   # Ctrl-C should not wait for load balancers

[admin]
listen = "[::]:{admin_port}"

[identity]
certificate = {certificate}
key = {key}
trust_anchors = [{anchor}]

[[route]]
target = "web.demo.svc.cluster.local:80"
endpoints = ["{http}"]
session = "http"
sni = ["{WEB_NAME}"]
certificate = {web_certificate}
key = {web_key}

[[route]]
target = "echo.demo.svc.cluster.local:7"
endpoints = ["{echo}"]
"#,
        certificate = path("gateway/tls.crt"),
        key = path("gateway/tls.key"),
        anchor = path("ca.crt"),
        web_certificate = path("web/tls.crt"),
        web_key = path("web/tls.key"),
    )
}

/// What to try next. Every command is tested as printed.
fn page(args: &DemoArgs, addresses: &Addresses, file: &Path) -> String {
    let port = addresses.gateway.first().map_or(args.port, SocketAddr::port);
    let admin = addresses.admin.port();
    let program = std::env::current_exe().unwrap_or_else(|_| "linkerd-gateway".into());
    let (program, certs) = (quoted(&program), quoted(&args.certs));
    let identity =
        "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
    format!(
        r"
linkerd-gateway is ready on port {port}, its admin API on port {admin}. Configuration: {file}

Try, in another terminal in this directory:

# An authenticated request with a transport header, as a Linkerd proxy sends it
printf 'GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n' | {program} connect 127.0.0.1:{port} --ca {certs}/ca.crt --certs {certs}/client --identity {identity} --target web.demo.svc.cluster.local:80

# The echo service; add --verbose to see the handshake
echo hello | {program} connect 127.0.0.1:{port} --ca {certs}/ca.crt --certs {certs}/client --identity {identity} --target echo.demo.svc.cluster.local:7

# The same web service for a plain mTLS client, by server name, over HTTP/2
curl --silent --show-error --cacert {certs}/ca.crt --cert {certs}/client/tls.crt --key {certs}/client/tls.key --resolve {WEB_NAME}:{port}:127.0.0.1 https://{WEB_NAME}:{port}/

# Refused: no client certificate
curl --silent --show-error --cacert {certs}/ca.crt --resolve {WEB_NAME}:{port}:127.0.0.1 https://{WEB_NAME}:{port}/

# Refused: a certificate from another anchor
curl --silent --show-error --cacert {certs}/ca.crt --cert {certs}/stranger/client/tls.crt --key {certs}/stranger/client/tls.key --resolve {WEB_NAME}:{port}:127.0.0.1 https://{WEB_NAME}:{port}/

# Readiness and metrics
curl --silent http://127.0.0.1:{admin}/ready
curl --silent http://127.0.0.1:{admin}/metrics

Press Ctrl-C to stop.
",
        file = file.display(),
    )
}

/// A path as a word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
