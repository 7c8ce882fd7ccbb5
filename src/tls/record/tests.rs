//! Our record layer against rustls in both roles, and against peers that break the rules.

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use aws_lc_rs::aead::Aad;
use proptest::prelude::*;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

use super::*;
use crate::tls::handshake::Handshake;
use crate::tls::provider::provider;

mod forged;
mod peer;
mod rfc8448;

/// Which side we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// Both sides' configurations, with one suite.
#[derive(Clone)]
pub(in crate::tls) struct Configs {
    pub(in crate::tls) server: ServerConfig,
    pub(in crate::tls) client: ClientConfig,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

pub(in crate::tls) fn configs(suite: usize) -> Configs {
    static ALL: LazyLock<Vec<Configs>> = LazyLock::new(|| (0..3).map(build).collect());
    ALL[suite].clone()
}

/// A server that asks for another key share than the client's first.
pub(in crate::tls) fn configs_with_retry() -> Configs {
    let mut provider = (*provider()).clone();
    provider.kx_groups.retain(|group| group.name() == rustls::NamedGroup::secp384r1);
    let mut configs = configs(0);
    configs.server = server(&Arc::new(provider), &configs.certificate, &configs.key);
    configs
}

fn build(suite: usize) -> Configs {
    // Its signatures are all of one length.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let parameters = rcgen::CertificateParams::new(["peer.test".to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("signed").der().clone();
    let all = provider();
    let suites = vec![all.cipher_suites[suite]];
    let provider = Arc::new(CryptoProvider { cipher_suites: suites, ..(*all).clone() });
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("an anchor");
    let key = key.serialize_der();
    let server = server(&provider, &certificate, &key);
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a suite")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    // It would remember the server's key exchange group and spare the retry.
    client.resumption = rustls::client::Resumption::disabled();
    Configs { server, client, certificate, key }
}

fn server(
    provider: &Arc<CryptoProvider>,
    certificate: &CertificateDer<'static>,
    key: &[u8],
) -> ServerConfig {
    let key = PrivateKeyDer::try_from(key.to_vec()).expect("a key");
    let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a suite")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a certificate");
    server.enable_secret_extraction = true;
    server.send_tls13_tickets = 0;
    server
}

fn name() -> ServerName<'static> {
    ServerName::try_from("peer.test").expect("a name")
}

impl Configs {
    fn ours(&self, role: Role) -> Handshake {
        match role {
            Role::Client => Handshake::client(Arc::new(self.client.clone()), name()),
            Role::Server => Handshake::server(Arc::new(self.server.clone()), Vec::new()),
        }
        .expect("a configuration")
    }

    /// rustls on the other side.
    fn rustls(&self, ours: Role) -> Connection {
        match ours {
            Role::Client => ServerConnection::new(Arc::new(self.server.clone())).map(Into::into),
            Role::Server => {
                ClientConnection::new(Arc::new(self.client.clone()), name()).map(Into::into)
            }
        }
        .expect("a configuration")
    }
}

/// Everything that rustls has to send.
pub(in crate::tls) fn sent_by(peer: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut bytes).expect("memory");
    }
    bytes
}

/// Gives rustls bytes; what it can read, or its error.
pub(in crate::tls) fn received_by(
    peer: &mut Connection,
    mut bytes: &[u8],
) -> Result<Vec<u8>, rustls::Error> {
    let mut plaintext = Vec::new();
    while !bytes.is_empty() {
        if peer.read_tls(&mut bytes).expect("memory") == 0 {
            break;
        }
        peer.process_new_packets()?;
        // At the end it wants more, or says that the peer has closed.
        let _ = peer.reader().read_to_end(&mut plaintext);
    }
    Ok(plaintext)
}

/// A connection between us and rustls; `first` is what rustls says with the end of its handshake,
/// in the same segment.
fn connect(
    configs: &Configs,
    role: Role,
    first: impl FnOnce(&mut Connection),
) -> (Records, Connection, Vec<u8>) {
    let (mut ours, mut peer, mut first) = (configs.ours(role), configs.rustls(role), Some(first));
    for _ in 0..8 {
        let complete = ours.advance().expect("an honest peer");
        received_by(&mut peer, &ours.outgoing()).expect("an honest peer");
        if complete {
            let (records, left) = ours.into_records().expect("complete");
            return (records, peer, left);
        }
        if !peer.is_handshaking()
            && let Some(first) = first.take()
        {
            first(&mut peer);
        }
        ours.receive(&sent_by(&mut peer));
    }
    panic!("the handshake does not end");
}

fn connected(suite: usize, role: Role) -> (Records, Connection) {
    let (records, peer, left) = connect(&configs(suite), role, |_| {});
    assert!(left.is_empty());
    (records, peer)
}

/// Both sides are ours: client and server.
pub(in crate::tls) fn both(suite: usize) -> (Records, Records) {
    let configs = configs(suite);
    let (mut client, mut server) = (configs.ours(Role::Client), configs.ours(Role::Server));
    loop {
        let client_done = client.advance().expect("an honest server");
        server.receive(&client.outgoing());
        let server_done = server.advance().expect("an honest client");
        client.receive(&server.outgoing());
        if client_done && server_done {
            let records = |side: Handshake| side.into_records().expect("complete").0;
            return (records(client), records(server));
        }
    }
}

pub(in crate::tls) fn open(records: &mut Records, bytes: &[u8]) -> (Opened, Vec<u8>) {
    let mut plaintext = vec![0xee; bytes.len()];
    let opened = records.open(bytes, &mut plaintext);
    plaintext.truncate(opened.written);
    (opened, plaintext)
}

/// Opens what must be whole and good.
pub(in crate::tls) fn opened(records: &mut Records, bytes: &[u8]) -> Vec<u8> {
    let (opened, plaintext) = open(records, bytes);
    assert_eq!((opened.next, opened.consumed), (Next::More, bytes.len()));
    plaintext
}

pub(in crate::tls) fn sealed(records: &mut Records, plaintext: &[u8]) -> Vec<u8> {
    let mut out = vec![0; sealed_length(plaintext.len())];
    let sealed = records.seal(plaintext, &mut out).expect("a key");
    assert_eq!(sealed.taken, plaintext.len());
    out.truncate(sealed.written);
    out
}

pub(in crate::tls) fn sealed_alert(records: &mut Records, description: u8) -> Vec<u8> {
    let mut out = vec![0; MAX_CONTROL];
    let length = records.seal_alert(description, &mut out).expect("a key");
    out.truncate(length);
    out
}

/// Bytes that differ from place to place.
pub(in crate::tls) fn pattern(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

/// A record with this inside, type and padding included.
fn forge(key: &mut Key, inner: &[u8]) -> Vec<u8> {
    let length = u16::try_from(inner.len() + TAG).expect("short").to_be_bytes();
    let header = [APPLICATION_DATA, 3, 3, length[0], length[1]];
    let mut sealed = inner.to_vec();
    let nonce = key.nonce().expect("a number");
    key.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed).expect("sealed");
    [header.as_slice(), &sealed].concat()
}

/// A record of `records`' with this inside.
pub(in crate::tls) fn forged(records: &mut Records, inner: &[u8]) -> Vec<u8> {
    forge(&mut records.outgoing, inner)
}
