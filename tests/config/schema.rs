//! `config schema`: what editors check files against agrees with what the gateway accepts.

use std::fs;
use std::path::Path;
use std::process::Command;

use jsonschema::Validator;
use linkerd_gateway::config::print::json;
use linkerd_gateway::config::raw::{Node, Origin, Value as Raw, parse_document};
use serde_json::Value;

fn schema() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_linkerd-gateway"))
        .args(["config", "schema"])
        .env_clear()
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn validator(schema: &Value) -> Validator {
    assert!(jsonschema::meta::is_valid(schema), "no JSON Schema: {schema:#}");
    jsonschema::validator_for(schema).expect("a schema")
}

fn document(text: &str) -> Value {
    let table = parse_document(text, &Path::new("x").into()).expect("TOML");
    json(&Node { value: Raw::Table(table), origin: Origin::Default })
}

/// Where the faults of a text are, as JSON pointers.
fn faults(validator: &Validator, text: &str) -> Vec<String> {
    let document = document(text);
    validator.iter_errors(&document).map(|error| error.instance_path().to_string()).collect()
}

#[test]
fn the_shipped_files_are_valid_also_with_every_key_switched_on() {
    let validator = validator(&schema());
    let none: Vec<String> = Vec::new();
    for name in ["gateway.toml", "minimal.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let text = fs::read_to_string(path).expect(name);
        assert_eq!(faults(&validator, &text), none, "{name}");
    }
    assert_eq!(faults(&validator, &crate::reference::uncommented()), none);
}

#[test]
fn unknown_keys_and_wrong_kinds_are_faults() {
    let validator = validator(&schema());
    for (text, place) in [
        ("[gatway]\n", ""),
        ("[log]\nlevel = 5\n", "/log/level"),
        ("[gateway]\nlisten = \"[::]:4143\"\n", "/gateway/listen"),
        ("[[route]]\ntarget = \"a.b:1\"\ntargets = 1\n", "/route/0"),
        ("[[route]]\nendpoints = [{ adress = \"a\" }]\n", "/route/0/endpoints/0"),
        ("[runtime]\nworkers = \"two\"\n", "/runtime/workers"),
    ] {
        assert_eq!(faults(&validator, text), [place], "{text}");
    }
}

#[test]
fn every_key_has_the_description_of_the_reference() {
    let schema = schema();
    let mut without = Vec::new();
    undescribed(&schema, "", &mut without);
    // Sections whose keys say it all, and keys of inline tables, which their table's text explains.
    let inline = [".tls.", ".networks.", ".endpoints.", ".listen."];
    without.retain(|path| path.contains('.') && !inline.iter().any(|part| path.contains(part)));
    assert!(without.is_empty(), "{without:?}");
    let level = &schema["properties"]["log"]["properties"]["level"];
    assert_eq!(level["default"], "info");
    let text = level["description"].as_str().expect("text");
    assert!(
        text.starts_with("What is logged: off, error,") && text.ends_with("until the next reload."),
        "{text}"
    );
}

fn undescribed(schema: &Value, path: &str, found: &mut Vec<String>) {
    for holder in [schema, &schema["items"], &schema["items"]["anyOf"][1]] {
        for (name, value) in holder["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            undescribed(value, &path, found);
            if value["description"].is_null() {
                found.push(path);
            }
        }
    }
}
