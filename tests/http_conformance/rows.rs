//! Rows of a table: bytes that a client sends, and every reaction that is right.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::certs::TestCa;
use crate::support::client::Client;
use crate::support::gateway::{Builder, Gateway};
use crate::support::http::backend::{Backend, Protocol, Seen, reply};
use crate::support::http::frames::{GOAWAY, PING, Peer, RST_STREAM, frame, get};
use crate::support::http::{TARGET, frames};

/// How long a stream is kept open by `/wait`: longer than any row.
const WAIT: Duration = Duration::from_secs(120);
/// A reaction comes within this.
const ENOUGH: Duration = Duration::from_secs(8);
/// The body of `/large`.
pub const LARGE: usize = 300 << 10;
/// The body of `/huge`.
pub const HUGE: usize = 48 << 20;
/// A stream that no row uses.
const LAST: u32 = 10_001;
const FENCE: &[u8] = b"fence!!!";

/// What a client sees first, apart from the answers that everybody gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// GOAWAY with this code, and the end.
    Connection(u32),
    /// The end without a GOAWAY.
    Ended,
    /// Nothing, and the connection goes on.
    Ignored,
    /// Nothing at all, for as long as a test waits.
    Silent,
    /// A response on this stream.
    Status(u32, u16),
    /// RST_STREAM with this code.
    Stream(u32, u32),
}

use Reaction::{Connection, Ended, Ignored, Silent, Status, Stream};

/// Bytes that follow the greeting, and what may come of them.
pub struct Row {
    pub what: &'static str,
    pub bytes: Vec<u8>,
    pub accepts: Vec<Reaction>,
}

/// A connection error whose code the RFC names. PROTOCOL_ERROR is taken as well, which says less: it
/// is what the h2 crate says of every frame that it cannot parse, and the connection ends as surely.
pub const fn coded(code: u32) -> [Reaction; 2] {
    [Connection(code), Connection(frames::PROTOCOL_ERROR)]
}

/// A row.
pub fn row(what: &'static str, bytes: Vec<u8>, accepts: &[Reaction]) -> Row {
    Row { what, bytes, accepts: accepts.to_vec() }
}

/// The server under test.
pub struct Server {
    backend: Backend,
    through: Option<(Gateway, Client)>,
}

impl Server {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With configuration of its own.
    pub fn with(toml: &str) -> Self {
        if std::env::var_os("HTTP_CONFORMANCE_DIRECT").is_some() {
            return Self { backend: Backend::start(Protocol::H2c, handler), through: None };
        }
        let backend = Backend::start(Protocol::Http1, handler);
        let ca = TestCa::new("ca");
        let builder = Builder::new(&ca).configure(toml).route(TARGET, &[backend.address]);
        let through = Some((builder.start(), Client::new(&ca)));
        Self { backend, through }
    }

    /// A gateway with another endpoint; `None` when there is no gateway.
    pub fn to(endpoint: SocketAddr) -> Option<Self> {
        let mut server = Self::new();
        server.through.take()?;
        let ca = TestCa::new("ca");
        let gateway = Gateway::with_route(&ca, TARGET, endpoint);
        server.through = Some((gateway, Client::new(&ca)));
        Some(server)
    }

    /// A connection on which nothing of HTTP/2 has been sent.
    pub fn connect(&self) -> Peer {
        match &self.through {
            None => Peer::direct(self.backend.address),
            Some((gateway, client)) => Peer::connect(client, gateway.address),
        }
    }

    /// One whose settings have been exchanged.
    pub fn greeted(&self) -> Peer {
        self.connect().greet(&[])
    }

    /// The gateway, unless there is none.
    pub fn gateway(&self) -> Option<&Gateway> {
        self.through.as_ref().map(|(gateway, _)| gateway)
    }

    /// Runs every row on a connection of its own, and fails with all that are wrong.
    pub fn check(&self, rows: Vec<Row>) {
        self.check_on(rows, Self::greeted);
    }

    /// The same with connections that `connect` makes.
    pub fn check_on(&self, rows: Vec<Row>, connect: impl Fn(&Self) -> Peer) {
        let wrong: Vec<_> = rows
            .into_iter()
            .filter_map(|row| {
                let reaction = react(&mut connect(self), &row.bytes, &row.accepts);
                let wrong = !row.accepts.contains(&reaction);
                wrong.then(|| format!("{}: {reaction:?}, not {:?}", row.what, row.accepts))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Sends bytes, and finds what the server makes of them.
pub fn react(peer: &mut Peer, bytes: &[u8], accepts: &[Reaction]) -> Reaction {
    peer.send(bytes);
    peer.send(&frame(PING, 0, 0, FENCE));
    if accepts.contains(&Ignored) {
        peer.send(&get(LAST, "/"));
    }
    while let Some(frame) = peer.within(ENOUGH) {
        match frame.kind {
            GOAWAY if frame.code() != frames::NO_ERROR => {
                while peer.within(ENOUGH).is_some() {}
                return if peer.end.is_some() { Connection(frame.code()) } else { Silent };
            }
            RST_STREAM => return Stream(frame.stream, frame.code()),
            _ => {}
        }
        match frame.status() {
            Some(200) if frame.stream == LAST => return Ignored,
            Some(status) => return Status(frame.stream, status),
            None => {}
        }
    }
    if peer.end.is_some() { Ended } else { Silent }
}

/// What the service answers.
async fn handler(request: Seen) -> crate::support::http::backend::Reply {
    match request.uri.path() {
        "/wait" => tokio::time::sleep(WAIT).await,
        "/large" => return reply(vec![b'x'; LARGE]),
        "/huge" => return reply(vec![b'x'; HUGE]),
        _ => {}
    }
    reply("ok")
}
