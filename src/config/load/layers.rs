//! Merging, by figment. The leaves that figment sees are numbers of our own nodes, so values keep
//! their origin down to the line whatever layer they end up in.

use std::collections::HashMap;

use figment::value::{Dict, Map};
use figment::{Error, Figment, Metadata, Profile, Provider};

use crate::config::raw::{Node, Origin, Table, Value};
use crate::config::schema::{Key, Kind, ROOT};

/// The layers so far, lowest first.
#[derive(Default)]
pub struct Layers {
    figment: Figment,
    /// What the numbers stand for; taken when the merged tree is built.
    nodes: Vec<Option<Node>>,
    /// Where each table was last opened, by path.
    tables: HashMap<String, Origin>,
}

/// A part of a layer: what is replaced, or what is concatenated.
struct Part(Dict);

impl Provider for Part {
    fn metadata(&self) -> Metadata {
        Metadata::named("linkerd-gateway")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

impl Layers {
    /// Puts a layer over the others. It has been admitted: only known keys in the right shape.
    pub fn add(&mut self, layer: Value) {
        let Value::Table(layer) = layer else {
            return;
        };
        let (values, lists) = self.split(layer, ROOT, "");
        let figment = std::mem::take(&mut self.figment);
        self.figment = figment.merge(Part(values)).admerge(Part(lists));
    }

    /// The tree of all layers.
    pub fn merge(mut self) -> Node {
        let root = self.figment.data().ok().and_then(|mut data| data.remove(&Profile::Default));
        Node { value: self.table(root.unwrap_or_default(), ""), origin: Origin::Default }
    }

    /// The layer as numbers: what replaces lower layers' values, and the lists of tables.
    fn split(&mut self, table: Table, keys: &'static [Key], path: &str) -> (Dict, Dict) {
        let (mut values, mut lists) = (Dict::new(), Dict::new());
        for (name, node) in table {
            let kind = keys.iter().find(|key| key.name == name).map(|key| key.kind);
            match (kind, node.value) {
                (Some(Kind::Section(keys)), Value::Table(table)) => {
                    let path = format!("{path}.{name}");
                    let (inner_values, inner_lists) = self.split(table, keys, &path);
                    self.tables.insert(path, node.origin);
                    values.insert(name.clone(), inner_values.into());
                    lists.insert(name, inner_lists.into());
                }
                (Some(Kind::Tables(_)), Value::Array(nodes)) => {
                    let numbers: Vec<_> = nodes.into_iter().map(|n| self.number(n)).collect();
                    lists.insert(name, numbers.into());
                }
                (_, value) => {
                    let number = self.number(Node { value, origin: node.origin });
                    values.insert(name, number);
                }
            }
        }
        (values, lists)
    }

    fn number(&mut self, node: Node) -> figment::value::Value {
        self.nodes.push(Some(node));
        (self.nodes.len() - 1).into()
    }

    fn table(&mut self, dict: Dict, path: &str) -> Value {
        let mut table = Table::new();
        for (name, value) in dict {
            let path = format!("{path}.{name}");
            let node = match value {
                figment::value::Value::Dict(_, dict) => {
                    let origin = self.tables.get(&path).cloned().unwrap_or(Origin::Default);
                    Some(Node { value: self.table(dict, &path), origin })
                }
                figment::value::Value::Array(_, values) => {
                    let nodes: Vec<_> = values.iter().filter_map(|v| self.take(v)).collect();
                    let first = nodes.first().map(|node| node.origin.clone());
                    let origin = first.unwrap_or(Origin::Default);
                    Some(Node { value: Value::Array(nodes), origin })
                }
                number => self.take(&number),
            };
            table.extend(node.map(|node| (name, node)));
        }
        Value::Table(table)
    }

    fn take(&mut self, number: &figment::value::Value) -> Option<Node> {
        let index = usize::try_from(number.to_u128()?).ok()?;
        self.nodes.get_mut(index)?.take()
    }
}
