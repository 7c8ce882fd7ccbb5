//! Headers that are missing, wrong, late, or from somebody whose header nobody asked for.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use super::support::client::{header_for, tcp};
use super::support::probe::{ECHO, Ending, Probe, refused_raw};
use super::{LINE, LISTED, local, version_2};

fn probe() -> Probe {
    Probe::with(|builder, _| builder.configure(LISTED))
}

#[test]
fn a_listed_peer_without_a_header_is_reset() {
    let mut probe = probe();
    let client = probe.client();
    let (line, ending) = probe.attack("proxy_protocol_missing", |address| {
        Ending::of(&client.connect(address).map(drop).expect_err("refused"))
    });
    assert_eq!(ending, Ending::Reset);
    let hint = line["hint"].as_str().expect("a hint");
    assert!(hint.contains("proxy_protocol of gateway.listen"), "{line}");
    assert!(line["detail"].as_str().is_some_and(|d| d.contains("no PROXY header")), "{line}");
}

#[test]
fn a_wrong_header_is_reset_and_the_detail_says_why() {
    let mut probe = probe();
    let addresses = [192, 0, 2, 7, 203, 0, 113, 9, 0, 80, 0, 80];
    let damaged = version_2(1, 0x11, &[&addresses[..], &[3, 0, 4, 1, 2, 3, 4]].concat());
    for (header, detail) in [
        (b"PROXY TCP4 192.0.2.300 203.0.113.9 1 2\r\n".to_vec(), "version 1"),
        (b"PROXY TCP4 0.0.0.0 203.0.113.9 1 2\r\n".to_vec(), "names 0.0.0.0"),
        ([&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(), "longer than 107 bytes"),
        (version_2(1, 0x11, &addresses[..4]), "version 2"),
        (version_2(1, 0x11, &[0; 5000]), "longer than 4112 bytes"),
        (damaged, "checksum"),
    ] {
        let (line, ()) = probe.attack("proxy_protocol_invalid", |address| {
            let mut stream = tcp(address).expect("connected");
            stream.write_all(&header).expect("sent");
            assert!(refused_raw(&mut stream).is_empty());
        });
        assert!(line["detail"].as_str().is_some_and(|d| d.contains(detail)), "{line}");
    }
    let (line, ()) = probe.attack("proxy_protocol_invalid", |address| {
        tcp(address).and_then(|mut stream| stream.write_all(&LINE[..9])).expect("sent");
    });
    assert_eq!(line["detail"], "the peer closed 9 bytes into its PROXY header");
}

#[test]
fn a_peer_that_is_not_listed_may_not_send_a_header() {
    let unlisted = LISTED.replace("127.0.0.0/8", "127.9.0.0/16");
    let mut probe = Probe::with(|builder, _| builder.configure(&unlisted));
    for header in [LINE, &local()] {
        let (line, ()) = probe.attack("not_tls", |address| {
            let mut stream = tcp(address).expect("connected");
            stream.write_all(header).expect("sent");
            refused_raw(&mut stream);
        });
        assert!(line.get("via").is_none(), "{line}");
        assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
    }
    // It is served without one, as ever.
    probe.serves();
}

#[test]
fn the_deadline_holds_for_the_header_too() {
    let config = format!("{LISTED}[limits]\nhandshake_timeout = \"500ms\"");
    let mut probe = Probe::with(|builder, _| builder.configure(&config));
    for header in [b"".to_vec(), LINE.to_vec(), version_2(1, 0x11, &[0; 300])] {
        probe.attack("handshake_timeout", |address| {
            let mut stream = tcp(address).expect("connected");
            for byte in &header {
                if stream.write_all(&[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(40));
            }
            let error = stream.read(&mut [0]).expect_err("a reset");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        });
    }
    // All of it counts: a header in time leaves the rest of the time for the handshake.
    probe.attack("handshake_timeout", |address| {
        let mut stream = tcp(address).expect("connected");
        stream.write_all(LINE).expect("sent");
        assert!(refused_raw(&mut stream).is_empty());
    });
}

#[test]
fn checks_of_load_balancers_are_no_faults() {
    let mut probe = probe();
    for header in [b"".to_vec(), local(), LINE.to_vec()] {
        let (line, ()) = probe.attack("closed_before_first_byte", |address| {
            tcp(address).and_then(|mut stream| stream.write_all(&header)).expect("sent");
        });
        assert_eq!(line["level"], "DEBUG", "{line}");
    }
}

#[test]
fn a_header_behind_the_header_is_no_tls() {
    let mut probe = probe();
    probe.attack("not_tls", |address| {
        let mut stream = tcp(address).expect("connected");
        stream.write_all(&[LINE, LINE].concat()).expect("sent");
        refused_raw(&mut stream);
    });
    // Nor is one believed that comes inside TLS.
    let client = probe.client();
    probe.attack("header_invalid", |address| {
        let mut stream = super::connect(&client, address, LINE);
        let bytes = [LINE, &header_for(ECHO, None)].concat();
        let _ = stream.write_all(&bytes).and_then(|()| stream.flush());
        stream.read(&mut [0]).expect_err("refused");
    });
}
