//! The service accounts of the manifests that the project ships, with exactly their rights: what is
//! tested runs by these, the tests themselves as the administrator.

use serde_json::Value;

use crate::pair::SYSTEM;
use crate::support::cluster::Cluster;
use crate::support::kubernetes::rbac::documents;

const DISCOVERY: &str = include_str!("../../config/kustomize/kubernetes-discovery/rbac.yaml");
const MIRROR: &str = include_str!("../../config/kustomize/mirror/rbac.yaml");
const REMOTE: &str = include_str!("../../config/kustomize/remote-access/rbac.yaml");
const SERVICE_ACCOUNT: &str = include_str!("../../config/kustomize/base/serviceaccount.yaml");
/// Of the manifests.
const NAMESPACE: &str = "linkerd-multicluster";
const GATEWAY: &str = "linkerd-gateway";
const REMOTE_ACCESS: &str = "linkerd-gateway-remote-access";

/// Kubeconfigs for the accounts of both clusters.
pub struct Accounts {
    /// West's mirror.
    pub mirror: String,
    /// East's gateway.
    pub gateway: String,
    /// In the Link's Secret.
    pub remote: String,
}

impl Accounts {
    /// Makes the accounts in two clusters that have the namespace [`SYSTEM`].
    pub fn make(west: &Cluster, east: &Cluster) -> Self {
        objects(&[SERVICE_ACCOUNT, MIRROR]).for_each(|object| drop(west.apply(&object)));
        objects(&[SERVICE_ACCOUNT, DISCOVERY, REMOTE]).for_each(|object| drop(east.apply(&object)));
        let accounts = Self {
            mirror: west.account(SYSTEM, GATEWAY),
            gateway: east.account(SYSTEM, GATEWAY),
            remote: east.account(SYSTEM, REMOTE_ACCESS),
        };
        for kubeconfig in [&accounts.mirror, &accounts.gateway, &accounts.remote] {
            Cluster::new(kubeconfig).wait_allowed("Service");
        }
        accounts
    }

    /// Removes what they leave.
    pub fn remove(cluster: &Cluster) {
        for object in objects(&[SERVICE_ACCOUNT, MIRROR, DISCOVERY, REMOTE]) {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            let kind = object["kind"].as_str().expect("a kind");
            cluster.delete(kind, text("namespace"), text("name"));
        }
    }
}

/// The manifests' objects in the tests' namespace, under names that meet no installed ones.
fn objects(manifests: &[&str]) -> impl Iterator<Item = Value> {
    let all: Vec<_> = manifests.iter().flat_map(|manifest| documents(manifest)).collect();
    all.into_iter().map(|mut object| {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if kind.starts_with("ClusterRole") {
            rename(&mut object["metadata"]["name"]);
        } else {
            object["metadata"]["namespace"] = SYSTEM.into();
        }
        if object["roleRef"]["kind"] == "ClusterRole" {
            rename(&mut object["roleRef"]["name"]);
        }
        for subject in object["subjects"].as_array_mut().into_iter().flatten() {
            assert_eq!(subject["namespace"], NAMESPACE);
            subject["namespace"] = SYSTEM.into();
        }
        object
    })
}

fn rename(name: &mut Value) {
    *name = format!("lgw-test-{}", name.as_str().expect("a name")).into();
}
