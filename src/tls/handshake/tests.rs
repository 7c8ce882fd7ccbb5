//! The handshake over a wire that is memory, next to rustls' own driver.

use rustls::{ClientConnection, Connection, ServerConnection};

use super::*;
use crate::tls::record::tests::{configs, configs_with_retry, received_by, sent_by};

const SERVER: fn(&ServerConfig) -> Handshake =
    |config| Handshake::server(Arc::new(config.clone()), Vec::new()).expect("a configuration");

/// Type and length of each record; the bytes behind the last whole one must be none.
fn records(mut bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        found.push((*kind, length));
        bytes = rest.get(length..).expect("a whole record");
    }
    assert!(bytes.is_empty());
    found
}

/// The records that a server says, and its error.
type Answer = (Vec<(u8, usize)>, Option<rustls::Error>);

/// To `stream`, ours and that of rustls.
fn answers(config: &ServerConfig, stream: &[u8]) -> [Answer; 2] {
    let mut ours = SERVER(config);
    ours.receive(stream);
    let error = ours.advance().err();
    let ours = (records(&ours.outgoing()), error);
    let rustls = ServerConnection::new(Arc::new(config.clone())).expect("a configuration");
    let mut rustls = Connection::from(rustls);
    let error = received_by(&mut rustls, stream).err();
    [ours, (records(&sent_by(&mut rustls)), error)]
}

fn client_hello(config: &ClientConfig) -> (Connection, Vec<u8>) {
    let name = ServerName::try_from("peer.test").expect("a name");
    let client = ClientConnection::new(Arc::new(config.clone()), name).expect("a configuration");
    let mut client = Connection::from(client);
    let hello = sent_by(&mut client);
    (client, hello)
}

/// One record as two, cut at `at` bytes of its content.
fn cut(record: &[u8], at: usize) -> [Vec<u8>; 2] {
    let (head, tail) = record[HEADER..].split_at(at);
    [head, tail].map(|part| {
        let length = u16::try_from(part.len()).expect("short").to_be_bytes();
        [&record[..3], &length, part].concat()
    })
}

#[test]
fn a_handshake_may_arrive_byte_by_byte() {
    let configs = configs(0);
    let (mut client, hello) = client_hello(&configs.client);
    let mut server = SERVER(&configs.server);
    let mut to_server = hello;
    let mut is_complete = false;
    for _ in 0..4 {
        for byte in std::mem::take(&mut to_server) {
            assert!(!is_complete, "before the last byte");
            server.receive(&[byte]);
            is_complete = server.advance().expect("an honest client");
        }
        received_by(&mut client, &server.outgoing()).expect("an honest server");
        to_server = sent_by(&mut client);
    }
    assert!(is_complete && to_server.is_empty());
    assert!(server.into_records().expect("complete").1.is_empty());
}

#[test]
fn refusals_are_those_of_rustls() {
    let configs = configs(0);
    let (_, hello) = client_hello(&configs.client);
    let with = |more: &[u8]| [hello.as_slice(), more].concat();
    let streams = [
        // After a good ClientHello: the flight goes out, and then the alert under its keys.
        with(&[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        with(&[99, 3, 3, 0, 1, 0]),
        with(&[23, 9, 9, 0, 1, 0]),
        with(&[23, 3, 3, 0xff, 0xff, 0]),
        with(&[20, 3, 3, 0, 1, 2]),
        with(&[22, 3, 3, 0, 0]),
        with(&hello),
        // A plain alert before anything is encrypted by the client: believed.
        with(&[21, 3, 3, 0, 2, 2, 40]),
        // In place of one.
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![22, 3, 1, 0, 4, 20, 0, 0, 0],
        vec![22, 3, 1, 0xff, 0xff],
        [cut(&hello, 10)[0].as_slice(), &[99, 3, 3, 0, 1, 0]].concat(),
    ];
    for stream in streams {
        let [ours, rustls] = answers(&configs.server, &stream);
        assert!(ours.1.is_some());
        assert_eq!(ours, rustls);
    }
}

#[test]
fn a_message_cut_in_two_is_joined_and_garbage_between_is_refused() {
    // The second ClientHello, the only message in pieces that comes without encryption.
    let configs = configs_with_retry();
    for garbage in [false, true] {
        let (mut client, hello) = client_hello(&configs.client);
        let mut server = SERVER(&configs.server);
        server.receive(&hello);
        assert!(!server.advance().expect("an honest client"));
        received_by(&mut client, &server.outgoing()).expect("a retry request");
        let second = sent_by(&mut client);
        // A change of cipher spec comes first.
        let (compatibility, second) = second.split_at(6);
        let [head, tail] = cut(second, 100);
        server.receive(&[compatibility, &head].concat());
        assert!(!server.advance().expect("half a message"));
        if garbage {
            server.receive(&[99, 3, 3, 0, 1, 0]);
            let error = server.advance().expect_err("garbage");
            assert_eq!(error, InvalidMessage::InvalidContentType.into());
            assert_eq!(records(&server.outgoing()), [(21, 2)]);
        } else {
            server.receive(&tail);
            assert!(!server.advance().expect("an honest client"));
            received_by(&mut client, &server.outgoing()).expect("an honest server");
            assert!(!client.is_handshaking());
        }
    }
}

#[test]
fn a_message_in_tiny_pieces_is_refused_before_it_fills_memory() {
    let configs = configs_with_retry();
    let (mut client, hello) = client_hello(&configs.client);
    let mut server = SERVER(&configs.server);
    server.receive(&hello);
    assert!(!server.advance().expect("an honest client"));
    received_by(&mut client, &server.outgoing()).expect("a retry request");
    // A ClientHello of 60,000 bytes, one in each record.
    let mut sent = 0;
    let refused = (0..60_000).find_map(|at: usize| {
        let byte = [1, 0, 0xea, 0x60].get(at).copied().unwrap_or(0);
        server.receive(&[22, 3, 3, 0, 1, byte]);
        sent += 6;
        server.advance().err()
    });
    assert_eq!(refused, Some(InvalidMessage::HandshakePayloadTooLarge.into()));
    assert!(sent <= MAX_INCOMING + 6, "{sent}");
}
