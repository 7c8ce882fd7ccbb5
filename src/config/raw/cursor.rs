//! Typed reading: a place in the tree that reports what is wrong there and lets the reader go on.
//!
//! Every reader gives `None` exactly when it has reported a problem, so a caller reads all keys
//! of a section first and combines them afterwards.

use std::fmt;
use std::ops::RangeInclusive;

use super::{Node, Origin, Table, Value};
use crate::config::problem::Report;

/// A value at a place in the tree.
#[derive(Clone)]
pub struct Cursor<'t> {
    report: &'t Report,
    path: String,
    node: &'t Node,
}

impl<'t> Cursor<'t> {
    /// The whole tree.
    pub fn root(node: &'t Node, report: &'t Report) -> Self {
        Self { report, path: String::new(), node }
    }

    /// The key's path, for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the value came from.
    pub fn origin(&self) -> &'t Origin {
        &self.node.origin
    }

    /// The value.
    pub fn value(&self) -> &'t Value {
        &self.node.value
    }

    /// The report that all cursors of a tree share.
    pub fn report(&self) -> &'t Report {
        self.report
    }

    /// The value under `name`, if this is a table that has it.
    pub fn child(&self, name: &str) -> Option<Self> {
        let node = self.table()?.get(name)?;
        Some(Self { report: self.report, path: join(&self.path, name), node })
    }

    /// The table here. Another kind was reported when the tree was put together.
    pub fn table(&self) -> Option<&'t Table> {
        match &self.node.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Reads `name` when it is set: `Some(None)` when it is not.
    pub fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.child(name) {
            Some(child) => read(&child).map(Some),
            None => Some(None),
        }
    }

    /// Reads `name`, which must be set to `expected`.
    pub fn required<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&Self) -> Option<T>,
    ) -> Option<T> {
        match self.child(name) {
            Some(child) => read(&child),
            None => self.missing(name, expected),
        }
    }

    /// Reports that `name` is not set.
    pub fn missing<T>(&self, name: &str, expected: &str) -> Option<T> {
        // What an unusable file sets is unknown: its syntax is the one problem to solve first.
        if !self.report.is_incomplete() {
            let origin = Some(self.node.origin.clone()).filter(|o| *o != Origin::Default);
            let message = format!("is not set, expected {expected}");
            self.report.add(join(&self.path, name), message, origin);
        }
        None
    }

    /// Reads each entry of a list; problems of all entries are reported.
    pub fn list<T>(&self, expected: &str, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<T>> {
        let entries: Vec<_> = self.entries(expected)?.iter().map(read).collect();
        entries.into_iter().collect()
    }

    /// The entries of a list.
    pub fn entries(&self, expected: &str) -> Option<Vec<Self>> {
        let Value::Array(nodes) = &self.node.value else {
            return self.wrong(expected);
        };
        let entry = |(index, node)| Self {
            report: self.report,
            path: format!("{}[{index}]", self.path),
            node,
        };
        Some(nodes.iter().enumerate().map(entry).collect())
    }

    /// True or false.
    pub fn boolean(&self) -> Option<bool> {
        match self.node.value {
            Value::Boolean(value) => Some(value),
            _ => self.wrong("true or false"),
        }
    }

    /// A whole number within `range`.
    pub fn integer<T: TryFrom<i64> + PartialOrd + fmt::Display>(
        &self,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let number = match self.node.value {
            Value::Integer(number) => T::try_from(number).ok().filter(|n| range.contains(n)),
            _ => None,
        };
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        number.or_else(|| self.wrong(&expected()))
    }

    /// A string that `parse` accepts; `expected` says what that is.
    pub fn parsed<T>(&self, expected: &str, parse: impl FnOnce(&'t str) -> Option<T>) -> Option<T> {
        self.text().and_then(parse).or_else(|| self.wrong(expected))
    }

    /// The string here, if it is one; reports nothing.
    pub fn text(&self) -> Option<&'t str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Reports that the value is not what was expected.
    pub fn wrong<T>(&self, expected: &str) -> Option<T> {
        self.refuse(format!("found {}, expected {expected}", self.node.value))
    }

    /// Reports a problem with the value.
    pub fn refuse<T>(&self, message: impl Into<String>) -> Option<T> {
        self.report.add(self.path.clone(), message, Some(self.node.origin.clone()));
        None
    }
}

/// The path of `name` under `path`; quoted as TOML would have it when it is no bare key.
pub fn join(path: &str, name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let name = match !name.is_empty() && name.bytes().all(bare) && name.len() <= super::SHOWN {
        true => name.to_owned(),
        false => format!("\"{}\"", super::shown(name)),
    };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}
