//! Trust anchors rotate old -> both -> new without a failed handshake in the overlap.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, half_close, read_all, refusal};
use crate::support::gateway::{CLIENT, GATEWAY, Gateway};
use crate::support::process::replace;
use crate::{ECHO, certs, generation, newer_than, replace_leaf};

/// How long clients connect in each stage of the rotation.
const STAGE: Duration = Duration::from_millis(700);

/// Clients that connect again and again, each a whole conversation.
struct Connecting {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Connecting {
    fn start(client: &Client, address: SocketAddr) -> Self {
        let (stop, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let connect = || {
            let (client, stop, count) = (client.clone(), Arc::clone(&stop), Arc::clone(&count));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    converse(&client, address);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let threads = (0..3).map(|_| connect()).collect();
        Self { stop, count, threads }
    }

    /// Conversations so far.
    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends it; fails when any conversation did.
    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no failed handshake"));
    }
}

fn converse(client: &Client, address: SocketAddr) {
    let mut stream = client.open(address, ECHO);
    stream.write_all(b"ping").expect("sent");
    stream.flush().expect("sent");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("the echo");
    assert_eq!(&answer, b"ping");
    half_close(&mut stream);
    assert_eq!(read_all(&mut stream), b"");
}

/// Both anchors, for clients that follow the same rotation.
fn both(old: &TestCa, new: &TestCa) -> TestCa {
    let mut both = TestCa::new("unused");
    both.anchor = format!("{}{}", old.anchor, new.anchor);
    both
}

#[test]
fn anchors_rotate_from_old_to_both_to_new_without_a_failed_handshake() {
    let (old, new) = (TestCa::new("old"), TestCa::new("new"));
    let mut gateway = Gateway::with_route(&old, ECHO, backend::echo());
    let anchors = gateway.file("ca.crt");
    let trust = both(&old, &new);
    let of_old = Client::with(&trust, Some(&old.identity(CLIENT)));
    let of_new = Client::with(&trust, Some(&new.identity(CLIENT)));
    let stage = |clients: &[&Connecting]| {
        let before: Vec<_> = clients.iter().map(|clients| clients.count()).collect();
        std::thread::sleep(STAGE);
        for (clients, before) in clients.iter().zip(before) {
            assert!(clients.count() > before, "nobody connected in this stage");
        }
    };

    // Old alone: the new anchor's clients are refused.
    assert!(refusal(&of_new, gateway.address, b"").contains("UnknownCA"));
    gateway.expect("certificate_untrusted");
    let old_clients = Connecting::start(&of_old, gateway.address);
    stage(&[&old_clients]);

    // Both: clients of either, whichever of the two signed the gateway's own certificate.
    let before = generation(&gateway);
    replace(&anchors, &trust.anchor);
    newer_than(&gateway, before);
    let new_clients = Connecting::start(&of_new, gateway.address);
    stage(&[&old_clients, &new_clients]);
    let before = generation(&gateway);
    replace_leaf(&gateway.file("gateway"), &new.identity(GATEWAY));
    newer_than(&gateway, before);
    stage(&[&old_clients, &new_clients]);
    let mut long_lived = of_old.open(gateway.address, ECHO);

    // New alone: the old anchor's clients are refused, known chain or not.
    old_clients.finish();
    let before = generation(&gateway);
    replace(&anchors, &new.anchor);
    newer_than(&gateway, before);
    stage(&[&new_clients]);
    new_clients.finish();
    assert!(refusal(&of_old, gateway.address, b"").contains("UnknownCA"));
    let listed = certs(&gateway)["certificates"].to_string();
    assert!(listed.contains("root.new") && !listed.contains("root.old"), "{listed}");

    // What was established before goes on.
    long_lived.write_all(b"still here").expect("sent");
    half_close(&mut long_lived);
    assert_eq!(read_all(&mut long_lived), b"still here");
    let untrusted = gateway.metric("gateway_connections_total{outcome=\"certificate_untrusted\"}");
    assert_eq!(untrusted, 2.0, "others than the two expected were refused");
}
