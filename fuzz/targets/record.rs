//! Our record layer beside that of rustls. The input's first byte chooses suite, our role and:
//!
//! * open: the rest is a plan of records (good, forged with the right key, damaged, not records at
//!   all) that a peer sends to both. Both must give out the same bytes and end alike, and ours must
//!   not depend on how the stream was cut.
//! * seal: the rest is a plan of writes and key updates; rustls must read what we sealed.
//!
//! The peer's records are sealed here, with keys derived here from the logged secrets.
//!
//! What rustls takes and we don't, and the reverse, is listed in the two functions `..._may_be_stricter`.

#![no_main]

use std::io::{Read, Write};
use std::sync::{Arc, LazyLock, Mutex};

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use libfuzzer_sys::fuzz_target;
use linkerd_gateway::tls::handshake::Handshake;
use linkerd_gateway::tls::provider::provider;
use linkerd_gateway::tls::record::{Next, RecordError, Records, sealed_length};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, InvalidMessage, KeyLog, PeerMisbehaved,
    RootCertStore, ServerConfig, ServerConnection,
};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const HEADER: usize = 5;

static WORLD: LazyLock<Vec<Configs>> = LazyLock::new(|| (0..3).map(Configs::new).collect());

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let choice = input.byte();
    let configs = &WORLD[usize::from(choice % 3)];
    let we_are_client = choice & 4 != 0;
    if choice & 8 == 0 {
        opens(configs, we_are_client, &mut input);
    } else {
        seals(configs, we_are_client, &mut input);
    }
});

struct Input<'b>(&'b [u8]);

impl Input<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    fn word(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let count = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes.to_vec()
    }
}

/// The secrets of the handshakes of this thread.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<(String, Vec<u8>)>>);

impl KeyLog for Log {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        self.0.lock().expect("whole").push((label.to_owned(), secret.to_vec()));
    }
}

struct Configs {
    suite: usize,
    log: Arc<Log>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Configs {
    fn new(suite: usize) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let parameters = rcgen::CertificateParams::new(["peer.test".to_owned()]).expect("a name");
        let certificate = parameters.self_signed(&key).expect("signed").der().clone();
        let all = provider();
        let mut provider =
            CryptoProvider { cipher_suites: vec![all.cipher_suites[suite]], ..(*all).clone() };
        // The cheapest.
        provider.kx_groups.retain(|group| group.name() == rustls::NamedGroup::X25519);
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("an anchor");
        let versions = &[&rustls::version::TLS13];
        let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("a suite")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)
            .expect("a certificate");
        server.enable_secret_extraction = true;
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("a suite")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        client.resumption = Resumption::disabled();
        let log = Arc::<Log>::default();
        // Of two rustls sides one is enough, but which one is rustls depends on our role.
        client.key_log = Arc::clone(&log) as Arc<dyn KeyLog>;
        server.key_log = Arc::clone(&log) as Arc<dyn KeyLog>;
        Self { suite, log, server: Arc::new(server), client: Arc::new(client) }
    }

    fn rustls(&self, is_client: bool) -> Connection {
        if is_client {
            let name = ServerName::try_from("peer.test").expect("a name");
            ClientConnection::new(Arc::clone(&self.client), name).expect("configured").into()
        } else {
            ServerConnection::new(Arc::clone(&self.server)).expect("configured").into()
        }
    }

    /// We, and rustls as our peer, and the peer's sending key.
    fn ours(&self, we_are_client: bool) -> (Records, Connection, Sender) {
        self.log.0.lock().expect("whole").clear();
        let mut peer = self.rustls(!we_are_client);
        let mut ours = if we_are_client {
            let name = ServerName::try_from("peer.test").expect("a name");
            Handshake::client(Arc::clone(&self.client), name).expect("configured")
        } else {
            Handshake::server(Arc::clone(&self.server), Vec::new()).expect("configured")
        };
        let mut complete = false;
        while !complete || peer.is_handshaking() {
            complete = ours.advance().expect("an honest peer");
            received_by(&mut peer, &ours.outgoing()).1.expect("honest");
            ours.receive(&sent_by(&mut peer));
        }
        let (records, left) = ours.into_records().expect("complete");
        assert!(left.is_empty());
        (records, peer, self.sender(!we_are_client))
    }

    /// rustls in our place, and the peer's sending key.
    fn reference(&self, we_are_client: bool) -> (Connection, Sender) {
        self.log.0.lock().expect("whole").clear();
        let mut ours = self.rustls(we_are_client);
        let mut peer = self.rustls(!we_are_client);
        while ours.is_handshaking() || peer.is_handshaking() {
            received_by(&mut peer, &sent_by(&mut ours)).1.expect("honest");
            received_by(&mut ours, &sent_by(&mut peer)).1.expect("honest");
        }
        (ours, self.sender(!we_are_client))
    }

    fn sender(&self, is_client: bool) -> Sender {
        let wanted = if is_client { "CLIENT_TRAFFIC_SECRET_0" } else { "SERVER_TRAFFIC_SECRET_0" };
        let log = self.log.0.lock().expect("whole");
        let (_, secret) = log.iter().rev().find(|(label, _)| label == wanted).expect("logged");
        let (aead, hash) = [
            (&aead::AES_128_GCM, hkdf::HKDF_SHA256),
            (&aead::AES_256_GCM, hkdf::HKDF_SHA384),
            (&aead::CHACHA20_POLY1305, hkdf::HKDF_SHA256),
        ][self.suite];
        Sender::new(aead, hash, secret.clone())
    }
}

fn sent_by(connection: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut bytes).expect("memory");
    }
    bytes
}

/// What rustls gives out, and how it ends: closed or not, or an error.
fn received_by(connection: &mut Connection, mut bytes: &[u8]) -> (Vec<u8>, Result<bool, Error>) {
    let mut plaintext = Vec::new();
    loop {
        let count = connection.read_tls(&mut bytes).expect("memory");
        let processed = connection.process_new_packets();
        let _ = connection.reader().read_to_end(&mut plaintext);
        match processed {
            Err(error) => return (plaintext, Err(error)),
            Ok(state) if state.peer_has_closed() => return (plaintext, Ok(true)),
            Ok(_) if count == 0 || bytes.is_empty() => return (plaintext, Ok(false)),
            Ok(_) => {}
        }
    }
}

/// Seals records as RFC 8446 says, with a key schedule of its own.
struct Sender {
    aead: &'static aead::Algorithm,
    hash: hkdf::Algorithm,
    secret: Vec<u8>,
    key: LessSafeKey,
    iv: Vec<u8>,
    number: u64,
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(hash: hkdf::Algorithm, secret: &[u8], label: &str, length: usize) -> Vec<u8> {
    let label = format!("tls13 {label}");
    let high_low = u16::try_from(length).expect("short").to_be_bytes();
    let size = [u8::try_from(label.len()).expect("short")];
    let info: [&[u8]; 4] = [&high_low, &size, label.as_bytes(), &[0]];
    let prk = hkdf::Prk::new_less_safe(hash, secret);
    let mut out = vec![0; length];
    prk.expand(&info, Length(length)).and_then(|okm| okm.fill(&mut out)).expect("expanded");
    out
}

impl Sender {
    fn new(aead: &'static aead::Algorithm, hash: hkdf::Algorithm, secret: Vec<u8>) -> Self {
        let key = UnboundKey::new(aead, &expand(hash, &secret, "key", aead.key_len()));
        let iv = expand(hash, &secret, "iv", 12);
        Self { aead, hash, key: LessSafeKey::new(key.expect("a key")), iv, secret, number: 0 }
    }

    fn update(&mut self) {
        let secret = expand(self.hash, &self.secret, "traffic upd", self.secret.len());
        *self = Self::new(self.aead, self.hash, secret);
    }

    fn seal(&mut self, inner: &[u8]) -> Vec<u8> {
        let length = u16::try_from(inner.len() + 16).expect("short").to_be_bytes();
        let header = [DATA, 3, 3, length[0], length[1]];
        let mut nonce: [u8; 12] = self.iv.as_slice().try_into().expect("12 bytes");
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number += 1;
        let mut sealed = inner.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let result = self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut sealed);
        result.expect("sealed");
        [&header[..], &sealed].concat()
    }
}

/// One record of a plan, before it is sealed.
#[derive(Clone, Debug)]
enum Planned {
    Inner {
        inner: Vec<u8>,
        flip: Option<(usize, u8)>,
    },
    /// A key update that the sender follows.
    Update(u8),
    Raw(Vec<u8>),
}

fn plan(input: &mut Input<'_>) -> Vec<Planned> {
    let mut planned = Vec::new();
    let inner = |inner| Planned::Inner { inner, flip: None };
    let with = |mut content: Vec<u8>, kind: u8, padding: usize| {
        content.push(kind);
        content.resize(content.len() + padding, 0);
        content
    };
    while !input.is_empty() && planned.len() < 200 {
        match input.byte() % 12 {
            0 => planned.push(inner(with(input.bytes(), DATA, 0))),
            1 => planned.push(inner(with(pattern(input.word() % 16_500), DATA, 0))),
            2 => planned.push(inner(with(input.bytes(), HANDSHAKE, 0))),
            3 => planned.push(inner(with(input.bytes(), ALERT, 0))),
            4 => planned.push(Planned::Update(0)),
            5 => planned.push(Planned::Update(1)),
            6 => {
                let (kind, padding) = (input.byte(), input.word() % 16_700);
                planned.push(inner(with(input.bytes(), kind, padding)));
            }
            7 => {
                let count = usize::from(input.byte() % 40);
                planned.extend(vec![inner(vec![DATA]); count]);
            }
            8 => planned.push(Planned::Raw(input.bytes())),
            9 => {
                let at = input.word();
                if let Some(Planned::Inner { flip, .. }) = planned.last_mut() {
                    *flip = Some((at, input.byte()));
                }
            }
            10 => planned.extend(vec![Planned::Update(0); usize::from(input.byte() % 40)]),
            _ => planned.push(inner(with(vec![1, 0], ALERT, 0))),
        }
    }
    planned
}

/// The records; each with where it begins.
fn stream(planned: &[Planned], sender: &mut Sender) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut starts) = (Vec::new(), Vec::new());
    for record in planned {
        starts.push(bytes.len());
        match record {
            Planned::Inner { inner, flip } => {
                let mut record = sender.seal(inner);
                if let Some((at, by)) = flip {
                    let at = at % record.len();
                    record[at] ^= by;
                }
                bytes.extend(record);
            }
            Planned::Update(request) => {
                bytes.extend(sender.seal(&[24, 0, 0, 1, *request, HANDSHAKE]));
                sender.update();
            }
            Planned::Raw(raw) => bytes.extend(raw),
        }
    }
    (bytes, starts)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// How our side came through a stream.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    plaintext: Vec<u8>,
    consumed: usize,
    next: Next,
}

fn open(records: &mut Records, stream: &[u8], pieces: &[usize]) -> Came {
    let mut came = Came { plaintext: Vec::new(), consumed: 0, next: Next::More };
    let mut arrived = 0;
    for piece in pieces.iter().cycle() {
        arrived = (arrived + piece).min(stream.len());
        let incoming = &stream[came.consumed..arrived];
        let mut room = vec![0xee; incoming.len()];
        let opened = records.open(incoming, &mut room);
        assert!(opened.consumed <= incoming.len() && opened.written <= opened.consumed);
        came.plaintext.extend_from_slice(&room[..opened.written]);
        came.consumed += opened.consumed;
        came.next = opened.next;
        if opened.next != Next::More || arrived == stream.len() {
            break;
        }
    }
    came
}

fn opens(configs: &Configs, we_are_client: bool, input: &mut Input<'_>) {
    let pieces: Vec<_> = (0..3).map(|_| input.word() % 9000 + 1).collect();
    let planned = plan(input);

    let (mut records, _peer, mut sender) = configs.ours(we_are_client);
    let (bytes, starts) = stream(&planned, &mut sender);
    let came = open(&mut records, &bytes, &pieces);

    let (mut reference, mut sender) = configs.reference(we_are_client);
    let (again, _) = stream(&planned, &mut sender);
    assert_eq!(again.len(), bytes.len());
    let (plaintext, ended) = received_by(&mut reference, &again);

    let failed = match came.next {
        Next::Broken(error) => Some((error, at(&planned, &starts, came.consumed))),
        _ => None,
    };
    let ours_may = ours_may_be_stricter(failed);
    let rustls_may = rustls_may_be_stricter(failed, &ended, we_are_client);
    let is_less = ours_may && plaintext.starts_with(&came.plaintext);
    let is_more = rustls_may && came.plaintext.starts_with(&plaintext);
    let alike = match (&came.next, &ended) {
        (Next::More, Ok(false)) | (Next::Closed, Ok(true)) | (Next::Broken(_), Err(_)) => true,
        // rustls looks at a type before the header is there, and at the version at all: to us a
        // wrong one is a bad tag, once the record is complete.
        (
            Next::More,
            Err(Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            )),
        ) => bytes.len() > came.consumed,
        // We look at headers before the rest has come.
        (Next::Broken(_), Ok(false)) => failed.is_some_and(|(_, record)| {
            let raw = matches!(record, None | Some(Planned::Raw(_)));
            raw || is_flipped(record) || is_handshake(record)
        }),
        _ => false,
    };
    let is_same = alike && came.plaintext == plaintext;
    assert!(is_same || is_less || is_more, "{came:?}, but {ended:?}; {planned:?}");
}

/// The record that begins at or before `consumed`; `None` behind raw bytes, where records begin
/// anywhere.
fn at<'p>(planned: &'p [Planned], starts: &[usize], consumed: usize) -> Option<&'p Planned> {
    let index = starts.iter().rposition(|start| *start <= consumed)?;
    let before = planned.iter().take(index);
    let is_exact = starts[index] == consumed
        && before.clone().all(|record| !matches!(record, Planned::Raw(raw) if !raw.is_empty()));
    planned.get(index).filter(|_| is_exact)
}

fn is_flipped(record: Option<&Planned>) -> bool {
    matches!(record, Some(Planned::Inner { flip: Some(_), .. }))
}

/// Content and type of a record.
fn content(record: Option<&Planned>) -> Option<(u8, &[u8])> {
    let Some(Planned::Inner { inner, .. }) = record else { return None };
    let length = inner.iter().rposition(|byte| *byte != 0)?;
    Some((inner[length], &inner[..length]))
}

fn is_handshake(record: Option<&Planned>) -> bool {
    matches!(record, Some(Planned::Update(_)))
        || content(record).is_some_and(|(kind, _)| kind == HANDSHAKE)
}

/// Where rustls may go on and we not.
fn ours_may_be_stricter(failed: Option<(RecordError, Option<&Planned>)>) -> bool {
    let Some((error, record)) = failed else { return false };
    // rustls counts empty records, key updates and warnings apart.
    if error == RecordError::Flood {
        return true;
    }
    // It takes empty pieces of handshake messages, which RFC 8446 (5.1) forbids.
    if error == RecordError::Unexpected && matches!(content(record), Some((HANDSHAKE, []))) {
        return true;
    }
    // It does not authenticate the outer type and version, RFC 8446 (5.2) does.
    let Some(Planned::Inner { inner, flip: Some((at, _)) }) = record else { return false };
    at % (inner.len() + 16 + HEADER) < 3
}

/// Where we may go on and rustls not.
fn rustls_may_be_stricter(
    failed: Option<(RecordError, Option<&Planned>)>,
    ended: &Result<bool, Error>,
    we_are_client: bool,
) -> bool {
    match ended {
        // The level of an alert means nothing in TLS 1.3 (RFC 8446, 6); rustls wants it right, and
        // takes four user_canceled.
        Err(Error::AlertReceived(theirs)) => {
            let theirs = u8::from(*theirs);
            !matches!(failed, Some((RecordError::Alert(ours), _)) if ours == theirs)
        }
        Err(Error::PeerMisbehaved(PeerMisbehaved::TooManyWarningAlertsReceived)) => true,
        // Nobody uses a ticket: what is in it is not looked at.
        Err(Error::InvalidMessage(_)) => we_are_client,
        _ => false,
    }
}

fn seals(configs: &Configs, we_are_client: bool, input: &mut Input<'_>) {
    let (mut records, mut peer, _) = configs.ours(we_are_client);
    while !input.is_empty() {
        let choice = input.byte();
        let plaintext = pattern(input.word());
        if choice & 1 != 0 {
            peer.refresh_traffic_keys().expect("established");
            peer.writer().write_all(b"x").expect("room");
            let from = sent_by(&mut peer);
            let came = open(&mut records, &from, &[from.len()]);
            assert_eq!((came.plaintext.as_slice(), came.next), (&b"x"[..], Next::More));
        }
        let mut rest = plaintext.as_slice();
        let mut arrived = Vec::new();
        // Room for all of it, or for less.
        let room = if choice & 2 != 0 { sealed_length(rest.len()) } else { 17_000 };
        while !rest.is_empty() {
            let mut out = vec![0; room];
            let sealed = records.seal(rest, &mut out).expect("a key");
            assert!(sealed.taken > 0 && sealed.written <= room);
            rest = &rest[sealed.taken..];
            let (plaintext, ended) = received_by(&mut peer, &out[..sealed.written]);
            assert_eq!(ended, Ok(false));
            arrived.extend(plaintext);
        }
        assert!(arrived == plaintext);
    }
    let mut out = vec![0; 64];
    let length = records.seal_alert(0, &mut out).expect("a key");
    assert_eq!(received_by(&mut peer, &out[..length]), (Vec::new(), Ok(true)));
}
