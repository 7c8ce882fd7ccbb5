//! The configuration file as a JSON Schema (`config schema`), for editors that complete and check
//! TOML by one.
//!
//! Keys, kinds and defaults are `schema`'s; descriptions are the comments of `config/gateway.toml`,
//! so each is written once. Ranges and what must be set are not in it: `check` says those, also
//! across layers, where a file that lacks a key may still be right.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::print;
use super::schema::{Key, Kind, ROOT};

/// The reference, whose comments explain every key.
const REFERENCE: &str = include_str!("../../config/gateway.toml");

/// The whole schema. Its keywords mean the same in every draft that editors implement.
pub fn document() -> Value {
    let texts = descriptions(REFERENCE);
    let mut schema = table(ROOT, "", &texts);
    schema.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    schema.insert("title".into(), "Configuration of linkerd-gateway".into());
    schema.into()
}

/// A table that has these keys and no other.
fn table(keys: &[Key], path: &str, texts: &HashMap<String, String>) -> Map<String, Value> {
    let mut properties = Map::new();
    for key in keys.iter().filter(|key| !matches!(key.kind, Kind::Refused(_))) {
        let path = if path.is_empty() { key.name.into() } else { format!("{path}.{}", key.name) };
        properties.insert(key.name.into(), value(key, &path, texts).into());
    }
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), properties.into());
    schema.insert("additionalProperties".into(), false.into());
    schema
}

/// The value of one key.
fn value(key: &Key, path: &str, texts: &HashMap<String, String>) -> Map<String, Value> {
    let list =
        |items: Value| Map::from_iter([("type".into(), "array".into()), ("items".into(), items)]);
    let of = |name: &str| Map::from_iter([("type".into(), name.into())]);
    let mut schema = match key.kind {
        Kind::Boolean(_) => of("boolean"),
        Kind::Integer(_) => of("integer"),
        Kind::Integers(_) => list(json!({ "type": "integer" })),
        Kind::Mixed(keys, _) => {
            list(json!({ "anyOf": [{ "type": "string" }, table(keys, path, texts)] }))
        }
        Kind::Section(keys) => table(keys, path, texts),
        Kind::Tables(keys) => list(table(keys, path, texts).into()),
        Kind::Text(_) => of("string"),
        Kind::Texts(_) => list(json!({ "type": "string" })),
        // Left out by `table`.
        Kind::Refused(_) => Map::new(),
    };
    if let Some(default) = key.default() {
        schema.insert("default".into(), print::json(&default));
    }
    if let Some(text) = texts.get(path) {
        schema.insert("description".into(), text.as_str().into());
    }
    schema
}

/// The comment above each key and table of the reference, by path. Keys that share a paragraph
/// share its text; of a table that occurs again, the first text counts.
fn descriptions(reference: &str) -> HashMap<String, String> {
    let (mut found, mut section, mut text) = (HashMap::new(), String::new(), String::new());
    let mut is_complete = false;
    for line in reference.lines() {
        let prose = line.strip_prefix("# ");
        if line.is_empty() || (prose.is_some() && is_complete) {
            text.clear();
            is_complete = false;
        }
        if let Some(prose) = prose {
            text.push_str(if text.is_empty() { "" } else { " " });
            text.push_str(prose);
            continue;
        }
        // "#key" is a key that is not set there.
        let code = line.trim_start_matches('#');
        let path = if code.starts_with('[') {
            section = code.trim_matches(['[', ']']).to_owned();
            section.clone()
        } else if let Some((name, _)) = code.split_once(" = ").filter(|(name, _)| is_bare(name)) {
            format!("{section}.{name}")
        } else {
            continue;
        };
        is_complete = true;
        if !text.is_empty() {
            found.entry(path).or_insert_with(|| text.clone());
        }
    }
    found
}

fn is_bare(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_descriptions() {
        let texts = descriptions(
            "# About the file.\n\n# The section.\n[a]\n# First,\n# second line.\n#b = 1\n# C.\nc = 2\n\
             d = [\n  { x = 1 },\n]\n\n[[a.e]]\n# F.\n#f = 1\n",
        );
        let text = |path: &str| texts.get(path).map(String::as_str);
        assert_eq!(text("a"), Some("The section."));
        assert_eq!(text("a.b"), Some("First, second line."));
        assert_eq!((text("a.c"), text("a.d")), (Some("C."), Some("C.")));
        assert_eq!((text("a.e"), text("a.e.f")), (None, Some("F.")));
        assert_eq!(texts.len(), 5);
    }
}
