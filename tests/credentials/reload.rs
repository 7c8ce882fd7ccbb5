//! 100 reloads under 200 busy connections, by polling and by SIGHUP, and what is reloaded besides
//! the gateway's own pair.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::backend;
use crate::support::certs::{TestCa, TestLeaf};
use crate::support::client::{Client, Stream, half_close, read_all};
use crate::support::gateway::{Builder, CLIENT, GATEWAY, Gateway};
use crate::{ECHO, REFUSED, certs, generation, identity, newer_than, problem, replace_leaf};

const RELOADS: u64 = 100;
/// Changes in quick succession; an even number ends with the second of two leaves.
const RAPID: u64 = 1000;
const THREADS: usize = 10;
const PER_THREAD: usize = 20;

/// 200 connections that send and receive without a pause.
struct Busy {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn start(gateway: &Gateway, ca: &TestCa) -> Self {
        let (stop, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = Client::new(ca);
        let mut threads = Vec::new();
        for _ in 0..THREADS {
            let open = || client.open(gateway.address, ECHO);
            let mut streams: Vec<_> = (0..PER_THREAD).map(|_| open()).collect();
            let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
            threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    streams.iter_mut().for_each(round);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                for mut stream in streams {
                    half_close(&mut stream);
                    assert_eq!(read_all(&mut stream), b"");
                }
            }));
        }
        Self { stop, rounds, threads }
    }

    /// Every connection must have been busy throughout, and end cleanly.
    fn finish(self, gateway: &Gateway) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no broken connection"));
        let all = THREADS * PER_THREAD;
        gateway.eventually("every outcome", |g| {
            g.metric("gateway_connections_total{outcome=\"closed\"}") >= all as f64
        });
        let lines = gateway.lines();
        let access: Vec<_> = lines.iter().filter(|line| line["target"] == "access").collect();
        assert!(access.iter().all(|line| line["outcome"] == "closed"), "{access:#?}");
        let rounds = self.rounds.load(Ordering::Relaxed);
        assert!(rounds >= 2 * THREADS, "only {rounds} rounds: the connections were not busy");
    }
}

/// There and back; what comes back must be what was sent.
/// Sends and gets back.
pub fn round(stream: &mut Stream) {
    let sent = [fastrand::u8(..); 2048];
    stream.write_all(&sent).expect("sent");
    stream.flush().expect("sent");
    let mut received = [0; 2048];
    stream.read_exact(&mut received).expect("the echo");
    assert_eq!(received, sent);
}

/// Files as the kubelet mounts them: `tls.crt` is a link to `..data/tls.crt`, and `..data` a link
/// to a directory, which an update replaces in one step.
fn publish(mount: &Path, version: u64, leaf: &TestLeaf) {
    let data = format!("..{version}");
    leaf.write_to(&mount.join(&data));
    symlink(&data, mount.join("..data_tmp")).expect("a link");
    std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("renamed");
}

#[test]
fn a_hundred_reloads_by_polling_break_none_of_200_busy_connections() {
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
    let gateway = mounted(builder, &ca.identity(GATEWAY)).start();
    let mount = gateway.file("mounted");
    let busy = Busy::start(&gateway, &ca);
    let leaves = [ca.identity(GATEWAY), ca.identity(GATEWAY)];
    for (version, leaf) in (1..=RELOADS).zip(leaves.iter().cycle()) {
        let before = generation(&gateway);
        publish(&mount, version, leaf);
        newer_than(&gateway, before);
    }
    assert_eq!(generation(&gateway), 1 + RELOADS);
    // The mounted directory changes in one step: no half of it was ever seen.
    assert_eq!((problem(&gateway), gateway.metric(REFUSED)), (None, 0.0));
    busy.finish(&gateway);
}

#[test]
fn a_mount_that_changes_while_it_is_read_is_never_seen_half() {
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
    let gateway = mounted(builder, &ca.identity(GATEWAY)).start();
    let leaves = [ca.identity(GATEWAY), ca.identity(GATEWAY)];
    let mount = gateway.file("mounted");
    for (version, leaf) in (1..=RAPID).zip(leaves.iter().cycle()) {
        publish(&mount, version, leaf);
        // As the kubelet does.
        std::fs::remove_dir_all(mount.join(format!("..{}", version - 1))).expect("removed");
        std::thread::sleep(Duration::from_millis(2));
    }
    gateway.eventually("the last", |g| presented(&client_of(&ca, g)) == leaves[1].der);
    assert_eq!((problem(&gateway), gateway.metric(REFUSED)), (None, 0.0));
    assert!(generation(&gateway) > 20, "only {} were seen", generation(&gateway));
}

fn client_of(ca: &TestCa, gateway: &Gateway) -> Stream {
    Client::new(ca).connect(gateway.address).expect("a handshake")
}

/// The gateway's pair in a mounted directory, looked at often.
fn mounted(builder: Builder, leaf: &TestLeaf) -> Builder {
    let mount = builder.path().join("mounted");
    publish(&mount, 0, leaf);
    for file in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(file), mount.join(file)).expect("a link");
    }
    builder.configure(
        "[identity]\ncertificate = \"mounted/tls.crt\"\nkey = \"mounted/tls.key\"\n\
         trust_anchors = [\"ca.crt\"]\npoll_interval = \"10ms\"",
    )
}

#[test]
fn a_hundred_reloads_by_sighup_break_none_of_200_busy_connections() {
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
    let gateway = identity(builder, "poll_interval = \"1h\"").start();
    let busy = Busy::start(&gateway, &ca);
    let leaves = [ca.identity(GATEWAY), ca.identity(GATEWAY)];
    for (_, leaf) in (1..=RELOADS).zip(leaves.iter().cycle()) {
        let before = generation(&gateway);
        replace_leaf(&gateway.file("gateway"), leaf);
        gateway.signal("HUP");
        newer_than(&gateway, before);
    }
    assert_eq!(generation(&gateway), 1 + RELOADS);
    assert_eq!((problem(&gateway), gateway.metric(REFUSED)), (None, 0.0));
    busy.finish(&gateway);
}

#[test]
fn sighup_without_a_change_loads_nothing() {
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
    let gateway = identity(builder, "poll_interval = \"1h\"").start();
    for _ in 0..5 {
        gateway.signal("HUP");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(generation(&gateway), 1);
    assert_eq!(certs(&gateway)["status"]["loaded"], 1);
    drop(Client::new(&ca).open(gateway.address, ECHO));
}

#[test]
fn new_handshakes_use_the_new_certificate_and_old_connections_go_on() {
    let ca = TestCa::new("ca");
    let gateway = Gateway::with_route(&ca, ECHO, backend::echo());
    let client = Client::new(&ca);
    let mut old = client.open(gateway.address, ECHO);
    round(&mut old);
    let renewed = ca.identity(GATEWAY);
    replace_leaf(&gateway.file("gateway"), &renewed);
    newer_than(&gateway, 1);
    let new = client.open(gateway.address, ECHO);
    assert_eq!(presented(&new), renewed.der);
    assert_ne!(presented(&old), renewed.der);
    round(&mut old);
}

/// The leaf that the server presented.
fn presented(stream: &Stream) -> Vec<u8> {
    let chain = stream.conn.peer_certificates().expect("a chain");
    chain.first().expect("a leaf").to_vec()
}

#[test]
fn the_certificate_of_a_route_follows_its_files() {
    let ca = TestCa::new("ca");
    let name = "web.example.com";
    let first = ca.leaf().dns(name).issue();
    let builder = Builder::new(&ca);
    first.write_to(&builder.path().join("web"));
    let gateway = builder
        .configure(&format!(
            "[[route]]\ntarget = \"web.test.svc.cluster.local:80\"\nsni = [\"{name}\"]\n\
             certificate = \"web/tls.crt\"\nkey = \"web/tls.key\"\nendpoints = [\"{}\"]",
            backend::echo()
        ))
        .start();
    let client = Client::with(&ca, Some(&ca.identity(CLIENT))).alpn(&[]).server_name(name);
    let mut stream = client.connect(gateway.address).expect("a handshake");
    round(&mut stream);
    assert_eq!(presented(&stream), first.der);

    let second = ca.leaf().dns(name).issue();
    let before = generation(&gateway);
    replace_leaf(&gateway.file("web"), &second);
    newer_than(&gateway, before);
    assert_eq!(presented(&client.connect(gateway.address).expect("a handshake")), second.der);

    // One that does not cover the route's server name would break its clients.
    replace_leaf(&gateway.file("web"), &ca.leaf().dns("other.example.com").issue());
    gateway.eventually("the problem", |gateway| {
        problem(gateway).is_some_and(|p| p.contains("web/tls.crt") && p.contains(name))
    });
    assert_eq!(presented(&client.connect(gateway.address).expect("a handshake")), second.der);
    round(&mut stream);
}
