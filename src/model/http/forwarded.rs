//! `forwarded`: who passed a request on, and whether it comes around in a circle.
//!
//! We append `by=<own identity>;for=<client identity>;host=<target>;proto=https`. A loop is an
//! element whose `by` is our identity *and* whose `host` is the same target: gateways of several
//! clusters may share one identity, so a client with our identity alone is no loop.

use http::{HeaderMap, HeaderValue, header};

/// An authority without the port that HTTP implies.
pub fn without_default_port(authority: &str) -> &str {
    authority.strip_suffix(":80").unwrap_or(authority)
}

/// The element that says that `own` passed a request of `client` on to `host`; `None` when an
/// identity holds what no header may.
pub fn element(own: &str, client: &str, host: &str) -> Option<HeaderValue> {
    let (own, client) = (quoted(own), quoted(client));
    let host = quoted(host);
    HeaderValue::try_from(format!("by={own};for={client};host={host};proto=https")).ok()
}

/// True when an element says that `own` has passed this request on to `host` before.
pub fn is_loop(headers: &HeaderMap, own: &str, host: &str) -> bool {
    let host = without_default_port(host);
    headers.get_all(header::FORWARDED).iter().any(|value| {
        elements(value.as_bytes()).any(|element| {
            let (mut by_us, mut to_target) = (false, false);
            for (key, value) in pairs(element) {
                by_us |= key.eq_ignore_ascii_case(b"by") && value == own.as_bytes();
                to_target |= key.eq_ignore_ascii_case(b"host")
                    && without_port(value).eq_ignore_ascii_case(host.as_bytes());
            }
            by_us && to_target
        })
    })
}

/// Quoted only where the value is no token (RFC 7239, 4): Linkerd writes identities and authorities
/// bare, colon included, and reads them so.
fn quoted(value: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b';' | b',' | b'=');
    if value.bytes().all(is_plain) {
        return value.to_owned();
    }
    let mut out = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

fn without_port(value: &[u8]) -> &[u8] {
    value.strip_suffix(b":80").unwrap_or(value)
}

/// The elements of one header value: commas separate them, but not within quotes.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(value, b',')
}

/// The pairs of one element, values without their quotes.
fn pairs(element: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    split(element, b';').filter_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        let (key, value) = (pair.get(..at)?, pair.get(at + 1..)?);
        let value = value.trim_ascii();
        let bare = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
        Some((key.trim_ascii(), bare.unwrap_or(value)))
    })
}

fn split(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    // A quote that nobody closes would hide every element that a later proxy appends to it.
    let has_quotes = ends_unquoted(value);
    let mut quotes = Quotes::default();
    value.split(move |byte| {
        let ends = *byte == separator && !quotes.is_open;
        if has_quotes {
            quotes.pass(*byte);
        }
        ends
    })
}

fn ends_unquoted(value: &[u8]) -> bool {
    let mut quotes = Quotes::default();
    value.iter().for_each(|byte| quotes.pass(*byte));
    !quotes.is_open
}

/// Whether a byte lies in a quoted string.
#[derive(Default)]
struct Quotes {
    is_open: bool,
    is_escaped: bool,
}

impl Quotes {
    fn pass(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.is_open => self.is_escaped = true,
            b'"' => self.is_open = !self.is_open,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "gw.mc.serviceaccount.identity.linkerd.cluster.local";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(header::FORWARDED, value.parse().expect("a value"));
        }
        map
    }

    #[test]
    fn writes_as_linkerd_does() {
        let value = element(OWN, "a.b", "web.ns.svc.cluster.local:8080").expect("a value");
        let expected = format!("by={OWN};for=a.b;host=web.ns.svc.cluster.local:8080;proto=https");
        assert_eq!(value, expected.as_str());
        let spiffe = element("spiffe://a/b", "spiffe://a/c;d", "h").expect("a value");
        assert_eq!(spiffe, "by=spiffe://a/b;for=\"spiffe://a/c;d\";host=h;proto=https");
    }

    #[test]
    fn a_loop_needs_our_identity_and_the_same_target_in_one_element() {
        let target = "web.ns:8080";
        for (values, expected) in [
            (vec![format!("by={OWN};for=x;host=web.ns:8080;proto=https")], true),
            (vec!["for=y".to_owned(), format!("for=x, By=\"{OWN}\" ; Host=\"WEB.ns:8080\"")], true),
            (vec![format!("by={OWN};for=x;host=other.ns:8080;proto=https")], false),
            (vec!["by=other;for=x;host=web.ns:8080".to_owned()], false),
            (vec![format!("by={OWN};host=other, by=other;host=web.ns:8080")], false),
            (vec![format!("for=\"by={OWN};host=web.ns:8080\"")], false),
            (vec![format!("for=\"a\\\"b, by={OWN};host=web.ns:8080\"")], false),
            (vec![format!("for=\"a\\\"b, by={OWN};host=web.ns:8080")], true),
            (vec![String::new()], false),
        ] {
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            assert_eq!(is_loop(&headers(&values), OWN, target), expected, "{values:?}");
        }
        assert!(is_loop(&headers(&[&format!("by={OWN};host=web.ns")]), OWN, "web.ns:80"));
    }
}
