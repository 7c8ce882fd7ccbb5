//! Probes over mTLS: of real gateways, and of servers that are somebody else.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use linkerd_gateway::control::mirror::probe::Prober;
use linkerd_gateway::model::mirror::liveness::{Liveness, Tracker};
use linkerd_gateway::model::mirror::probe::{Failure, Probed, Unasked};

use crate::support::backend;
use crate::support::certs::{TestCa, TestLeaf};
use crate::support::gateway::{Builder, GATEWAY, PATIENCE};
use crate::support::server::Server;
use crate::{OK, SHORT, TIMEOUT, answering, credentials, is_alive, own, run, target};

/// One probe over mTLS.
fn probe(address: SocketAddr, ca: &TestCa, timeout: Duration) -> Probed {
    run(Prober::new(target(address, Some(GATEWAY), timeout)).probe(Some(own(ca))))
}

#[test]
fn a_real_gateway_is_alive_and_one_connection_is_enough() {
    let ca = TestCa::new("ca");
    let gateway = Builder::new(&ca).start();
    run(async {
        let mut prober = Prober::new(target(gateway.admin, Some(GATEWAY), TIMEOUT));
        let own = own(&ca);
        for _ in 0..4 {
            assert!(is_alive(prober.probe(Some(own.clone())).await));
        }
        // Plain HTTP, for a Link without gatewayIdentity.
        assert!(is_alive(Prober::new(target(gateway.admin, None, TIMEOUT)).probe(None).await));
    });
    let probes = "admin_requests_total{path=\"/ready\",code=\"200\"}";
    assert!((gateway.metric(probes) - 5.0).abs() < 0.1, "{}", gateway.get("/metrics"));
}

#[test]
fn the_server_name_is_the_gateways_identity_and_no_protocol_is_offered() {
    let ca = TestCa::new("ca");
    let server = Server::new(&ca.identity(GATEWAY), &[]);
    let (address, ca) = (server.address, &ca);
    std::thread::scope(|scope| {
        let asked = scope.spawn(move || {
            let mut stream = server.accept().expect("a handshake");
            let mut request = [0; 4096];
            let count = stream.read(&mut request).expect("a request");
            stream.write_all(OK.as_bytes()).expect("sent");
            let name = stream.conn.server_name().map(str::to_owned);
            let alpn = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
            (name, alpn, String::from_utf8_lossy(&request[..count]).into_owned())
        });
        assert!(is_alive(probe(address, ca, TIMEOUT)));
        let (name, alpn, request) = asked.join().expect("served");
        assert_eq!((name.as_deref(), alpn), (Some(GATEWAY), None));
        assert!(request.starts_with("GET /ready HTTP/1.1\r\n"), "{request}");
    });
}

/// One probe of a server with this leaf by a client that trusts `ca`.
fn of_leaf(leaf: &TestLeaf, ca: &TestCa) -> Probed {
    let server = Server::new(leaf, &[]);
    let address = server.address;
    std::thread::scope(|scope| {
        scope.spawn(move || drop(server.accept()));
        probe(address, ca, TIMEOUT)
    })
}

#[test]
fn somebody_else_than_the_gateway_is_named_as_such() {
    let (ca, other) = (TestCa::new("ca"), TestCa::new("other"));
    let neighbour = "web.default.serviceaccount.identity.linkerd.cluster.local";
    for (leaf, failure) in [
        (ca.identity(neighbour), Failure::IdentityMismatch),
        (other.identity(GATEWAY), Failure::CertificateUntrusted),
        (ca.leaf().dns(GATEWAY).expired().issue(), Failure::CertificateExpired),
        (ca.leaf().dns(GATEWAY).not_yet_valid().issue(), Failure::CertificateNotYetValid),
        (ca.leaf().dns(GATEWAY).dns(neighbour).issue(), Failure::CertificateInvalid),
    ] {
        assert_eq!(of_leaf(&leaf, &ca), Probed::Failed(failure));
    }
}

#[test]
fn what_speaks_no_tls_is_never_believed() {
    let ca = TestCa::new("ca");
    let ready = backend::serve(|mut stream| {
        // A plain admin port: it is ready, whatever it is asked.
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(OK.as_bytes());
    });
    assert_eq!(probe(ready, &ca, TIMEOUT), Probed::Failed(Failure::NotTls));
    let (silent, _accepted) = backend::handed_over();
    assert_eq!(probe(silent, &ca, SHORT), Probed::Failed(Failure::HandshakeTimeout));
    assert_eq!(probe(backend::serve(drop), &ca, TIMEOUT), Probed::Failed(Failure::Closed));
    assert_eq!(probe(backend::closed_port(), &ca, TIMEOUT), Probed::Failed(Failure::Refused));
}

#[test]
fn own_credentials_that_do_not_serve_are_not_the_gateways_fault() {
    let ca = TestCa::new("ca");
    let (address, connections) = answering(OK);
    run(async {
        let mut prober = Prober::new(target(address, Some(GATEWAY), TIMEOUT));
        assert_eq!(prober.probe(None).await, Probed::Unknown(Unasked::NoCredentials));
        let short = credentials(&ca.leaf().dns(crate::MIRROR).valid(-60, 2).issue(), &[&ca]);
        tokio::time::sleep(Duration::from_millis(3100)).await;
        assert_eq!(prober.probe(Some(short)).await, Probed::Unknown(Unasked::Expired));
    });
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 0);

    // A gateway that proves itself and does not trust us. Its admin port asks for no certificate,
    // Linkerd's does; the port of the data path does here.
    let (theirs, ours) = (TestCa::new("theirs"), TestCa::new("ours"));
    let gateway = Builder::new(&theirs).start();
    let own = credentials(&ours.identity(crate::MIRROR), &[&ours, &theirs]);
    let mut prober = Prober::new(target(gateway.address, Some(GATEWAY), TIMEOUT));
    assert_eq!(run(prober.probe(Some(own))), Probed::Unknown(Unasked::Refused));
}

#[test]
fn other_credentials_make_the_gateway_prove_itself_anew() {
    let (ca, other) = (TestCa::new("ca"), TestCa::new("other"));
    let gateway = Builder::new(&ca).start();
    run(async {
        let mut prober = Prober::new(target(gateway.admin, Some(GATEWAY), TIMEOUT));
        assert!(is_alive(prober.probe(Some(own(&ca))).await));
        // The anchor of the gateway is no longer trusted: a kept connection must not outlive that.
        let mut replaced = own(&other);
        let inner = std::sync::Arc::get_mut(&mut replaced).expect("ours alone");
        inner.generation = 2;
        let probed = prober.probe(Some(replaced)).await;
        assert_eq!(probed, Probed::Failed(Failure::CertificateUntrusted));
    });
}

#[test]
fn a_gateway_that_drains_ends_the_kept_connection_and_goes_down_by_503_alone() {
    let ca = TestCa::new("ca");
    let section = "[gateway]\nlisten = [\"127.0.0.1:0\"]\nlame_duck = \"2s\"\n";
    let mut gateway = Builder::new(&ca).configure(section).start();
    let own = own(&ca);
    let mut tracker = Tracker::new(3, None);
    run(async {
        let mut prober = Prober::new(target(gateway.admin, Some(GATEWAY), TIMEOUT));
        for _ in 0..3 {
            assert!(is_alive(prober.probe(Some(own.clone())).await));
        }
        gateway.signal("TERM");
        let mut failures = Vec::new();
        let until = tokio::time::Instant::now() + PATIENCE;
        while tracker.liveness() != Liveness::Down && tokio::time::Instant::now() < until {
            prober.wait(Duration::from_millis(20)).await;
            let probed = prober.probe(Some(own.clone())).await;
            tracker.take(probed);
            if let Probed::Failed(failure) = probed {
                failures.push(failure);
            }
        }
        assert_eq!(failures, [Failure::Status(503); 3]);
    });
    assert_eq!(gateway.wait().code(), Some(0));
}
