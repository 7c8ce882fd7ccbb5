//! `config/gateway.toml` is complete and true, `config/minimal.toml` works.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use linkerd_gateway::config::load::{Loaded, Sources, load};
use linkerd_gateway::config::raw::{Node, Origin, Table, Value, parse_document, parse_value};
use linkerd_gateway::config::schema::{Key, Kind, ROOT, paths};

use crate::support::{IDENTITY, loaded};

fn shipped(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn load_shipped(name: &str) -> Loaded {
    let sources = Sources { file: Some(shipped(name)), ..Sources::default() };
    load(&sources).unwrap_or_else(|problems| panic!("{problems}"))
}

/// `gateway.toml` with every commented-out key switched on: prose has a space behind its `#`.
pub fn uncommented() -> String {
    let text = fs::read_to_string(shipped("gateway.toml")).expect("gateway.toml");
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Other forms of a key, each a line of prose with three spaces, under their table's header.
fn examples() -> Vec<String> {
    let text = fs::read_to_string(shipped("gateway.toml")).expect("gateway.toml");
    let (mut header, mut found) = ("", Vec::new());
    for line in text.lines() {
        if line.starts_with('[') {
            header = line;
        }
        if let Some(example) = line.strip_prefix("#   ").filter(|_| !header.is_empty()) {
            found.push(format!("{header}\n{example}\n"));
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn both_shipped_files_load_as_they_stand() {
    assert_eq!(load_shipped("minimal.toml").settings.routes.len(), 1);
    assert_eq!(load_shipped("gateway.toml").settings.routes.len(), 3);
}

#[test]
fn every_known_key_occurs_in_the_reference_and_no_unknown_one() {
    let text = uncommented();
    loaded(&text);
    let tree = parse_document(&text, &PathBuf::from("x").as_path().into()).expect("TOML");
    let mut found = BTreeSet::new();
    collect(&tree, "", &mut found);
    for example in examples() {
        loaded(&format!("{IDENTITY}{example}"));
        let tree = parse_document(&example, &PathBuf::from("x").as_path().into()).expect("TOML");
        collect(&tree, "", &mut found);
    }
    let refused = |key: &Key| matches!(key.kind, Kind::Refused(_));
    let known: BTreeSet<_> =
        paths().into_iter().filter(|(_, key)| !refused(key)).map(|(path, _)| path).collect();
    assert_eq!(found, known);
}

fn collect(table: &Table, path: &str, found: &mut BTreeSet<String>) {
    for (name, node) in table {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match &node.value {
            Value::Table(table) => collect(table, &path, found),
            Value::Array(nodes) => {
                for table in nodes.iter().filter_map(table_of) {
                    collect(table, &format!("{path}[]"), found);
                }
            }
            _ => {}
        }
        found.insert(path);
    }
}

fn table_of(node: &Node) -> Option<&Table> {
    match &node.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

#[test]
fn the_defaults_that_the_reference_shows_are_the_real_ones() {
    let text = fs::read_to_string(shipped("gateway.toml")).expect("gateway.toml");
    let known = paths();
    let (mut table, mut prose, mut shown) = (String::new(), String::new(), BTreeSet::new());
    for line in text.lines() {
        let is_prose = line == "#" || line.starts_with("# ");
        let commented = line.starts_with('#') && !is_prose;
        let code = line.trim_start_matches('#');
        if is_prose {
            prose.push_str(line);
        } else if line.is_empty() {
            prose.clear();
        } else if let Some(header) = code.strip_prefix('[') {
            let list = if header.starts_with('[') { "[]" } else { "" };
            table = format!("{}{list}", header.trim_matches(['[', ']']));
        } else if let Some((name, value)) = code.split_once(" = ").filter(|_| commented) {
            let path = format!("{table}.{name}");
            let key = known.iter().find(|(known, _)| *known == path).map(|(_, key)| key);
            match key.and_then(|key| key.default()) {
                Some(default) => {
                    let node = parse_value(value, &Origin::Default).expect("a value");
                    assert_eq!(node, default, "{path}");
                    shown.insert(path);
                }
                None => assert!(prose.contains("No default"), "{path}\n{prose}"),
            }
        }
    }
    for (path, _) in known.iter().filter(|(_, key)| key.default().is_some()) {
        // Keys of inline tables have no line of their own: their table's text says it.
        let inline =
            [".tls.", "[].networks[].", ".listen[]."].iter().any(|part| path.contains(part))
                || path.ends_with(".weight");
        assert!(inline || shown.contains(path), "{path} is not shown with its default");
    }
    assert!(text.contains("connections, default 1,") && text.contains("listens, default 4143;"));
}

#[test]
fn sections_are_in_the_order_of_the_schema() {
    let text = fs::read_to_string(shipped("gateway.toml")).expect("gateway.toml");
    let mut from = 0;
    for key in ROOT.iter().filter(|key| key.name != "policy") {
        let header = match key.kind {
            Kind::Tables(_) => format!("\n[[{}]]\n", key.name),
            _ => format!("\n[{}]\n", key.name),
        };
        let at = text[from..].find(&header).unwrap_or_else(|| panic!("{header} in order"));
        from += at;
    }
}
