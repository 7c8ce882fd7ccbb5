//! `config/kustomize`: the manifests fit together, fit the gateway, and the identity recipe makes
//! certificates that it takes.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use linkerd_gateway::config::Settings;
use linkerd_gateway::config::load::{Sources, load};
use serde_yaml_ng::{Deserializer, Value};

use support::certs::TestCa;
use support::cli::{succeeds, text};
use support::gateway::{Builder, CLIENT};
use support::namespace::skip;

/// Where the Secret is mounted.
const IDENTITY: &str = "/var/run/linkerd-gateway/identity";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kustomize").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All documents of a text.
fn documents(text: &str) -> Vec<Value> {
    use serde::Deserialize;
    Deserializer::from_str(text).map(|d| Value::deserialize(d).expect("YAML")).collect()
}

fn manifest(name: &str) -> Value {
    let mut found = documents(&read(name));
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0)
}

/// The gateway's container of a Deployment, in either place.
fn container(pod: &Value) -> &Value {
    let lists = ["initContainers", "containers"].map(|list| pod[list].as_sequence());
    let mut all = lists.into_iter().flatten().flatten();
    all.find(|container| container["name"] == "linkerd-proxy").expect("linkerd-proxy")
}

/// A named port's number.
fn port(container: &Value, name: &Value) -> u64 {
    let ports = container["ports"].as_sequence().expect("ports");
    let port = ports.iter().find(|port| port["name"] == *name);
    port.unwrap_or_else(|| panic!("no port {name:?}"))["containerPort"].as_u64().expect("a number")
}

fn settings(name: &str) -> Settings {
    let sources = Sources { file: Some(path(name)), ..Sources::default() };
    load(&sources).unwrap_or_else(|problems| panic!("{problems}")).settings
}

#[test]
fn every_file_that_a_kustomization_names_is_there_and_is_yaml() {
    let overlays = ["base", "sidecar", "kubernetes-discovery", "mirror", "mirror-alone"];
    for overlay in overlays.into_iter().chain(["remote-access"]) {
        let kustomization = manifest(&format!("{overlay}/kustomization.yaml"));
        for resource in kustomization["resources"].as_sequence().expect("resources") {
            let name = format!("{overlay}/{}", resource.as_str().expect("a name"));
            if path(&name).is_dir() {
                manifest(&format!("{name}/kustomization.yaml"));
            } else {
                assert!(documents(&read(&name)).iter().all(|d| d["kind"].is_string()), "{name}");
            }
        }
        let generators = kustomization["configMapGenerator"].as_sequence();
        for file in generators.into_iter().flatten().flat_map(|g| g["files"].as_sequence()) {
            let name = file[0].as_str().expect("a name");
            assert!(path(&format!("{overlay}/{name}")).is_file(), "{overlay}/{name}");
        }
    }
}

#[test]
fn the_public_service_has_the_ports_and_annotations_that_service_mirrors_read() {
    let service = manifest("base/service.yaml");
    let deployment = manifest("base/deployment.yaml");
    let pod = &deployment["spec"]["template"];
    let container = container(&pod["spec"]);
    let ports = service["spec"]["ports"].as_sequence().expect("ports");
    let ports: Vec<_> = ports
        .iter()
        .map(|p| (p["name"].as_str(), p["port"].as_u64(), Some(port(container, &p["targetPort"]))))
        .collect();
    // The metrics port is not among them.
    let expected =
        [(Some("mc-gateway"), Some(4143), Some(4143)), (Some("mc-probe"), Some(4191), Some(4191))];
    assert_eq!(ports, expected);
    let annotations = &service["metadata"]["annotations"];
    assert_eq!(annotations["mirror.linkerd.io/multicluster-gateway"], "true");
    assert_eq!(annotations["mirror.linkerd.io/probe-path"], "/ready");
    assert_eq!(annotations["mirror.linkerd.io/probe-period"], "3");

    let selector = &service["spec"]["selector"];
    let labels = pod["metadata"]["labels"].as_mapping().expect("labels");
    for (label, value) in selector.as_mapping().expect("a selector") {
        assert_eq!(labels.get(label), Some(value));
    }
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], *selector);
    let budget = manifest("base/pdb.yaml");
    assert_eq!(budget["spec"]["selector"]["matchLabels"], *selector);
}

#[test]
fn pods_are_confined_and_hold_no_token() {
    for name in ["base/deployment.yaml", "sidecar/deployment.yaml"] {
        let deployment = manifest(name);
        let pod = &deployment["spec"]["template"];
        assert_eq!(pod["metadata"]["annotations"]["linkerd.io/inject"], "disabled", "{name}");
        let pod = &pod["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        let own = &container(pod)["securityContext"];
        assert_eq!(own["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(own["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(own["capabilities"]["drop"][0], "ALL", "{name}");
        let user = if own["runAsUser"].is_null() { &pod["securityContext"] } else { own };
        assert_eq!((&user["runAsNonRoot"], &user["runAsUser"]), (&true.into(), &2103.into()));
    }
    assert_eq!(manifest("base/serviceaccount.yaml")["automountServiceAccountToken"], false);
}

#[test]
fn configurations_are_correct_and_agree_with_their_pods() {
    for overlay in ["base", "sidecar"] {
        let settings = settings(&format!("{overlay}/gateway.toml"));
        let deployment = manifest(&format!("{overlay}/deployment.yaml"));
        let pod = &deployment["spec"]["template"]["spec"];
        let container = container(pod);
        let number = |name: &str| port(container, &name.into());
        assert_eq!(u64::from(settings.gateway.listen[0].address.port()), number("linkerd-proxy"));
        assert_eq!(u64::from(settings.admin.listen.port()), number("mc-probe"));
        assert_eq!(u64::from(settings.admin.metrics_listen[0].port()), number("linkerd-admin"));
        for probe in ["readinessProbe", "livenessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], "mc-probe", "{overlay}");
        }
        let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a number");
        let drain = settings.gateway.lame_duck + settings.gateway.drain_deadline;
        assert!(Duration::from_secs(grace) >= drain + Duration::from_secs(5), "{overlay}");

        let mounts = container["volumeMounts"].as_sequence().expect("mounts");
        let paths: Vec<_> = mounts.iter().filter_map(|mount| mount["mountPath"].as_str()).collect();
        assert_eq!(paths, ["/etc/linkerd-gateway", IDENTITY], "{overlay}");
        let volumes = pod["volumes"].as_sequence().expect("volumes");
        let names = |list: &[Value]| list.iter().map(|v| v["name"].clone()).collect::<Vec<_>>();
        assert_eq!(names(mounts), names(volumes), "{overlay}");
        let kustomization = manifest(&format!("{overlay}/kustomization.yaml"));
        let generated = &kustomization["configMapGenerator"][0]["name"];
        assert_eq!(volumes[0]["configMap"]["name"], *generated, "{overlay}");
        let identity = &settings.identity;
        let files = [&identity.certificate, &identity.key, &identity.trust_anchors[0]];
        let expected = ["tls.crt", "tls.key", "ca.crt"].map(|f| Path::new(IDENTITY).join(f));
        assert_eq!(files.map(PathBuf::clone), expected, "{overlay}");
    }
}

#[test]
fn the_gateway_takes_what_the_openssl_recipe_signs_for_the_annotated_identity() {
    let ca = TestCa::new("ca");
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    // The mesh: an anchor, an issuer with its key, and one of its workloads.
    let certs = ["certs", "--out", &at("mesh"), "--client-identity", CLIENT];
    succeeds(&support::cli::gateway(&certs, b""));
    let output = Command::new(path("identity/openssl.sh"))
        .args(["mesh/issuer.crt", "mesh/issuer.key", "mesh/ca.crt", "identity"].map(at))
        .output()
        .expect("the recipe runs");
    let printed = succeeds(&output);
    let service = manifest("base/service.yaml");
    let annotation = &service["metadata"]["annotations"]["mirror.linkerd.io/gateway-identity"];
    let name = annotation.as_str().expect("an identity");
    assert!(printed.contains(&format!("is {name};")), "{printed}");
    assert_eq!(
        settings("base/gateway.toml").identity.name.map(|n| n.to_string()),
        Some(name.into())
    );
    let recipe = documents(&read("identity/cert-manager.yaml"));
    assert_eq!(recipe[1]["spec"]["dnsNames"], Value::Sequence(vec![name.into()]));
    assert_eq!(recipe[1]["spec"]["secretName"], "linkerd-gateway-identity");

    let backend = support::backend::echo();
    let base = read("base/gateway.toml").replace(IDENTITY, &at("identity"));
    let base = base
        .replace("[::]:9999", "127.0.0.1:0")
        .replace("[admin]\n", "[admin]\nlisten = \"127.0.0.1:0\"\n");
    let gateway = Builder::new(&ca).configure(&base).route("echo.test:7", &[backend]).start();
    assert!(gateway.get("/certs").contains(name), "{}", gateway.get("/certs"));
    let address = gateway.address.to_string();
    let client = support::cli::gateway(
        &[
            "connect",
            &address,
            "--ca",
            &at("mesh/ca.crt"),
            "--certs",
            &at("mesh/client"),
            "--identity",
            name,
            "--target",
            "echo.test:7",
        ],
        b"hello",
    );
    let (out, error, code) = text(&client);
    assert_eq!((out.as_str(), code), ("hello", Some(0)), "{error}");
}

#[test]
fn the_discovery_overlay_switches_it_on_with_rights_to_read_and_a_token() {
    let kustomization = manifest("kubernetes-discovery/kustomization.yaml");
    let patch = kustomization["patches"][0]["patch"].as_str().expect("a patch");
    let patch = documents(patch).remove(0);
    let at = |path: &str| {
        let mut all = patch.as_sequence().expect("operations").iter();
        all.find(|operation| operation["path"] == path).expect("a patch of it")["value"].clone()
    };
    assert_eq!(at("/spec/template/spec/automountServiceAccountToken"), true);
    // The base has no variables that this would replace, and its first container is ours.
    let base = &manifest("base/deployment.yaml")["spec"]["template"]["spec"];
    assert!(base["containers"][0]["env"].is_null());
    assert_eq!(base["containers"][0]["name"], "linkerd-proxy");
    let variables = at("/spec/template/spec/containers/0/env");
    let environment = variables.as_sequence().expect("variables").iter().map(|variable| {
        let value = variable["value"].as_str().unwrap_or_default();
        (variable["name"].as_str().expect("a name").to_owned(), value.to_owned())
    });
    let file = Some(path("base/gateway.toml"));
    let environment = environment.collect();
    let sources = Sources { file, environment, ..Sources::default() };
    let loaded = load(&sources).unwrap_or_else(|problems| panic!("{problems}"));
    let kubernetes = loaded.settings.kubernetes;
    // A zone that the downward API does not know is none.
    assert!(kubernetes.enabled && kubernetes.kubeconfig.is_none() && kubernetes.zone.is_none());

    let rbac = documents(&read("kubernetes-discovery/rbac.yaml"));
    let rules = rbac[0]["rules"].as_sequence().expect("rules");
    for rule in rules {
        let verbs = rule["verbs"].as_sequence().expect("verbs");
        let is_event = rule["resources"][0] == "events";
        let may = |verb: &Value| is_event == (*verb == "create") && *verb != "*";
        assert!(verbs.iter().all(may), "{rule:?}");
    }
}

/// What `linkerd multicluster gateways` looks for: labels, the container's name, the end of a port's.
#[test]
fn the_mirror_alone_is_a_controller_to_linkerds_cli() {
    let deployment = manifest("mirror-alone/deployment.yaml");
    let pod = &deployment["spec"]["template"];
    let labels = &pod["metadata"]["labels"];
    assert_eq!(labels["component"], "controller");
    assert!(labels["mirror.linkerd.io/cluster-name"].is_string());
    let selector = deployment["spec"]["selector"]["matchLabels"].as_mapping().expect("a selector");
    assert!(selector.iter().all(|(label, value)| labels.get(label) == Some(value)));
    // It is no backend of the public Service.
    assert_ne!(labels["app"], manifest("base/service.yaml")["spec"]["selector"]["app"]);
    let controller = &pod["spec"]["containers"][0];
    assert_eq!(controller["name"], "controller");
    let ports = controller["ports"].as_sequence().expect("ports");
    let is_admin = |p: &&Value| p["name"].as_str().is_some_and(|name| name.ends_with("-admin"));
    let admin = ports.iter().find(is_admin).expect("a port for metrics");
    assert!(admin["name"].as_str().is_some_and(|name| name.len() <= 15), "{admin:?}");
    let metrics = settings("base/gateway.toml").admin.metrics_listen;
    assert_eq!(admin["containerPort"].as_u64(), metrics.first().map(|at| at.port().into()));
    let args =
        controller["args"].as_sequence().expect("arguments").iter().filter_map(Value::as_str);
    assert!(args.collect::<Vec<_>>().starts_with(&["run", "--only", "mirror"]));
    // The gateway's own pods are none, and do not mirror.
    let patch = documents(
        manifest("mirror-alone/kustomization.yaml")["patches"][0]["patch"].as_str().expect("text"),
    );
    let pod = &patch[0]["spec"]["template"];
    assert!(pod["metadata"]["labels"]["component"].is_null());
    let variable = &pod["spec"]["containers"][0]["env"][0];
    assert_eq!(
        (name(variable), &variable["value"]),
        ("LINKERD_GATEWAY_MIRROR__ENABLED", &"false".into())
    );
}

fn name(object: &Value) -> &str {
    let named = if object["metadata"].is_null() { object } else { &object["metadata"] };
    named["name"].as_str().expect("a name")
}

#[test]
fn every_overlay_renders() {
    if Command::new("kubectl").args(["kustomize", "--help"]).output().is_err() {
        skip("every_overlay_renders", "needs kubectl");
        return;
    }
    let overlays = [
        ("base", false),
        ("sidecar", false),
        ("kubernetes-discovery", true),
        ("mirror", true),
        ("mirror-alone", true),
    ];
    for (overlay, token) in overlays {
        let output = Command::new("kubectl").arg("kustomize").arg(path(overlay)).output();
        let rendered = documents(&succeeds(&output.expect("kubectl")));
        let is_gateway = |d: &&Value| d["kind"] == "Deployment" && !name(d).ends_with("-mirror");
        let pod = rendered.iter().find(is_gateway).expect("a Deployment");
        let pod = &pod["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], token, "{overlay}");
        container(pod);
    }
}
