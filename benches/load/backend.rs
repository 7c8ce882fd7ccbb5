//! The service behind the gateway: a thread of its own, so that the client never waits for it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::options::Upstream;
use super::origin::{h2c, http1};
use super::pattern::{self, BLOCK};

/// Bytes that an echo takes at once. Thousands of connections have such a buffer each.
const ECHO_BLOCK: usize = 16 * 1024;
/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 4096;

/// How long connections may take to end after the client's side has.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the backend does with a connection.
#[derive(Clone, Copy, Debug)]
pub enum Service {
    /// Sends everything back.
    Echo,
    /// Takes the pattern and verifies it.
    Sink,
    /// Sends the pattern until told to stop.
    Source,
    /// Both at once.
    Duplex,
    /// Answers requests.
    Origin(Upstream),
}

/// A running backend.
#[derive(Debug)]
pub struct Backend(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Bytes of a write.
    block: usize,
    received: AtomicU64,
    sent: AtomicU64,
    open: AtomicU64,
    stopping: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl Backend {
    /// Listens and serves on a thread that lives as long as the process. Sources write `block`
    /// bytes at once.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start(address: SocketAddr, service: Service, block: usize) -> anyhow::Result<Self> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        let bound = socket.bind(&address.into()).and_then(|()| socket.listen(BACKLOG));
        bound.with_context(|| format!("--backend {address}: cannot listen there"))?;
        let shared = Arc::new(Shared { block, ..Shared::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("backend".to_owned()).spawn(move || {
            let serving = LocalSet::new();
            let result = serving.block_on(&runtime, accept(socket.into(), service, &theirs));
            theirs.fail(result.err());
        })?;
        Ok(Self(shared))
    }

    /// Verified bytes that have arrived.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Bytes that have been sent.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Sources end their connections after the block that they are sending.
    pub fn stop_sources(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until every connection has ended here too: the last bytes may still be on their way
    /// through the gateway.
    ///
    /// # Errors
    /// When some do not end.
    pub async fn ended(&self) -> anyhow::Result<()> {
        let none_open = async {
            while self.0.open.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, none_open).await;
        ended.context("connections to the backend did not end")
    }

    /// The first thing that went wrong.
    pub fn fault(&self) -> Option<String> {
        self.0.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn fail(&self, error: Option<anyhow::Error>) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        *fault = fault.take().or(error.map(|error| format!("{error:#}")));
    }
}

async fn accept(
    listener: std::net::TcpListener,
    service: Service,
    shared: &Arc<Shared>,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let shared = Arc::clone(shared);
        shared.open.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_local(async move {
            shared.fail(serve(stream, service, &shared).await.err());
            shared.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn serve(mut stream: TcpStream, service: Service, shared: &Shared) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    match service {
        // Its end belongs to the client, which resets where it pleases.
        Service::Echo => drop(echo(stream).await),
        Service::Sink => sink(stream.split().0, shared).await?,
        Service::Source => source(stream.split().1, shared).await?,
        Service::Duplex => {
            let (read, write) = stream.split();
            tokio::try_join!(sink(read, shared), source(write, shared))?;
        }
        Service::Origin(Upstream::Http1) => http1::serve(stream).await?,
        Service::Origin(Upstream::H2c) => h2c::serve(stream).await?,
    }
    Ok(())
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; ECHO_BLOCK];
    loop {
        let count = stream.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return stream.shutdown().await;
        };
        stream.write_all(bytes).await?;
    }
}

async fn sink(mut read: ReadHalf<'_>, shared: &Shared) -> anyhow::Result<()> {
    let (mut buffer, mut offset) = (vec![0; BLOCK], 0);
    loop {
        let count = read.read(&mut buffer).await.context("reading")?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        pattern::verify(offset, bytes)?;
        offset += count as u64;
        shared.received.fetch_add(count as u64, Ordering::Relaxed);
    }
}

async fn source(mut write: WriteHalf<'_>, shared: &Shared) -> anyhow::Result<()> {
    let mut offset = 0;
    while !shared.stopping.load(Ordering::Relaxed) {
        let count = write.write(pattern::at(offset, shared.block)).await.context("writing")?;
        offset += count as u64;
        shared.sent.fetch_add(count as u64, Ordering::Relaxed);
    }
    Ok(write.shutdown().await?)
}
