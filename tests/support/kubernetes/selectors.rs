//! Label and field selectors as query parameters carry them, parsed as strictly as a real server
//! does. Used by `read` and `watch`; `rbac` asks a field selector for the one name it allows.

use serde_json::Value;

use super::error::ApiError;

/// Both selectors of a list or watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    labels: Vec<Requirement>,
    /// Field, value, and whether they must be equal.
    fields: Vec<(Field, String, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    is: Is,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Is {
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Present,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    /// `type` of Secrets.
    Type,
}

impl Selector {
    /// Parses the values of `labelSelector` and `fieldSelector`.
    pub fn parse(labels: &str, fields: &str) -> Result<Self, ApiError> {
        let bad = |text: &str| {
            ApiError::bad_request(format!("unable to parse requirement: found '{text}'"))
        };
        let labels = split(labels).map(|part| requirement(part).ok_or_else(|| bad(part)));
        let fields = split(fields).map(|part| {
            field(part)
                .ok_or_else(|| ApiError::bad_request(format!("field label not supported: {part}")))
        });
        Ok(Self {
            labels: labels.collect::<Result<_, _>>()?,
            fields: fields.collect::<Result<_, _>>()?,
        })
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that `metadata.name=` leaves.
    pub fn name(&self) -> Option<&str> {
        let is_name = |f: &&(Field, String, bool)| f.0 == Field::Name && f.2;
        self.fields.iter().find(is_name).map(|(_, value, _)| value.as_str())
    }

    /// Whether `object` is selected.
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let has_labels = self.labels.iter().all(|requirement| {
            let value = labels[&requirement.key].as_str();
            let is_one = |values: &[String]| value.is_some_and(|v| values.iter().any(|o| o == v));
            match &requirement.is {
                Is::Absent => value.is_none(),
                Is::In(values) => is_one(values),
                Is::NotIn(values) => !is_one(values),
                Is::Present => value.is_some(),
            }
        });
        has_labels
            && self.fields.iter().all(|(field, value, equal)| {
                let found = match field {
                    Field::Name => &object["metadata"]["name"],
                    Field::Namespace => &object["metadata"]["namespace"],
                    Field::Type => &object["type"],
                };
                (found.as_str().unwrap_or_default() == value) == *equal
            })
    }
}

/// Splits at commas that are not within parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

fn requirement(text: &str) -> Option<Requirement> {
    let make = |key: &str, is| is_key(key).then(|| Requirement { key: key.to_owned(), is });
    if let Some(key) = text.strip_prefix('!') {
        return make(key.trim(), Is::Absent);
    }
    if let Some((front, values)) = text.split_once('(') {
        let values = values.strip_suffix(')')?;
        let values: Vec<_> = values.split(',').map(|value| value.trim().to_owned()).collect();
        let (key, operator) = front.trim().rsplit_once(' ')?;
        return match operator {
            "in" => make(key.trim(), Is::In(values)),
            "notin" => make(key.trim(), Is::NotIn(values)),
            _ => None,
        };
    }
    if let Some((key, value)) = text.split_once("!=") {
        return make(key.trim(), Is::NotIn(vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = text.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return make(key.trim(), Is::In(vec![value.trim().to_owned()]));
    }
    make(text, Is::Present)
}

fn is_key(key: &str) -> bool {
    super::validate::names::qualified_name(key).is_ok()
}

fn field(text: &str) -> Option<(Field, String, bool)> {
    let (name, value, equal) = match text.split_once("!=") {
        Some((name, value)) => (name, value, false),
        None => {
            let (name, value) = text.split_once('=')?;
            (name, value.strip_prefix('=').unwrap_or(value), true)
        }
    };
    let field = match name {
        "metadata.name" => Field::Name,
        "metadata.namespace" => Field::Namespace,
        "type" => Field::Type,
        _ => return None,
    };
    Some((field, value.to_owned(), equal))
}
