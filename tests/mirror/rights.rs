//! The manifests' rights suffice, and guides' roles that lack some still work.

use crate::support::kubernetes::{Rules, objects};
use crate::{APPS, Pair, SYSTEM};

const ACCOUNT: &str = "linkerd-multicluster/linkerd-gateway";
const MIRROR: &str = include_str!("../../config/kustomize/mirror/rbac.yaml");
const REMOTE: &str = include_str!("../../config/kustomize/remote-access/rbac.yaml");
/// What Linkerd's chart gives to remote mirrors, without EndpointSlices, as older ones do.
const LINKERD: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: remote }
rules:
  - apiGroups: ['']
    resources: [pods, endpoints, services]
    verbs: [get, list, watch]
  - apiGroups: ['']
    resources: [events]
    verbs: [create, patch]
";

fn with_rights(pair: &Pair, rules: Rules) {
    let kubeconfig = pair.east.kubeconfig(&pair.east.token("remote", rules));
    pair.west.apply(objects::credentials(SYSTEM, "cluster-credentials-east", &kubeconfig));
}

#[test]
fn the_manifests_rights_suffice() {
    let pair = Pair::new();
    let remote = "linkerd-multicluster/linkerd-gateway-remote-access";
    with_rights(&pair, Rules::of_account(REMOTE, remote));
    let service = pair.export("web");
    let shared = objects::service(APPS, "shared", &[("http", 80, 80)]);
    pair.east.create(objects::labelled(shared, "mirror.linkerd.io/federated", "member"));
    let builder = pair.builder_with(Rules::of_account(MIRROR, ACCOUNT));
    let mut mirror = pair.start_from(builder);
    pair.wait_ready("web-east", true);
    pair.west.wait_for("the federated Service", |west| {
        west.get("Service", APPS, "shared-federated").is_some()
    });
    pair.probe.answers(503);
    pair.wait_ready("web-east", false);
    pair.west.wait_for("an Event", |west| !west.events().is_empty());
    pair.west.wait_for("the status", |west| {
        let link = west.get("Link", SYSTEM, "east").expect("the Link");
        link["status"].to_string().contains("GatewayAlive")
    });
    pair.west.wait_for("the probe Service", |west| {
        west.get("Endpoints", SYSTEM, "probe-east").is_some()
    });
    // Races are looked at, and deletes.
    pair.west.delete("Endpoints", APPS, "web-east");
    pair.west.wait_for("the repair", |west| west.get("Endpoints", APPS, "web-east").is_some());
    let name = service["metadata"]["name"].as_str().expect("a name").to_owned();
    pair.east.delete("Service", APPS, &name);
    pair.west.wait_for("the end", |west| {
        west.get("Service", APPS, "web-east").is_none()
            && west.get("EndpointSlice", APPS, "web-east-ipv4").is_none()
    });
    mirror.signal("TERM");
    assert!(mirror.wait().success());
    assert_eq!(pair.west.denied(), []);
    assert_eq!(pair.east.denied(), []);
}

#[test]
fn without_the_right_to_list_slices_readiness_comes_from_endpoints() {
    let pair = Pair::new();
    with_rights(&pair, Rules::from_yaml(LINKERD, SYSTEM));
    let service = objects::exported(APPS, "web", &[("http", 80, 8080)]);
    pair.east.create(service.clone());
    pair.east.create(objects::endpoints(&service, &["10.1.1.1"]));
    let _mirror = pair.start();
    pair.wait_ready("web-east", true);
    pair.east.apply(objects::endpoints(&service, &[]));
    pair.west.wait_for("no address", |_| pair.addresses("web-east") == Some((vec![], vec![])));
}

#[test]
fn namespaces_that_cannot_be_listed_keep_what_exists_and_the_right_is_named() {
    let pair = Pair::without_link(true);
    let mut link = pair.link();
    link["spec"]["remoteDiscoverySelector"] =
        serde_json::json!({ "matchLabels": { "linkerd.io/is-remote-discovery": "true" } });
    pair.west.create(link);
    let namespace = objects::namespace(APPS);
    pair.east.apply(objects::labelled(namespace, "linkerd.io/is-remote-discovery", "true"));
    pair.export("web");
    let mirror = pair.start();
    pair.wait_ready("web-east", true);
    drop(mirror);
    with_rights(&pair, Rules::from_yaml(LINKERD, SYSTEM));
    pair.export("later");
    let mirror = pair.start();
    mirror.eventually("it is told", |mirror| mirror.get("/links").contains("list namespaces"));
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(pair.west.get("Service", APPS, "web-east").is_some(), "kept");
    assert!(pair.west.get("Service", APPS, "later-east").is_none(), "nothing new");
}
