//! As much of PromQL as it takes to find the metrics and labels that an expression names.

use std::collections::BTreeSet;

/// Label, operator, value.
pub type Matcher = (String, String, String);

/// What an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Each metric with the matchers of its selector.
    pub metrics: Vec<(String, Vec<Matcher>)>,
    /// Labels of `by`, `on` and the like, and of `label_values`.
    pub groupings: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

const OPERATORS: [&str; 9] =
    ["and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"];

/// Everything that `expression` names.
pub fn names(expression: &str) -> Names {
    let tokens = tokens(expression);
    let mut names = Names::default();
    let (mut at, mut label) = (0, None);
    while let Some(token) = tokens.get(at) {
        at += 1;
        let Token::Word(word) = token else { continue };
        let next = tokens.get(at);
        let opens = next == Some(&Token::Sign('('));
        let aggregates =
            matches!(next, Some(Token::Word(next)) if next == "by" || next == "without");
        if ["by", "without", "on", "ignoring", "group_left", "group_right"].contains(&word.as_str())
        {
            if opens {
                at = labels(&tokens, at + 1, &mut names);
            }
        } else if word == "label_values" {
            // Grafana's own: a selector, then the label.
            label = tokens.len().checked_sub(2);
            if let Some(Token::Word(label)) = label.and_then(|at| tokens.get(at)) {
                names.groupings.insert(label.clone());
            }
        } else if !opens
            && !aggregates
            && !OPERATORS.contains(&word.as_str())
            && !word.starts_with(|c: char| c.is_ascii_digit())
            && Some(at - 1) != label
        {
            let (matchers, end) = matchers(&tokens, at);
            at = end;
            names.metrics.push((word.clone(), matchers));
        }
    }
    names
}

/// Reads labels up to `)`; returns the place behind it.
fn labels(tokens: &[Token], mut at: usize, names: &mut Names) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Word(label) => drop(names.groupings.insert(label.clone())),
            Token::Sign(')') => break,
            _ => {}
        }
    }
    at
}

/// Reads `{label="value",...}` if it is there; returns the place behind it.
fn matchers(tokens: &[Token], mut at: usize) -> (Vec<Matcher>, usize) {
    let mut found = Vec::new();
    if tokens.get(at) != Some(&Token::Sign('{')) {
        return (found, at);
    }
    let (mut label, mut operator) = (String::new(), String::new());
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Word(word) => (label, operator) = (word.clone(), String::new()),
            Token::Text(value) => found.push((label.clone(), operator.clone(), value.clone())),
            Token::Sign('}') => break,
            Token::Sign(sign) => operator.push(*sign),
        }
    }
    (found, at)
}

fn tokens(expression: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.');
        let length = match first {
            // A range: durations, and variables of Grafana.
            '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
            '"' => {
                let end = rest[1..].find('"').expect("a closing quote");
                tokens.push(Token::Text(rest[1..=end].to_owned()));
                end + 2
            }
            c if is_word(c) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(Token::Sign(c));
                }
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

#[test]
fn finds_metrics_matchers_and_groupings() {
    let found = names(
        "histogram_quantile(0.99, sum by (le, pod) (rate(a_bucket{x=\"1\",y=~\"b|c\"}[5m]))) > 1 \
         and on (instance) b_total offset 5m / max(c) without (z)",
    );
    let metrics: Vec<_> = found.metrics.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(metrics, ["a_bucket", "b_total", "c"]);
    let matcher = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(found.metrics[0].1, [matcher("x", "=", "1"), matcher("y", "=~", "b|c")]);
    let groupings: Vec<_> = found.groupings.iter().map(String::as_str).collect();
    assert_eq!(groupings, ["instance", "le", "pod", "z"]);
    let found = names("label_values(up{job=\"x\"}, namespace)");
    assert_eq!(found.metrics[0].0, "up");
    assert!(found.groupings.contains("namespace") && found.metrics.len() == 1, "{found:?}");
}
