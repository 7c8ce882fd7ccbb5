//! Bytes to the port, in process, over loopback TCP and with real credentials. The input's first
//! byte chooses:
//!
//! * even: the rest are the first bytes of a client that then ends. It presents no certificate, so
//!   nothing may come of it: no panic, no hang, and never the outcome of a clean end.
//! * odd: the rest is the decrypted stream of an authenticated client, in two pieces, as the header
//!   stage reads it; the result must be that of the decoder on the whole.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use libfuzzer_sys::fuzz_target;
use linkerd_gateway::cli::certs::authority::Authority;
use linkerd_gateway::cli::certs::names::{LeafNames, account_identity};
use linkerd_gateway::config::load::{Sources, load};
use linkerd_gateway::model::header::{Decoded, decode};
use linkerd_gateway::model::outcome::Outcome;
use linkerd_gateway::model::service::MAX_NAME;
use linkerd_gateway::net::socket::Options;
use linkerd_gateway::observe::metrics::Metrics;
use linkerd_gateway::proxy::end::End;
use linkerd_gateway::proxy::header;
use linkerd_gateway::proxy::inbound::{Gateway, Rules, serve};
use linkerd_gateway::proxy::session::Session;
use linkerd_gateway::state::State;
use linkerd_gateway::tls::credentials::{Credentials, FileContent, Material};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// Far more than any input needs: reaching it is a hang, and the assertions say so.
const DEADLINE: Duration = Duration::from_secs(10);

struct World {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    gateway: Arc<Gateway>,
}

thread_local! {
    static WORLD: World = World::new();
}

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    WORLD.with(|world| {
        world.runtime.block_on(async {
            match mode % 2 {
                0 => world.first_bytes(bytes).await,
                _ => world.decrypted(bytes, usize::from(*mode)).await,
            }
        });
    });
});

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(listen).expect("a port");
        let address = listener.local_addr().expect("bound");
        let state = Arc::<State>::default();
        state.credentials.store(Some(Arc::new(credentials())));
        let minimal = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/minimal.toml");
        let sources = Sources { file: Some(minimal.into()), ..Sources::default() };
        let rules = Rules::new(&load(&sources).expect("a configuration").settings, vec![address]);
        let gateway = Arc::new(Gateway::new(state, Metrics::new(), rules));
        Self { runtime, listener, address, gateway }
    }

    /// Both ends of a new connection. The client's resets when it is dropped, so that no port
    /// stays in TIME_WAIT.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let (client, accepted) =
            tokio::join!(TcpStream::connect(self.address), self.listener.accept());
        let (client, (server, _)) = (client.expect("connected"), accepted.expect("accepted"));
        let prepared = linkerd_gateway::net::socket::prepare(
            &client,
            &Options { keepalive: Duration::from_secs(10), user_timeout: Duration::from_secs(30) },
        );
        prepared.expect("a live socket");
        (client, server)
    }

    async fn first_bytes(&self, bytes: &[u8]) {
        let (mut client, server) = self.pair().await;
        let peer = client.local_addr().expect("connected");
        let registration = self.gateway.state.connections.register(peer, self.address, 0);
        let metrics = Arc::clone(&self.gateway.metrics);
        let mut session = Session::new(registration, metrics);
        let begun = Instant::now();
        let speak = async {
            // The gateway may have refused and closed before it has read everything.
            let _ = client.write_all(bytes).await;
            let _ = client.shutdown().await;
            let _ = client.read_to_end(&mut Vec::new()).await;
            drop(client);
        };
        let (outcome, ()) = tokio::join!(serve(&self.gateway, server, &mut session), speak);
        session.finish(outcome, &self.gateway.rules.load().access);
        assert!(begun.elapsed() < DEADLINE, "the gateway waited for a client that had ended");
        let never = [Outcome::Closed, Outcome::HandshakeTimeout, Outcome::UnknownTarget];
        assert!(!never.contains(&outcome), "a client without a certificate came to {outcome:?}");
        assert!(self.gateway.state.connections.is_empty());
    }

    async fn decrypted(&self, bytes: &[u8], split: usize) {
        let (early, late) = bytes.split_at(split.min(bytes.len()));
        let (mut client, server) = self.pair().await;
        client.write_all(late).await.expect("room for a fuzzer's input");
        client.shutdown().await.expect("a FIN");
        let mut end = End::Tcp(server);
        let received = header::receive(&mut end, early.to_vec());
        let received = tokio::time::timeout(DEADLINE, received).await.expect("no hang");
        let mut name = [0; MAX_NAME];
        match (decode(bytes, &mut name), received) {
            (Ok(Decoded::Complete { header, length }), Ok(received)) => {
                let mut name = [0; MAX_NAME];
                assert_eq!(received.header(&mut name), Ok(header));
                // More may still be in the socket, but nothing is lost or changed.
                assert!(bytes[length..].starts_with(&received.into_rest()));
            }
            (Ok(Decoded::Incomplete), Err(header::ReceiveError::Ended(count))) => {
                assert_eq!(count, bytes.len());
            }
            (Err(expected), Err(header::ReceiveError::Header(error))) => {
                assert_eq!(error, expected);
            }
            (decoded, received) => panic!("{decoded:?}, but received {received:?}"),
        }
    }
}

fn credentials() -> Credentials {
    let authority = Authority::create("cluster.local", 10, 10).expect("an authority");
    let identity = account_identity("gateway", "test", "cluster.local", false).expect("a name");
    let leaf = authority.issue(&LeafNames::Identity(identity), 10).expect("a leaf");
    let file = |name: &str, text: &str| FileContent {
        path: PathBuf::from(name),
        bytes: text.as_bytes().to_vec(),
    };
    let material = Material {
        name: None,
        certificate: file("tls.crt", &leaf.chain),
        key: file("tls.key", &leaf.key),
        anchors: vec![file("ca.crt", authority.anchor())],
        bound_anchors: Vec::new(),
        routes: Vec::new(),
    };
    Credentials::build(&material, None, SystemTime::now()).expect("credentials")
}
