//! Probes of gateway addresses, and what the monitor of a gateway makes of them.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

#[path = "probe/answers.rs"]
mod answers;
#[path = "probe/monitor.rs"]
mod monitor;
#[path = "probe/names.rs"]
mod names;
#[path = "probe/tls.rs"]
mod tls;

use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use hyper::http::uri::PathAndQuery;
use linkerd_gateway::control::mirror::probe::{Prober, Target};
use linkerd_gateway::model::identity::Identity;
use linkerd_gateway::model::mirror::probe::Probed;
use linkerd_gateway::tls::credentials::{Credentials, FileContent, Material};
use support::backend;
use support::certs::{TestCa, TestLeaf};

/// As the mirror's own identity.
const MIRROR: &str = "mirror.linkerd-multicluster.serviceaccount.identity.linkerd.west.local";
/// No test waits for it to pass.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Tests wait for it to pass.
const SHORT: Duration = Duration::from_millis(300);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test)
}

/// Credentials that trust `anchors`.
fn credentials(leaf: &TestLeaf, anchors: &[&TestCa]) -> Arc<Credentials> {
    let file = |name: &str, text: &str| FileContent {
        path: PathBuf::from(name),
        bytes: text.as_bytes().to_vec(),
    };
    let directory = tempfile::TempDir::new().expect("a directory");
    let anchor = |ca: &&TestCa| {
        FileContent::read(&ca.write_anchor(directory.path(), "ca.crt")).expect("written")
    };
    let material = Material {
        name: None,
        certificate: file("tls.crt", &leaf.chain),
        key: file("tls.key", &leaf.key),
        anchors: anchors.iter().map(anchor).collect(),
        bound_anchors: Vec::new(),
        routes: Vec::new(),
    };
    Arc::new(Credentials::build(&material, None, SystemTime::now()).expect("good credentials"))
}

fn own(ca: &TestCa) -> Arc<Credentials> {
    credentials(&ca.identity(MIRROR), &[ca])
}

fn target(address: SocketAddr, identity: Option<&str>, timeout: Duration) -> Target {
    let identity = identity.map(|text| Identity::parse(text).expect("an identity"));
    Target { address, path: PathAndQuery::from_static("/ready"), identity, timeout }
}

/// One probe without TLS.
fn plain(address: SocketAddr, timeout: Duration) -> Probed {
    run(Prober::new(target(address, None, timeout)).probe(None))
}

fn is_alive(probed: Probed) -> bool {
    matches!(probed, Probed::Alive(_))
}

/// Reads the head of a request; `None` at the end of the connection.
fn request(reader: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(count) if count > 0 => {}
            _ => return None,
        }
        match line.trim_end() {
            "" => return Some(lines),
            text => lines.push(text.to_owned()),
        }
    }
}

/// A server that answers each request of each connection with the same bytes, and how many
/// connections it had.
fn answering(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let address = backend::serve(move |stream| {
        counter.fetch_add(1, Ordering::SeqCst);
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        let mut writer = stream;
        while request(&mut reader).is_some() && writer.write_all(answer.as_bytes()).is_ok() {}
    });
    (address, connections)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n";
