//! Tokens and what they may do.

use serde_json::json;

use crate::client::{Plain, SERVICES, config_map, web};
use crate::support::kubernetes::rbac::documents;
use crate::support::kubernetes::{Rules, objects};

const MAPS: &str = "/api/v1/namespaces/test/configmaps";
const MANIFESTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: reader }
rules:
- { apiGroups: [""], resources: [services, namespaces], verbs: [get, list, watch] }
- { apiGroups: [multicluster.linkerd.io], resources: [links/status], verbs: [update, patch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: writer, namespace: test }
rules:
- { apiGroups: [""], resources: [configmaps], verbs: ["*"] }
- { apiGroups: [""], resources: [secrets], verbs: [get, list, watch], resourceNames: [mine] }
- { apiGroups: [coordination.k8s.io], resources: [leases], verbs: [update] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: writer, namespace: test }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: writer }
subjects: [{ kind: ServiceAccount, name: gateway, namespace: mc }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: reader, namespace: test }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader }
subjects: [{ kind: ServiceAccount, name: gateway, namespace: mc }]
"#;

/// A server that is asked with the permissions of `rules`.
fn limited(rules: Rules) -> Plain {
    let mut api = Plain::start();
    api.token = api.api.token("gateway", rules);
    api
}

#[test]
fn who_is_unknown_is_refused() {
    let mut api = Plain::start();
    let known = std::mem::replace(&mut api.token, "guess".into());
    assert_eq!(api.get(SERVICES).why(), (401, "Unauthorized".into()));
    assert_eq!(api.get("/version").why().0, 401);
    api.token = known.clone();
    api.get(SERVICES).ok();
    api.revoke(&known);
    assert_eq!(api.get(SERVICES).why(), (401, "Unauthorized".into()));
    assert_eq!(api.unauthorized(), 3);
}

#[test]
fn a_refusal_names_verb_and_resource_and_is_recorded() {
    let api = limited(Rules::from_yaml(MANIFESTS, "default"));
    let (code, reason, message) = api.post(SERVICES, &web()).refusal();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    let expected = "services is forbidden: User \"gateway\" cannot create resource \"services\" in \
                    API group \"\" in the namespace \"test\"";
    assert_eq!(message, expected);
    let (_, _, message) = api.get("/api/v1/nodes/a").refusal();
    assert!(message.starts_with("nodes \"a\" is forbidden"), "{message}");
    assert!(message.ends_with("at the cluster scope"), "{message}");
    let (_, _, message) = api.get("/apis/none.io/v1/things").refusal();
    assert!(message.starts_with("things.none.io is forbidden"), "also of what is not served");
    api.post(SERVICES, &web()).refusal();
    let denied = api.denied();
    let denied: Vec<_> =
        denied.iter().map(|(user, a)| (user.as_str(), a.verb, a.resource.as_str())).collect();
    let gateway = "gateway";
    assert_eq!(
        denied,
        [(gateway, "create", "services"), (gateway, "get", "nodes"), (gateway, "list", "things")]
    );
    api.reset_log();
    assert!(api.denied().is_empty() && api.list("Service").is_empty());
}

#[test]
fn a_role_holds_in_its_namespace() {
    let api = limited(Rules::from_yaml(MANIFESTS, "default"));
    api.get("/api/v1/services").ok();
    api.get("/api/v1/namespaces").ok();
    api.post(MAPS, &config_map("m")).ok();
    api.get(MAPS).ok();
    assert_eq!(api.get("/api/v1/namespaces/default/configmaps").why().0, 403);
    assert_eq!(api.get("/api/v1/configmaps").why().0, 403);
}

#[test]
fn one_name_is_listed_by_its_name_alone() {
    let api = limited(Rules::from_yaml(MANIFESTS, "default"));
    let secrets = "/api/v1/namespaces/test/secrets";
    assert_eq!(api.get(&format!("{secrets}/mine")).why().0, 404);
    assert_eq!(api.get(&format!("{secrets}/other")).why().0, 403);
    assert_eq!(api.get(secrets).why().0, 403);
    api.get(&format!("{secrets}?fieldSelector=metadata.name%3Dmine")).ok();
    assert_eq!(api.get(&format!("{secrets}?fieldSelector=metadata.name%3Dother")).why().0, 403);
    api.get(&format!("{secrets}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dmine"));
    let last = api.requests().pop().expect("a request");
    assert_eq!((last.access.verb, last.code), ("watch", 200));
}

#[test]
fn a_subresource_is_a_resource_and_a_creating_put_creates() {
    let api = limited(Rules::from_yaml(MANIFESTS, "default"));
    let link = "/apis/multicluster.linkerd.io/v1alpha3/namespaces/test/links/east";
    assert_eq!(api.merge(&format!("{link}/status"), &json!({})).why().0, 404);
    assert_eq!(api.merge(link, &json!({})).why().0, 403);
    let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "l" } });
    let leases = "/apis/coordination.k8s.io/v1/namespaces/test/leases";
    let (code, _, message) = api.put(&format!("{leases}/l"), &lease).refusal();
    assert_eq!(code, 403);
    assert!(message.contains("cannot create resource \"leases\""), "{message}");
}

#[test]
fn a_binding_gives_what_it_binds_where_it_lies() {
    let api = limited(Rules::of_account(MANIFESTS, "mc/gateway"));
    api.get(SERVICES).ok();
    api.get(MAPS).ok();
    assert_eq!(api.get("/api/v1/services").why().0, 403, "a ClusterRole bound in one namespace");
    let cluster = MANIFESTS.replace(
        "kind: RoleBinding\nmetadata: { name: reader, namespace: test }",
        "kind: ClusterRoleBinding\nmetadata: { name: reader }",
    );
    api.allow(&api.token, Rules::of_account(&cluster, "mc/gateway"));
    api.get("/api/v1/services").ok();
    let other = std::panic::catch_unwind(|| Rules::of_account(MANIFESTS, "mc/other"));
    assert!(other.is_err(), "an account to which nothing is bound is a mistake of the test");
}

#[test]
fn an_account_gets_a_token_with_the_rights_of_its_bindings() {
    let mut api = Plain::start();
    api.create(objects::namespace("mc"));
    for object in documents(MANIFESTS) {
        api.create(object);
    }
    let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": { "expirationSeconds": 3600 } });
    let path = "/api/v1/namespaces/mc/serviceaccounts/gateway/token";
    assert_eq!(api.post(path, &request).why(), (404, "NotFound".into()));
    api.create(json!({ "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "gateway", "namespace": "mc" } }));
    let answer = api.post(path, &request);
    assert_eq!(answer.status, 201);
    api.token = answer.json()["status"]["token"].as_str().expect("a token").to_owned();
    api.get(SERVICES).ok();
    api.get(MAPS).ok();
    let (code, _, message) = api.get("/api/v1/services").refusal();
    assert_eq!(code, 403);
    assert!(message.contains("User \"system:serviceaccount:mc:gateway\""), "{message}");
    assert_eq!(api.post(path, &request).why().0, 403);
}

#[test]
fn rules_add_up() {
    let api = limited(Rules::none().and(Rules::from_yaml(MANIFESTS, "default")));
    api.get(SERVICES).ok();
    api.allow(&api.token, Rules::none());
    assert_eq!(api.get(SERVICES).why().0, 403);
    api.get("/version").ok();
}
