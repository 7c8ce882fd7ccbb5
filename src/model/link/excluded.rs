//! Keys of labels and annotations that a Link does not want copied.

use std::sync::Arc;

/// One entry of `excludedLabels` or `excludedAnnotations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExcludedKey {
    /// Exactly this key.
    Exact(Arc<str>),
    /// All keys of this group: `group/*`. Linkerd compares a bare prefix, so that there
    /// `evil.linkerd/*` excludes `evil.linkerdx/a`, too; here the group ends at its slash.
    Group(Arc<str>),
}

impl ExcludedKey {
    /// Reads one entry.
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix("/*") {
            Some(group) => Self::Group(group.into()),
            None => Self::Exact(text.into()),
        }
    }

    /// Whether it excludes `key`.
    pub fn matches(&self, key: &str) -> bool {
        match self {
            Self::Exact(exact) => key == &**exact,
            Self::Group(group) => key.split_once('/').is_some_and(|(prefix, _)| prefix == &**group),
        }
    }
}
