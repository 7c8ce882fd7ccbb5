//! Who may do what: rules as ClusterRoles and Roles write them, and the bindings that give them to a
//! service account. `http` asks before anything is done.

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;

/// What a token may do.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    is_all: bool,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// Where it holds; none for everywhere.
    namespace: Option<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
    names: Vec<String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub verb: &'static str,
    pub group: String,
    /// With its subresource: `links/status`.
    pub resource: String,
    /// Empty for all.
    pub namespace: String,
    /// Empty for a collection.
    pub name: String,
}

impl Rules {
    /// Everything.
    pub fn all() -> Self {
        Self { is_all: true, rules: Vec::new() }
    }

    /// Nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// The rules of all ClusterRoles and Roles in `yaml`, of one document or several, whoever they
    /// are bound to. A Role without a namespace lies in `namespace`.
    pub fn from_yaml(yaml: &str, namespace: &str) -> Self {
        let mut rules = Vec::new();
        for document in &documents(yaml) {
            let within = match document["kind"].as_str() {
                Some("ClusterRole") => None,
                Some("Role") => Some(namespace_of(document, namespace)),
                _ => continue,
            };
            rules.extend(rules_of(document, within.as_deref()));
        }
        assert!(!rules.is_empty(), "no rule in:\n{yaml}");
        Self { is_all: false, rules }
    }

    /// What the bindings in `yaml` give to the service account `account` (`namespace/name`): a
    /// ClusterRole bound by a RoleBinding holds in that namespace only.
    pub fn of_account(yaml: &str, account: &str) -> Self {
        let found = Self::bound(&documents(yaml), account);
        assert!(!found.rules.is_empty(), "nothing is bound to {account} in:\n{yaml}");
        found
    }

    /// The same of objects.
    pub fn bound(objects: &[Value], account: &str) -> Self {
        let (namespace, name) = account.split_once('/').expect("namespace/name");
        let mut rules = Vec::new();
        for binding in objects {
            let within = match binding["kind"].as_str() {
                Some("ClusterRoleBinding") => None,
                Some("RoleBinding") => Some(namespace_of(binding, namespace)),
                _ => continue,
            };
            let subjects = binding["subjects"].as_array().into_iter().flatten();
            let is_subject = |subject: &Value| {
                let of = subject["namespace"].as_str().or(within.as_deref());
                subject["kind"] == "ServiceAccount"
                    && subject["name"] == name
                    && of.unwrap_or(namespace) == namespace
            };
            if !subjects.into_iter().any(is_subject) {
                continue;
            }
            let reference = &binding["roleRef"];
            let is_role = |role: &&Value| {
                let is_named = role["kind"] == reference["kind"]
                    && role["metadata"]["name"] == reference["name"];
                let is_there =
                    role["kind"] == "ClusterRole" || Some(namespace_of(role, namespace)) == within;
                is_named && is_there
            };
            let role = objects.iter().find(is_role);
            let role = role.unwrap_or_else(|| panic!("a binding of no role: {reference}"));
            rules.extend(rules_of(role, within.as_deref()));
        }
        Self { is_all: false, rules }
    }

    /// The same, and what `other` allows.
    pub fn and(mut self, other: Self) -> Self {
        self.is_all |= other.is_all;
        self.rules.extend(other.rules);
        self
    }

    /// Whether `access` is allowed.
    pub fn allow(&self, access: &Access) -> bool {
        self.is_all || self.rules.iter().any(|rule| rule.allows(access))
    }
}

impl Rule {
    fn allows(&self, access: &Access) -> bool {
        let has = |list: &[String], item: &str| list.iter().any(|i| i == "*" || i == item);
        let is_there = self
            .namespace
            .as_ref()
            .is_none_or(|namespace| !access.namespace.is_empty() && *namespace == access.namespace);
        let is_any_of_sub = access.resource.split_once('/').is_some_and(|(_, sub)| {
            self.resources.iter().any(|resource| *resource == format!("*/{sub}"))
        });
        is_there
            && has(&self.verbs, access.verb)
            && has(&self.groups, &access.group)
            && (has(&self.resources, &access.resource) || is_any_of_sub)
            && (self.names.is_empty() || self.names.contains(&access.name))
    }
}

impl Access {
    /// The refusal of `user`.
    pub fn denied(&self, user: &str) -> ApiError {
        let plain = self.resource.split('/').next().unwrap_or_default();
        let qualified = match self.group.is_empty() {
            true => plain.to_owned(),
            false => format!("{plain}.{}", self.group),
        };
        let what = match self.name.is_empty() {
            true => qualified,
            false => format!("{qualified} \"{}\"", self.name),
        };
        let place = match self.namespace.is_empty() {
            true => "at the cluster scope".to_owned(),
            false => format!("in the namespace \"{}\"", self.namespace),
        };
        let message = format!(
            "{what} is forbidden: User \"{user}\" cannot {} resource \"{}\" in API group \"{}\" \
             {place}",
            self.verb, self.resource, self.group
        );
        let mut details = json!({ "kind": plain });
        for (field, value) in [("name", &self.name), ("group", &self.group)] {
            if !value.is_empty() {
                details[field] = value.clone().into();
            }
        }
        ApiError::forbidden(message, details)
    }
}

/// The objects of several YAML documents, those of Lists among them.
pub fn documents(yaml: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(yaml) {
        let value = Value::deserialize(document).expect("YAML");
        match value["items"].as_array() {
            Some(items) => found.extend(items.iter().cloned()),
            None if value.is_null() => {}
            None => found.push(value),
        }
    }
    found
}

fn namespace_of(object: &Value, fallback: &str) -> String {
    object["metadata"]["namespace"].as_str().unwrap_or(fallback).to_owned()
}

fn rules_of(role: &Value, namespace: Option<&str>) -> Vec<Rule> {
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let rules = role["rules"].as_array().into_iter().flatten();
    rules
        .map(|rule| Rule {
            namespace: namespace.map(str::to_owned),
            groups: texts(&rule["apiGroups"]),
            resources: texts(&rule["resources"]),
            verbs: texts(&rule["verbs"]),
            names: texts(&rule["resourceNames"]),
        })
        .collect()
}
