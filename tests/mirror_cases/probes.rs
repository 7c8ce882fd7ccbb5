//! The probe port of a plain gateway, at several loopback addresses with one port: it answers as a
//! test says, and counts.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Closes the connection without an answer.
    Reset,
    /// Never answers.
    Silent,
    /// This status.
    Status(u16),
}

struct Address {
    answer: Mutex<Answer>,
    count: AtomicUsize,
    /// So many probes more are cut.
    failures: AtomicUsize,
}

/// A running one.
pub struct Probes {
    pub port: u16,
    addresses: BTreeMap<String, Arc<Address>>,
}

impl Probes {
    /// Answers 200 at each of these addresses, on one port.
    pub fn start(addresses: &[&str]) -> Self {
        for _ in 0..50 {
            let first = TcpListener::bind((addresses[0], 0)).expect("a port");
            let port = first.local_addr().expect("bound").port();
            let others = addresses[1..].iter().map(|address| TcpListener::bind((*address, port)));
            if let Ok(others) = others.collect::<Result<Vec<_>, _>>() {
                let listeners = std::iter::once(first).chain(others);
                let served = addresses.iter().zip(listeners);
                let served =
                    served.map(|(address, listener)| (address.to_string(), serve(listener)));
                return Self { port, addresses: served.collect() };
            }
        }
        panic!("no port is free at all of {addresses:?}");
    }

    /// How one of the addresses answers from now on.
    pub fn answer(&self, address: &str, answer: Answer) {
        *self.addresses[address].answer.lock().expect("whole") = answer;
    }

    /// So many probes fail before they are answered again.
    pub fn fail_next(&self, address: &str, failures: usize) {
        self.addresses[address].failures.store(failures, Ordering::SeqCst);
    }

    /// Probes so far at one of the addresses.
    pub fn count(&self, address: &str) -> usize {
        self.addresses[address].count.load(Ordering::SeqCst)
    }
}

fn serve(listener: TcpListener) -> Arc<Address> {
    let state = Arc::new(Address {
        answer: Mutex::new(Answer::Status(200)),
        count: AtomicUsize::new(0),
        failures: AtomicUsize::new(0),
    });
    let of = Arc::clone(&state);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let of = Arc::clone(&of);
            std::thread::spawn(move || connection(stream, &of));
        }
    });
    state
}

/// Each request on a connection is a probe.
fn connection(mut stream: TcpStream, of: &Address) {
    let mut bytes = [0; 4096];
    while let Ok(count) = stream.read(&mut bytes) {
        if count == 0 {
            return;
        }
        of.count.fetch_add(1, Ordering::SeqCst);
        let left = |left: usize| left.checked_sub(1);
        if of.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return;
        }
        let answer = *of.answer.lock().expect("whole");
        match answer {
            Answer::Reset => return,
            Answer::Silent => std::thread::sleep(Duration::from_secs(30)),
            Answer::Status(code) => {
                let location =
                    if code == 301 { "location: http://127.0.0.1:1/ready\r\n" } else { "" };
                let body = if code == 204 { "" } else { "content-length: 0\r\n" };
                let text =
                    format!("HTTP/1.1 {code} X\r\n{location}{body}connection: close\r\n\r\n");
                let _ = stream.write_all(text.as_bytes());
                return;
            }
        }
    }
}
