//! Files that cannot be used change nothing, are shown in log, metric and `/certs`, once per
//! problem, and are forgotten when they are mended.

use std::path::Path;
use std::time::Duration;

use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::Client;
use crate::support::gateway::{Builder, GATEWAY, Gateway};
use crate::support::process::replace;
use crate::{ECHO, REFUSED, generation, identity, problem, replace_leaf};

/// Many polls, and longer than a second: a message must not change with the time.
const SEVERAL_POLLS: Duration = Duration::from_millis(1300);

/// A gateway, its good files, and what is expected of the next bad one.
struct World {
    gateway: Gateway,
    ca: TestCa,
    /// Every file with its good content.
    good: Vec<(String, Vec<u8>)>,
    refused: f64,
}

impl World {
    fn new() -> Self {
        let ca = TestCa::new("ca");
        let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
        let more = format!("poll_interval = \"20ms\"\nname = \"{GATEWAY}\"");
        let gateway = identity(builder, &more).start();
        let good = ["ca.crt", "gateway/tls.crt", "gateway/tls.key"];
        let good =
            good.map(|name| (name.to_owned(), std::fs::read(gateway.file(name)).expect(name)));
        Self { gateway, ca, good: good.into(), refused: 0.0 }
    }

    /// `spoil` makes the files unusable; the problem must say all of `words`.
    fn refuses(&mut self, what: &str, words: &[&str], spoil: impl FnOnce(&Path, &TestCa)) {
        let earlier = self.gateway.lines().len();
        spoil(self.gateway.directory.path(), &self.ca);
        let says = |text: &str| words.iter().all(|word| text.contains(word));
        let is_shown = |gateway: &Gateway| problem(gateway).is_some_and(|text| says(&text));
        self.gateway.eventually(&format!("{what}: {words:?}"), is_shown);
        std::thread::sleep(SEVERAL_POLLS);

        let logged = self.gateway.lines();
        let logged: Vec<_> = logged
            .iter()
            .skip(earlier)
            .filter(|line| line["level"] == "ERROR" && says(&line.to_string()))
            .collect();
        assert_eq!(logged.len(), 1, "{what}: {logged:#?}");
        let message = logged[0]["message"].as_str().expect("a message");
        assert!(message.contains("the old ones stay in use"), "{what}: {message}");
        // A spoilt pair can be seen half done, which is a problem of its own.
        let refused = self.gateway.metric(REFUSED);
        assert!((1.0..=2.0).contains(&(refused - self.refused)), "{what}: counted {refused}");
        self.refused = refused;

        assert_eq!(generation(&self.gateway), 1, "{what}");
        assert!(self.gateway.get("/ready").contains("ready"));
        drop(Client::new(&self.ca).connect(self.gateway.address).expect("the old ones serve"));
        self.mend(what);
    }

    fn mend(&mut self, what: &str) {
        for (name, content) in &self.good {
            replace(&self.gateway.file(name), content);
        }
        let is_over = |gateway: &Gateway| problem(gateway).is_none();
        self.gateway.eventually(&format!("{what}: recovery"), is_over);
        // Mending file by file can show other problems on the way.
        self.refused = self.gateway.metric(REFUSED);
    }
}

fn cut_in_half(path: &Path) {
    let content = std::fs::read(path).expect("a file");
    replace(path, &content[..content.len() / 2]);
}

#[test]
fn broken_partial_and_missing_files_change_nothing_and_are_shown_once() {
    let mut world = World::new();
    let broken = |name: &'static str| {
        move |root: &Path, _: &TestCa| replace(&root.join(name), "no PEM at all\n")
    };
    world.refuses(
        "broken chain",
        &["gateway/tls.crt", "no certificate"],
        broken("gateway/tls.crt"),
    );
    world.refuses("broken key", &["gateway/tls.key", "no private key"], broken("gateway/tls.key"));
    world.refuses("broken anchor", &["ca.crt", "no certificate"], broken("ca.crt"));

    let half = |name: &'static str| move |root: &Path, _: &TestCa| cut_in_half(&root.join(name));
    world.refuses("half a chain", &["gateway/tls.crt: ends within"], half("gateway/tls.crt"));
    world.refuses("half a key", &["gateway/tls.key: ends within"], half("gateway/tls.key"));
    world.refuses("half an anchor", &["ca.crt: ends within"], half("ca.crt"));

    let gone = |name: &'static str| {
        move |root: &Path, _: &TestCa| std::fs::remove_file(root.join(name)).expect("removed")
    };
    for name in ["gateway/tls.crt", "gateway/tls.key", "ca.crt"] {
        world.refuses("missing", &[name, "No such file"], gone(name));
    }
}

#[test]
fn unusable_certificates_change_nothing_and_are_shown_once() {
    let mut world = World::new();
    let pair = "gateway";
    world.refuses("another key", &["gateway/tls.key: is not the key"], |root, ca| {
        replace(&root.join("gateway/tls.key"), ca.identity(GATEWAY).key);
    });
    world.refuses("expired", &["gateway/tls.crt", "expired"], |root, ca| {
        replace_leaf(&root.join(pair), &ca.leaf().dns(GATEWAY).expired().issue());
    });
    world.refuses("too early", &["gateway/tls.crt", "not valid yet"], |root, ca| {
        replace_leaf(&root.join(pair), &ca.leaf().dns(GATEWAY).not_yet_valid().issue());
    });
    let other = "other.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
    world.refuses("another name", &["gateway/tls.crt", other, "identity.name"], |root, ca| {
        replace_leaf(&root.join(pair), &ca.identity(other));
    });
    world.refuses("another anchor's", &["gateway/tls.crt", "trust anchors"], |root, _| {
        replace_leaf(&root.join(pair), &TestCa::new("stranger").identity(GATEWAY));
    });
    world.refuses("anchors without ours", &["gateway/tls.crt", "trust anchors"], |root, _| {
        replace(&root.join("ca.crt"), TestCa::new("stranger").anchor);
    });
    world.refuses("without its issuer", &["gateway/tls.crt", "trust anchors"], |root, ca| {
        replace_leaf(&root.join(pair), &ca.leaf().dns(GATEWAY).without_issuers().issue());
    });
}
