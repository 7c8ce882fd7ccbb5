//! `check` looks at the credentials too: what it calls ok is what `run` would use.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::certs::{TestCa, TestLeaf};
use support::cli::text;
use support::gateway::GATEWAY;
use tempfile::TempDir;

const WEB: &str = "web.example.com";

/// A directory with a configuration and everything that it names.
struct Setup {
    directory: TempDir,
    ca: TestCa,
}

impl Setup {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let setup = Self { directory, ca: TestCa::new("ca") };
        setup.ca.write_anchor(setup.path(), "ca.crt");
        setup.pair("gateway", &setup.ca.identity(GATEWAY));
        setup.pair("web", &setup.ca.leaf().dns(WEB).issue());
        setup.configure("");
        setup
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn pair(&self, directory: &str, leaf: &TestLeaf) {
        leaf.write_to(&self.path().join(directory));
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "[identity]\ncertificate = \"gateway/tls.crt\"\nkey = \"gateway/tls.key\"\n\
             trust_anchors = [\"ca.crt\"]\n{more}\n[[route]]\ntarget = \"web.test:80\"\n\
             endpoints = [\"127.0.0.1:1\"]\nsni = [\"{WEB}\"]\n\
             certificate = \"web/tls.crt\"\nkey = \"web/tls.key\"\n"
        );
        std::fs::write(self.path().join("gateway.toml"), text).expect("written");
    }

    fn check(&self) -> Output {
        Command::new(env!("CARGO_BIN_EXE_linkerd-gateway"))
            .args(["check", "--config", "gateway.toml"])
            .current_dir(self.path())
            .output()
            .expect("the binary starts")
    }

    #[track_caller]
    fn refuses(&self, words: &[&str]) {
        let (out, error, code) = text(&self.check());
        assert_eq!((out.as_str(), code), ("", Some(64)), "{error}");
        words.iter().for_each(|word| assert!(error.contains(word), "{error:?} lacks {word:?}"));
    }
}

#[test]
fn usable_credentials_are_ok() {
    let setup = Setup::new();
    setup.configure(&format!("name = \"{GATEWAY}\""));
    let (out, error, code) = text(&setup.check());
    assert_eq!((error.as_str(), code), ("", Some(0)));
    assert!(out.starts_with("configuration ok: 1 route"), "{out}");
}

#[test]
fn unusable_credentials_are_refused_with_the_file_and_the_reason() {
    let chain = "gateway/tls.crt: ";
    let setup = Setup::new();
    let leaf = || setup.ca.leaf().dns(GATEWAY);
    setup.pair("gateway", &leaf().wrong_key().issue());
    setup.refuses(&["gateway/tls.key: is not the key", "gateway/tls.crt"]);
    setup.pair("gateway", &leaf().expired().issue());
    setup.refuses(&[chain, "expired"]);
    setup.pair("gateway", &leaf().not_yet_valid().issue());
    setup.refuses(&[chain, "not valid yet"]);
    setup.pair("gateway", &leaf().without_issuers().issue());
    setup.refuses(&[chain, "trust anchors"]);
    setup.pair("gateway", &TestCa::new("stranger").identity(GATEWAY));
    setup.refuses(&[chain, "trust anchors"]);
    setup.pair("gateway", &leaf().dns("second.example.com").issue());
    setup.refuses(&[chain]);
    setup.pair("gateway", &leaf().issue());
    setup.configure("name = \"somebody.ns.serviceaccount.identity.linkerd.cluster.local\"");
    setup.refuses(&[chain, GATEWAY, "somebody", "identity.name"]);
    setup.configure("");
    std::fs::write(setup.path().join("ca.crt"), "no PEM").expect("written");
    setup.refuses(&["ca.crt: holds no certificate"]);
    setup.ca.write_anchor(setup.path(), "ca.crt");
    setup.pair("web", &setup.ca.leaf().dns("other.example.com").issue());
    setup.refuses(&["web/tls.crt: ", WEB]);
    setup.pair("web", &setup.ca.leaf().dns(WEB).expired().issue());
    setup.refuses(&["web/tls.crt: ", WEB, "expired"]);
}

#[test]
fn problems_of_the_configuration_come_first_and_all_together() {
    let setup = Setup::new();
    setup.pair("gateway", &setup.ca.leaf().dns(GATEWAY).expired().issue());
    setup.configure("nme = \"x\"\npoll_interval = 5");
    let (_, error, code) = text(&setup.check());
    assert_eq!(code, Some(64));
    assert!(error.contains("identity.nme") && error.contains("identity.poll_interval"), "{error}");
    assert!(!error.contains("expired"), "{error}");
    // Then every file that cannot be read, before what is in the others.
    setup.configure("");
    std::fs::remove_file(setup.path().join("ca.crt")).expect("removed");
    std::fs::remove_file(setup.path().join("web/tls.key")).expect("removed");
    setup.refuses(&["2 problems", "ca.crt cannot be read", "web/tls.key cannot be read"]);
}

#[test]
fn rules_about_requests_are_warned_of_where_requests_are_not_seen() {
    let setup = Setup::new();
    let rule = |name: &str, action: &str, more: &str| {
        format!("[[policy.rule]]\nname = \"{name}\"\naction = \"{action}\"\n{more}\n")
    };
    let route = |target: &str, more: &str| {
        format!("[[route]]\ntarget = \"{target}:80\"\nendpoints = [\"127.0.0.1:1\"]\n{more}\n")
    };
    let rules = [
        rule("plain", "allow", "identities = [\"a.b\"]"),
        rule("no admin", "deny", "paths = [\"/admin/*\"]"),
        rule("reading", "allow", "methods = [\"GET\"]\ntargets = [\"bytes:*\"]"),
        rule("seen", "allow", "methods = [\"GET\"]\ntargets = [\"http:*\"]"),
    ];
    let passthrough = "session = \"passthrough\"";
    let routes = [
        route("bytes", passthrough),
        route("http", "session = \"http\""),
        route("rest", "default = true"),
        route("more", passthrough),
    ];
    setup.configure(&(rules.concat() + &routes.concat()));
    let (out, error, code) = text(&setup.check());
    assert_eq!(code, Some(0), "{error}");
    assert!(out.starts_with("configuration ok: 5 routes"), "{out}");
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    let bytes = format!("bytes:80 ({passthrough})");
    let routes = format!(": {bytes}, rest:80 (default = true), more:80 ({passthrough}), 1 more");
    for (line, words) in lines.iter().zip([
        ["\"no admin\" names methods or paths", "denies every connection", &routes],
        ["\"reading\" names methods or paths", "allows nothing", &format!(": {bytes}")],
    ]) {
        assert!(line.starts_with("warning: policy.rule "), "{line}");
        words.iter().for_each(|word| assert!(line.contains(word), "{line:?} lacks {word:?}"));
    }
}
