//! Routes whose endpoints come from DNS. Loopback addresses are refused there, so these tests run
//! in a namespace that has other addresses of its own.

use std::io::Write;
use std::net::{IpAddr, Shutdown, TcpListener};
use std::time::Duration;

use crate::TARGET;
use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, header_for, read_all, refusal};
use crate::support::dns::{Dns, Mode};
use crate::support::gateway::{Builder, Gateway};
use crate::support::namespace::{inside, run};

const FIRST: &str = "10.77.0.1";
const SECOND: &str = "10.77.0.2";
const V6: &str = "fd77::1";
const PORT: u16 = 8080;
/// A route that has nothing to do with DNS.
const STATIC: &str = "static.test.svc.cluster.local:80";

/// Every connection is told which address it reached.
fn addresses() {
    for address in [FIRST, SECOND] {
        run(&format!("ip addr add {address}/32 dev lo"));
    }
    run(&format!("ip addr add {V6}/128 dev lo nodad"));
    let listener = TcpListener::bind(("::", PORT)).expect("free");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let reached = stream.local_addr().expect("bound").ip().to_canonical();
                let _ = stream.write_all(reached.to_string().as_bytes());
                let _ = stream.shutdown(Shutdown::Write);
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
}

fn gateway(ca: &TestCa, dns: &Dns) -> Gateway {
    Builder::new(ca)
        .configure(&format!(
            "[dns]\nservers = [\"{}\"]\nmin_ttl = \"50ms\"\n\
             [[route]]\ntarget = \"{TARGET}\"\ndns = \"web.example.com:{PORT}\"",
            dns.address
        ))
        .route(STATIC, &[backend::named("static")])
        .start()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

/// The address that a connection reaches, if any.
fn reached(ca: &TestCa, gateway: &Gateway) -> Option<String> {
    let mut stream = Client::new(ca).open(gateway.address, TARGET);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

/// What the service of the static route says.
fn named(ca: &TestCa, gateway: &Gateway) -> String {
    let mut stream = Client::new(ca).open(gateway.address, STATIC);
    crate::support::client::half_close(&mut stream);
    String::from_utf8(read_all(&mut stream)).expect("UTF-8")
}

fn reaches(ca: &TestCa, gateway: &Gateway, address: &str) {
    let is = |gateway: &Gateway| reached(ca, gateway).as_deref() == Some(address);
    gateway.eventually(&format!("a connection to {address}"), is);
    for _ in 0..5 {
        assert_eq!(reached(ca, gateway).as_deref(), Some(address));
    }
}

#[test]
fn changes_are_followed_by_their_ttl() {
    if inside("dns::changes_are_followed_by_their_ttl") {
        addresses();
        let ca = TestCa::new("ca");
        let dns = Dns::start(Mode::Addresses(ips(&[FIRST]), 1));
        let gateway = gateway(&ca, &dns);
        reaches(&ca, &gateway, FIRST);
        dns.set(Mode::Addresses(ips(&[SECOND]), 1));
        reaches(&ca, &gateway, SECOND);
        dns.set(Mode::Addresses(ips(&[V6]), 600));
        reaches(&ca, &gateway, V6);
        // A long TTL ends the questions; max_ttl bounds it, by far not yet.
        let asked = dns.questions();
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(dns.questions(), asked);
    }
}

#[test]
fn the_last_good_answer_stays_while_dns_fails() {
    if inside("dns::the_last_good_answer_stays_while_dns_fails") {
        addresses();
        let ca = TestCa::new("ca");
        let dns = Dns::start(Mode::Addresses(ips(&[FIRST]), 0));
        let gateway = gateway(&ca, &dns);
        reaches(&ca, &gateway, FIRST);
        for mode in [Mode::ServerFailure, Mode::NoSuchName, Mode::Addresses(vec![], 0)] {
            dns.set(mode.clone());
            let asked = dns.questions();
            gateway.eventually("new questions", |_| dns.questions() >= asked + 2);
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(reached(&ca, &gateway).as_deref(), Some(FIRST), "{mode:?}");
        }
        dns.set(Mode::Silent);
        let asked = dns.questions();
        gateway.eventually("new questions", |_| dns.questions() > asked);
        assert_eq!(reached(&ca, &gateway).as_deref(), Some(FIRST));
        dns.set(Mode::Addresses(ips(&[SECOND]), 0));
        reaches(&ca, &gateway, SECOND);
    }
}

#[test]
fn a_slow_or_truncating_name_server_takes_nothing_away_and_other_routes_do_not_notice() {
    if inside(
        "dns::a_slow_or_truncating_name_server_takes_nothing_away_and_other_routes_do_not_notice",
    ) {
        addresses();
        let ca = TestCa::new("ca");
        let dns = Dns::start(Mode::Addresses(ips(&[FIRST]), 0));
        let gateway = gateway(&ca, &dns);
        reaches(&ca, &gateway, FIRST);
        let failures = "control_dns_resolutions_total{client=\"route\",result=\"error\"}";
        // Later than the resolver waits; then one that says only that its answer does not fit.
        let slow = Mode::Slow(Duration::from_secs(6), ips(&[SECOND]), 0);
        for mode in [slow, Mode::Truncated(ips(&[SECOND]), 0)] {
            let failed = gateway.metric(failures);
            dns.set(mode.clone());
            gateway.eventually("a failure", |gateway| {
                assert_eq!(named(&ca, gateway), "static");
                gateway.metric(failures) > failed
            });
            assert_eq!(reached(&ca, &gateway).as_deref(), Some(FIRST), "{mode:?}");
        }
        // What does not fit into UDP is asked for again over TCP.
        dns.serve_tcp();
        reaches(&ca, &gateway, SECOND);
        dns.set(Mode::Addresses(ips(&[FIRST]), 0));
        reaches(&ca, &gateway, FIRST);
    }
}

#[test]
fn half_an_answer_takes_no_endpoint_away() {
    if inside("dns::half_an_answer_takes_no_endpoint_away") {
        addresses();
        let ca = TestCa::new("ca");
        let dns = Dns::start(Mode::Addresses(ips(&[FIRST, V6]), 0));
        let gateway = gateway(&ca, &dns);
        let routes = |gateway: &Gateway| gateway.get("/routes");
        gateway.eventually("both", |gateway| {
            let routes = routes(gateway);
            routes.contains(FIRST) && routes.contains(V6)
        });
        dns.set(Mode::OnlyV6(ips(&[V6]), 0));
        let asked = dns.questions();
        gateway.eventually("new questions", |_| dns.questions() >= asked + 6);
        let routes = routes(&gateway);
        assert!(routes.contains(FIRST) && routes.contains(V6), "{routes}");
    }
}

#[test]
fn a_name_that_never_resolved_or_gives_loopback_only_has_no_endpoints() {
    let ca = TestCa::new("ca");
    let dns = Dns::start(Mode::NoSuchName);
    let mut gateway = gateway(&ca, &dns);
    let refused = |gateway: &mut Gateway| {
        refusal(&Client::new(&ca), gateway.address, &header_for(TARGET, None));
        gateway.expect("no_endpoints");
    };
    refused(&mut gateway);
    dns.set(Mode::Addresses(ips(&["127.0.0.1", "::1", "169.254.1.1", "224.0.0.1", "0.0.0.0"]), 0));
    gateway.line("the reason", |line| line["message"] == "address from DNS dropped");
    refused(&mut gateway);
}

#[test]
fn a_connection_opened_before_a_change_goes_on() {
    if inside("dns::a_connection_opened_before_a_change_goes_on") {
        addresses();
        let ca = TestCa::new("ca");
        let dns = Dns::start(Mode::Addresses(ips(&[FIRST]), 0));
        let mut gateway = gateway(&ca, &dns);
        reaches(&ca, &gateway, FIRST);
        let mut stream = Client::new(&ca).open(gateway.address, TARGET);
        assert_eq!(read_all(&mut stream), FIRST.as_bytes());
        for _ in 0..6 {
            gateway.outcome();
        }
        dns.set(Mode::Addresses(ips(&[SECOND]), 0));
        gateway.eventually("the change", |gateway| gateway.get("/routes").contains(SECOND));
        crate::support::client::half_close(&mut stream);
        gateway.eventually("its end", |gateway| !gateway.get("/connections").contains(FIRST));
    }
}
