//! What the server serves: the built-in kinds that the gateway touches, and custom ones by their
//! CustomResourceDefinition. `http` finds the resource of a path here; `write` its rules.

use serde_json::{Value, json};

const RBAC: &str = "rbac.authorization.k8s.io";

/// How a kind is checked and defaulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ClusterRole,
    ClusterRoleBinding,
    ConfigMap,
    CoreEvent,
    Custom,
    CustomResourceDefinition,
    EndpointSlice,
    Endpoints,
    Event,
    Lease,
    Namespace,
    Node,
    Pod,
    Role,
    RoleBinding,
    Secret,
    Service,
    ServiceAccount,
}

/// One served version of a resource.
#[derive(Clone, Debug)]
pub struct Version {
    pub name: String,
    /// Whether `/status` is a resource of its own.
    pub has_status: bool,
    /// The OpenAPI schema of a custom resource; null for built-in ones.
    pub schema: Value,
}

/// A kind with its REST name.
#[derive(Clone, Debug)]
pub struct Resource {
    pub group: String,
    pub plural: String,
    pub kind: String,
    pub check: Kind,
    pub is_namespaced: bool,
    pub versions: Vec<Version>,
    /// Index in `versions` of the one that is stored.
    pub storage: usize,
    /// PUT creates what is missing.
    pub creates_on_update: bool,
    /// PUT without resourceVersion is accepted.
    pub updates_unconditionally: bool,
}

impl Resource {
    fn built_in(group: &str, plural: &str, check: Kind) -> Self {
        let kind = match check {
            Kind::CoreEvent => "Event".to_owned(),
            _ => format!("{check:?}"),
        };
        let has_status = matches!(
            check,
            Kind::CustomResourceDefinition
                | Kind::Namespace
                | Kind::Node
                | Kind::Pod
                | Kind::Service
        );
        let is_cluster_wide = matches!(
            check,
            Kind::ClusterRole
                | Kind::ClusterRoleBinding
                | Kind::CustomResourceDefinition
                | Kind::Namespace
                | Kind::Node
        );
        Self {
            group: group.into(),
            plural: plural.into(),
            kind,
            check,
            is_namespaced: !is_cluster_wide,
            versions: vec![Version { name: "v1".into(), has_status, schema: Value::Null }],
            storage: 0,
            creates_on_update: matches!(
                check,
                Kind::CoreEvent | Kind::Endpoints | Kind::Event | Kind::Lease | Kind::Service
            ),
            updates_unconditionally: check != Kind::Lease,
        }
    }

    /// The resource that a CustomResourceDefinition describes.
    ///
    /// # Panics
    /// When `crd` is none: the test is wrong.
    pub fn custom(crd: &Value) -> Self {
        assert!(crd["spec"]["versions"].is_array(), "no CRD: {crd}");
        let text = |value: &Value| value.as_str().expect("a string in the CRD").to_owned();
        let spec = &crd["spec"];
        let all = spec["versions"].as_array().expect("spec.versions");
        let stored = all.iter().find(|v| v["storage"] == true).expect("a storage version");
        let served: Vec<_> = all.iter().filter(|v| v["served"] == true).collect();
        let storage = served.iter().position(|v| v["name"] == stored["name"]);
        let version = |v: &&Value| Version {
            name: text(&v["name"]),
            has_status: v["subresources"]["status"].is_object(),
            schema: v["schema"]["openAPIV3Schema"].clone(),
        };
        Self {
            group: text(&spec["group"]),
            plural: text(&spec["names"]["plural"]),
            kind: text(&spec["names"]["kind"]),
            check: Kind::Custom,
            is_namespaced: spec["scope"] == "Namespaced",
            versions: served.iter().map(version).collect(),
            storage: storage.expect("a storage version that is served"),
            creates_on_update: false,
            updates_unconditionally: false,
        }
    }

    /// `links.multicluster.linkerd.io`, `services`: as messages name it, and the key in the store.
    pub fn qualified(&self) -> String {
        match self.group.is_empty() {
            true => self.plural.clone(),
            false => format!("{}.{}", self.plural, self.group),
        }
    }

    /// The `apiVersion` of objects of this version.
    pub fn api_version(&self, version: usize) -> String {
        match self.group.is_empty() {
            true => self.versions[version].name.clone(),
            false => format!("{}/{}", self.group, self.versions[version].name),
        }
    }
}

/// Everything that every server serves.
pub fn built_in() -> Vec<Resource> {
    vec![
        Resource::built_in("", "configmaps", Kind::ConfigMap),
        Resource::built_in("", "endpoints", Kind::Endpoints),
        Resource::built_in("", "events", Kind::CoreEvent),
        Resource::built_in("", "namespaces", Kind::Namespace),
        Resource::built_in("", "nodes", Kind::Node),
        Resource::built_in("", "pods", Kind::Pod),
        Resource::built_in("", "secrets", Kind::Secret),
        Resource::built_in("", "serviceaccounts", Kind::ServiceAccount),
        Resource::built_in("", "services", Kind::Service),
        Resource::built_in(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            Kind::CustomResourceDefinition,
        ),
        Resource::built_in("coordination.k8s.io", "leases", Kind::Lease),
        Resource::built_in("discovery.k8s.io", "endpointslices", Kind::EndpointSlice),
        Resource::built_in("events.k8s.io", "events", Kind::Event),
        Resource::built_in(RBAC, "clusterrolebindings", Kind::ClusterRoleBinding),
        Resource::built_in(RBAC, "clusterroles", Kind::ClusterRole),
        Resource::built_in(RBAC, "rolebindings", Kind::RoleBinding),
        Resource::built_in(RBAC, "roles", Kind::Role),
    ]
}

/// The CRD of Links with Linkerd's fields in three served versions: numbers are strings, the status
/// knows Linkerd's fields only and loses every other, and v1alpha1 has no status.
pub fn linkerd_links() -> Value {
    let selector = json!({ "type": "object", "properties": {
        "matchLabels": { "type": "object", "additionalProperties": { "type": "string" } },
        "matchExpressions": { "type": "array", "items": {
            "type": "object", "required": ["key", "operator"], "properties": {
                "key": { "type": "string" },
                "operator": { "type": "string",
                    "enum": ["In", "NotIn", "Exists", "DoesNotExist"] },
                "values": { "type": "array", "items": { "type": "string" } },
            },
        }},
    }});
    let strings = |names: &[&str]| -> Value {
        names.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" }))).collect()
    };
    let mut spec = strings(&[
        "targetClusterName",
        "targetClusterDomain",
        "targetClusterLinkerdNamespace",
        "clusterCredentialsSecret",
        "gatewayAddress",
        "gatewayPort",
        "gatewayIdentity",
    ]);
    let mut probe = strings(&["path", "port", "period"]);
    probe["failureThreshold"] = json!({ "type": "string", "default": "3" });
    probe["timeout"] = json!({ "type": "string", "format": "duration", "default": "30s" });
    spec["probeSpec"] = json!({ "type": "object", "properties": probe });
    spec["selector"] = selector.clone();
    spec["remoteDiscoverySelector"] = selector.clone();
    let first = spec.clone();
    spec["probeSpec"]["properties"]["period"]["format"] = "duration".into();
    spec["federatedServiceSelector"] = selector;
    let second = spec.clone();
    for list in ["excludedAnnotations", "excludedLabels"] {
        spec[list] = json!({ "type": "array", "items": { "type": "string" } });
    }
    let version = |name: &str, spec: Value, has_status: bool, is_storage: bool| {
        let mut properties = strings(&["apiVersion", "kind"]);
        properties["metadata"] = json!({ "type": "object" });
        properties["spec"] = json!({ "type": "object", "properties": spec });
        let mut version = json!({ "name": name, "served": true, "storage": is_storage });
        if has_status {
            properties["status"] = link_status(&strings);
            version["subresources"] = json!({ "status": {} });
        }
        version["schema"]["openAPIV3Schema"] =
            json!({ "type": "object", "properties": properties });
        version
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "links.multicluster.linkerd.io" },
        "spec": {
            "group": "multicluster.linkerd.io", "scope": "Namespaced",
            "names": { "kind": "Link", "plural": "links", "singular": "link" },
            "versions": [
                version("v1alpha1", first, false, false),
                version("v1alpha2", second, true, false),
                version("v1alpha3", spec, true, true),
            ],
        },
    })
}

fn link_status(strings: &dyn Fn(&[&str]) -> Value) -> Value {
    let reference = |defaults: bool| {
        let mut fields = strings(&["group", "kind", "name", "namespace"]);
        if defaults {
            fields["group"]["default"] = "core".into();
            fields["kind"]["default"] = "Service".into();
        }
        json!({ "type": "object", "properties": fields })
    };
    let mut condition = strings(&["type", "status", "reason", "message"]);
    for time in ["lastTransitionTime", "lastProbeTime"] {
        condition[time] = json!({ "type": "string", "format": "date-time" });
    }
    condition["localRef"] = reference(true);
    let services = json!({ "type": "array", "items": {
        "type": "object", "required": ["controllerName", "remoteRef"], "properties": {
            "controllerName": { "type": "string" },
            "remoteRef": reference(true),
            "conditions": { "type": "array", "items": {
                "type": "object", "properties": condition,
                "required": ["type", "status"],
            }},
        },
    }});
    json!({ "type": "object", "properties": {
        "mirrorServices": services, "federatedServices": services,
    }})
}
