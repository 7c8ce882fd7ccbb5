//! `connect`: the `s_client` of this protocol. Opens an authenticated connection to any gateway or
//! proxy, writes a transport header if asked to, and pipes standard input and output.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::Failure;
use crate::model::header::{Header, SessionProtocol, encode};
use crate::model::identity::Identity;
use crate::model::service::{Port, Target, is_dns_name};
use crate::tls::client::{Client, Negotiated};
use crate::tls::credentials::FileContent;

/// Bytes moved at once.
const BUFFER: usize = 64 * 1024;

/// Arguments of `connect`.
#[derive(Debug, clap::Args)]
pub struct ConnectArgs {
    /// host:port of the gateway.
    #[arg(value_name = "ADDRESS", value_parser = host_and_port)]
    address: String,
    /// Directory with tls.crt and tls.key to present, as `certs` writes it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["certificate", "key"])]
    certs: Option<PathBuf>,
    /// PEM file of the certificate to present, leaf first.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// PEM file of trust anchors; may be repeated.
    #[arg(long = "ca", value_name = "FILE", required = true)]
    anchors: Vec<PathBuf>,
    /// Who the gateway must prove to be; without it anyone under the anchors will do.
    #[arg(long, value_name = "NAME", value_parser = Identity::parse)]
    identity: Option<Identity>,
    /// Server name to ask for [default: the identity, when it is a DNS name].
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    sni: Option<String>,
    /// Write a transport header for this service.
    #[arg(long, value_name = "NAME:PORT", value_parser = Target::parse)]
    target: Option<Target>,
    /// Write a transport header without a name, for a port of the gateway's own host.
    #[arg(long, value_name = "PORT", conflicts_with = "target")]
    local_port: Option<std::num::NonZeroU16>,
    /// Session protocol to name in the header.
    #[arg(long, value_name = "PROTOCOL", value_parser = ["http1", "http2"])]
    session: Option<String>,
    /// How long connecting and the handshake may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Show the handshake on standard error.
    #[arg(long, short)]
    verbose: bool,
}

fn host_and_port(text: &str) -> Result<String, &'static str> {
    let port = |port: &str| port.parse().is_ok_and(|port: u16| port > 0);
    match text.rsplit_once(':') {
        Some((host, number)) if !host.is_empty() && port(number) => Ok(text.to_owned()),
        _ => Err("expected host:port, like gateway.example.com:4143"),
    }
}

fn server_name(text: &str) -> Result<String, &'static str> {
    if is_dns_name(text) { Ok(text.to_owned()) } else { Err("expected a DNS name") }
}

/// Runs `connect`.
///
/// # Errors
/// Exit 64 for unusable files or arguments, 69 when the gateway cannot be reached or refuses.
pub fn connect(args: &ConnectArgs) -> Result<(), Failure> {
    if args.session.is_some() && args.target.is_none() && args.local_port.is_none() {
        return Err(Failure::usage(anyhow!(
            "--session needs a header: add --target or --local-port"
        )));
    }
    let client = client(args).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::internal)?;
    let result = runtime.block_on(converse(args, &client)).map_err(Failure::unavailable);
    // A read of standard input cannot be interrupted; it must not hold the exit.
    runtime.shutdown_background();
    result
}

fn client(args: &ConnectArgs) -> anyhow::Result<Client> {
    let read = |path: &PathBuf| {
        FileContent::read(path).with_context(|| format!("{}: cannot be read", path.display()))
    };
    let anchors = args.anchors.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let pair = match (&args.certs, &args.certificate, &args.key) {
        (Some(directory), ..) => Some((directory.join("tls.crt"), directory.join("tls.key"))),
        (None, Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        _ => None,
    };
    let pair = pair.map(|(chain, key)| anyhow::Ok((read(&chain)?, read(&key)?))).transpose()?;
    let pair = pair.as_ref().map(|(chain, key)| (chain, key));
    Ok(Client::new(&anchors, pair)?)
}

async fn converse(args: &ConnectArgs, client: &Client) -> anyhow::Result<()> {
    let header = header(args);
    let sni = args.sni.as_deref().or(args.identity.as_ref().and_then(Identity::dns_name));
    let handshake = async {
        let stream = reach(&args.address).await?;
        let address = stream.peer_addr()?;
        stream.set_nodelay(true)?;
        let identity = args.identity.as_ref();
        let connected = client.connect(stream, sni, identity, header.is_some()).await;
        let (stream, negotiated) = connected.with_context(|| format!("{address}"))?;
        report(args, address, sni, &negotiated);
        anyhow::Ok(stream)
    };
    let late = || anyhow!("{}: no connection within {:?}", args.address, args.timeout);
    let stream = timeout(args.timeout, handshake).await.map_err(|_| late())??;
    if header.is_some() && stream.get_ref().1.alpn_protocol().is_none() {
        anyhow::bail!(
            "{}: it did not negotiate transport.l5d.io/v1, so it takes no header",
            args.address
        );
    }
    match pipe(stream, &header.unwrap_or_default()).await {
        // Whoever read our output has seen enough: `connect ... | head`.
        Err(Broken::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|broken| broken.explain(&args.address)),
    }
}

/// Where piping ended, and why.
enum Broken {
    Input(io::Error),
    Output(io::Error),
    Peer(io::Error),
}

/// Writes `first`, then copies both ways until both have ended, each in its own time: the answer may come after the end
/// of what was sent. Whatever breaks the receiving way ends all at once, because nothing more will
/// come and standard input may be a terminal that never ends.
async fn pipe(stream: TlsStream<TcpStream>, first: &[u8]) -> Result<(), Broken> {
    let (mut receive, mut send) = tokio::io::split(stream);
    let up = async {
        send.write_all(first).await.map_err(Broken::Peer)?;
        send.flush().await.map_err(Broken::Peer)?;
        copy(&mut tokio::io::stdin(), &mut send, Broken::Input, Broken::Peer).await?;
        // Only our direction ends.
        send.shutdown().await.map_err(Broken::Peer)
    };
    let mut stdout = tokio::io::stdout();
    let down = copy(&mut receive, &mut stdout, Broken::Peer, Broken::Output);
    let (mut up, mut down) = (pin!(up), pin!(down));
    let sent = tokio::select! {
        received = &mut down => {
            received?;
            return up.await.or_else(Broken::unless_gone);
        }
        sent = &mut up => sent,
    };
    match sent {
        // A peer that is gone shows in what we read, with its alert; what we write would only say
        // that the pipe is broken.
        Ok(()) => down.await,
        Err(Broken::Peer(error)) => match down.await {
            Ok(()) => Broken::unless_gone(Broken::Peer(error)),
            broken => broken,
        },
        Err(local) => Err(local),
    }
}

impl Broken {
    /// A peer that ended cleanly need not take what we still send.
    fn unless_gone(self) -> Result<(), Self> {
        match self {
            Self::Peer(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            broken => Err(broken),
        }
    }

    fn explain(self, address: &str) -> anyhow::Error {
        let error = match self {
            Self::Input(error) => return anyhow!("standard input cannot be read: {error}"),
            Self::Output(error) => return anyhow!("standard output cannot be written: {error}"),
            Self::Peer(error) => error,
        };
        let broke = match error.kind() {
            io::ErrorKind::ConnectionReset => "reset the connection",
            // A reset that a write met first is only an end to the read.
            io::ErrorKind::UnexpectedEof => "ended the connection without close_notify",
            _ => return anyhow!("{address}: the gateway ended the connection: {error}"),
        };
        anyhow!(
            "{address}: the gateway {broke}: it refused the request or the service behind it broke \
             off, so bytes may be missing; its access log says why"
        )
    }
}

/// Copies until the end; says on which side it broke.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    source: fn(io::Error) -> Broken,
    sink: fn(io::Error) -> Broken,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await.map_err(source)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        to.write_all(bytes).await.map_err(sink)?;
        to.flush().await.map_err(sink)?;
    }
}

async fn reach(address: &str) -> anyhow::Result<TcpStream> {
    let mut last = None;
    let addresses = lookup_host(address).await;
    for address in addresses.with_context(|| format!("{address}: cannot be resolved"))? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(anyhow!(error).context(format!("{address}: cannot connect"))),
        }
    }
    Err(last.unwrap_or_else(|| anyhow!("{address}: no such host")))
}

fn header(args: &ConnectArgs) -> Option<Vec<u8>> {
    let session = args.session.as_deref().map(|session| match session {
        "http1" => SessionProtocol::Http1,
        _ => SessionProtocol::Http2,
    });
    let (name, port) = match (&args.target, args.local_port) {
        (Some(Target::Service(name, port)), _) => (Some(name.as_str()), *port),
        (_, Some(port)) => (None, Port::new(port.get())?),
        _ => return None,
    };
    let mut bytes = Vec::new();
    encode(&Header { name, port, session }, &mut bytes);
    Some(bytes)
}

fn report(args: &ConnectArgs, address: SocketAddr, sni: Option<&str>, negotiated: &Negotiated) {
    if args.verbose {
        let Negotiated { suite, group, alpn, identity, chain } = negotiated;
        eprintln!("connected to {address}, server name {}", sni.unwrap_or("(none)"));
        eprintln!("TLS 1.3, {suite}, {group}, ALPN {}", alpn.as_deref().unwrap_or("(none)"));
        eprintln!("server identity {identity}, {chain} certificates presented");
    }
    if args.identity.is_none() {
        let identity = &negotiated.identity;
        eprintln!("warning: connected to {identity}; add --identity to accept nobody else");
    }
}
