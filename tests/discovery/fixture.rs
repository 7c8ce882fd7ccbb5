//! A cluster with pods that say where they are reached, and a gateway that looks at it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::certs::TestCa;
use crate::support::client::{Client, Stream, header_for};
use crate::support::gateway::{Builder, Gateway};
use crate::support::kubernetes::{FakeApi, Rules, objects};
use crate::support::namespace::run;

/// Addresses of pods.
pub const FIRST: &str = "10.77.0.1";
pub const SECOND: &str = "10.77.0.2";
pub const V6: &str = "fd77::1";
/// Where all pods listen.
pub const PORT: u16 = 8080;
/// The exported Service of most tests.
pub const WEB: &str = "web.test.svc.cluster.local:80";

const RBAC: &str = include_str!("../../config/kustomize/kubernetes-discovery/rbac.yaml");

/// Gives this namespace the addresses of pods. Each says which one was reached, and then echoes.
pub fn pods() {
    for address in [FIRST, SECOND] {
        run(&format!("ip addr add {address}/32 dev lo"));
    }
    run(&format!("ip addr add {V6}/128 dev lo nodad"));
    let listener = TcpListener::bind(("::", PORT)).expect("free");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let reached = stream.local_addr().expect("bound").ip().to_canonical();
                let _ = stream.write_all(format!("{reached}\n").as_bytes());
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
}

/// A cluster with the namespace `test`.
pub fn cluster() -> FakeApi {
    let api = FakeApi::start();
    api.create(objects::namespace("test"));
    api
}

/// The Service behind [`WEB`] without its label.
pub fn service() -> Value {
    objects::service("test", "web", &[("http", 80, PORT)])
}

/// The same, exported.
pub fn exported() -> Value {
    objects::exported("test", "web", &[("http", 80, PORT)])
}

/// Exports it, with these addresses behind.
pub fn export(api: &FakeApi, addresses: &[&str]) {
    api.apply(exported());
    api.apply(objects::slice(&exported(), "1", addresses));
}

/// One endpoint of a slice, at an address, of a pod.
pub fn endpoint(address: &str, pod: Option<&Value>) -> Value {
    let mut endpoint = json!({ "addresses": [address], "conditions": { "ready": true } });
    if let Some(pod) = pod {
        let metadata = &pod["metadata"];
        endpoint["targetRef"] = json!({ "kind": "Pod", "namespace": metadata["namespace"],
            "name": metadata["name"], "uid": metadata["uid"] });
    }
    endpoint
}

/// A slice of a Service with these endpoints.
pub fn slice(service: &Value, endpoints: Vec<Value>) -> Value {
    let first = endpoints[0]["addresses"][0].as_str().expect("an address").to_owned();
    let mut slice = objects::slice(service, "1", &[&first]);
    slice["endpoints"] = endpoints.into();
    slice
}

/// A gateway that looks at `api`, with exactly the rights of the manifests, not yet ready.
pub fn builder(ca: &TestCa, api: &FakeApi, kubernetes: &str) -> Builder {
    let rules = Rules::of_account(RBAC, "linkerd-multicluster/linkerd-gateway");
    let token = api.token("gateway", rules);
    let builder = Builder::new(ca);
    std::fs::write(builder.path().join("kubeconfig"), api.kubeconfig(&token)).expect("written");
    builder.configure(&format!(
        "[kubernetes]\nenabled = true\nkubeconfig = \"kubeconfig\"\n{kubernetes}"
    ))
}

/// The same, started and ready.
pub fn start(ca: &TestCa, api: &FakeApi) -> Gateway {
    let gateway = builder(ca, api, "").start();
    ready(&gateway);
    gateway
}

/// Waits until all gates are open.
pub fn ready(gateway: &Gateway) {
    gateway.eventually("readiness", |gateway| gateway.request("GET", "/ready").0 == 200);
}

/// An open connection, and the address of the pod at its other end.
pub struct Open {
    stream: BufReader<Stream>,
    pub pod: String,
}

impl Open {
    /// `None` when it is refused.
    pub fn to(ca: &TestCa, gateway: &Gateway, target: &str) -> Option<Self> {
        let mut stream = Client::new(ca).connect(gateway.address).ok()?;
        stream.write_all(&header_for(target, None)).and_then(|()| stream.flush()).ok()?;
        let mut stream = BufReader::new(stream);
        let mut pod = String::new();
        stream.read_line(&mut pod).ok()?;
        (!pod.is_empty()).then(|| Self { stream, pod: pod.trim_end().to_owned() })
    }

    /// Whether the pod still answers.
    pub fn is_alive(&mut self) -> bool {
        let sent = self.stream.get_mut().write_all(b"hello");
        let sent = sent.and_then(|()| self.stream.get_mut().flush());
        sent.is_ok() && self.stream.read_exact(&mut [0; 5]).is_ok()
    }
}

/// The pod that a connection to `target` reaches; empty when it is refused.
pub fn reached(ca: &TestCa, gateway: &Gateway, target: &str) -> String {
    Open::to(ca, gateway, target).map(|open| open.pod).unwrap_or_default()
}

/// Waits until connections to `target` reach this pod; an empty one stands for a refusal.
pub fn reaches(ca: &TestCa, gateway: &Gateway, target: &str, pod: &str) {
    let is = |gateway: &Gateway| reached(ca, gateway, target) == pod;
    gateway.eventually(&format!("{target} at {pod:?}"), is);
}

/// The route of a target, as `/routes` shows it; null without one.
pub fn route(gateway: &Gateway, target: &str) -> Value {
    let routes: Value = serde_json::from_str(&gateway.get("/routes")).expect("JSON");
    let mut routes = routes.as_array().expect("a list").iter();
    routes.find(|route| route["target"] == target).cloned().unwrap_or_default()
}

/// The addresses that a target leads to.
pub fn addresses(gateway: &Gateway, target: &str) -> Vec<String> {
    let route = route(gateway, target);
    let endpoints = route["endpoints"].as_array().into_iter().flatten();
    endpoints.map(|e| e["address"].as_str().expect("text").to_owned()).collect()
}

/// Waits until a target leads to exactly these addresses.
pub fn leads_to(gateway: &Gateway, target: &str, expected: &[&str]) {
    let leads = |gateway: &Gateway| addresses(gateway, target) == expected;
    gateway.eventually(&format!("{target} at {expected:?}"), leads);
}

/// The access-log lines of connections to a target that ended so.
pub fn outcomes(gateway: &Gateway, outcome: &str) -> Vec<Value> {
    let is_it = |line: &Value| line["target"] == "access" && line["outcome"] == outcome;
    gateway.lines().into_iter().filter(is_it).collect()
}

/// The first line of a connection that ended so.
pub fn ended(gateway: &Gateway, outcome: &str) -> Value {
    gateway.line(outcome, |line| line["target"] == "access" && line["outcome"] == outcome)
}

/// The manifests suffice: nothing was asked for that they do not allow.
pub fn nothing_was_denied(api: &FakeApi) {
    let denied: Vec<_> =
        api.denied().into_iter().map(|(user, access)| (user, format!("{access:?}"))).collect();
    assert_eq!(denied, []);
}
