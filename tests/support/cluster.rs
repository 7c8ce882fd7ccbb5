//! A cluster under test, by nothing but its public API: a real one as well as the fake one of
//! `support::kubernetes`. Blocking, like the tests.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::gateway::PATIENCE;

/// Kinds, with the path before the namespace and the plural.
const KINDS: &[(&str, &str, &str)] = &[
    ("ConfigMap", "/api/v1", "configmaps"),
    ("Endpoints", "/api/v1", "endpoints"),
    ("Event", "/api/v1", "events"),
    ("Namespace", "/api/v1", "namespaces"),
    ("Pod", "/api/v1", "pods"),
    ("Secret", "/api/v1", "secrets"),
    ("Service", "/api/v1", "services"),
    ("ServiceAccount", "/api/v1", "serviceaccounts"),
    ("EndpointSlice", "/apis/discovery.k8s.io/v1", "endpointslices"),
    ("ClusterRole", "/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    ("ClusterRoleBinding", "/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    ("Role", "/apis/rbac.authorization.k8s.io/v1", "roles"),
    ("RoleBinding", "/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    ("Lease", "/apis/coordination.k8s.io/v1", "leases"),
    ("Link", "/apis/multicluster.linkerd.io/v1alpha3", "links"),
    ("CustomResourceDefinition", "/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
];

/// How long controllers may take to finalize a namespace.
const FINALIZATION: Duration = Duration::from_secs(10);

/// One cluster.
pub struct Cluster {
    runtime: Runtime,
    client: Client,
    /// How it is reached.
    pub kubeconfig: String,
}

impl Cluster {
    /// The cluster of a kubeconfig's text.
    pub fn new(kubeconfig: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let client = runtime.block_on(async {
            let parsed = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
            let options = KubeConfigOptions::default();
            let mut config =
                Config::from_custom_kubeconfig(parsed, &options).await.expect("a context");
            config.default_retry = false;
            Client::try_from(config).expect("a client")
        });
        Self { runtime, client, kubeconfig: kubeconfig.to_owned() }
    }

    /// Creates an object.
    pub fn create(&self, object: &Value) -> Value {
        let kind = object["kind"].as_str().expect("a kind");
        let path = collection(kind, object["metadata"]["namespace"].as_str());
        self.send("POST", &path, Some(object)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Creates an object, or replaces what is there.
    pub fn apply(&self, object: &Value) -> Value {
        let (kind, namespace, name) = key(object);
        loop {
            let Some(old) = self.get(kind, namespace, name) else { return self.create(object) };
            let mut new = object.clone();
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
            if let Some(address) = old["spec"].get("clusterIP").filter(|_| kind == "Service") {
                new["spec"]["clusterIP"] = address.clone();
            }
            let path = object_path(kind, namespace, name);
            match self.send("PUT", &path, Some(&new)) {
                Ok(object) => return object,
                Err(error) if error.code == 409 => {}
                Err(error) => panic!("{path}: {error}"),
            }
        }
    }

    /// An object, if it is there.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let path = object_path(kind, namespace, name);
        match self.send("GET", &path, None) {
            Ok(object) => Some(object),
            Err(error) if error.code == 404 => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// All objects of a kind with these labels, of one namespace or of all (`""`).
    pub fn list(&self, kind: &str, namespace: &str, labels: &str) -> Vec<Value> {
        let mut path = collection(kind, Some(namespace).filter(|n| !n.is_empty()));
        if !labels.is_empty() {
            path.push_str("?labelSelector=");
            for byte in labels.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => {
                        path.push(char::from(byte));
                    }
                    byte => write!(path, "%{byte:02X}").expect("memory"),
                }
            }
        }
        match self.send("GET", &path, None) {
            Ok(list) => list["items"].as_array().cloned().unwrap_or_default(),
            Err(error) if error.code == 404 => Vec::new(),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Changes parts of an object (merge patch).
    pub fn patch(&self, kind: &str, namespace: &str, name: &str, patch: &Value) -> Value {
        let path = object_path(kind, namespace, name);
        self.send("PATCH", &path, Some(patch)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Deletes an object; false when it was not there.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> bool {
        let path = object_path(kind, namespace, name);
        match self.send("DELETE", &path, Some(&json!({ "propagationPolicy": "Background" }))) {
            Ok(_) => true,
            Err(error) if error.code == 404 => false,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Deletes namespaces, which must be empty of what the caller made. Where no controllers are at
    /// work nobody else finalizes them; where they are, they get the time to do so.
    pub fn delete_namespaces(&self, names: &[&str]) {
        for name in names {
            self.delete("Namespace", "", name);
        }
        let until = Instant::now() + FINALIZATION;
        for name in names {
            while let Some(mut namespace) = self.get("Namespace", "", name) {
                if Instant::now() > until {
                    namespace["spec"]["finalizers"] = json!([]);
                    let path = format!("{}/finalize", object_path("Namespace", "", name));
                    self.send("PUT", &path, Some(&namespace))
                        .unwrap_or_else(|error| panic!("{path}: {error}"));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// A kubeconfig for this cluster with a token of a service account.
    pub fn account(&self, namespace: &str, name: &str) -> String {
        let path = format!("{}/token", object_path("ServiceAccount", namespace, name));
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "expirationSeconds": 3600 },
        });
        let answer = self.send("POST", &path, Some(&request));
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut config: Value = serde_yaml_ng::from_str(&self.kubeconfig).expect("YAML");
        for user in config["users"].as_array_mut().expect("users") {
            user["user"] = json!({ "token": answer["status"]["token"] });
        }
        config.to_string()
    }

    /// Waits until this account may list objects of a kind in all namespaces: authorizers learn of
    /// new bindings by watches.
    pub fn wait_allowed(&self, kind: &str) {
        self.wait(&format!("the right to list {kind}"), |cluster| {
            match cluster.send("GET", &collection(kind, None), None) {
                Ok(_) => Some(()),
                Err(error) if error.code == 403 => None,
                Err(error) => panic!("{kind}: {error}"),
            }
        });
    }

    /// Waits until `find` finds something.
    pub fn wait<T>(&self, what: &str, find: impl Fn(&Self) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE + PATIENCE;
        loop {
            if let Some(found) = find(self) {
                return found;
            }
            assert!(Instant::now() < until, "{what} never came");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Refused> {
        let content = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = body.map_or_else(Vec::new, |body| serde_json::to_vec(body).expect("JSON"));
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .body(body)
            .expect("a request");
        match self.runtime.block_on(self.client.request::<Value>(request)) {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => {
                Err(Refused { code: status.code, message: status.message.clone() })
            }
            Err(error) => Err(Refused { code: 0, message: format!("{error:?}") }),
        }
    }
}

/// Why a server did not do it.
#[derive(Debug)]
struct Refused {
    code: u16,
    message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

fn key(object: &Value) -> (&str, &str, &str) {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    let text = |value: &'_ Value| value.as_str().is_some();
    assert!(text(&object["kind"]) && text(&metadata["name"]), "no object: {object}");
    (
        object["kind"].as_str().unwrap_or_default(),
        namespace,
        metadata["name"].as_str().unwrap_or_default(),
    )
}

fn collection(kind: &str, namespace: Option<&str>) -> String {
    let found = KINDS.iter().find(|(name, ..)| *name == kind);
    let (_, prefix, plural) = found.unwrap_or_else(|| panic!("{kind} is not listed here"));
    match namespace {
        Some(namespace) => format!("{prefix}/namespaces/{namespace}/{plural}"),
        None => format!("{prefix}/{plural}"),
    }
}

fn object_path(kind: &str, namespace: &str, name: &str) -> String {
    let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
    format!("{}/{name}", collection(kind, namespace))
}
