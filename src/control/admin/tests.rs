//! What is answered to whom, and the probe of a remote cluster over TLS.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::{Method, Request, Response, StatusCode, Version, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;

use super::answer::{answer, wants_body};
use super::body::{BodyError, MAX_BODY, Received, receive};
use super::*;
use crate::model::discovery::restriction::Restriction;
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::model::route::{Endpoint, Onward, Route, RouteTable, SessionMode};
use crate::model::service::{Port, Target};
use crate::state::CredentialsStatus;
use crate::state::connections::{Live, Stage};

const PRIVATE: [&str; 6] =
    ["/metrics", "/config_dump", "/certs", "/routes", "/connections", "/env.json"];
const NAME: &str = "gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";

fn admin() -> Arc<Admin> {
    Arc::new(Admin {
        state: Arc::default(),
        metrics: Metrics::new(),
        clock: || 1500,
        filter: None,
        shutdown: Some(CancellationToken::new()),
    })
}

fn request(method: Method, path: &str) -> Request<Received> {
    Request::builder().method(method).uri(path).body(Ok(Bytes::new())).expect("a request")
}

fn ask(admin: &Admin, peer: &str, method: Method, path: &str) -> Response<Full<Bytes>> {
    answer(admin, Scope::Full, peer.parse().expect("an address"), &request(method, path))
}

fn get(admin: &Admin, peer: &str, path: &str) -> (u16, String) {
    read(ask(admin, peer, Method::GET, path))
}

fn read(response: Response<Full<Bytes>>) -> (u16, String) {
    let status = response.status().as_u16();
    let waker = std::task::Waker::noop();
    let collected = std::pin::pin!(response.into_body().collect())
        .poll(&mut std::task::Context::from_waker(waker));
    let std::task::Poll::Ready(Ok(body)) = collected else { panic!("a body of one piece") };
    (status, String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8"))
}

fn json(admin: &Admin, path: &str) -> serde_json::Value {
    let (status, body) = get(admin, "::1", path);
    assert_eq!(status, 200);
    serde_json::from_str(&body).expect("JSON")
}

#[test]
fn off_loopback_only_probes_are_answered() {
    let admin = admin();
    for peer in ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "2001:db8::1", "0.0.0.0", "::"] {
        assert_eq!(get(&admin, peer, "/ready"), (200, "ready\n".into()), "{peer}");
        assert_eq!(get(&admin, peer, "/live"), (200, "live\n".into()), "{peer}");
        for path in PRIVATE.into_iter().chain(["/", "/nothing", "/ready/", "//ready", "/READY"]) {
            assert_eq!(get(&admin, peer, path).0, 403, "{peer} {path}");
            assert_eq!(ask(&admin, peer, Method::POST, path).status(), 403, "{peer} {path}");
        }
    }
    let metrics = admin.metrics.encode();
    assert!(metrics.contains("admin_requests_total{path=\"/metrics\",code=\"403\"} 12\n"));
    assert!(metrics.contains("admin_requests_total{path=\"other\",code=\"403\"} 60\n"));
}

#[test]
fn loopback_gets_everything_there_is() {
    let admin = admin();
    for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        for path in PRIVATE.into_iter().chain(["/ready", "/live"]) {
            assert_eq!(get(&admin, peer, path).0, 200, "{peer} {path}");
        }
        assert_eq!(get(&admin, peer, "/nothing").0, 404);
    }
    assert_eq!(get(&admin, "::1", "/config_dump?x=y").1, "{\"generation\":0,\"configuration\":{}}");
    assert!(get(&admin, "::1", "/metrics").1.ends_with("# EOF\n"));
}

#[test]
fn other_methods_are_refused_and_head_has_no_body() {
    let admin = admin();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::CONNECT] {
        let response = ask(&admin, "10.0.0.1", method, "/ready");
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
    }
    let response = ask(&admin, "10.0.0.1", Method::HEAD, "/ready");
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "6");
    assert_eq!(hyper::body::Body::size_hint(response.body()).exact(), Some(0));
}

#[test]
fn ready_names_every_closed_gate() {
    let admin = admin();
    let credentials = admin.state.readiness.latch("credentials");
    let worker = admin.state.readiness.heartbeat("worker 0");
    assert_eq!(
        get(&admin, "10.0.0.1", "/ready"),
        (503, "not ready\ncredentials\nworker 0\n".into())
    );
    worker.beat();
    assert_eq!(get(&admin, "::1", "/ready"), (503, "not ready\ncredentials\n".into()));
    let response = ask(&admin, "::1", Method::GET, "/ready");
    assert_eq!(response.headers()[header::CONNECTION], "close");
    credentials.open();
    assert_eq!(get(&admin, "::1", "/ready"), (200, "ready\n".into()));
}

#[test]
fn an_upgraded_request_gets_its_version_back() {
    let admin = admin();
    for (version, original, expected) in [
        (Version::HTTP_2, Some("HTTP/1.1"), true),
        (Version::HTTP_2, Some("HTTP/1.1; absolute-form"), true),
        (Version::HTTP_2, Some("gopher"), false),
        (Version::HTTP_2, None, false),
        (Version::HTTP_11, Some("HTTP/1.1"), false),
    ] {
        let mut request = request(Method::GET, "/ready");
        *request.version_mut() = version;
        if let Some(original) = original {
            request.headers_mut().insert("l5d-orig-proto", original.parse().expect("a value"));
        }
        let response = answer(&admin, Scope::Full, [10, 0, 0, 1].into(), &request);
        let returned = response.headers().get("l5d-orig-proto").map(|v| v.as_bytes());
        assert_eq!(returned, expected.then_some(&b"HTTP/1.1"[..]), "{version:?} {original:?}");
    }
}

#[test]
fn certs_say_how_loading_goes_before_there_are_any() {
    let admin = admin();
    admin.state.credentials_status.store(Arc::new(CredentialsStatus {
        loaded: 0,
        refused: 2,
        loaded_at: Some(std::time::UNIX_EPOCH),
        problem: Some("tls.crt: \"no\" certificate\n".into()),
    }));
    let certs = json(&admin, "/certs");
    assert!(certs["identity"].is_null() && certs["generation"].is_null());
    assert_eq!(certs["status"]["refused"], 2);
    assert_eq!(certs["status"]["loaded_at"], "1970-01-01T00:00:00Z");
    assert_eq!(certs["status"]["problem"], "tls.crt: \"no\" certificate\n");
    assert_eq!(certs["certificates"], serde_json::json!([]));
}

#[test]
fn routes_show_endpoints_and_ejections_on_our_clock() {
    let admin = admin();
    let endpoint = |onward| Arc::new(Endpoint::new(([10, 0, 0, 1], 80).into(), 3, onward));
    let identity = Identity::parse(NAME).expect("an identity");
    let port = Port::new(4143).expect("not 0");
    let endpoints = vec![endpoint(None), endpoint(Some(Onward { identity, port }))];
    endpoints[0].state.opened();
    // Ejected for a second at 1000; the clock stands at 1500.
    assert!((0..3).any(|_| endpoints[0].state.failed(1000)));
    let route = Route {
        sni: vec!["web.example".into()],
        default: true,
        session: SessionMode::Passthrough,
        restriction: Some(Arc::new(Restriction::parse("*.west, web.a").expect("valid"))),
        ..Route::new(Target::parse("web.demo.svc.c:80").expect("a target"), endpoints)
    };
    admin.state.routes.store(Arc::new(RouteTable::new(vec![route], &RouteTable::default())));
    assert_eq!(
        json(&admin, "/routes"),
        serde_json::json!([{
            "target": "web.demo.svc.c:80", "sni": ["web.example"], "default": true,
            "session": "passthrough", "proxy_protocol": false,
            "source": "static", "allowed_identities": ["*.west", "web.a"],
            "endpoints": [
                { "address": "10.0.0.1:80", "weight": 3, "tls_identity": null,
                  "open_connections": 1, "ejected": true },
                { "address": "10.0.0.1:4143", "weight": 3, "tls_identity": NAME,
                  "open_connections": 0, "ejected": false },
            ],
        }])
    );
}

#[test]
fn connections_show_what_is_known_of_each() {
    let admin = admin();
    let at = |port| ([10, 0, 0, 1], port).into();
    let live = admin.state.connections.register(at(5), at(4143), 1);
    let known = &json(&admin, "/connections")[0];
    assert_eq!((&known["stage"], &known["identity"]), (&"handshake".into(), &().into()));
    live.identified(Identity::parse(NAME).expect("an identity"));
    live.targeted(Target::parse("web.demo.svc.c:80").expect("a target"));
    live.connected(at(80));
    live.enter(Stage::Relay);
    live.bytes.add_from_client(7);
    assert_eq!(
        json(&admin, "/connections"),
        serde_json::json!([{
            "id": live.id, "peer": "10.0.0.1:5", "via": null, "local": "10.0.0.1:4143", "worker": 1,
            "stage": "relay", "identity": NAME, "target": "web.demo.svc.c:80",
            "endpoint": "10.0.0.1:80", "seconds": 0,
            "bytes_from_client": 7, "bytes_to_client": 0,
        }])
    );
    let session = live.http("2");
    live.enter(Stage::Http);
    session.started();
    session.started();
    session.ended();
    let known = &json(&admin, "/connections")[0];
    let http = serde_json::json!({ "version": "2", "streams": 1, "requests": 2 });
    assert_eq!((&known["stage"], &known["http"]), (&"http".into(), &http));
    live.proxied(at(9), at(10));
    let known = &json(&admin, "/connections")[0];
    assert_eq!((&known["peer"], &known["via"]), (&"10.0.0.1:9".into(), &"10.0.0.1:5".into()));
}

#[test]
fn an_operator_closes_one_connection_or_all_of_an_identity() {
    let admin = admin();
    let at = |port| ([10, 0, 0, 1], port).into();
    let register = |name: &str| {
        let live = admin.state.connections.register(at(5), at(4143), 1);
        live.identified(Identity::parse(name).expect("an identity"));
        live
    };
    let all = [register(NAME), register("spiffe://td/a"), register("spiffe://td/a")];
    let delete = |path: &str| read(ask(&admin, "::1", Method::DELETE, path));
    let is_cancelled = |live: &Arc<Live>| {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        std::pin::pin!(live.cancelled()).poll(&mut context)
    };
    for path in ["/connections", "/connections?", "/connections?identity", "/connections?id=0"] {
        let (status, body) = delete(path);
        assert_eq!(status, 400, "{path}");
        assert!(body.contains("DELETE /connections/<id>"), "{body}");
    }
    for both in ["/connections?identity=a.b&identity=c.d", "/connections?identity=*"] {
        assert_eq!(delete(both).0, 400, "{both}");
    }
    for unknown in ["/connections/99", "/connections/", "/connections/all", "/connections/0/1"] {
        assert_eq!(delete(unknown).0, 404, "{unknown}");
    }
    assert!(all.iter().all(|live| is_cancelled(live).is_pending()), "nothing was closed so far");
    assert_eq!(
        delete(&format!("/connections/{}", all[0].id)),
        (200, "{\"closed\":1}\n".to_owned())
    );
    assert_eq!(
        delete("/connections?identity=spiffe%3A%2F%2Ftd%2Fa"),
        (200, "{\"closed\":2}\n".to_owned())
    );
    assert_eq!(delete("/connections?identity=spiffe://td/b"), (200, "{\"closed\":0}\n".to_owned()));
    let cancelled = std::task::Poll::Ready(Outcome::ClosedByOperator);
    assert!(all.iter().all(|live| is_cancelled(live) == cancelled));
}

#[test]
fn each_path_says_which_methods_it_takes() {
    let admin = admin();
    for (method, path, allow) in [
        (Method::POST, "/connections", "GET, HEAD, DELETE"),
        (Method::GET, "/connections/1", "DELETE"),
        (Method::DELETE, "/proxy-log-level", "GET, HEAD, PUT"),
        (Method::GET, "/shutdown", "POST"),
        (Method::PUT, "/env.json", "GET, HEAD"),
    ] {
        let response = ask(&admin, "::1", method, path);
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()[header::ALLOW], allow, "{path}");
    }
    assert!(!admin.shutdown.as_ref().is_some_and(CancellationToken::is_cancelled));
}

#[test]
fn what_changes_something_is_for_loopback_only() {
    let admin = admin();
    for (method, path) in [
        (Method::DELETE, "/connections/0"),
        (Method::DELETE, "/connections?identity=a.b"),
        (Method::PUT, "/proxy-log-level"),
        (Method::POST, "/shutdown"),
    ] {
        let request = request(method, path);
        for scope in [Scope::Full, Scope::Metrics] {
            let answer = answer(&admin, scope, [10, 0, 0, 1].into(), &request);
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
            assert!(!wants_body(scope, [10, 0, 0, 1].into(), &request), "{path}");
        }
        let answer = answer(&admin, Scope::Metrics, [127, 0, 0, 1].into(), &request);
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert!(!admin.shutdown.as_ref().is_some_and(CancellationToken::is_cancelled));
    let metrics = admin.metrics.encode();
    assert!(metrics.contains("admin_requests_total{path=\"/shutdown\",code=\"403\"} 3\n"));
}

#[test]
fn shutdown_asks_once_and_only_where_it_is_configured() {
    let mut admin = admin();
    for _ in 0..2 {
        let answer = read(ask(&admin, "127.0.0.1", Method::POST, "/shutdown"));
        assert_eq!(answer, (200, "shutdown\n".to_owned()));
    }
    assert!(admin.shutdown.as_ref().is_some_and(CancellationToken::is_cancelled));
    Arc::get_mut(&mut admin).expect("one").shutdown = None;
    let answer = read(ask(&admin, "127.0.0.1", Method::POST, "/shutdown"));
    assert_eq!(answer, (404, "shutdown endpoint is not enabled\n".to_owned()));
    let answer = read(ask(&admin, "127.0.0.1", Method::PUT, "/proxy-log-level"));
    assert_eq!(answer, (404, "the log level cannot be changed\n".to_owned()));
}

#[test]
fn the_environment_is_json_and_nothing_else() {
    let admin = admin();
    let all = json(&admin, "/env.json");
    assert!(all["CARGO_MANIFEST_DIR"].is_string(), "{all}");
    let some = json(&admin, "/env.json?CARGO_MANIFEST_DIR&NO_SUCH_VARIABLE");
    assert_eq!(some["NO_SUCH_VARIABLE"], serde_json::Value::Null);
    assert_eq!(some.as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(get(&admin, "::1", "/env.json?A=B").0, 400);
    for (accept, status) in [("text/html", 406), ("text/html, */*;q=0.1", 200)] {
        let mut request = request(Method::GET, "/env.json");
        request.headers_mut().insert(header::ACCEPT, accept.parse().expect("a value"));
        let answer = answer(&admin, Scope::Full, [127, 0, 0, 1].into(), &request);
        assert_eq!(answer.status().as_u16(), status, "{accept}");
    }
}

#[tokio::test]
async fn a_body_is_bounded_in_size_and_time() {
    let whole = Bytes::from(vec![b'a'; MAX_BODY]);
    assert_eq!(receive(Full::new(whole.clone())).await, Ok(whole));
    let long = Bytes::from(vec![b'a'; MAX_BODY + 1]);
    assert_eq!(receive(Full::new(long)).await, Err(BodyError::TooLong));
    assert_eq!(receive(Never).await, Err(BodyError::TooSlow));
}

/// A body that never comes.
struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

/// A server and a client configuration with one self-signed certificate for [`NAME`].
fn tls() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let signed = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let certificate: CertificateDer<'static> = signed.cert.der().clone();
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = &[&rustls::version::TLS13];
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a pair");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("an anchor");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// Serves one connection to us as if it came from `peer`; returns our end of it.
async fn connect(peer: &str, tls: Option<Arc<ServerConfig>>, tracker: &TaskTracker) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let client = TcpStream::connect(address).await.expect("a connection");
    let (stream, _) = listener.accept().await.expect("a connection");
    let connection = Connection {
        scope: Scope::Full,
        admin: admin(),
        peer: peer.parse().expect("an address"),
        slot: Arc::new(Slots::new(1).enter()),
        stop: CancellationToken::new(),
        tracker: tracker.clone(),
    };
    tracker.spawn(connection.run(stream, tls));
    client
}

#[tokio::test]
async fn a_remote_clusters_probe_is_answered_over_tls_and_http2() {
    let (server, client) = tls();
    let tracker = TaskTracker::new();
    let stream = connect("10.0.0.1", Some(server), &tracker).await;
    let name = ServerName::try_from(NAME).expect("a name");
    let stream = tokio_rustls::TlsConnector::from(client).connect(name, stream).await;
    let io = TokioIo::new(stream.expect("a TLS connection"));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    tracker.spawn(connection);
    // The connection is kept: probe after probe on the same one, and what is not a probe is not
    // answered here either.
    for (path, status) in [("/ready", 200), ("/metrics", 403), ("/ready", 200)] {
        let request = Request::get(format!("http://probe:4191{path}"))
            .header("l5d-orig-proto", "HTTP/1.1")
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["l5d-orig-proto"], "HTTP/1.1");
    }
}

#[tokio::test]
async fn http1_over_tls_works_too() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (server, client) = tls();
    let tracker = TaskTracker::new();
    let stream = connect("10.0.0.1", Some(server), &tracker).await;
    let name = ServerName::try_from(NAME).expect("a name");
    let stream = tokio_rustls::TlsConnector::from(client).connect(name, stream).await;
    let mut stream = stream.expect("a TLS connection");
    let request = b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("written");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("a clean TLS end");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\nready\n"));
}

#[tokio::test]
async fn tls_without_credentials_is_closed_at_once() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let tracker = TaskTracker::new();
    let mut stream = connect("10.0.0.1", None, &tracker).await;
    stream.write_all(&[0x16, 3, 1]).await.expect("written");
    let end = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut [0])).await;
    assert!(matches!(end.expect("no wait"), Ok(0) | Err(_)));
}

#[test]
fn a_metrics_listener_shows_metrics_to_everyone_and_nothing_else_to_anyone() {
    let admin = admin();
    for (path, status) in
        [("/metrics", 200), ("/live", 200), ("/routes", 403), ("/config_dump", 403), ("/x", 403)]
    {
        for peer in [[10, 0, 0, 1], [127, 0, 0, 1]] {
            let answer = answer(&admin, Scope::Metrics, peer.into(), &request(Method::GET, path));
            assert_eq!(answer.status().as_u16(), status, "{path} {peer:?}");
        }
    }
}
