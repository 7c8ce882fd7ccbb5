//! `mirror plan` says what would be done, and does nothing.

use std::process::Command;

use crate::support::kubernetes::{Rules, objects};
use crate::{APPS, Pair};

#[test]
fn a_plan_names_every_object_and_writes_none() {
    let pair = Pair::new();
    pair.export("web");
    pair.export("taken");
    pair.west.create(objects::service(APPS, "taken-east", &[("http", 1, 1)]));
    let directory = tempfile::TempDir::new().expect("a directory");
    let kubeconfig = pair.west.kubeconfig(&pair.west.token("plan", Rules::all()));
    std::fs::write(directory.path().join("kubeconfig"), kubeconfig).expect("written");
    pair.west.reset_log();
    // No configuration: a plan needs none.
    let output = Command::new(env!("CARGO_BIN_EXE_linkerd-gateway"))
        .args(["mirror", "plan", "--kubeconfig", "kubeconfig"])
        .env_remove("LINKERD_GATEWAY_CONFIG")
        .current_dir(directory.path())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for expected in [
        "+ create Service apps/web-east",
        "+ create Endpoints apps/web-east",
        "+ create EndpointSlice apps/web-east-ipv4",
        "1 Links; 3 to create, 0 to change, 0 to delete; nothing was written",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains("taken-east"), "{text}");
    assert_eq!(pair.west.writes_and_leases().len(), 0);
}
