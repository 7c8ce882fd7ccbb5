//! The ways in: header, server name, default, local port.

use std::io::Write;

use crate::TARGET;
use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, header_for, read_all, refusal};
use crate::support::gateway::{Builder, GATEWAY};

#[test]
fn plain_clients_are_routed_by_server_name_or_to_the_default() {
    let ca = TestCa::new("ca");
    let [web, other] = ["web", "other"].map(backend::named);
    let builder = Builder::new(&ca);
    ca.identity("web.example.com").write_to(&builder.path().join("web"));
    let mut gateway = builder
        .configure(&format!(
            "[[route]]\ntarget = \"{TARGET}\"\nendpoints = [\"{web}\"]\n\
             sni = [\"web.example.com\"]\ncertificate = \"web/tls.crt\"\nkey = \"web/tls.key\"\n\
             [[route]]\ntarget = \"other.test:1\"\nendpoints = [\"{other}\"]\ndefault = true"
        ))
        .start();
    let plain = Client::new(&ca).alpn(&[]);
    for (client, answer) in [
        (plain.clone().server_name("web.example.com"), "web"),
        (plain.clone().server_name("WEB.example.COM"), "web"),
        (plain.clone().server_name(GATEWAY), "other"),
        (plain.clone().alpn(&[b"h2", b"http/1.1"]).server_name("web.example.com"), "web"),
    ] {
        let mut stream = client.connect(gateway.address).expect("a handshake");
        assert_eq!(read_all(&mut stream), answer.as_bytes());
        drop(stream);
        gateway.outcome();
    }
    // A client with a header goes by its header, whatever its server name.
    let mut stream = Client::new(&ca).open(gateway.address, "other.test:1");
    assert_eq!(read_all(&mut stream), b"other");
}

#[test]
fn without_a_default_a_plain_client_of_an_unknown_name_is_refused() {
    let ca = TestCa::new("ca");
    let mut gateway = Builder::new(&ca).route(TARGET, &[backend::echo()]).start();
    refusal(&Client::new(&ca).alpn(&[]), gateway.address, b"hello");
    gateway.expect("unknown_target");
}

#[test]
fn a_header_without_a_name_reaches_listed_ports_only() {
    let ca = TestCa::new("ca");
    let (listed, unlisted) = (backend::named("local"), backend::named("hidden"));
    let mut gateway = Builder::new(&ca)
        .configure(&format!(
            "[gateway]\nlisten = [\"127.0.0.1:0\"]\nlocal_ports = [{}]",
            listed.port()
        ))
        .start();
    let client = Client::new(&ca);
    let mut stream = client.open(gateway.address, &format!(":{}", listed.port()));
    stream.write_all(b"x").expect("sent");
    assert_eq!(read_all(&mut stream), b"local");
    refusal(&client, gateway.address, &header_for(&format!(":{}", unlisted.port()), None));
    gateway.expect("local_port_refused");
}
