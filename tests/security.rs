//! SECURITY.md promises nothing that no test holds.

#![allow(clippy::expect_used, reason = "test code")]

use std::fs;
use std::path::Path;

#[test]
fn every_test_that_a_promise_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    let named: Vec<_> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| {
            code.split_once("::")
                .filter(|(file, _)| file.starts_with("tests/") || file.starts_with("src/"))
        })
        .collect();
    assert!(named.len() >= 30, "the promises are found: {named:?}");
    let missing: Vec<_> =
        named.into_iter().filter(|(file, test)| !is_test(root, file, test)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

#[test]
fn every_promise_names_a_test_or_a_command() {
    let text = include_str!("../SECURITY.md");
    let (_, promises) = text.split_once("## Promises\n").expect("the section");
    let (promises, _) = promises.split_once("\n## ").expect("the next section");
    let without: Vec<_> = promises
        .split("\n- ")
        .skip(1)
        .filter(|promise| !promise.contains("`tests/") && !promise.contains("`make "))
        .collect();
    assert!(without.is_empty(), "{without:?}");
}

/// True when the file has a function of that name with a test attribute above it that is not
/// ignored.
fn is_test(root: &Path, file: &str, name: &str) -> bool {
    let Ok(text) = fs::read_to_string(root.join(file)) else { return false };
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else { return false };
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    attributes.contains("test]") && !attributes.contains("#[ignore")
}
