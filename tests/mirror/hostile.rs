//! Other clusters that mean harm, servers that hang, and what must not be told.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::kubernetes::{Fault, Matcher, Rules, Times, objects};
use crate::{APPS, Pair, SYSTEM};

#[test]
fn a_broken_answer_about_a_secret_puts_nothing_of_it_into_the_log() {
    let pair = Pair::new();
    pair.export("web");
    let secrets = Matcher::new("list", "secrets");
    pair.west.inject(secrets, Fault::Truncated, Times::Next(3));
    let mirror = pair.start();
    pair.wait_ready("web-east", true);
    let secret = pair.west.get("Secret", SYSTEM, "cluster-credentials-east").expect("the Secret");
    let encoded = secret["data"]["kubeconfig"].as_str().expect("base64");
    let told = format!("{:?}{}", mirror.lines(), mirror.get("/links"));
    assert!(!told.contains(&encoded[..40]), "the kubeconfig was told");

    // A token where a kubeconfig should be.
    let token = "eyJhbGciOiJSUzI1NiJ9.secret";
    pair.west.apply(objects::credentials(SYSTEM, "cluster-credentials-east", token));
    mirror.eventually("it is told", |mirror| mirror.get("/links").contains("KubeconfigInvalid"));
    pair.west.wait_for("the condition", |west| {
        let link = west.get("Link", SYSTEM, "east").expect("the Link");
        link["status"]["conditions"].to_string().contains("KubeconfigInvalid")
    });
    let link = pair.west.get("Link", SYSTEM, "east").expect("the Link");
    // A token with an end of line: refused, not a panic of the Link's task.
    let kubeconfig = pair.east.kubeconfig(&format!("{token}\n"));
    pair.west.apply(objects::credentials(SYSTEM, "cluster-credentials-east", &kubeconfig));
    mirror.eventually("the line's end is told", |mirror| {
        mirror.get("/links").contains("characters that no HTTP header may have")
    });
    assert_eq!(mirror.metric("gateway_task_restarts_total{task=\"mirror_link\"}"), 0.0);
    let paths = ["/links", "/config_dump", "/metrics", "/env.json"].map(|path| mirror.get(path));
    let told = format!("{:?}{paths:?}{link}{:?}", mirror.lines(), pair.west.events());
    assert!(!told.contains(token) && !told.contains(&encoded[..40]), "a secret was told");
}

/// Answers every request with `begin`, and then with `more` for ever.
fn endless(begin: &'static str, more: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let more = more.clone();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
                let _ = stream.write_all(format!("{head}{begin}").as_bytes());
                while stream.write_all(&more).is_ok() {}
            });
        }
    });
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{ "name": "x", "cluster": { "server": format!("http://{address}") } }],
        "contexts": [{ "name": "x", "context": { "cluster": "x", "user": "x" } }],
        "users": [{ "name": "x", "user": { "token": "t" } }],
    });
    kubeconfig.to_string()
}

#[test]
fn an_answer_without_end_fills_no_memory_and_delays_no_other_link() {
    let text = endless("{\"a\":\"", vec![b'a'; 1 << 16]);
    // What takes three bytes here takes hundreds where it is read.
    let objects = endless("{\"metadata\":{},\"items\":[{}", b",{}".repeat(1 << 14));
    for kubeconfig in [text, objects] {
        let pair = Pair::new();
        let secret = objects::credentials(SYSTEM, "cluster-credentials-endless", &kubeconfig);
        pair.west.create(secret);
        pair.west.create(objects::link(SYSTEM, "endless", "192.0.2.1", 4143));
        let mirror = pair.start();
        pair.export("web");
        pair.wait_ready("web-east", true);
        mirror.eventually("it is told", |mirror| mirror.get("/links").contains("is too large"));
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            let memory = mirror.metric("process_resident_memory_bytes");
            // Four lists at once, each as long as an answer may be, and what the process has anyway.
            assert!(memory < f64::from(4 * 256 + 200) * f64::from(1 << 20), "{memory} bytes");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn what_another_cluster_writes_is_copied_only_under_a_mirror_s_own_name_and_without_power() {
    let pair = Pair::new();
    pair.west.create(objects::service(APPS, "bank", &[("http", 1, 1)]));
    let mut service = objects::exported(APPS, "web", &[("http", 80, 8080)]);
    for (key, value) in [
        ("mirror.linkerd.io/cluster-name", "west"),
        ("mirror.linkerd.io/headless-mirror-svc-name", "bank"),
        ("multicluster.linkerd.io/remote-discovery", "west"),
        ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io"),
        ("kubernetes.io/service-name", "bank"),
    ] {
        service = objects::labelled(service, key, value);
    }
    let members = "multicluster.linkerd.io/remote-discovery";
    service = objects::annotated(service, members, "bank@west");
    service["spec"]["externalIPs"] = json!(["192.0.2.7"]);
    service["spec"]["type"] = "LoadBalancer".into();
    pair.east.create(service.clone());
    pair.east.create(objects::slice(&service, "1", &["10.1.1.1"]));
    let _mirror = pair.start();
    pair.wait_ready("web-east", true);
    let copy = pair.west.get("Service", APPS, "web-east").expect("a mirror");
    let labels = json!({ "mirror.linkerd.io/mirrored-service": "true",
        "mirror.linkerd.io/cluster-name": "east" });
    assert_eq!(copy["metadata"]["labels"], labels);
    assert!(copy["metadata"]["annotations"][members].is_null(), "{copy}");
    let spec = &copy["spec"];
    assert!(spec["externalIPs"].is_null() && spec["selector"].is_null(), "{copy}");
    assert_eq!(spec["type"], "ClusterIP");
    let slice = pair.west.get("EndpointSlice", APPS, "web-east-ipv4").expect("a slice");
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "web-east");
    let created = pair.west.writes().into_iter().filter(|write| write.code == 201);
    let names = created.filter_map(|write| {
        let name = write.body["metadata"]["name"].as_str().map(str::to_owned);
        name.filter(|_| write.access.namespace == APPS)
    });
    for name in names {
        assert!(name.starts_with("web-east"), "{name}");
    }
}

#[test]
fn it_stops_in_time_although_both_api_servers_hang() {
    let pair = Pair::new();
    pair.export("web");
    let mut mirror = pair.start();
    pair.wait_ready("web-east", true);
    pair.west.inject(Matcher::any(), Fault::Hang, Times::Always);
    pair.east.inject(Matcher::any(), Fault::Hang, Times::Always);
    pair.export("later");
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    mirror.signal("TERM");
    assert!(mirror.wait().success());
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

#[test]
fn links_that_come_and_go_leave_no_connection_task_or_series() {
    let pair = Pair::without_link(true);
    let mirror = pair.start();
    let kubeconfig = pair.east.kubeconfig(&pair.east.token("many", Rules::all()));
    let many: Vec<_> = (0..25).map(|index| format!("many-{index}")).collect();
    for name in &many {
        let secret = format!("cluster-credentials-{name}");
        pair.west.create(objects::credentials(SYSTEM, &secret, &kubeconfig));
    }
    let open = pair.east.open();
    // Connections to our own server rest in the client's pool for a while after a burst.
    let files = || {
        mirror.metric("process_open_fds") - f64::from(u32::try_from(pair.west.open()).expect("few"))
    };
    let before = files();
    for _ in 0..4 {
        for name in &many {
            pair.west.create(objects::link(SYSTEM, name, "192.0.2.1", 4143));
        }
        mirror.eventually("all work", |mirror| {
            let links: serde_json::Value =
                serde_json::from_str(&mirror.get("/links")).expect("JSON");
            let links = links["links"].as_array().cloned().unwrap_or_default();
            let works = |link: &serde_json::Value| link["target"]["status"] == "True";
            links.len() == many.len() && links.iter().all(works)
        });
        for name in &many {
            pair.west.delete("Link", SYSTEM, name);
        }
    }
    mirror.eventually("they are shown no more", |mirror| !mirror.get("/links").contains("many-"));
    // Linkerd's counters and its latency stay when a Link goes, and their number is bounded.
    let stays = ["gateway_latency{", "gateway_probes{", "service_mirror_endpoint_repairs{"];
    mirror.eventually("its series go", |mirror| {
        let text = mirror.get("/metrics");
        let mut left = text.lines().filter(|line| line.contains("many-"));
        left.all(|line| {
            line.starts_with("mirror_writes_total{") || stays.iter().any(|s| line.starts_with(s))
        })
    });
    mirror.eventually("its connections go", |_| pair.east.open() <= open + 1);
    mirror.eventually("its files are closed", |_| files() <= before + 3.0);
}
