//! The server's thread: accepts connections, over TLS or plain, and serves `http` on them. `FakeApi`
//! starts and ends it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use super::http;
use super::log::Log;
use super::rbac::Rules;
use super::resources;
use super::store::Store;
use super::validate::Relaxed;
use crate::support::certs::TestCa;
use crate::support::server::configuration;

/// How a server is.
#[derive(Clone, Debug)]
pub struct Options {
    /// HTTP without TLS.
    pub is_plain: bool,
    /// Accepts endpoints at 127.0.0.0/8 and ::1, which a real server refuses.
    pub allow_loopback: bool,
    /// CustomResourceDefinitions that are installed.
    pub crds: Vec<Value>,
    /// Whether controllers are at work: without them a deleted namespace stays until someone
    /// finalizes it.
    pub has_controllers: bool,
    /// Changes that are remembered for watches.
    pub history: usize,
    /// A real server takes about a minute.
    pub bookmark_interval: Duration,
    /// Accepts `sendInitialEvents`; servers before 1.34 refuse it unless told otherwise.
    pub streams_lists: bool,
    /// Answers a watch from a forgotten version with HTTP 410, rather than with an ERROR event.
    pub gone_is_status: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            is_plain: false,
            allow_loopback: false,
            crds: vec![resources::linkerd_links()],
            has_controllers: true,
            history: 50_000,
            bookmark_interval: Duration::from_secs(1),
            streams_lists: false,
            gone_is_status: false,
        }
    }
}

/// What open watches and connections are woken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Of the last change.
    pub version: u64,
    /// How often all watches were cut.
    pub cut: u64,
    /// How often all watches were told that they are too old.
    pub expired: u64,
    /// How often all connections were cut.
    pub disconnected: u64,
}

/// A token's holder.
#[derive(Clone, Debug)]
pub struct Account {
    pub name: String,
    pub rules: Rules,
}

/// The certificate that is presented, and who signed it.
pub struct Tls {
    /// PEM.
    pub anchor: String,
    acceptor: TlsAcceptor,
}

/// Everything that outlives a restart.
pub struct Shared {
    pub options: Options,
    pub store: Mutex<Store>,
    pub signals: watch::Sender<Signals>,
    pub faults: Mutex<Faults>,
    pub log: Mutex<Log>,
    /// By token.
    pub accounts: Mutex<BTreeMap<String, Account>>,
    /// None when plain.
    pub tls: Mutex<Option<Tls>>,
}

impl Shared {
    pub fn relaxed(&self) -> Relaxed {
        Relaxed { loopback: self.options.allow_loopback }
    }

    /// A token that nobody can guess.
    pub fn new_token(&self, account: Account) -> String {
        let token = format!("token-{}-{:016x}", account.name.replace(':', "-"), fastrand::u64(..));
        self.accounts.lock().expect("whole").insert(token.clone(), account);
        token
    }

    /// Wakes the watches after changes.
    pub fn changed(&self) {
        let version = self.store.lock().expect("whole").version;
        self.signals.send_modify(|signals| signals.version = version);
    }
}

impl Tls {
    /// A certificate for 127.0.0.1 and localhost of a new authority.
    pub fn new() -> Self {
        let ca = TestCa::new("kubernetes");
        let address = Ipv4Addr::LOCALHOST.octets();
        let names = ca.leaf().dns("localhost").dns("kubernetes.default.svc");
        let leaf = names.raw_name(crate::support::certs::IP, &address).issue();
        let config = configuration(&leaf, &[b"h2", b"http/1.1"]);
        Self { anchor: ca.anchor, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

/// A running server.
pub struct Running {
    pub address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Serves at `port` of the loopback address, 0 for any.
    pub fn start(shared: &Arc<Shared>, port: u16) -> Self {
        let stop = CancellationToken::new();
        let (shared, stopped) = (Arc::clone(shared), stop.clone());
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let listener = bind(address).await;
                tell.send(listener.local_addr().expect("an address")).expect("somebody waits");
                serve(&shared, listener, &stopped).await;
            });
        });
        let address = told.recv().expect("the server starts");
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Running {
    /// Closes the port and all connections.
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let joined = thread.join();
            assert!(joined.is_ok() || std::thread::panicking(), "the API server panicked");
        }
    }
}

/// While a server is stopped, its port may serve somebody's connection for a while.
async fn bind(address: SocketAddr) -> TcpListener {
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{address} is not free");
}

async fn serve(shared: &Arc<Shared>, listener: TcpListener, stop: &CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => {
                if let Ok((tcp, _)) = accepted {
                    connections.spawn(connection(Arc::clone(shared), tcp));
                }
            }
            Some(ended) = connections.join_next() => {
                ended.expect("no request makes the server panic");
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, tcp: TcpStream) {
    let mut signals = shared.signals.subscribe();
    let began = signals.borrow().disconnected;
    let is_cut = signals.wait_for(|signals| signals.disconnected != began);
    // A failed wait is the end of the server. A cut comes before requests that were sent after it.
    tokio::select! {
        biased;
        _ = is_cut => {}
        () = speak(&shared, tcp) => {}
    }
}

async fn speak(shared: &Arc<Shared>, tcp: TcpStream) {
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let acceptor = shared.tls.lock().expect("whole").as_ref().map(|tls| tls.acceptor.clone());
    match acceptor {
        None => answer(shared, tcp).await,
        // A client that does not trust the certificate goes away.
        Some(acceptor) => {
            if let Ok(tls) = acceptor.accept(tcp).await {
                answer(shared, tls).await;
            }
        }
    }
}

async fn answer(shared: &Arc<Shared>, io: impl AsyncRead + AsyncWrite + Unpin + 'static) {
    let service = service_fn(|request| {
        let shared = Arc::clone(shared);
        async move { Ok::<_, Infallible>(http::answer(shared, request).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // How a connection ends is the client's affair, or that of a fault on demand.
    drop(server.serve_connection(TokioIo::new(io), service).await);
}
