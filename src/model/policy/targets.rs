//! Patterns of targets: `name:port` where the port or any label may be `*`, a leading `*.` stands
//! for one or more labels, and `*` alone for everything.

use std::collections::HashMap;

use super::Rule;
use super::index::{RuleSet, Table, numbered};
use crate::model::service::{Port, Target, TargetError, is_dns_name};

/// Most labels of a DNS name (RFC 1035: 253 bytes).
const MAX_LABELS: usize = 127;

/// One entry of a rule's `targets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPattern {
    shape: Shape,
    /// The labels that are no `*`, each with a dot before it.
    fixed: Box<str>,
    port: Option<Port>,
}

/// Where the stars of a pattern are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Shape {
    /// A leading `*`: any number of labels, at least one.
    open: bool,
    /// For each label from the left, after the leading star: is it fixed?
    fixed: Vec<bool>,
    /// Is the port fixed?
    port: bool,
}

impl TargetPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let (name, port) = match text {
            "*" => ("*", "*"),
            _ => text.rsplit_once(':').ok_or(TargetError::Form)?,
        };
        let port = match port {
            "*" => None,
            port => Some(port.parse().ok().and_then(Port::new).ok_or(TargetError::Port)?),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let mut labels: Vec<&str> = name.split('.').collect();
        let stand_in: Vec<_> = labels.iter().map(|l| if *l == "*" { "x" } else { l }).collect();
        let digits = labels.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if labels.len() > MAX_LABELS || digits || !is_dns_name(&stand_in.join(".")) {
            return Err(TargetError::Name);
        }
        let open = labels.first() == Some(&"*");
        if open {
            labels.remove(0);
        }
        let fixed: Vec<bool> = labels.iter().map(|label| *label != "*").collect();
        let text = labels.iter().filter(|label| **label != "*");
        let text = text.fold(String::new(), |text, label| text + "." + label).into();
        let shape = Shape { open, fixed, port: port.is_some() };
        Ok(Self { shape, fixed: text, port })
    }

    /// True when `target` is one of those meant.
    pub fn matches(&self, target: &Target) -> bool {
        let port = self.port.is_none_or(|port| port == target.port());
        let mut fixed = String::new();
        port && self.shape.fixed_labels(name(target), &mut fixed) && fixed == *self.fixed
    }
}

impl std::fmt::Display for TargetPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut labels = self.fixed.split('.').skip(1);
        let mut name: Vec<&str> = self.shape.open.then_some("*").into_iter().collect();
        for fixed in &self.shape.fixed {
            name.push(if *fixed { labels.next().unwrap_or_default() } else { "*" });
        }
        write!(f, "{}:", name.join("."))?;
        match self.port {
            Some(port) => port.fmt(f),
            None => f.write_str("*"),
        }
    }
}

impl Shape {
    /// Writes the labels of `name` that are fixed in this shape; false when it cannot have the
    /// shape.
    fn fixed_labels(&self, name: &str, out: &mut String) -> bool {
        out.clear();
        let labels = name.split('.').count();
        let extra = match labels.checked_sub(self.fixed.len()) {
            Some(0) if !self.open => 0,
            Some(extra @ 1..) if self.open => extra,
            _ => return false,
        };
        for (label, fixed) in name.split('.').skip(extra).zip(&self.fixed) {
            if *fixed {
                out.push('.');
                out.push_str(label);
            }
        }
        true
    }
}

/// Policy sees a local port as a port of `localhost`.
fn name(target: &Target) -> &str {
    match target {
        Target::Local(_) => "localhost",
        Target::Service(name, _) => name.as_str(),
    }
}

/// What there is for each fixed port, and for any (`None`).
type ByPort<T> = HashMap<Option<Port>, T>;

/// Rules by target: one look-up for every shape that occurs, of which there are few.
#[derive(Debug)]
pub(super) struct Index {
    any: Table<()>,
    by_shape: Vec<(Shape, ByPort<Table<Box<str>>>)>,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let open = numbered(rules).filter(|(_, rule)| rule.targets.is_empty());
        let mut grouped = HashMap::<Shape, ByPort<Vec<(Box<str>, u32)>>>::new();
        for (number, rule) in numbered(rules) {
            for pattern in &rule.targets {
                let ports = grouped.entry(pattern.shape.clone()).or_default();
                ports.entry(pattern.port).or_default().push((pattern.fixed.clone(), number));
            }
        }
        let compile = |ports: ByPort<Vec<(Box<str>, u32)>>| {
            let tables = ports.into_iter();
            tables.map(|(port, pairs)| (port, Table::new(pairs.into_iter(), rules.len()))).collect()
        };
        let by_shape = grouped.into_iter().map(|(shape, ports)| (shape, compile(ports))).collect();
        Self { any: Table::new(open.map(|(n, _)| ((), n)), rules.len()), by_shape }
    }

    /// Adds the rules that are about `target`.
    pub(super) fn add(&self, target: &Target, set: &mut RuleSet) {
        self.any.add(&(), set);
        let mut fixed = String::new();
        for (shape, ports) in &self.by_shape {
            let port = shape.port.then_some(target.port());
            let Some(table) = ports.get(&port) else { continue };
            if shape.fixed_labels(name(target), &mut fixed) {
                table.add(fixed.as_str(), set);
            }
        }
    }
}
