//! `l5d-orig-proto`: an HTTP/1 request that a Linkerd proxy carries over HTTP/2 says what it was.
//!
//! Value: `HTTP/1.1` or `HTTP/1.0`, followed by `; absolute-form` when the request line named a
//! whole URI.

use http::{HeaderValue, Version};

/// The header's name.
pub const ORIG_PROTO: &str = "l5d-orig-proto";
const ABSOLUTE_FORM: &str = "; absolute-form";

/// What a request was before it was upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrigProto {
    /// HTTP/1.1 or HTTP/1.0.
    pub version: Version,
    /// Its request line named a whole URI.
    pub absolute_form: bool,
}

/// Reads the header's value; `None` for a version that is none of HTTP/1's, which leaves the
/// request as HTTP/2, as in Linkerd.
pub fn parse(value: &HeaderValue) -> Option<OrigProto> {
    let value = value.as_bytes();
    let version = |text: &[u8], version| value.starts_with(text).then_some(version);
    let version = version(b"HTTP/1.1", Version::HTTP_11)
        .or_else(|| version(b"HTTP/1.0", Version::HTTP_10))?;
    let absolute_form = value.ends_with(ABSOLUTE_FORM.as_bytes());
    Some(OrigProto { version, absolute_form })
}

/// The value that says `version`; `None` for others than HTTP/1's.
pub fn value(version: Version) -> Option<HeaderValue> {
    match version {
        Version::HTTP_11 => Some(HeaderValue::from_static("HTTP/1.1")),
        Version::HTTP_10 => Some(HeaderValue::from_static("HTTP/1.0")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linkerd_writes() {
        let read = |text| parse(&HeaderValue::from_static(text));
        let (version, absolute_form) = (Version::HTTP_11, true);
        assert_eq!(read("HTTP/1.1"), Some(OrigProto { version, absolute_form: false }));
        assert_eq!(read("HTTP/1.1; absolute-form"), Some(OrigProto { version, absolute_form }));
        let old = OrigProto { version: Version::HTTP_10, absolute_form: false };
        assert_eq!(read("HTTP/1.0"), Some(old));
        for wrong in ["", "HTTP/2", "http/1.1", "HTTP/3.1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
