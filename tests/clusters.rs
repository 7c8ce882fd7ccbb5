//! Two clusters, a gateway in one and a mirror in the other: the same stories on the fake API server,
//! and on real ones whose kubeconfigs are in WEST and EAST (`make test-cluster`).

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

#[path = "clusters/accounts.rs"]
mod accounts;
#[path = "clusters/modes.rs"]
mod modes;
#[path = "clusters/pair.rs"]
mod pair;
#[path = "clusters/safety.rs"]
mod safety;
#[path = "clusters/story.rs"]
mod story;

use std::net::{IpAddr, UdpSocket};
use std::process::Command;

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

/// Runs stories between real servers, one after the other: they share the clusters.
fn real(stories: &[fn(&Pair)]) {
    let kubeconfig = |name: &str| {
        let file = std::env::var(name).ok()?;
        Some(
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}={file}: {error}")),
        )
    };
    let (Some(west), Some(east)) = (kubeconfig("WEST"), kubeconfig("EAST")) else {
        skip("real_clusters", "needs two clusters: WEST and EAST name their kubeconfig files");
        return;
    };
    let clusters = [&west, &east].map(|kubeconfig| Cluster::new(kubeconfig));
    let installed = clusters.each_ref().map(pair::install_crd);
    for story in stories {
        story(&Pair::new(&west, &east, own_address(), Box::new(())));
    }
    for (cluster, installed) in clusters.iter().zip(installed) {
        pair::leave(cluster, installed);
    }
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

        /// By `make test-cluster`.
        #[test]
        #[ignore = "needs two clusters: make test-cluster"]
        fn real_clusters() {
            real(&[$($module::$name),+]);
        }
    };
}

stories! {
    modes::a_link_as_the_guides_write_it_works,
    modes::a_wrong_field_is_named_where_the_operator_looks,
    modes::flat_and_federated_services_have_labels_and_no_addresses,
    safety::a_foreign_service_is_never_touched,
    safety::a_killed_mirror_converges_when_it_is_back,
    safety::a_mirror_that_was_made_something_else_is_made_a_mirror_again,
    safety::a_steady_state_is_left_alone,
    story::an_exported_service_is_mirrored_reached_and_withdrawn,
}

/// `make test-cluster` between two servers that are not in its process, have no Links yet, and one of
/// which has no controllers.
#[test]
fn the_suite_for_real_clusters_runs_and_leaves_nothing() {
    if !inside("the_suite_for_real_clusters_runs_and_leaves_nothing") {
        return;
    }
    run(&format!("ip addr add {ADDRESS}/32 dev lo"));
    run(&format!("ip route add default dev lo src {ADDRESS}"));
    let directory = tempfile::TempDir::new().expect("a directory");
    let start = |name: &str, has_controllers| {
        let options = Options { crds: Vec::new(), has_controllers, ..Options::default() };
        let server = FakeApi::with(options);
        let kubeconfig = server.kubeconfig(&server.token("test", Rules::all()));
        let file = directory.path().join(name);
        std::fs::write(&file, kubeconfig).expect("written");
        (server, file)
    };
    let ((west, west_file), (east, east_file)) = (start("west", true), start("east", false));
    let before = [&west, &east].map(|server| server.names("Namespace", ""));
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args(["--ignored", "--exact", "real_clusters", "--nocapture"])
        .envs([("WEST", west_file), ("EAST", east_file), ("REQUIRE_ALL", "1".into())])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (server, before) in [&west, &east].into_iter().zip(before) {
        assert_eq!(server.names("Namespace", ""), before);
        assert_eq!(server.names("CustomResourceDefinition", ""), Vec::<String>::new());
        let of_stories = ["Service", "Endpoints", "EndpointSlice", "Secret", "Lease"];
        let of_accounts = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role"];
        for kind in of_stories.into_iter().chain(of_accounts) {
            assert_eq!(server.names(kind, ""), Vec::<String>::new(), "{kind}");
        }
    }
}
