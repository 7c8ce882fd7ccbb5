//! What a leaf is issued for: one identity, or the DNS names of a web server.

use std::path::{Component, Path, PathBuf};

use crate::model::identity::{Identity, is_trust_domain};
use crate::model::service::is_dns_name;

/// Names that are files of the authority or of a leaf, so no directory may have them.
const RESERVED: [&str; 6] = ["ca.crt", "ca.key", "issuer.crt", "issuer.key", "tls.crt", "tls.key"];

/// The subject alternative names of one leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafNames {
    /// One workload identity: exactly one name, DNS or URI.
    Identity(Identity),
    /// A web server's lower-case DNS names, wildcards allowed. Peers read no identity from
    /// several names or from a wildcard.
    Web(Vec<String>),
}

/// A leaf to issue, and the directory below the authority's to put it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRequest {
    /// One or more plain path components.
    pub directory: PathBuf,
    /// What it is for.
    pub names: LeafNames,
}

/// Why a text names no leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// The directory leaves the output directory or is a file's name.
    #[error("the directory must be a plain relative path, without '..' and not named like a file")]
    Directory,
    /// No `=`.
    #[error("expected DIR=NAME[,NAME...]")]
    Form,
    /// A name is neither an identity nor a web server's name.
    #[error("each name must be a DNS name, or the only one a spiffe:// ID in canonical form")]
    Name,
    /// No trust domain.
    #[error("a trust domain has lower-case letters, digits, '.', '-' and '_', at most 255 bytes")]
    TrustDomain,
}

impl LeafNames {
    /// Parses `NAME[,NAME...]`.
    ///
    /// # Errors
    /// [`NamesError::Name`].
    pub fn parse(text: &str) -> Result<Self, NamesError> {
        if let Ok(identity) = Identity::parse(text) {
            return Ok(Self::Identity(identity));
        }
        let names: Vec<String> = text.split(',').map(str::to_ascii_lowercase).collect();
        let is_web_name = |name: &String| {
            let name = name.strip_prefix("*.").unwrap_or(name);
            is_dns_name(name) && Identity::parse(name).is_ok()
        };
        if names.iter().all(is_web_name) { Ok(Self::Web(names)) } else { Err(NamesError::Name) }
    }

    /// The names as text, for printing.
    pub fn as_text(&self) -> String {
        match self {
            Self::Identity(identity) => identity.to_string(),
            Self::Web(names) => names.join(", "),
        }
    }
}

impl LeafRequest {
    /// Parses `DIR=NAME[,NAME...]`.
    ///
    /// # Errors
    /// See [`NamesError`].
    pub fn parse(text: &str) -> Result<Self, NamesError> {
        let (directory, names) = text.split_once('=').ok_or(NamesError::Form)?;
        if !is_plain(Path::new(directory)) {
            return Err(NamesError::Directory);
        }
        // Collected, so that `a/./b/` and `a/b` are one directory.
        let directory = Path::new(directory).components().collect();
        Ok(Self { directory, names: LeafNames::parse(names)? })
    }

    /// A leaf with one identity.
    pub fn new(directory: &str, identity: Identity) -> Self {
        Self { directory: directory.into(), names: LeafNames::Identity(identity) }
    }
}

/// The identity of a service account as Linkerd names it, or as its SPIFFE ID.
///
/// # Errors
/// [`NamesError::TrustDomain`], also when the name would become too long.
pub fn account_identity(
    account: &str,
    namespace: &str,
    trust_domain: &str,
    spiffe: bool,
) -> Result<Identity, NamesError> {
    let text = if spiffe {
        format!("spiffe://{trust_domain}/ns/{namespace}/sa/{account}")
    } else {
        format!("{account}.{namespace}.serviceaccount.identity.linkerd.{trust_domain}")
    };
    Identity::parse(&text).map_err(|_| NamesError::TrustDomain)
}

/// Checks a trust domain given as text.
///
/// # Errors
/// [`NamesError::TrustDomain`].
pub fn trust_domain(text: &str) -> Result<String, NamesError> {
    is_trust_domain(text).then(|| text.to_owned()).ok_or(NamesError::TrustDomain)
}

fn is_plain(path: &Path) -> bool {
    let is_allowed = |component: Component<'_>| match component {
        Component::Normal(name) => RESERVED.iter().all(|reserved| name != *reserved),
        _ => false,
    };
    path.components().next().is_some() && path.components().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_an_identity_and_several_are_a_web_server() {
        let parse = |text| LeafNames::parse(text);
        let identity = |text| Ok(LeafNames::Identity(Identity::parse(text).expect("valid")));
        assert_eq!(parse("Web.Example"), identity("web.example"));
        assert_eq!(parse("spiffe://td/ns/a/sa/b"), identity("spiffe://td/ns/a/sa/b"));
        let web = |names: &[&str]| Ok(LeafNames::Web(names.iter().map(|n| (*n).into()).collect()));
        assert_eq!(parse("a.b,*.B.c"), web(&["a.b", "*.b.c"]));
        assert_eq!(parse("*.b"), web(&["*.b"]));
        for text in ["", "a,,b", "a b", "spiffe://td", "spiffe://td/a,b", "10.0.0.1", "*", "a.*.b"]
        {
            assert_eq!(parse(text), Err(NamesError::Name), "{text}");
        }
    }

    #[test]
    fn a_leaf_stays_below_the_directory() {
        let request = LeafRequest::parse("a/./b/=web.example").expect("valid");
        assert_eq!(request.directory, Path::new("a/b"));
        for text in ["=a", "/a=b", "../a=b", "a/../b=c", "ca.crt=a", "gateway/tls.key=a", ".=a"] {
            assert_eq!(LeafRequest::parse(text), Err(NamesError::Directory), "{text}");
        }
        assert_eq!(LeafRequest::parse("web"), Err(NamesError::Form));
    }
}
