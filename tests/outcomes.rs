//! Every way a connection can end is reached by a test that names it.

#![allow(clippy::expect_used, reason = "test code")]

use std::fs;
use std::path::Path;

use linkerd_gateway::model::outcome::Outcome;

#[test]
fn every_outcome_is_expected_by_a_test_on_the_real_binary() {
    let mut text = String::new();
    read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")), &mut text);
    let labels = Outcome::ALL.iter().map(|outcome| outcome.label());
    let missing: Vec<_> = labels.filter(|label| !text.contains(&format!("\"{label}\""))).collect();
    assert!(missing.is_empty(), "no test expects {missing:?}");
}

/// Appends all test files, but neither this one nor what they share.
fn read(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("support") {
            read(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("outcomes.rs") {
            text.push_str(&fs::read_to_string(&path).expect("UTF-8"));
        }
    }
}
