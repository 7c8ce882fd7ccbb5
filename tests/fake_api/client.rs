//! How the tests of the fake ask it: by single requests over plain HTTP, each on its own connection,
//! and by the client that the gateway uses.

use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::http::{run, runtime};
use crate::support::kubernetes::{FakeApi, Options, Rules, objects};

/// Longer than any answer takes that comes.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Of Services in the namespace that [`Plain::start`] makes.
pub const SERVICES: &str = "/api/v1/namespaces/test/services";
pub const JSON: &str = "application/json";
pub const MERGE: &str = "application/merge-patch+json";

/// A server over plain HTTP, with a token for everything and the namespace `test`.
pub struct Plain {
    pub api: FakeApi,
    pub token: String,
    /// Asked instead of it: a real server, whose answers to single requests must be the same.
    real: Option<kube::Client>,
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The object, if it is a success.
    pub fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.json()
    }

    /// Status, reason, message; the Status object must agree with the response.
    pub fn refusal(&self) -> (u16, String, String) {
        let status = self.json();
        assert_eq!(status["kind"], "Status", "{self:?}");
        assert_eq!(status["status"], "Failure", "{self:?}");
        assert_eq!(status["code"], self.status.as_u16(), "{self:?}");
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        (self.status.as_u16(), text("reason"), text("message"))
    }

    /// Status and reason.
    pub fn why(&self) -> (u16, String) {
        let (code, reason, _) = self.refusal();
        (code, reason)
    }

    /// The fields of a 422, each once.
    pub fn fields(&self) -> Vec<String> {
        assert_eq!(self.why(), (422, "Invalid".into()), "{self:?}");
        let status = self.json();
        let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
        let field = |cause: &Value| cause["field"].as_str().unwrap_or_default().to_owned();
        let mut fields: Vec<_> = causes.iter().map(field).collect();
        fields.dedup();
        fields
    }
}

impl Plain {
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let api = FakeApi::with(Options { is_plain: true, ..options });
        api.create(objects::namespace("test"));
        let token = api.token("admin", Rules::all());
        let real = std::env::var("APISERVER").ok().map(|file| {
            let text = std::fs::read_to_string(&file);
            client_of(&text.unwrap_or_else(|error| panic!("APISERVER={file}: {error}")))
        });
        let plain = Self { api, token, real };
        if plain.real.is_some() {
            plain.clean();
        }
        plain
    }

    /// A real server outlives a test.
    fn clean(&self) {
        self.post("/api/v1/namespaces", &objects::namespace("test"));
        for kind in ["configmaps", "endpoints", "secrets", "services"] {
            let all = format!("/api/v1/namespaces/test/{kind}");
            for object in self.get(&all).ok()["items"].as_array().into_iter().flatten() {
                let name = object["metadata"]["name"].as_str().expect("a name");
                self.delete(&format!("{all}/{name}"), &json!({})).ok();
            }
        }
    }

    /// Sends a request, and returns the answer's head and body to come.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: String,
    ) -> hyper::Result<Response<Incoming>> {
        let address = self.api.url().replace("http://", "");
        let tcp = TcpStream::connect(&address).await.expect("a connection");
        let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        // The connection goes on while its answer is read, and ends with it.
        runtime().spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", address)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", content_type);
        sender.send_request(request.body(Full::<Bytes>::from(body)).expect("a request")).await
    }

    /// A request as text, and its complete answer.
    pub fn text(&self, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
        if let Some(client) = &self.real {
            return ask(client, method, path, content_type, body);
        }
        run(async {
            let sent = self.send(method, path, content_type, body.to_owned());
            let response = timeout(PATIENCE, sent).await.expect("an answer").expect("an answer");
            let (head, body) = response.into_parts();
            let body = timeout(PATIENCE, body.collect()).await.expect("in time");
            let text = String::from_utf8(body.expect("whole").to_bytes().to_vec());
            Answer { status: head.status, headers: head.headers, text: text.expect("UTF-8") }
        })
    }

    pub fn get(&self, path: &str) -> Answer {
        self.text("GET", path, "", "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.text("POST", path, JSON, &body.to_string())
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.text("PUT", path, JSON, &body.to_string())
    }

    pub fn merge(&self, path: &str, patch: &Value) -> Answer {
        self.text("PATCH", path, MERGE, &patch.to_string())
    }

    pub fn delete(&self, path: &str, options: &Value) -> Answer {
        self.text("DELETE", path, JSON, &options.to_string())
    }

    /// A client as the gateway has one.
    pub fn client(&self) -> kube::Client {
        client(&self.api, &self.token)
    }

    /// Begins a watch.
    pub fn watch(&self, path: &str) -> Events {
        let response = run(self.send("GET", path, "", String::new())).expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        Events { body: response.into_body(), rest: Vec::new() }
    }
}

impl Deref for Plain {
    type Target = FakeApi;

    fn deref(&self) -> &FakeApi {
        &self.api
    }
}

/// A request of a real server, and its complete answer.
fn ask(client: &kube::Client, method: &str, path: &str, content: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("content-type", content);
    let request = request.body(kube::client::Body::from(body.as_bytes().to_vec()));
    run(async {
        let sent = client.send(request.expect("a request"));
        let response = timeout(PATIENCE, sent).await.expect("in time").expect("an answer");
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("whole").to_bytes().to_vec();
        let text = String::from_utf8(bytes).expect("UTF-8");
        Answer { status: head.status, headers: head.headers, text }
    })
}

/// A client by the kubeconfig of a token.
pub fn client(api: &FakeApi, token: &str) -> kube::Client {
    client_of(&api.kubeconfig(token))
}

fn client_of(kubeconfig: &str) -> kube::Client {
    run(async {
        let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.expect("a configuration");
        // Refusals are to be seen.
        config.default_retry = false;
        kube::Client::try_from(config).expect("a client")
    })
}

/// The lines of a watch.
pub struct Events {
    body: Incoming,
    rest: Vec<u8>,
}

impl Events {
    /// The next event, none at the end, `Err` if the stream breaks or ends within a line.
    pub fn try_next(&mut self) -> Result<Option<Value>, ()> {
        run(async {
            loop {
                if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.rest.drain(..=end).collect();
                    return Ok(Some(serde_json::from_slice(&line).expect("JSON")));
                }
                let frame = timeout(PATIENCE, self.body.frame()).await.expect("an event in time");
                match frame {
                    None if self.rest.is_empty() => return Ok(None),
                    None | Some(Err(_)) => return Err(()),
                    Some(Ok(frame)) => {
                        self.rest.extend_from_slice(&frame.into_data().unwrap_or(Bytes::new()));
                    }
                }
            }
        })
    }

    /// `ADDED web`, and the object.
    pub fn next(&mut self) -> (String, Value) {
        let event = self.try_next().expect("a whole stream").expect("an event");
        let object = event["object"].clone();
        let kind = event["type"].as_str().expect("a type");
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        (format!("{kind} {name}").trim_end().to_owned(), object)
    }

    /// The same without the object.
    pub fn line(&mut self) -> String {
        self.next().0
    }

    /// Whether nothing comes for a while.
    pub fn is_quiet(&mut self) -> bool {
        let wait = Duration::from_millis(300);
        run(async { timeout(wait, self.body.frame()).await.is_err() })
    }
}

/// A Service `web` with one port.
pub fn web() -> Value {
    objects::service("test", "web", &[("http", 80, 8080)])
}

/// A ConfigMap.
pub fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": "test", "name": name }, "data": { "a": "1" } })
}

/// Creates ConfigMaps of these names.
pub fn create_maps(api: &Plain, names: &[&str]) {
    for name in names {
        api.create(config_map(name));
    }
}
