//! TERM under load: what was accepted finishes whole, byte for byte.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::certs::TestCa;
use crate::support::client::{Client, half_close, header_for, tcp};
use crate::support::tcp::pattern;
use crate::{ECHO, gateway};

/// Clients that connect again and again.
const CLIENTS: usize = 6;
/// Connections that are in flight when the signal comes and take longer than it.
const SLOW: usize = 6;
/// Bytes of one conversation, each way.
const SHORT: usize = 64 * 1024;
/// Bytes that a slow connection sends at a time, and how often.
const PIECE: usize = 16 * 1024;
const PIECES: usize = 60;

/// One conversation: false when nobody listens any more. The kernel may reset a connection that it
/// completed in the instant in which the listener closes; one whose handshake is done was accepted.
fn converse(client: &Client, address: SocketAddr, lost_in_queue: &AtomicUsize) -> bool {
    let Ok(tcp) = tcp(address) else { return false };
    let Ok(mut stream) = client.over(tcp) else {
        lost_in_queue.fetch_add(1, Ordering::Relaxed);
        return false;
    };
    let bytes = pattern(SHORT);
    stream.write_all(&header_for(ECHO, None)).expect("sent");
    stream.write_all(&bytes).and_then(|()| stream.flush()).expect("sent");
    let mut back = vec![0; SHORT];
    stream.read_exact(&mut back).expect("the echo");
    assert!(back == bytes);
    half_close(&mut stream);
    assert_eq!(stream.read(&mut [0]).expect("a clean end"), 0);
    true
}

#[test]
fn everything_accepted_before_term_finishes_whole_under_load() {
    let ca = TestCa::new("ca");
    let mut gateway = gateway(&ca, "200ms");
    let (client, address) = (Client::new(&ca), gateway.address);
    let (done, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..SLOW {
            scope.spawn(|| {
                let mut stream = client.open(address, ECHO);
                let bytes = pattern(PIECE);
                for _ in 0..PIECES {
                    stream.write_all(&bytes).and_then(|()| stream.flush()).expect("sent");
                    let mut back = vec![0; PIECE];
                    stream.read_exact(&mut back).expect("the echo");
                    assert!(back == bytes);
                    std::thread::sleep(Duration::from_millis(40));
                }
                half_close(&mut stream);
                assert_eq!(stream.read(&mut [0]).expect("a clean end"), 0);
            });
        }
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while converse(&client, address, &lost) {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(Duration::from_millis(800));
        gateway.signal("TERM");
    });
    assert_eq!(gateway.wait().code(), Some(0));
    let (done, lost) = (done.into_inner(), lost.into_inner());
    println!("{done} conversations; {lost} connections reset in the instant of the close");
    assert!(done > CLIENTS);
    let ends: Vec<_> =
        gateway.lines().into_iter().filter(|line| line["target"] == "access").collect();
    let bad: Vec<_> = ends.iter().filter(|line| line["outcome"] != "closed").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(ends.len(), done + SLOW);
}
