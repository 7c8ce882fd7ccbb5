//! The configuration as it was written: a tree of values, each with its origin.
//!
//! Filled by `load` from files, variables and flags, read by `check` through [`Cursor`]. Knows
//! TOML's types, but no key and no meaning.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

mod cursor;
mod toml;

pub use cursor::{Cursor, join};
pub use toml::{Syntax, parse_document, parse_value};

/// How much of a wrong value is shown.
const SHOWN: usize = 80;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing sets it: the program's default.
    Default,
    /// A file.
    File {
        /// The file, as it was named.
        path: Arc<Path>,
        /// The line, from 1; 0 means the whole file.
        line: usize,
    },
    /// A command line flag, `--log`.
    Flag(&'static str),
    /// An environment variable, by its name.
    Variable(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names are escaped because a line break in one would forge lines of the report.
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => path.to_string_lossy().escape_debug().fmt(f),
            Self::File { path, line } => {
                write!(f, "{}:{line}", path.to_string_lossy().escape_debug())
            }
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => name.escape_debug().fmt(f),
        }
    }
}

/// A value with its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// Keys and their values.
pub type Table = BTreeMap<String, Node>;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `[a, b]` or `[[a]]`.
    Array(Vec<Node>),
    /// `true`, `false`
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A kind that no key takes (a float or a date), as written.
    Other(String),
    /// A section or an inline table.
    Table(Table),
    /// A string.
    Text(String),
}

/// What a reader sees in a message: `the integer 5`, `"abc"`, `a table`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Array(_) => f.write_str("a list"),
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => write!(f, "the number {value}"),
            Self::Other(text) => shown(text).fmt(f),
            Self::Table(_) => f.write_str("a table"),
            Self::Text(text) => write!(f, "\"{}\"", shown(text)),
        }
    }
}

/// `text` on one line: escaped, and cut when it is long.
pub fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}
