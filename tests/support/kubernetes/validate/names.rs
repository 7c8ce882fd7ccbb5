//! The grammars of names: RFC 1035 and RFC 1123 labels, subdomains, qualified names, label values.

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
                     or '-', and must start and end with an alphanumeric character";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or \
                          '-', start with an alphabetic character, and end with an alphanumeric \
                          character";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                         characters, '-' or '.', and must start and end with an alphanumeric \
                         character";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and \
                         must start and end with an alphanumeric character";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, \
                     '-', '_' or '.', and must start and end with an alphanumeric character";
const TOO_LONG: &str = "must be no more than 63 characters";
const TOO_LONG_SUBDOMAIN: &str = "must be no more than 253 characters";

/// The rule that a name breaks.
pub type Checked = Result<(), &'static str>;

/// A label of RFC 1123.
pub fn label(text: &str) -> Checked {
    match text.len() {
        0 => Err(LABEL),
        1..=63 if is_label(text) => Ok(()),
        1..=63 => Err(LABEL),
        _ => Err(TOO_LONG),
    }
}

/// A label of RFC 1035: the name of a Service.
pub fn label_1035(text: &str) -> Checked {
    match text.len() {
        0 => Err(LABEL_1035),
        1..=63 if is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase()) => Ok(()),
        1..=63 => Err(LABEL_1035),
        _ => Err(TOO_LONG),
    }
}

/// A subdomain of RFC 1123.
pub fn subdomain(text: &str) -> Checked {
    match text.len() {
        0..=253 if text.split('.').all(is_label) => Ok(()),
        0..=253 => Err(SUBDOMAIN),
        _ => Err(TOO_LONG_SUBDOMAIN),
    }
}

/// A key of labels and annotations: `prefix/name` or `name`.
pub fn qualified_name(text: &str) -> Checked {
    let name = match text.split_once('/') {
        Some((prefix, name)) => {
            subdomain(prefix)?;
            name
        }
        None => text,
    };
    match name.len() {
        0 => Err("name part must be non-empty"),
        1..=63 if is_word(name) => Ok(()),
        1..=63 => Err(QUALIFIED),
        _ => Err("name part must be no more than 63 characters"),
    }
}

/// A label's value.
pub fn label_value(text: &str) -> Checked {
    match text.len() {
        0 => Ok(()),
        1..=63 if is_word(text) => Ok(()),
        1..=63 => Err(VALUE),
        _ => Err(TOO_LONG),
    }
}

/// A key of Secrets and ConfigMaps.
pub fn data_key(text: &str) -> Checked {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.len() {
        1..=253 if text.chars().all(is_fine) && !text.starts_with("..") && text != "." => Ok(()),
        _ => Err("a valid config key must consist of alphanumeric characters, '-', '_' or '.'"),
    }
}

/// A port's name where it must be one of IANA's form: at most 15 characters, one of them a letter.
pub fn port_name(text: &str) -> Checked {
    let has_letter = text.chars().any(|c| c.is_ascii_lowercase());
    match text.len() {
        1..=15 if is_label(text) && has_letter && !text.contains("--") => Ok(()),
        1..=15 => Err("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
        _ => Err("must be no more than 15 characters"),
    }
}

fn is_label(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty() && text.chars().all(is_inner) && !text.starts_with('-') && !text.ends_with('-')
}

fn is_word(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_alphanumeric();
    let is_inner = |c: char| is_end(c) || matches!(c, '-' | '_' | '.');
    text.starts_with(is_end) && text.ends_with(is_end) && text.chars().all(is_inner)
}
