//! A gateway under attack, and the three things that every attack is checked for: what the peer
//! saw, what was counted, and that nothing reached the service behind.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::AlertDescription;
use serde_json::Value;

use super::backend;
use super::certs::TestCa;
use super::client::{Client, Stream, half_close, header_for, read_all};
use super::gateway::{Builder, Gateway};

/// The target that leads to the echo service.
pub const ECHO: &str = "echo.test.svc.cluster.local:7";

/// How a connection ended for the peer.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// A fatal TLS alert.
    Alert(AlertDescription),
    /// A TCP reset.
    Reset,
    /// Anything else; an end that could be taken for a clean one above all.
    Other(String),
}

/// A gateway with one echo service that counts its connections.
pub struct Probe {
    pub gateway: Gateway,
    pub ca: TestCa,
    good: Client,
    reached: Arc<AtomicUsize>,
}

impl Probe {
    /// With nothing but the route.
    pub fn new() -> Self {
        Self::with(|builder, _| builder)
    }

    /// With whatever `configure` adds; it is given the echo service's address.
    pub fn with(configure: impl FnOnce(Builder, SocketAddr) -> Builder) -> Self {
        let ca = TestCa::new("ca");
        let reached = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reached);
        let echo = backend::serve(move |mut stream| {
            counter.fetch_add(1, Ordering::SeqCst);
            let Ok(mut writer) = stream.try_clone() else { return };
            let _ = io::copy(&mut stream, &mut writer);
            let _ = stream.shutdown(Shutdown::Write);
        });
        let builder = configure(Builder::new(&ca), echo).route(ECHO, &[echo]);
        let gateway = builder.start();
        let good = Client::new(&ca);
        Self { gateway, ca, good, reached }
    }

    /// The usual client.
    pub fn client(&self) -> Client {
        self.good.clone()
    }

    /// Runs `attack`, whose one connection must end in `label`, be counted once and reach nothing.
    /// Gives the access-log line and what the attack returned.
    pub fn attack<T>(&mut self, label: &str, attack: impl FnOnce(SocketAddr) -> T) -> (Value, T) {
        let series = format!("gateway_connections_total{{outcome=\"{label}\"}}");
        let counted = self.gateway.metric(&series);
        let reached = self.reached.load(Ordering::SeqCst);
        let seen = attack(self.gateway.address);
        let line = self.gateway.expect(label);
        let counts = self.gateway.metric(&series);
        assert_eq!(counts.to_bits(), (counted + 1.0).to_bits(), "{series}: {counts}");
        assert_eq!(self.reached.load(Ordering::SeqCst), reached, "it reached the service: {line}");
        (line, seen)
    }

    /// [`Probe::attack`] by a TLS client that sends a header for the echo service.
    pub fn refuses(&mut self, client: &Client, label: &str, ending: &Ending) -> Value {
        self.refuses_bytes(client, &header_for(ECHO, None), label, ending)
    }

    /// [`Probe::attack`] by a TLS client that sends `bytes`.
    pub fn refuses_bytes(
        &mut self,
        client: &Client,
        bytes: &[u8],
        label: &str,
        ending: &Ending,
    ) -> Value {
        let (line, seen) = self.attack(label, |address| tls_ending(client, address, bytes));
        assert_eq!(seen, *ending, "{line}");
        line
    }

    /// After an attack: a good connection carries bytes both ways, no connection is left behind,
    /// and the log holds nothing but its own lines, a panic's message least of all.
    pub fn serves(&mut self) {
        let client = self.client();
        self.carries(&client, &header_for(ECHO, None));
        let none_left = |gateway: &Gateway| gateway.get("/connections").trim() == "[]";
        self.gateway.eventually("the end of every connection", none_left);
        let lines = self.gateway.lines();
        let foreign: Vec<_> = lines.iter().filter(|line| !line.is_object()).collect();
        assert!(foreign.is_empty(), "{foreign:?}");
    }

    /// `client` is served: after `header` its bytes come back. Gives the access-log line.
    pub fn carries(&mut self, client: &Client, header: &[u8]) -> Value {
        let mut stream = client.connect(self.gateway.address).expect("a handshake");
        stream.write_all(&[header, b"over and out"].concat()).expect("sent");
        half_close(&mut stream);
        assert_eq!(read_all(&mut stream), b"over and out");
        self.gateway.expect("closed")
    }
}

/// Sends `bytes` over TLS, reads, and says how it ended.
pub fn tls_ending(client: &Client, address: SocketAddr, bytes: &[u8]) -> Ending {
    let mut stream = match client.connect(address) {
        Ok(stream) => stream,
        Err(error) => return Ending::of(&error),
    };
    // A refusal may be faster than our bytes. The first error is the telling one, but an alert
    // that came before a reset can still be read.
    let sent = send(&mut stream, bytes);
    let ending = match stream.read(&mut [0; 1]) {
        Ok(count) => Ending::Other(format!("read {count} bytes")),
        Err(error) => Ending::of(&error),
    };
    match (&ending, sent) {
        (Ending::Other(_), Err(error)) => Ending::of(&error),
        _ => ending,
    }
}

/// Writes what is left of the session and `bytes`. By hand, because the stream's own write swallows
/// the first error, which is the one that tells a reset.
pub fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.conn.writer().write_all(bytes)?;
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut stream.sock)?;
    }
    Ok(())
}

/// Reads a plain socket to its end: the bytes, and whether a reset ended them.
pub fn raw_ending(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => (bytes, false),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
            (bytes, true)
        }
    }
}

/// Never a clean end: a plain peer saw an alert record last, or a reset.
pub fn refused_raw(stream: &mut TcpStream) -> Vec<u8> {
    let (bytes, reset) = raw_ending(stream);
    let is_alert = ends_in_alert(&bytes);
    assert!(reset || is_alert, "a clean end after {bytes:02x?}");
    bytes
}

/// The last record is a fatal alert, or, once there are keys, has the size of one.
pub fn ends_in_alert(bytes: &[u8]) -> bool {
    let tail = |length: usize| bytes.len().checked_sub(length).and_then(|at| bytes.get(at..));
    let plain = tail(7).is_some_and(|a| a[0] == 0x15 && a[3..6] == [0, 2, 2]);
    // Two bytes, their type and a tag of 16.
    plain || tail(24).is_some_and(|a| a.starts_with(&[0x17, 3, 3, 0, 19]))
}

impl Ending {
    /// What an error says.
    pub fn of(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(*alert),
            _ if error.kind() == io::ErrorKind::ConnectionReset => Self::Reset,
            _ => Self::Other(error.to_string()),
        }
    }
}
