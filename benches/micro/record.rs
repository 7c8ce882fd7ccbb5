//! Records of 16 KiB through a record layer, from plaintext to plaintext: seal, open, no sockets.
//!
//! Every layer is a [`Layer`] and gets the same work, so that one more is one more entry in
//! [`layers`]. rustls is the measure for any other.

use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use linkerd_gateway::cli::certs::authority::Authority;
use linkerd_gateway::cli::certs::names::LeafNames;
use linkerd_gateway::tls::provider::provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

/// Plaintext of one record.
const RECORD: usize = 16 * 1024;
/// Records handed over at once.
const RECORDS: usize = 16;
const SERVER: &str = "server.example.com";

/// Seals plaintext and opens the result.
type Layer = Box<dyn FnMut(&[u8], &mut [u8])>;

/// Every layer with the same bytes.
pub fn layers(criterion: &mut Criterion) {
    let plaintext = vec![7; RECORD * RECORDS];
    let layers: [(&str, Layer); 1] = [("rustls", rustls_buffered())];
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Bytes(plaintext.len() as u64));
    for (name, mut layer) in layers {
        let mut out = vec![0; plaintext.len()];
        layer(&plaintext, &mut out);
        assert!(out == plaintext, "{name} changes what it carries");
        group.bench_function(name, |bencher| {
            bencher.iter(|| layer(black_box(&plaintext), &mut out));
        });
    }
    group.finish();
}

/// The library's own interface, as tokio-rustls uses it.
fn rustls_buffered() -> Layer {
    let (mut client, mut server) = connected();
    client.set_buffer_limit(None);
    let mut wire = Vec::with_capacity(2 * RECORD * RECORDS);
    Box::new(move |plaintext, out| {
        client.writer().write_all(plaintext).expect("no limit");
        wire.clear();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        let (mut left, mut filled) = (wire.as_slice(), 0);
        while filled < out.len() {
            server.read_tls(&mut left).expect("memory");
            server.process_new_packets().expect("records");
            while let Ok(count @ 1..) = server.reader().read(&mut out[filled..]) {
                filled += count;
            }
        }
    })
}

/// A client and a server after their handshake, with the first suite of our provider.
fn connected() -> (ClientConnection, ServerConnection) {
    let authority = Authority::create("example.com", 1, 1).expect("an authority");
    let names = LeafNames::parse(SERVER).expect("a name");
    let leaf = authority.issue(&names, 1).expect("a leaf");
    let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("a key");
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(chain.expect("PEM"), key)
        .expect("a pair");
    let mut roots = RootCertStore::empty();
    let anchor = CertificateDer::from_pem_slice(authority.anchor().as_bytes()).expect("PEM");
    roots.add(anchor).expect("an anchor");
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(SERVER).expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        carry(|wire| client.write_tls(wire), |wire| server.read_tls(wire));
        server.process_new_packets().expect("a handshake");
        carry(|wire| server.write_tls(wire), |wire| client.read_tls(wire));
        client.process_new_packets().expect("a handshake");
    }
    (client, server)
}

/// Moves what one side has written to the other.
fn carry(
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<usize>,
    mut read: impl FnMut(&mut dyn Read) -> std::io::Result<usize>,
) {
    let mut wire = Vec::new();
    write(&mut wire).expect("memory");
    let mut left = wire.as_slice();
    while !left.is_empty() {
        read(&mut left).expect("memory");
    }
}
