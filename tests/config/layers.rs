//! Which layer wins, and what is merged, replaced or concatenated.

use std::time::Duration;

use linkerd_gateway::config::load::{Sources, load};
use linkerd_gateway::config::{EndpointSource, LogFormat};

use crate::support::{Directory, IDENTITY, settings, variables};

const MINIMAL: [(&str, &str); 3] = [
    ("LINKERD_GATEWAY_IDENTITY__CERTIFICATE", "c"),
    ("LINKERD_GATEWAY_IDENTITY__KEY", "k"),
    ("LINKERD_GATEWAY_IDENTITY__TRUST_ANCHORS", "a, b"),
];

#[test]
fn defaults_are_those_of_the_documentation() {
    let settings = settings(IDENTITY);
    assert!(settings.gateway.enabled && settings.log.access);
    assert!(!settings.gateway.require_transport_header);
    let [listener] = settings.gateway.listen.as_slice() else { panic!("one listener") };
    assert_eq!(listener.address, "[::]:4143".parse().expect("an address"));
    assert!(listener.proxy_protocol.is_empty() && settings.admin.proxy_protocol.is_empty());
    assert_eq!(settings.admin.listen, "[::]:4191".parse().expect("an address"));
    assert_eq!(settings.runtime.workers, None);
    assert_eq!(settings.gateway.local_address, None);
    assert!(settings.gateway.local_ports.is_empty() && settings.routes.is_empty());
    let limits = settings.limits;
    assert_eq!(limits.handshake_timeout, Duration::from_secs(5));
    assert_eq!(limits.connect_timeout, Duration::from_secs(1));
    assert_eq!(limits.connect_total_timeout, Duration::from_secs(3));
    assert_eq!(limits.keepalive, Duration::from_secs(10));
    assert_eq!(limits.tcp_user_timeout, Duration::from_secs(30));
    assert_eq!((settings.log.level.as_str(), settings.log.format), ("info", LogFormat::Text));
    assert!(settings.dns.servers.is_empty());
    assert_eq!(settings.dns.min_ttl, Duration::from_secs(5));
    assert_eq!(settings.dns.max_ttl, Duration::from_secs(300));
    assert_eq!(settings.identity.poll_interval, Duration::from_secs(5));
}

#[test]
fn later_layers_stand_over_earlier_ones() {
    let file =
        format!("{IDENTITY}[limits]\nhandshake_timeout = \"1s\"\nconnect_timeout = \"11ms\"");
    let directory = Directory::new(format!("{file}\nkeepalive = \"21s\"\n[log]\nlevel = \"warn\""));
    directory.write(
        "config.d/20-b.toml",
        "[limits]\nhandshake_timeout = \"3s\"\nconnect_timeout = \"13ms\"\n[log]\nlevel = \"debug\"",
    );
    directory.write("config.d/10-a.toml", "limits.handshake_timeout = \"2s\"");
    directory.write("config.d/30-c.toml.bak", "not read");
    directory.write("config.d/.40-d.toml", "not read");
    let mut sources = directory.sources();
    sources.environment = variables(&[
        ("LINKERD_GATEWAY_LIMITS__CONNECT_TIMEOUT", "14ms"),
        ("LINKERD_GATEWAY_LOG__LEVEL", "error"),
    ]);
    sources.flags = vec![("log.level".to_owned(), "trace".to_owned(), "--log")];
    let loaded = load(&sources).expect("correct");
    let limits = loaded.settings.limits;
    assert_eq!(limits.tcp_user_timeout, Duration::from_secs(30), "a default");
    assert_eq!(limits.keepalive, Duration::from_secs(21), "the file");
    assert_eq!(limits.handshake_timeout, Duration::from_secs(3), "the last of config.d");
    assert_eq!(limits.connect_timeout, Duration::from_millis(14), "the environment");
    assert_eq!(loaded.settings.log.level, "trace", "the flag");
    let names: Vec<_> = loaded.files.iter().filter_map(|f| f.file_name()?.to_str()).collect();
    assert_eq!(names, ["gateway.toml", "10-a.toml", "20-b.toml"]);
}

#[test]
fn plain_lists_are_replaced() {
    let directory = Directory::new(format!("{IDENTITY}[gateway]\nlocal_ports = [1, 2]"));
    directory.write("config.d/a.toml", "[gateway]\nlocal_ports = [3]");
    let loaded = load(&directory.sources()).expect("correct");
    let ports: Vec<_> = loaded.settings.gateway.local_ports.iter().map(|p| p.get()).collect();
    assert_eq!(ports, [3]);
}

#[test]
fn routes_and_trust_of_all_layers_count_in_order() {
    let route = |name: &str| format!("[[route]]\ntarget = \"{name}:1\"\ndns = \"{name}:1\"\n");
    let trust = |name: &str| {
        format!("[[identity.trust]]\nanchors = [\"{name}\"]\ntrust_domains = [\"{name}\"]\n")
    };
    let file = format!("{IDENTITY}{}{}{}", trust("t0"), route("a.x"), route("b.x"));
    let directory = Directory::new(file);
    directory.write("config.d/1.toml", format!("{}{}", route("c.x"), trust("t1")));
    // The same as an inline list.
    directory.write("config.d/2.toml", "route = [{ target = \"d.x:1\", dns = \"d.x:1\" }]");
    let mut sources = directory.sources();
    let inline = "[{ target = 'e.x:1', endpoints = ['127.0.0.1:1', { address = '[::1]:2' }] }]";
    sources.environment = variables(&[("LINKERD_GATEWAY_ROUTE", inline)]);
    let settings = load(&sources).expect("correct").settings;
    let targets: Vec<_> = settings.routes.iter().map(|r| r.target.to_string()).collect();
    assert_eq!(targets, ["a.x:1", "b.x:1", "c.x:1", "d.x:1", "e.x:1"]);
    let domains: Vec<_> = settings.identity.trust.iter().flat_map(|t| &t.trust_domains).collect();
    assert_eq!(domains, ["t0", "t1"]);
    let EndpointSource::Static(endpoints) = &settings.routes[4].endpoints else {
        panic!("static endpoints");
    };
    assert_eq!(endpoints.iter().map(|e| e.weight).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn no_file_is_needed() {
    let sources = Sources { environment: variables(&MINIMAL), ..Sources::default() };
    let loaded = load(&sources).expect("correct");
    assert!(loaded.files.is_empty());
    assert_eq!(loaded.settings.identity.trust_anchors.len(), 2);
}

#[test]
fn the_environment_can_name_the_file_and_a_flag_stands_over_it() {
    let named = Directory::new(format!("{IDENTITY}[log]\nlevel = \"debug\""));
    let path = named.file().display().to_string();
    let environment = variables(&[("LINKERD_GATEWAY_CONFIG", &path)]);
    let mut sources = Sources { environment, ..Sources::default() };
    assert_eq!(load(&sources).expect("correct").settings.log.level, "debug");
    let other = Directory::new(IDENTITY);
    sources.file = Some(other.file());
    assert_eq!(load(&sources).expect("correct").settings.log.level, "info");
}

#[test]
fn variables_take_lists_in_both_forms_and_every_kind() {
    let mut environment = variables(&MINIMAL);
    environment.extend(variables(&[
        ("LINKERD_GATEWAY_GATEWAY__LISTEN", "[::1]:1, 127.0.0.1:1"),
        ("LINKERD_GATEWAY_DNS__SERVERS", "[\"127.0.0.1:53\", \"[::1]:53\"]"),
        ("LINKERD_GATEWAY_GATEWAY__LOCAL_PORTS", "80,81"),
        ("LINKERD_GATEWAY_GATEWAY__REQUIRE_TRANSPORT_HEADER", "true"),
        ("LINKERD_GATEWAY_RUNTIME__WORKERS", "3"),
        // A name that only looks like a number stays a name.
        ("LINKERD_GATEWAY_IDENTITY__KEY", "0123"),
        ("UNRELATED", "x"),
    ]));
    let settings = load(&Sources { environment, ..Sources::default() }).expect("correct").settings;
    assert_eq!(settings.gateway.listen.len(), 2);
    assert_eq!(settings.dns.servers.len(), 2);
    assert_eq!(settings.gateway.local_ports.len(), 2);
    assert!(settings.gateway.require_transport_header);
    assert_eq!(settings.runtime.workers, Some(3));
    assert_eq!(settings.identity.key.to_str(), Some("0123"));
}

#[test]
fn a_pod_beside_the_gateways_own_service_starts() {
    let mut environment = variables(&MINIMAL);
    environment.extend(variables(&[
        ("LINKERD_GATEWAY_SERVICE_HOST", "10.96.0.7"),
        ("LINKERD_GATEWAY_SERVICE_PORT", "4143"),
        ("LINKERD_GATEWAY_SERVICE_PORT_MC_GATEWAY", "4143"),
        ("LINKERD_GATEWAY_PORT", "tcp://10.96.0.7:4143"),
        ("LINKERD_GATEWAY_PORT_4143_TCP", "tcp://10.96.0.7:4143"),
        ("LINKERD_GATEWAY_PORT_4143_TCP_PROTO", "tcp"),
        ("LINKERD_GATEWAY_PORT_4143_TCP_PORT", "4143"),
        ("LINKERD_GATEWAY_PORT_4143_TCP_ADDR", "10.96.0.7"),
    ]));
    load(&Sources { environment, ..Sources::default() }).expect("correct");
}

#[test]
fn a_repeated_flag_adds_to_its_list_and_replaces_the_files() {
    let directory = Directory::new(format!("{IDENTITY}[gateway]\nlisten = [\"127.0.0.1:1\"]"));
    let mut sources = directory.sources();
    let flag = |value: &str| ("gateway.listen".to_owned(), value.to_owned(), "--listen");
    sources.flags = vec![flag("127.0.0.1:2"), flag("127.0.0.1:3")];
    let listen = load(&sources).expect("correct").settings.gateway.listen;
    assert_eq!(listen.iter().map(|own| own.address.port()).collect::<Vec<_>>(), [2, 3]);
}
