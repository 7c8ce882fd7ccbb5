//! Who a peer is: one SPIFFE-style identity, read from a certificate that has been verified.
//!
//! Two kinds exist. Linkerd issues DNS-like names (`<sa>.<ns>.serviceaccount.identity.<control
//! plane ns>.<trust domain>`), SPIFFE issues `spiffe://<trust domain>/<path>`. Called by
//! `tls::verify` for peers and by `control::credentials` for our own certificate. Never decides
//! whether a chain is trusted.

use std::fmt;
use std::sync::Arc;

use super::service::is_dns_name;

/// Longest SPIFFE ID in bytes (SPIFFE-ID 2.3).
const MAX_SPIFFE_ID: usize = 2048;
/// Longest trust domain name in bytes (SPIFFE-ID 2.3).
const MAX_TRUST_DOMAIN: usize = 255;
/// The label pair that marks a Linkerd identity between the account and the trust domain.
const LINKERD_MARK: &str = ".serviceaccount.identity.";

/// One verified name of one workload. Cheap to clone; equality is exact.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    kind: Kind,
    text: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Dns,
    Spiffe,
}

/// Why a certificate or a configured text gives no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate names several identities of one kind.
    #[error("it names more than one identity")]
    Ambiguous,
    /// A name is a wildcard, malformed or not conformant.
    #[error("its name is malformed, a wildcard or not conformant")]
    Malformed,
    /// The certificate carries no URI and no DNS name.
    #[error("it has no subject alternative name of type URI or DNS")]
    Missing,
}

impl Identity {
    /// Parses a DNS-like or `spiffe://` identity. DNS names are lower-cased; SPIFFE IDs must be in
    /// their canonical form already.
    ///
    /// # Errors
    /// [`IdentityError::Malformed`] when the text is neither.
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        if is_spiffe_scheme(text) {
            if !is_spiffe_id(text) {
                return Err(IdentityError::Malformed);
            }
            return Ok(Self { kind: Kind::Spiffe, text: text.into() });
        }
        let name = text.to_ascii_lowercase();
        // A name that ends in digits only would read as an IP address.
        let last = name.rsplit('.').next().unwrap_or_default();
        if name.ends_with('.') || !is_dns_name(&name) || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(IdentityError::Malformed);
        }
        Ok(Self { kind: Kind::Dns, text: name.into() })
    }

    /// The one identity of a leaf with these URI and DNS names (every entry, in certificate
    /// order, malformed ones included): its one SPIFFE ID if it has one, else its one DNS name.
    ///
    /// # Errors
    /// See [`IdentityError`]. A SPIFFE ID must be the only URI (X509-SVID 2); URIs of other
    /// schemes beside a DNS name are no identities and are not looked at.
    pub fn from_names(uris: &[&str], dns: &[&str]) -> Result<Self, IdentityError> {
        if uris.iter().any(|uri| is_spiffe_scheme(uri)) {
            return match uris {
                [only] => Self::parse(only),
                _ => Err(IdentityError::Ambiguous),
            };
        }
        match dns {
            [] => Err(IdentityError::Missing),
            [only] => Self::parse(only),
            _ => Err(IdentityError::Ambiguous),
        }
    }

    /// The identity as written in policy, logs and metrics.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True for `spiffe://` identities.
    pub fn is_spiffe(&self) -> bool {
        self.kind == Kind::Spiffe
    }

    /// The DNS name to send as SNI, if this identity is one.
    pub fn dns_name(&self) -> Option<&str> {
        (self.kind == Kind::Dns).then_some(&*self.text)
    }

    /// The trust domain that the name itself states: a SPIFFE ID's authority, or what follows
    /// `.serviceaccount.identity.<control plane ns>.` in a Linkerd name. Other DNS names state
    /// none.
    pub fn stated_trust_domain(&self) -> Option<&str> {
        if self.kind == Kind::Spiffe {
            let rest = self.text.get("spiffe://".len()..)?;
            return rest.split('/').next();
        }
        let (_, after) = self.text.split_once(LINKERD_MARK)?;
        let (_control_plane, domain) = after.split_once('.')?;
        Some(domain)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.text)
    }
}

/// Which trust anchors may vouch for which trust domains (`[[identity.trust]]`).
///
/// A bound anchor vouches only for its own domains, and a bound domain is vouched for only by the
/// anchors bound to it. Anchors and domains that no binding names are unrestricted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustBindings<A> {
    bindings: Vec<(A, String)>,
}

impl<A: PartialEq> TrustBindings<A> {
    /// Binds `anchor` to `domain`; an anchor may be bound to several.
    pub fn bind(&mut self, anchor: A, domain: impl Into<String>) {
        self.bindings.push((anchor, domain.into()));
    }

    /// True when an identity may have been issued under `anchor`.
    pub fn allows(&self, anchor: &A, identity: &Identity) -> bool {
        match self.domain_of(identity) {
            Some(domain) => self.bindings.iter().any(|(a, d)| a == anchor && d == domain),
            None => self.bindings.iter().all(|(a, _)| a != anchor),
        }
    }

    /// The bound domain that the identity belongs to: the one it states, else the longest bound
    /// domain that it equals or lies under.
    fn domain_of(&self, identity: &Identity) -> Option<&str> {
        let domains = self.bindings.iter().map(|(_, d)| d.as_str());
        match identity.stated_trust_domain() {
            Some(stated) => domains.into_iter().find(|d| *d == stated),
            None => {
                domains.filter(|d| is_at_or_under(identity.as_str(), d)).max_by_key(|d| d.len())
            }
        }
    }
}

/// True when `text` is a trust domain name: lower-case letters, digits, `.`, `-`, `_`.
pub fn is_trust_domain(text: &str) -> bool {
    let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= MAX_TRUST_DOMAIN && text.bytes().all(allowed)
}

/// True when `name` is `domain` or ends with it at a label boundary.
fn is_at_or_under(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|head| head.is_empty() || head.ends_with('.'))
}

fn is_spiffe_scheme(text: &str) -> bool {
    text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe:"))
}

/// The grammar of SPIFFE-ID 2: no port, user, query, fragment, dot segments or empty segments,
/// and for a workload a path.
fn is_spiffe_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return false;
    };
    let Some((domain, path)) = rest.split_once('/') else {
        return false;
    };
    text.len() <= MAX_SPIFFE_ID && is_trust_domain(domain) && path.split('/').all(is_path_segment)
}

fn is_path_segment(segment: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Identity {
        Identity::parse(text).expect("a valid identity")
    }

    #[test]
    fn reads_the_one_name_of_a_leaf() {
        let dns = "web.emojivoto.serviceaccount.identity.linkerd.cluster.local";
        assert_eq!(Identity::from_names(&[], &[dns]), Ok(id(dns)));
        let uri = "spiffe://cluster.local/ns/a/sa/b";
        assert_eq!(Identity::from_names(&[uri], &[dns, "other.example"]), Ok(id(uri)));
        assert_eq!(Identity::from_names(&["https://a.example/"], &[dns]), Ok(id(dns)));
    }

    #[test]
    fn refuses_none_several_and_malformed() {
        use IdentityError::{Ambiguous, Malformed, Missing};
        let uri = "spiffe://td/a";
        for (uris, dns, error) in [
            (vec![], vec![], Missing),
            (vec!["https://a.example"], vec![], Missing),
            (vec![uri, uri], vec![], Ambiguous),
            (vec![uri, "https://a.example"], vec![], Ambiguous),
            (vec![], vec!["a.b", "c.d"], Ambiguous),
            (vec![], vec!["*.b"], Malformed),
            (vec![], vec!["a.b."], Malformed),
            (vec![], vec!["a..b"], Malformed),
            (vec![], vec!["10.0.0.1"], Malformed),
            (vec![], vec![""], Malformed),
            (vec![], vec!["a b"], Malformed),
            (vec![], vec!["a\0.b"], Malformed),
            (vec!["spiffe://td"], vec!["a.b"], Malformed),
            (vec!["spiffe://td/"], vec!["a.b"], Malformed),
            (vec!["SPIFFE://td/a"], vec!["a.b"], Malformed),
            (vec!["spiffe://TD/a"], vec![], Malformed),
            (vec!["spiffe://td:80/a"], vec![], Malformed),
            (vec!["spiffe://u@td/a"], vec![], Malformed),
            (vec!["spiffe://td/a?b"], vec![], Malformed),
            (vec!["spiffe://td/a/../b"], vec![], Malformed),
            (vec!["spiffe://td/%61"], vec![], Malformed),
            (vec!["spiffe:td/a"], vec!["a.b"], Malformed),
        ] {
            assert_eq!(Identity::from_names(&uris, &dns), Err(error), "{uris:?} {dns:?}");
        }
    }

    #[test]
    fn an_anchor_vouches_only_for_its_own_domains() {
        let mut trust = TrustBindings::default();
        trust.bind('e', "east.example");
        trust.bind('w', "west.example");
        let east = id("a.b.serviceaccount.identity.linkerd.east.example");
        let west = id("spiffe://west.example/ns/a");
        let other = id("spiffe://other.example/ns/a");
        assert!(trust.allows(&'e', &east) && trust.allows(&'w', &west));
        assert!(!trust.allows(&'w', &east) && !trust.allows(&'e', &west));
        assert!(!trust.allows(&'x', &east), "a bound domain needs its own anchor");
        assert!(trust.allows(&'x', &other) && !trust.allows(&'e', &other));
    }

    #[test]
    fn a_domain_under_a_bound_one_is_not_that_domain() {
        let mut trust = TrustBindings::default();
        trust.bind('a', "cluster.local");
        let nested = id("a.b.serviceaccount.identity.linkerd.evil.cluster.local");
        assert!(!trust.allows(&'a', &nested));
        assert!(trust.allows(&'a', &id("plain.cluster.local")));
        assert!(!trust.allows(&'a', &id("notcluster.local")));
    }
}
