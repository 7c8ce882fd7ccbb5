//! Credentials follow their files: new ones are used by new handshakes and break nothing, unusable
//! ones change nothing and are shown.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

#[path = "credentials/anchors.rs"]
mod anchors;
#[path = "credentials/bad_files.rs"]
mod bad_files;
#[path = "credentials/expiry.rs"]
mod expiry;
#[path = "credentials/reload.rs"]
mod reload;
#[path = "credentials/rotation.rs"]
mod rotation;
#[path = "credentials/start.rs"]
mod start;

use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;
use support::certs::TestLeaf;
use support::gateway::{Builder, Gateway};
use support::process::replace;

/// The target that all tests here connect to.
const ECHO: &str = "echo.test.svc.cluster.local:7";
/// What refused changes are counted by.
const REFUSED: &str = "control_identity_cert_refreshes_total{result=\"error\"}";

/// Starts a gateway that may have no credentials, and waits for its admin API.
fn spawn(builder: Builder) -> Gateway {
    let gateway = builder.spawn();
    gateway.eventually("the admin API", |gateway| TcpStream::connect(gateway.admin).is_ok());
    gateway
}

/// `/certs`
fn certs(gateway: &Gateway) -> Value {
    serde_json::from_str(&gateway.get("/certs")).expect("JSON")
}

fn generation(gateway: &Gateway) -> u64 {
    certs(gateway)["generation"].as_u64().expect("credentials")
}

/// Waits for credentials newer than `generation`.
fn newer_than(gateway: &Gateway, before: u64) {
    gateway.eventually("a reload", |gateway| generation(gateway) > before);
}

/// The newest problem.
fn problem(gateway: &Gateway) -> Option<String> {
    certs(gateway)["status"]["problem"].as_str().map(str::to_owned)
}

/// `[identity]` with the usual files and `more`.
fn identity(builder: Builder, more: &str) -> Builder {
    builder.configure(&format!(
        "[identity]\ncertificate = \"gateway/tls.crt\"\nkey = \"gateway/tls.key\"\n\
         trust_anchors = [\"ca.crt\"]\n{more}\n"
    ))
}

/// Puts `leaf` in the place of the pair in `directory`.
fn replace_leaf(directory: &Path, leaf: &TestLeaf) {
    replace(&directory.join("tls.crt"), &leaf.chain);
    replace(&directory.join("tls.key"), &leaf.key);
}
