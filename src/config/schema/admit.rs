//! What may enter the tree: known keys with the right shape. The rest is reported and left out.
//!
//! Runs on each layer before it is merged, so a later layer cannot hide an earlier one's mistake.

use std::collections::HashMap;

use super::{Key, Kind, ROOT, suggest};
use crate::config::problem::Report;
use crate::config::raw::{Node, Table, Value, join};

/// Admits the layers of one configuration, in order.
#[derive(Debug)]
pub struct Admission<'r> {
    report: &'r Report,
    /// Entries that earlier layers have in `[[...]]` lists: later ones are counted on from there.
    entries: HashMap<String, usize>,
}

impl<'r> Admission<'r> {
    /// Admits nothing yet; problems go to `report`.
    pub fn new(report: &'r Report) -> Self {
        Self { report, entries: HashMap::new() }
    }

    /// Reports and removes what a layer may not have.
    pub fn admit(&mut self, layer: &mut Table) {
        self.table(layer, ROOT, "", true);
    }

    /// `merged` is false within list entries, whose own lists no other layer continues.
    fn table(&mut self, table: &mut Table, keys: &'static [Key], path: &str, merged: bool) {
        table.retain(|name, node| {
            let path = join(path, name);
            let Some(key) = keys.iter().find(|key| key.name == name) else {
                let message = format!("is not a known key: {}", suggest::hint(name, keys));
                self.report.add(path, message, Some(node.origin.clone()));
                return false;
            };
            self.node(node, key, &path, merged)
        });
    }

    /// False when the node is to be left out.
    fn node(&mut self, node: &mut Node, key: &Key, path: &str, merged: bool) -> bool {
        let refuse = |message: String| {
            self.report.add(path, message, Some(node.origin.clone()));
            false
        };
        match (key.kind, &mut node.value) {
            (Kind::Refused(reason), _) => refuse(reason.to_owned()),
            (Kind::Section(keys), Value::Table(table)) => {
                self.table(table, keys, path, merged);
                true
            }
            (Kind::Section(_), other) => {
                refuse(format!("found {other}, expected a table like [{path}]"))
            }
            (Kind::Tables(keys), Value::Array(nodes)) => {
                let first = self.entries.get(path).copied().filter(|_| merged).unwrap_or(0);
                if merged {
                    self.entries.insert(path.to_owned(), first + nodes.len());
                }
                self.list(nodes, keys, path, first);
                true
            }
            (Kind::Tables(_), other) => {
                refuse(format!("found {other}, expected tables like [[{path}]]"))
            }
            (Kind::Mixed(keys, _), Value::Array(nodes)) => {
                for (index, node) in nodes.iter_mut().enumerate() {
                    if let Value::Table(table) = &mut node.value {
                        self.table(table, keys, &format!("{path}[{index}]"), false);
                    }
                }
                true
            }
            _ => true,
        }
    }

    fn list(&mut self, nodes: &mut [Node], keys: &'static [Key], path: &str, first: usize) {
        for (index, node) in nodes.iter_mut().enumerate() {
            let path = format!("{path}[{}]", first + index);
            match &mut node.value {
                Value::Table(table) => self.table(table, keys, &path, false),
                other => {
                    let message = format!("found {other}, expected a table");
                    self.report.add(path, message, Some(node.origin.clone()));
                }
            }
        }
    }
}
