//! Label selectors: parsed, matched here, and written as the query by which a server filters.
//!
//! A selector without any requirement selects nothing: so Linkerd reads those of a Link.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::labels::Labels;

/// What one requirement asks of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It has one of the values.
    In,
    /// It is absent or has none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What is asked.
    pub operator: Operator,
    /// The values of `In` and `NotIn`.
    pub values: Vec<Arc<str>>,
}

/// All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// Why a selector cannot be used, after the field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {expected}")]
pub struct SelectorError {
    /// The field within the selector, `matchExpressions[0].operator`.
    pub field: String,
    /// What was expected and what was found.
    pub expected: String,
}

impl Selector {
    /// A selector of these requirements.
    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self { requirements }
    }

    /// Reads a Kubernetes LabelSelector; null is empty.
    ///
    /// # Errors
    /// [`SelectorError`] for what the API would refuse.
    pub fn from_json(value: &Value) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        match &value["matchLabels"] {
            Value::Null => {}
            Value::Object(labels) => {
                for (key, value) in labels {
                    let field = || format!("matchLabels.{key}");
                    if !is_key(key) {
                        let found = Value::from(key.as_str());
                        return Err(wrong("matchLabels".to_owned(), "a label's key", &found));
                    }
                    let value = text(value).filter(|text| is_value(text)).ok_or_else(|| {
                        wrong(field(), "a label's value: 63 letters, digits, '-', '_', '.'", value)
                    })?;
                    requirements.push(Requirement {
                        key: key.as_str().into(),
                        operator: Operator::In,
                        values: vec![value],
                    });
                }
            }
            other => return Err(wrong("matchLabels".to_owned(), "a map of labels", other)),
        }
        match &value["matchExpressions"] {
            Value::Null => {}
            Value::Array(expressions) => {
                for (index, expression) in expressions.iter().enumerate() {
                    requirements
                        .push(requirement(expression, &format!("matchExpressions[{index}]"))?);
                }
            }
            other => return Err(wrong("matchExpressions".to_owned(), "a list", other)),
        }
        Ok(Self { requirements })
    }

    /// Reads the form of queries: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    ///
    /// # Errors
    /// [`SelectorError`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        let (mut depth, mut start) = (0_u32, 0);
        let mut parts = Vec::new();
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                b',' if depth == 0 => {
                    parts.extend(text.get(start..at));
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.extend(text.get(start..));
        for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
            requirements.push(term(part).ok_or_else(|| {
                SelectorError {
                    field: part.to_owned(),
                    expected:
                        "expected key=value, key!=value, key in (a,b), key notin (a,b), key or !key"
                            .to_owned(),
                }
            })?);
        }
        Ok(Self { requirements })
    }

    /// True when it has no requirement, and so selects nothing.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Its requirements.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it selects an object with these labels.
    pub fn matches(&self, labels: &Labels) -> bool {
        !self.is_empty() && self.requirements.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// The query that a server understands.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let (key, values) = (&requirement.key, &requirement.values);
            match (requirement.operator, values.as_slice()) {
                (Operator::In, [value]) => write!(f, "{key}={value}")?,
                (Operator::In, _) => write!(f, "{key} in ({})", values.join(","))?,
                (Operator::NotIn, _) => write!(f, "{key} notin ({})", values.join(","))?,
                (Operator::Exists, _) => f.write_str(key)?,
                (Operator::DoesNotExist, _) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

fn requirement(expression: &Value, at: &str) -> Result<Requirement, SelectorError> {
    let field = |name: &str| format!("{at}.{name}");
    let key = text(&expression["key"]).filter(|key| is_key(key));
    let key = key.ok_or_else(|| wrong(field("key"), "a label's key", &expression["key"]))?;
    let operator = match expression["operator"].as_str() {
        Some("In") => Operator::In,
        Some("NotIn") => Operator::NotIn,
        Some("Exists") => Operator::Exists,
        Some("DoesNotExist") => Operator::DoesNotExist,
        _ => {
            let expected = "In, NotIn, Exists or DoesNotExist";
            return Err(wrong(field("operator"), expected, &expression["operator"]));
        }
    };
    let values = match &expression["values"] {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => {
            values.iter().map(|value| text(value).filter(|text| is_value(text))).collect()
        }
        _ => None,
    };
    let values = values
        .ok_or_else(|| wrong(field("values"), "a list of labels' values", &expression["values"]))?;
    let takes_values = matches!(operator, Operator::In | Operator::NotIn);
    if takes_values == values.is_empty() {
        let expected = if takes_values { "at least one value" } else { "no values" };
        return Err(wrong(field("values"), expected, &expression["values"]));
    }
    Ok(Requirement { key, operator, values })
}

fn term(part: &str) -> Option<Requirement> {
    let list = |list: &str| -> Option<Vec<Arc<str>>> {
        let inner = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|value| value.trim().into()).collect())
    };
    let (key, operator, values) = if let Some((key, values)) = part.split_once(" notin ") {
        (key, Operator::NotIn, list(values)?)
    } else if let Some((key, values)) = part.split_once(" in ") {
        (key, Operator::In, list(values)?)
    } else if let Some((key, value)) = part.split_once("!=") {
        (key, Operator::NotIn, vec![value.trim().into()])
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key, Operator::In, vec![value.trim().into()])
    } else if let Some(key) = part.strip_prefix('!') {
        (key, Operator::DoesNotExist, Vec::new())
    } else {
        (part, Operator::Exists, Vec::new())
    };
    let key = key.trim();
    let is_valid = is_key(key) && values.iter().all(|value| is_value(value));
    is_valid.then(|| Requirement { key: key.into(), operator, values })
}

fn is_key(key: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    !key.is_empty() && key.bytes().all(allowed)
}

/// What a label may have as its value; anything else would also change the query's meaning.
fn is_value(value: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    value.len() <= 63 && value.bytes().all(allowed)
}

/// Strings; numbers and booleans are what YAML makes of unquoted ones.
fn text(value: &Value) -> Option<Arc<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string().into()),
        _ => None,
    }
}

fn wrong(field: String, expected: &str, found: &Value) -> SelectorError {
    SelectorError { field, expected: format!("expected {expected}, found {found}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::labels::tests::labels;
    use super::*;

    #[test]
    fn labels_and_expressions_must_all_hold() {
        let selector = Selector::from_json(&json!({
            "matchLabels": { "mirror.linkerd.io/exported": "true" },
            "matchExpressions": [
                { "key": "env", "operator": "NotIn", "values": ["dev", "staging"] },
                { "key": "tier", "operator": "Exists" },
                { "key": "hidden", "operator": "DoesNotExist" },
            ],
        }))
        .expect("a selector");
        let exported = ("mirror.linkerd.io/exported", "true");
        assert!(selector.matches(&labels(&[exported, ("tier", "")])));
        for wrong in [
            labels(&[exported]),
            labels(&[("tier", "")]),
            labels(&[exported, ("tier", ""), ("env", "dev")]),
            labels(&[exported, ("tier", ""), ("hidden", "")]),
        ] {
            assert!(!selector.matches(&wrong), "{wrong:?}");
        }
        let query = "mirror.linkerd.io/exported=true,env notin (dev,staging),tier,!hidden";
        assert_eq!(selector.to_string(), query);
        assert_eq!(Selector::parse(query), Ok(selector));
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        for empty in [json!(null), json!({}), json!({ "matchLabels": {} })] {
            let selector = Selector::from_json(&empty).expect("a selector");
            assert!(selector.is_empty() && !selector.matches(&Labels::default()), "{empty}");
        }
    }

    #[test]
    fn names_the_field_that_is_wrong() {
        for (selector, field) in [
            (json!({ "matchLabels": [] }), "matchLabels"),
            (json!({ "matchLabels": { "a": "b,c" } }), "matchLabels.a"),
            (json!({ "matchLabels": { "a b": "c" } }), "matchLabels"),
            (json!({ "matchExpressions": [{ "operator": "In" }] }), "matchExpressions[0].key"),
            (
                json!({ "matchExpressions": [{ "key": "a", "operator": "Is" }] }),
                "matchExpressions[0].operator",
            ),
            (
                json!({ "matchExpressions": [{ "key": "a", "operator": "In" }] }),
                "matchExpressions[0].values",
            ),
            (
                json!({ "matchExpressions":
                    [{ "key": "a", "operator": "NotIn", "values": ["b", "c),d=(e"] }] }),
                "matchExpressions[0].values",
            ),
        ] {
            assert_eq!(Selector::from_json(&selector).expect_err("wrong").field, field);
        }
        assert!(Selector::parse("a b").is_err() && Selector::parse("a in b").is_err());
    }
}
