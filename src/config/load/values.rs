//! The text of a variable or flag as a value of its key's kind.

use crate::config::raw::{Node, Origin, Value, parse_value};
use crate::config::schema::{Key, Kind};

/// What a text means for a key. A text that does not fit stays a text, for `check` to refuse.
pub fn value(key: &Key, text: &str, origin: &Origin) -> Node {
    let entry = |value| Node { value, origin: origin.clone() };
    let text_entry = |text: &str| entry(Value::Text(text.to_owned()));
    let number = |text: &str| text.trim().parse().map(|n| entry(Value::Integer(n)));
    let toml_list = || {
        let toml = parse_value(text.trim(), origin);
        toml.filter(|node| matches!(node.value, Value::Array(_)))
    };
    let listed = |convert: &dyn Fn(&str) -> Node| {
        toml_list().unwrap_or_else(|| {
            // Meant as TOML, but wrong: its words would be strange names. `[::]:4143` is a word.
            if text.trim().trim_start_matches('[').starts_with(['"', '\'', '{']) {
                return text_entry(text);
            }
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            entry(Value::Array(words.map(convert).collect()))
        })
    };
    match key.kind {
        Kind::Boolean(_) => match text.trim() {
            "true" => entry(Value::Boolean(true)),
            "false" => entry(Value::Boolean(false)),
            _ => text_entry(text),
        },
        Kind::Integer(_) => number(text).unwrap_or_else(|_| text_entry(text)),
        Kind::Integers(_) => listed(&|word| number(word).unwrap_or_else(|_| text_entry(word))),
        Kind::Mixed(..) | Kind::Texts(_) => listed(&text_entry),
        Kind::Tables(_) => toml_list().unwrap_or_else(|| text_entry(text)),
        Kind::Text(_) | Kind::Section(_) | Kind::Refused(_) => text_entry(text),
    }
}
