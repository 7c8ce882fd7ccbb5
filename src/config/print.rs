//! The effective configuration as TOML that loads again to the same settings (`config print`,
//! `config origins`).
//!
//! Certificates and keys are paths, so nothing here is secret.

use super::raw::{Node, Origin, Table, Value};
use super::schema::{Key, Kind, ROOT};

/// Prints every key in the order of the schema. With `origins`, each line says where its value
/// came from; keys without a value are comments.
pub fn print(tree: &Node, origins: bool) -> String {
    let mut printer = Printer { out: String::new(), origins };
    if let Value::Table(root) = &tree.value {
        printer.tables(root, ROOT, "");
    }
    printer.out
}

/// The same values as JSON, for `/config_dump`.
pub fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Array(nodes) => nodes.iter().map(json).collect(),
        Value::Boolean(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Other(text) | Value::Text(text) => text.as_str().into(),
        Value::Table(table) => {
            let entries = table.iter().map(|(key, node)| (key.clone(), json(node)));
            serde_json::Value::Object(entries.collect())
        }
    }
}

struct Printer {
    out: String,
    origins: bool,
}

impl Printer {
    fn tables(&mut self, table: &Table, keys: &[Key], prefix: &str) {
        for key in keys {
            let path = format!("{prefix}{}", key.name);
            match (key.kind, table.get(key.name).map(|node| (&node.value, &node.origin))) {
                (Kind::Section(keys), Some((Value::Table(table), origin))) => {
                    self.table(table, keys, &format!("[{path}]"), origin, &path);
                }
                (Kind::Tables(keys), Some((Value::Array(nodes), _))) => {
                    for node in nodes {
                        if let Value::Table(table) = &node.value {
                            self.table(table, keys, &format!("[[{path}]]"), &node.origin, &path);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn table(&mut self, table: &Table, keys: &[Key], header: &str, origin: &Origin, path: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.line(header, Some(origin));
        for key in keys {
            match (key.kind, table.get(key.name)) {
                (Kind::Refused(_) | Kind::Tables(_), _) => {}
                // Within a list a table stays with its entry, on one line.
                (Kind::Section(_), Some(node)) if header.starts_with("[[") => {
                    self.line(&format!("{} = {}", key.name, inline(node)), Some(&node.origin));
                }
                (Kind::Section(_), Some(_)) => {}
                (_, Some(node)) => {
                    self.line(&format!("{} = {}", key.name, inline(node)), Some(&node.origin));
                }
                (_, None) => self.line(&format!("# {} is not set", key.name), None),
            }
        }
        if !header.starts_with("[[") {
            self.tables(table, keys, &format!("{path}."));
        }
    }

    fn line(&mut self, text: &str, origin: Option<&Origin>) {
        self.out.push_str(text);
        if let Some(origin) = origin.filter(|_| self.origins) {
            self.out.push_str(&format!("  # {origin}"));
        }
        self.out.push('\n');
    }
}

fn inline(node: &Node) -> String {
    match &node.value {
        Value::Array(nodes) => {
            format!("[{}]", nodes.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::Boolean(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Other(text) => text.clone(),
        Value::Table(table) => {
            let entry = |(name, node)| format!("{name} = {}", inline(node));
            format!("{{ {} }}", table.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Text(text) => toml_edit::Value::from(text.as_str()).to_string(),
    }
}
