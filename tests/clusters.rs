//! Two clusters, a gateway in one and a mirror in the other: the same stories on the fake API server,
//! and on real ones whose kubeconfigs are in WEST and EAST (`make test-cluster`).

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

#[path = "clusters/modes.rs"]
mod modes;
#[path = "clusters/pair.rs"]
mod pair;
#[path = "clusters/safety.rs"]
mod safety;
#[path = "clusters/story.rs"]
mod story;

use std::net::{IpAddr, UdpSocket};

use pair::Pair;
use support::cluster::Cluster;
use support::kubernetes::{FakeApi, Options, Rules};
use support::namespace::{inside, run, skip};

/// This machine within a test's own namespace.
const ADDRESS: &str = "10.78.0.1";

/// Runs a story between two fake servers, in a network namespace of its own, because API servers
/// accept no loopback addresses.
fn fake(test: &str, story: fn(&Pair)) {
    if !inside(test) {
        return;
    }
    run(&format!("ip addr add {ADDRESS}/32 dev lo"));
    // The CRD that the project ships: Linkerd's own takes no integers.
    let crd: serde_json::Value =
        serde_yaml_ng::from_str(include_str!("../config/crds/link.yaml")).expect("YAML");
    let start = || FakeApi::with(Options { crds: vec![crd.clone()], ..Options::default() });
    let servers = [start(), start()];
    let [west, east] =
        servers.each_ref().map(|server| server.kubeconfig(&server.token("test", Rules::all())));
    let address: IpAddr = ADDRESS.parse().expect("an address");
    story(&Pair::new(&west, &east, address, Box::new(servers)));
}

/// Runs a story between real servers.
fn real(test: &str, story: fn(&Pair)) {
    let kubeconfig = |name: &str| {
        let file = std::env::var(name).ok()?;
        Some(
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}={file}: {error}")),
        )
    };
    let (Some(west), Some(east)) = (kubeconfig("WEST"), kubeconfig("EAST")) else {
        skip(test, "needs two clusters: WEST and EAST name their kubeconfig files");
        return;
    };
    for kubeconfig in [&west, &east] {
        pair::install_crd(&Cluster::new(kubeconfig));
    }
    story(&Pair::new(&west, &east, own_address(), Box::new(())));
}

/// The address by which this machine reaches others. Nothing is sent.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let connected = socket.connect("198.51.100.1:9");
    connected.expect("this machine has a route, and with it an address that an API server accepts");
    socket.local_addr().expect("bound").ip()
}

macro_rules! stories {
    ($($module:ident :: $name:ident,)+) => {
        $(#[test]
        fn $name() {
            fake(stringify!($name), $module::$name);
        })+

        /// By `make test-cluster`, one after the other: they share the clusters.
        #[test]
        #[ignore = "needs two clusters: make test-cluster"]
        fn real_clusters() {
            $(real(stringify!($name), $module::$name);)+
        }
    };
}

stories! {
    modes::a_link_as_the_guides_write_it_works,
    modes::a_wrong_field_is_named_where_the_operator_looks,
    modes::flat_and_federated_services_have_labels_and_no_addresses,
    safety::a_foreign_service_is_never_touched,
    safety::a_killed_mirror_converges_when_it_is_back,
    story::an_exported_service_is_mirrored_reached_and_withdrawn,
}
