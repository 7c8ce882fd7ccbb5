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
