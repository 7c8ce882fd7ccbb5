//! The codec by properties, and `receive` over real sockets.

use std::io::Write as _;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::*;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn proxied(source: &str, destination: &str) -> Proxied {
    Proxied { source: address(source), destination: address(destination) }
}

/// A header of version 2 by hand: command, family with protocol, and what follows the length.
fn version_2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
    header.extend(payload);
    header
}

const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0x10, 0x2f];

#[test]
fn reads_every_kind_of_header() {
    let client = Some(proxied("192.0.2.7:8080", "10.0.0.1:4143"));
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 8080 4143\r\n";
    let with_tlv = [&V4[..], &[0xe0, 0, 2, 1, 2]].concat();
    for (header, expected) in [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 4143\r\n".to_vec(), client),
        (mapped.to_vec(), client),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n".to_vec(),
            Some(proxied("[2001:db8::7]:1", "[2001:db8::1]:2")),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
        (version_2(1, 0x11, &V4), client),
        (version_2(1, 0x11, &with_tlv), client),
        // Datagrams, unspecified, Unix.
        (version_2(1, 0x12, &V4), None),
        (version_2(1, 0, &[]), None),
        (version_2(1, 0, b"anything"), None),
        (version_2(1, 0x31, &[0; 216]), None),
        // LOCAL, whatever follows.
        (version_2(0, 0, &[]), None),
        (version_2(0, 0x11, &[]), None),
        (version_2(0, 0xff, b"anything"), None),
    ] {
        assert_eq!(header_length(&header), Ok(Some(header.len())), "{header:?}");
        assert_eq!(decode(&header), Ok(expected), "{header:?}");
    }
}

#[test]
fn refuses_what_is_none() {
    for header in [
        &b"PROXY TCP4 192.0.2.7 10.0.0.1 8080\r\n"[..],
        b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 65536\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 4143\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 4143\r.\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 4143 \r\n",
        b"PROXY tcp4 192.0.2.7 10.0.0.1 8080 4143\r\n",
        b"PROXY \xff\xfe\r\n",
        b"PROXY TCP4 0.0.0.0 10.0.0.1 8080 4143\r\n",
        b"PROXY TCP4 255.255.255.255 10.0.0.1 8080 4143\r\n",
        b"PROXY TCP6 ff02::1 2001:db8::1 1 2\r\n",
        &version_2(1, 0x11, &V4[..11]),
        &version_2(1, 0x21, &V4),
        &version_2(2, 0x11, &V4),
        &version_2(1, 0x41, &V4),
        &version_2(1, 0x13, &V4),
        &version_2(1, 0x11, &[&V4[..], &[4, 0]].concat()),
        &version_2(1, 0x11, &[&V4[..], &[4, 0, 9, 1]].concat()),
        &[b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c", &V4[..]].concat(),
    ] {
        assert_eq!(header_length(header), Ok(Some(header.len())), "{header:?}");
        assert!(decode(header).is_err(), "{header:?}");
    }
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PROXYX", b"\r\n\r\n\0\r\nQUIX"] {
        assert_eq!(header_length(other), Err(HeaderError::Missing), "{other:?}");
    }
    assert_eq!(
        header_length(&[&b"PROXY "[..], &[b'x'; 101]].concat()),
        Err(HeaderError::TooLong(107))
    );
    let long = version_2(1, 0x11, &[0; 4097]);
    assert_eq!(header_length(&long), Err(HeaderError::TooLong(4112)));
}

#[test]
fn a_checksum_is_verified() {
    // RFC 3720 appendix B.4, and the check value that catalogues of CRCs give.
    assert_eq!(decode::crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(decode::crc32c(b"123456789"), 0xe306_9283);
    let with = |checksum: &[u8]| {
        let tlv = [&[3, 0, u8::try_from(checksum.len()).expect("short")], checksum].concat();
        version_2(1, 0x11, &[&V4[..], &tlv, &[4, 0, 1, 9]].concat())
    };
    let good = decode::crc32c(&with(&[0; 4])).to_be_bytes();
    assert!(decode(&with(&good)).is_ok());
    let mut damaged = with(&good);
    damaged[19] ^= 1;
    assert_eq!(decode(&damaged), Err(HeaderError::Checksum));
    assert_eq!(decode(&with(&[0; 4])), Err(HeaderError::Checksum));
    assert_eq!(decode(&with(&[0; 3])), Err(HeaderError::Checksum));
}

#[test]
fn writes_what_ztunnel_and_haproxy_write() {
    let client = Identified { identity: "a.b", server_name: Some("c.d") };
    let header = encode(&proxied("192.0.2.7:8080", "10.0.0.1:4143"), &client).expect("short");
    let tls = [0x20, 0, 21, 7, 0, 0, 0, 0, 0x21, 0, 7];
    let extensions =
        [&[2, 0, 3][..], b"c.d", &tls, b"TLSv1.3", &[0x22, 0, 3], b"a.b", &[0xd0, 0, 3], b"a.b"];
    assert_eq!(header, version_2(1, 0x11, &[&V4[..], &extensions.concat()].concat()));
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    any::<SocketAddr>().prop_map(|a| SocketAddr::new(a.ip().to_canonical(), a.port()))
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        source in any_address(),
        destination in any_address(),
        identity in "[ -~]{0,300}",
        name in proptest::option::of("[a-z.]{1,255}"),
    ) {
        let proxied = Proxied { source, destination };
        let client = Identified { identity: &identity, server_name: name.as_deref() };
        let header = encode(&proxied, &client).expect("short");
        prop_assert_eq!(header_length(&header), Ok(Some(header.len())));
        match decode(&header) {
            Ok(decoded) => prop_assert_eq!(decoded, Some(proxied)),
            Err(error) => prop_assert_eq!(error, HeaderError::Source(source.ip())),
        }
    }

    #[test]
    fn the_length_is_the_same_for_every_prefix(
        proxied in (any_address(), any_address()),
        behind in any::<Vec<u8>>(),
        cut: usize,
    ) {
        let proxied = Proxied { source: proxied.0, destination: proxied.1 };
        let client = Identified { identity: "a.b", server_name: None };
        let header = encode(&proxied, &client).expect("short");
        let whole = [&header[..], &behind].concat();
        let prefix = &whole[..cut % (whole.len() + 1)];
        let expected = (prefix.len() >= 16).then_some(header.len());
        prop_assert_eq!(header_length(prefix), Ok(expected));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, family: u8, command in 0..3_u8) {
        let _ = (header_length(&bytes), decode(&bytes));
        let _ = decode(&version_2(command, family, &bytes));
        let _ = decode(&[&b"PROXY "[..], &bytes, b"\r\n"].concat());
    }
}

/// A connection: what writes, and what `receive` reads from.
async fn pair() -> (std::net::TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = std::net::TcpStream::connect(listener.local_addr().expect("bound"));
    let (server, _) = listener.accept().await.expect("accepted");
    let client = client.expect("connected");
    client.set_nodelay(true).expect("set");
    (client, server)
}

#[tokio::test]
async fn takes_not_a_byte_behind_the_header() {
    let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 4143\r\n".to_vec();
    let large = version_2(1, 0x11, &[&V4[..], &[4, 0x0a, 0], &[0; 0xa00]].concat());
    for header in [line, version_2(1, 0x11, &V4), large] {
        let (mut client, mut server) = pair().await;
        client.write_all(&[&header[..], b"\r\nbehind"].concat()).expect("sent");
        let proxied = receive(&server).await.expect("a header").expect("with addresses");
        assert_eq!(proxied.source, address("192.0.2.7:8080"));
        drop(client);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.expect("a clean end");
        assert_eq!(rest, b"\r\nbehind");
    }
}

#[test]
fn waits_for_each_byte_without_spinning() {
    // On a thread of its own: one that spins never gives the test another chance to say so.
    let (done, finished) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(byte_by_byte());
        done.send(()).expect("still waited for");
    });
    finished.recv_timeout(Duration::from_secs(20)).expect("it waits, and says nothing wrong");
}

async fn byte_by_byte() {
    let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 4143\r\n".to_vec();
    for header in [line, version_2(1, 0x11, &V4)] {
        let (mut client, server) = pair().await;
        let (mut receiving, mut polls) = (Box::pin(receive(&server)), 0);
        for (index, byte) in header.iter().enumerate() {
            let polled = std::future::poll_fn(|cx| {
                polls += 1;
                receiving.as_mut().poll(cx).map(drop)
            });
            let waited = tokio::time::timeout(Duration::from_millis(2), polled).await;
            assert!(waited.is_err(), "complete after {index} bytes");
            client.write_all(&[*byte]).expect("sent");
        }
        let proxied = receiving.await.expect("a header").expect("with addresses");
        assert_eq!(proxied.destination, address("10.0.0.1:4143"));
        // Once when the wait begins, once when the byte is there, once when the time is over.
        assert!(polls <= 4 * header.len(), "{polls} polls");
    }
}

#[tokio::test]
async fn says_why_there_is_no_header() {
    for (sent, expected) in [
        (&b""[..], "closed before its first byte"),
        (b"PROXY TCP4", "closed 10 bytes into"),
        (b"\x16\x03\x01\x02\x00\x01", "are no PROXY header"),
        (b"PROXY nonsense\r\n", "version 1"),
    ] {
        let (mut client, mut server) = pair().await;
        client.write_all(sent).expect("sent");
        drop(client);
        let error = receive(&server).await.expect_err("no header");
        assert!(error.to_string().contains(expected), "{error}");
        if expected.contains("are no") {
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.expect("a clean end");
            assert_eq!(rest, sent, "they were not taken");
        }
    }
}
