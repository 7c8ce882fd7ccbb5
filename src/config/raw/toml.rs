//! TOML text to [`Node`]s, each with its line.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use toml_edit::{ImDocument, InlineTable, Item, TomlError};

use super::{Node, Origin, Table, Value};

/// A text that is no TOML.
#[derive(Debug)]
pub struct Syntax {
    /// The line of the first error, from 1.
    pub line: usize,
    /// What is wrong there, on one line.
    pub message: String,
}

/// Parses a whole file; `path` is only for the origins.
///
/// # Errors
/// The first syntax error: TOML cannot be read on behind one.
pub fn parse_document(text: &str, path: &Arc<Path>) -> Result<Table, Syntax> {
    let place = Place { path, lines: LineIndex::new(text) };
    let document = ImDocument::parse(text).map_err(|error| place.syntax(&error))?;
    Ok(place.table(document.as_table(), 1))
}

/// Parses one value, as it stands behind `=`; every node gets `origin`.
pub fn parse_value(text: &str, origin: &Origin) -> Option<Node> {
    let value = toml_edit::Value::from_str(text).ok()?;
    Some(convert(&value, &|_| origin.clone()))
}

/// Finds line numbers without reading the text again for each.
struct LineIndex {
    /// The byte offsets of all line breaks.
    breaks: Vec<usize>,
}

impl LineIndex {
    fn new(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { breaks: breaks.map(|(offset, _)| offset).collect() }
    }

    fn line(&self, offset: usize) -> usize {
        self.breaks.partition_point(|end| *end < offset) + 1
    }
}

struct Place<'p> {
    path: &'p Arc<Path>,
    lines: LineIndex,
}

impl Place<'_> {
    fn syntax(&self, error: &TomlError) -> Syntax {
        let line = error.span().map_or(1, |span| self.lines.line(span.start));
        Syntax { line, message: error.message().trim().replace('\n', "; ") }
    }

    fn origin(&self, line: usize) -> Origin {
        Origin::File { path: Arc::clone(self.path), line }
    }

    /// `line` is where the table begins, for what has no place of its own.
    fn table(&self, table: &toml_edit::Table, line: usize) -> Table {
        let mut entries = Table::new();
        for (name, item) in table {
            // A key's own line: a value may begin further down, and a dotted table has no place.
            let key = table.key(name).and_then(toml_edit::Key::span);
            let line = key.or_else(|| item.span()).map_or(line, |s| self.lines.line(s.start));
            if let Some(node) = self.item(item, line) {
                entries.insert(name.to_owned(), node);
            }
        }
        entries
    }

    fn item(&self, item: &Item, line: usize) -> Option<Node> {
        let value = match item {
            Item::None => return None,
            Item::Value(value) => {
                let nearest = |span: Option<std::ops::Range<usize>>| {
                    self.origin(span.map_or(line, |span| self.lines.line(span.start)))
                };
                return Some(Node { origin: self.origin(line), ..convert(value, &nearest) });
            }
            Item::Table(table) => Value::Table(self.table(table, line)),
            Item::ArrayOfTables(tables) => {
                let element = |table: &toml_edit::Table| {
                    let line = table.span().map_or(line, |span| self.lines.line(span.start));
                    let value = Value::Table(self.table(table, line));
                    Node { value, origin: self.origin(line) }
                };
                Value::Array(tables.iter().map(element).collect())
            }
        };
        Some(Node { value, origin: self.origin(line) })
    }
}

type OriginOf<'f> = &'f dyn Fn(Option<std::ops::Range<usize>>) -> Origin;

fn convert(value: &toml_edit::Value, origin: OriginOf<'_>) -> Node {
    let converted = match value {
        toml_edit::Value::String(text) => Value::Text(text.value().clone()),
        toml_edit::Value::Integer(number) => Value::Integer(*number.value()),
        toml_edit::Value::Boolean(value) => Value::Boolean(*value.value()),
        toml_edit::Value::Float(number) => Value::Other(format!("the number {}", number.value())),
        toml_edit::Value::Datetime(date) => Value::Other(format!("the date {}", date.value())),
        toml_edit::Value::Array(array) => {
            Value::Array(array.iter().map(|value| convert(value, origin)).collect())
        }
        toml_edit::Value::InlineTable(table) => Value::Table(inline(table, origin)),
    };
    Node { value: converted, origin: origin(value.span()) }
}

fn inline(table: &InlineTable, origin: OriginOf<'_>) -> Table {
    table.iter().map(|(name, value)| (name.to_owned(), convert(value, origin))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of each value, by path.
    fn lines(table: &Table, path: &str, found: &mut Vec<(String, usize)>) {
        for (name, node) in table {
            visit(node, format!("{path}{name}"), found);
        }
    }

    fn visit(node: &Node, path: String, found: &mut Vec<(String, usize)>) {
        let Origin::File { line, .. } = node.origin else { panic!("a file") };
        match &node.value {
            Value::Table(table) => lines(table, &format!("{path}."), found),
            Value::Array(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    visit(node, format!("{path}[{index}]"), found);
                }
            }
            _ => {}
        }
        found.push((path, line));
    }

    #[test]
    fn every_value_has_its_line() {
        let text = "a.b = 1\n\n[s]\r\nc = [\n  2,\n  { d = 3 },\n]\n# x\n[[t]]\n[[t]]\n\
                    e = \"\"\"\n\n\"\"\"\nf = { g = 1 }\n";
        let table = parse_document(text, &Path::new("x").into()).expect("TOML");
        let mut found = Vec::new();
        lines(&table, "", &mut found);
        for (path, line) in [
            ("a.b", 1),
            ("a", 1),
            ("s", 3),
            ("s.c", 4),
            ("s.c[0]", 5),
            ("s.c[1].d", 6),
            ("t[0]", 9),
            ("t[1]", 10),
            ("t[1].e", 11),
            ("t[1].f", 14),
            ("t[1].f.g", 14),
        ] {
            assert!(found.contains(&(path.to_owned(), line)), "{path} {line}\n{found:?}");
        }
    }

    #[test]
    fn a_value_alone_takes_the_origin_that_is_given() {
        let node = parse_value("[1, { a = true }]", &Origin::Flag("--x")).expect("a value");
        assert_eq!(node.origin, Origin::Flag("--x"));
        assert!(parse_value("[1", &Origin::Default).is_none());
        assert!(parse_value("", &Origin::Default).is_none());
    }
}
