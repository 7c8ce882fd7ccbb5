//! One side ends and the other goes on.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::fixture::parties;
use crate::support::client::{half_close, read_all};
use crate::support::tcp::pattern;

const LONG: usize = 10 << 20;

#[test]
fn a_client_that_ends_first_still_gets_10_mib_back() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    client.write_all(b"request").expect("sent");
    half_close(&mut client);
    let mut request = Vec::new();
    backend.read_to_end(&mut request).expect("a clean end");
    assert_eq!(request, b"request");
    let answer = pattern(LONG);
    let sent = answer.clone();
    let writer = std::thread::spawn(move || backend.write_all(&sent).expect("sent"));
    assert!(read_all(&mut client) == answer);
    writer.join().expect("no panic");
    let line = parties.gateway.expect("closed");
    assert_eq!(
        (line["bytes_from_client"].as_u64(), line["bytes_to_client"].as_u64()),
        (Some(7), Some(LONG as u64))
    );
}

#[test]
fn an_endpoint_that_ends_first_still_gets_10_mib_more() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    backend.write_all(b"answer").expect("sent");
    backend.shutdown(Shutdown::Write).expect("sent");
    assert_eq!(read_all(&mut client), b"answer");
    let upload = pattern(LONG);
    let expected = upload.clone();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        backend.read_to_end(&mut bytes).expect("a clean end");
        assert!(bytes == expected);
    });
    client.write_all(&upload).expect("sent");
    half_close(&mut client);
    reader.join().expect("the same bytes");
    parties.gateway.expect("closed");
}

#[test]
fn an_end_without_any_byte_is_passed_on_from_either_side() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    half_close(&mut client);
    assert_eq!(backend.read(&mut [0; 1]).expect("a clean end"), 0);
    backend.shutdown(Shutdown::Write).expect("sent");
    assert_eq!(read_all(&mut client), b"");
    parties.gateway.expect("closed");
}
