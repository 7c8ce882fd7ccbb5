//! What rules may name of a request: methods and paths. Asked only of rules that match in all
//! other ways, one after the other.

use std::cell::OnceCell;

use super::path::CanonicalPath;
use super::{Action, Rule};

/// What of a request rules may name.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The path as in the request target, with or without its query.
    pub path: &'a str,
}

/// Which requests a decision is about.
#[derive(Clone, Copy, Debug)]
pub enum Requests<'a> {
    /// Any that a session may carry: an allow rule's methods and paths match, because some request
    /// may have them; those of a deny rule do not, because another may not.
    Any,
    /// This one.
    One(RequestFacts<'a>),
    /// Those of a byte relay, which are not seen: an allow rule's methods and paths never match,
    /// those of a deny rule always do.
    Unseen,
}

/// One entry of a rule's `methods`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method(Box<str>);

/// One entry of a rule's `paths`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// `*` or `/*`: any path that has a canonical form.
    Any,
    /// `/a/*`: `/a` and what is below; holds `/a`.
    Below(CanonicalPath<'static>),
    /// Exactly this one.
    Exact(CanonicalPath<'static>),
}

/// Why a text is no method or no pattern of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a token of RFC 9110.
    #[error("the method is no token like GET")]
    Method,
    /// Not one of the forms of a pattern.
    #[error("the path is neither \"*\" nor like \"/healthz\" or \"/api/*\"")]
    Path,
}

impl Method {
    /// Checks a method.
    ///
    /// # Errors
    /// [`RequestError::Method`].
    pub fn parse(text: &str) -> Result<Self, RequestError> {
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        // A token, too, but it could only be meant as "any".
        let is_method = !text.is_empty() && text != "*" && text.bytes().all(is_token);
        if is_method { Ok(Self(text.into())) } else { Err(RequestError::Method) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when a rule that does `action` is about `method`. Methods are case-sensitive, but there
    /// are services that do not know it: what is denied is denied in any case.
    pub fn matches(&self, method: &str, action: Action) -> bool {
        match action {
            Action::Allow => *self.0 == *method,
            Action::Deny => self.0.eq_ignore_ascii_case(method),
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl PathPattern {
    /// Parses a pattern, in any spelling of its path.
    ///
    /// # Errors
    /// [`RequestError::Path`], also for a path without canonical form, and for parameters.
    pub fn parse(text: &str) -> Result<Self, RequestError> {
        if matches!(text, "*" | "/*") {
            return Ok(Self::Any);
        }
        let below = text.strip_suffix("/*");
        let path = below.unwrap_or(text);
        // A star elsewhere is meant as something that it is not; the others are cut off before a
        // deny rule compares, so that it would deny more than it says.
        let lower = path.to_ascii_lowercase();
        let is_misleading =
            ["*", "?", ";", "%3b", "%3f", "%23"].iter().any(|part| lower.contains(part));
        if is_misleading || (below.is_some() && path.ends_with('/')) {
            return Err(RequestError::Path);
        }
        let path = CanonicalPath::parse(path).ok_or(RequestError::Path)?.into_owned();
        Ok(if below.is_some() { Self::Below(path) } else { Self::Exact(path) })
    }

    /// True when a rule that does `action` is about `path`.
    pub fn matches(&self, path: &CanonicalPath<'_>, action: Action) -> bool {
        let (own, is_head) = match self {
            Self::Any => return true,
            Self::Below(head) => (head, true),
            Self::Exact(exact) => (exact, false),
        };
        let (own, path) = match action {
            Action::Allow => (own.strict(), path.strict()),
            Action::Deny => (own.loose(), path.loose()),
        };
        let rest = path.strip_prefix(own);
        rest.is_some_and(|rest| rest.is_empty() || (is_head && rest.starts_with('/')))
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(head) => write!(f, "{}/*", head.strict()),
            Self::Exact(exact) => f.write_str(exact.strict()),
        }
    }
}

/// The requests that are asked about, and the canonical path once a rule wants to know it.
pub(super) struct Asked<'a> {
    requests: Requests<'a>,
    path: OnceCell<Option<CanonicalPath<'a>>>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(requests: Requests<'a>) -> Self {
        Self { requests, path: OnceCell::new() }
    }

    /// True when `rule` does not name methods, or these.
    pub(super) fn has_method(&self, rule: &Rule) -> bool {
        rule.methods.is_empty()
            || match self.requests {
                Requests::Any => rule.action == Action::Allow,
                Requests::One(request) => {
                    rule.methods.iter().any(|method| method.matches(request.method, rule.action))
                }
                Requests::Unseen => rule.action == Action::Deny,
            }
    }

    /// True when `rule` does not name paths, or these.
    pub(super) fn has_path(&self, rule: &Rule) -> bool {
        rule.paths.is_empty()
            || match self.requests {
                Requests::Any => rule.action == Action::Allow,
                Requests::One(request) => {
                    match self.path.get_or_init(|| CanonicalPath::parse(request.path)) {
                        Some(path) => rule.paths.iter().any(|p| p.matches(path, rule.action)),
                        // It may be any place.
                        None => rule.action == Action::Deny,
                    }
                }
                Requests::Unseen => rule.action == Action::Deny,
            }
    }
}
