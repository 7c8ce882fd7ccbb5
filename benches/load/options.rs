//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use super::backend::Service;

/// A load generator for gateways that end mutual TLS; it brings its own backend.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// What is done to the gateway.
    pub mode: Mode,
    /// Where the gateway accepts connections.
    #[arg(long, default_value = "127.0.0.1:4143")]
    pub address: SocketAddr,
    /// Where our backend listens: what the gateway's route leads to.
    #[arg(long, default_value = "127.0.0.1:9000")]
    pub backend: SocketAddr,
    /// Directory that `linkerd-gateway certs` wrote: ca.crt, client/tls.crt, client/tls.key.
    #[arg(long, value_name = "DIR", default_value = "certs-dev")]
    pub certs: PathBuf,
    /// The identity that the gateway must prove, also the server name that is sent.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local"
    )]
    pub identity: String,
    /// name:port for a transport header with Linkerd's ALPN. Without it: plain TLS, with ALPN h2 for
    /// the modes of HTTP, otherwise none.
    #[arg(long, value_name = "NAME:PORT")]
    pub target: Option<String>,
    /// No TLS at all: the floor of relays that do not encrypt.
    #[arg(long, conflicts_with = "target")]
    pub plaintext: bool,
    /// The process to measure, with its descendants. Without it only times are reported.
    #[arg(long)]
    pub pid: Option<u32>,
    /// The only cipher suite that is offered.
    #[arg(long, value_enum, default_value = "aes128")]
    pub suite: Suite,
    /// The only key exchange group that is offered.
    #[arg(long, value_enum, default_value = "x25519")]
    pub group: Group,
    /// So many client certificates of one identity, used in turn: with more than a gateway remembers
    /// it verifies every chain anew. They are signed by issuer.crt in --certs.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub leaves: usize,
    /// Connections open at once [default: handshake and HTTP 8, bulk 2, idle 1000, others 64].
    #[arg(long, value_name = "N")]
    pub connections: Option<usize>,
    /// HTTP: requests open at once on each connection.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub streams: usize,
    /// HTTP: what the backend speaks.
    #[arg(long, value_enum, default_value = "http1")]
    pub upstream: Upstream,
    /// Further connections that stay open without traffic while the mode runs.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub background: usize,
    /// Bytes of a request and of its answer; of HTTP's the one that has a body, at most 256 KiB.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    pub size: usize,
    /// Bytes of a bulk write, of the client and of the backend, at most 256 KiB.
    #[arg(long, value_name = "BYTES", default_value_t = 256 * 1024)]
    pub block: usize,
    /// Requests per second, for `rate` and `get-rate`.
    #[arg(long, value_name = "N", default_value_t = 4000)]
    pub rate: u32,
    /// Time before the first window, not measured.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub warmup: Duration,
    /// Time that a window takes at most.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Units (connections, requests, MiB) after which a window ends before its time.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Measured windows; the report has their medians.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repetitions: usize,
    /// How long `idle` lets memory settle before it looks.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    pub settle: Duration,
    /// How long `idle` waits for memory to be given back after the close; 0s leaves that out.
    #[arg(long, value_name = "TIME", default_value = "12s", value_parser = humantime::parse_duration)]
    pub give_back: Duration,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// Given by `cargo bench`; means nothing here.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// What is done to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Full handshake, header, one byte and its echo, clean close; again and again.
    Handshake,
    /// Bulk from client to backend.
    Up,
    /// Bulk from backend to client.
    Down,
    /// Bulk both ways at once.
    Both,
    /// Requests on open connections, the next when the answer is there.
    Request,
    /// Requests at a fixed rate; latency counts from when each should have left.
    Rate,
    /// Memory of connections that have carried one byte, then 64 KiB, then are closed.
    Idle,
    /// Connections that come, make some requests and go, one in four by a reset.
    Churn,
    /// HTTP/2: GET on open connections, the next when the answer is there.
    Get,
    /// HTTP/2: GET at a fixed rate; latency counts from when each should have left.
    GetRate,
    /// HTTP/2: POST on open connections, answered with a few bytes.
    Post,
}

/// What the backend of HTTP's modes speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Upstream {
    /// HTTP/1.1 on connections that stay open.
    Http1,
    /// HTTP/2 with prior knowledge.
    H2c,
}

/// Cipher suites of TLS 1.3.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Suite {
    /// TLS_AES_128_GCM_SHA256.
    Aes128,
    /// TLS_AES_256_GCM_SHA384.
    Aes256,
    /// TLS_CHACHA20_POLY1305_SHA256.
    Chacha20,
}

/// Key exchange groups.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Group {
    /// X25519.
    X25519,
    /// X25519MLKEM768, the hybrid one.
    Mlkem,
    /// P-256.
    P256,
}

impl Mode {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Up => "up",
            Self::Down => "down",
            Self::Both => "both",
            Self::Request => "request",
            Self::Rate => "rate",
            Self::Idle => "idle",
            Self::Churn => "churn",
            Self::Get => "get",
            Self::GetRate => "get-rate",
            Self::Post => "post",
        }
    }

    /// Requests in HTTP/2.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Get | Self::GetRate | Self::Post)
    }
}

impl Options {
    /// What the backend does with the bytes.
    pub fn service(&self) -> Service {
        match self.mode {
            Mode::Up => Service::Sink,
            Mode::Down => Service::Source,
            Mode::Both => Service::Duplex,
            Mode::Handshake | Mode::Request | Mode::Rate | Mode::Idle | Mode::Churn => {
                Service::Echo
            }
            Mode::Get | Mode::GetRate | Mode::Post => Service::Origin(self.upstream),
        }
    }

    /// Connections open at once.
    pub fn connections(&self) -> usize {
        self.connections.unwrap_or(match self.mode {
            Mode::Handshake | Mode::Get | Mode::GetRate | Mode::Post => 8,
            Mode::Up | Mode::Down | Mode::Both => 2,
            Mode::Idle => 1000,
            Mode::Request | Mode::Rate | Mode::Churn => 64,
        })
    }

    /// What a reader of the report must know to repeat it.
    pub fn describe(&self) -> Value {
        json!({
            "connections": self.connections(),
            "background": self.background,
            "size": self.size,
            "block": self.block,
            "rate": matches!(self.mode, Mode::Rate | Mode::GetRate).then_some(self.rate),
            "streams": self.mode.is_http().then_some(self.streams),
            "upstream": self.mode.is_http().then(|| format!("{:?}", self.upstream)),
            "header": self.target.is_some(),
            "tls": !self.plaintext,
            "suite": format!("{:?}", self.suite),
            "group": format!("{:?}", self.group),
            "leaves": self.leaves,
        })
    }
}
