//! The process under test, and what answers its probes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::clusters::{Clusters, SYSTEM, wait};
use crate::support::certs::TestCa;
use crate::support::gateway::{Builder, Gateway};

/// A gateway process that mirrors and does nothing else.
pub struct Mirror(Gateway);

impl Mirror {
    /// Starts it.
    pub fn start(clusters: &Clusters) -> Self {
        let builder = Builder::new(&TestCa::new("bench"));
        let file = builder.path().join("kubeconfig");
        std::fs::write(&file, clusters.kubeconfig()).expect("written");
        let configured = builder.configure(&format!(
            "[gateway]\nenabled = false\n[kubernetes]\nkubeconfig = {file:?}\n\
             [mirror]\nenabled = true\nnamespace = \"{SYSTEM}\"\n"
        ));
        Self(configured.spawn())
    }

    /// Until it has looked at `services` Services and has nothing left to do.
    pub fn wait_for(&self, services: usize) {
        // It has told its admin port before it opens it.
        std::thread::sleep(Duration::from_secs(1));
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        wait("the mirrored Services in /links", || {
            let view: Value = serde_json::from_str(&self.0.get("/links")).unwrap_or_default();
            let links = view["links"].as_array().map(Vec::as_slice).unwrap_or_default();
            let mirrored = links.iter().map(|link| number(&link["services"]["Mirrored"]));
            let pending = links.iter().map(|link| number(&link["pending"]));
            mirrored.sum::<u64>() >= services as u64 && pending.sum::<u64>() == 0
        });
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }
}

/// Answers every request with 200, or with 503.
pub struct Health {
    address: SocketAddr,
    fails: Arc<AtomicBool>,
}

impl Health {
    /// Starts it on loopback, for as long as the program runs.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let fails = Arc::<AtomicBool>::default();
        let shared = Arc::clone(&fails);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let fails = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream, &fails));
            }
        });
        Self { address, fails }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::Relaxed);
    }
}

fn answer(mut stream: TcpStream, fails: &AtomicBool) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        request.extend_from_slice(&buffer[..count]);
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        request.clear();
        let status =
            if fails.load(Ordering::Relaxed) { "503 Service Unavailable" } else { "200 OK" };
        let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}
