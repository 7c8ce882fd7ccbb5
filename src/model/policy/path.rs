//! The path of a request as rules compare it: one text for all its spellings, and none for a path
//! that the gateway and the service behind it might read differently.
//!
//! What an allow rule lets through and what a deny rule stops must hold whatever the service does
//! with the path that it gets: many decode more than RFC 3986 has them decode, resolve dot segments,
//! merge slashes, or cut parameters (`/a;x=1`, also `/..;/`) off segments before they look. So an
//! allow rule compares strictly, a deny rule loosely, and what cannot be told is not allowed.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A path that every service reads as the same place, but for what only `loose` gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    strict: Cow<'a, str>,
    loose: Cow<'a, str>,
}

impl<'a> CanonicalPath<'a> {
    /// Reads the path of a request target in origin form; a query is cut off.
    ///
    /// `None` for what services disagree about: no leading slash, a segment that is empty (but for
    /// a slash at the end), `.` or `..`, also with parameters behind it; an encoded slash,
    /// backslash or control character, text that is encoded twice, bytes that are no UTF-8, a
    /// wrong percent encoding, and what must not occur in a path unencoded: a backslash, `#`,
    /// white space, control characters and non-ASCII.
    pub fn parse(target: &'a str) -> Option<Self> {
        let path = target.split('?').next().unwrap_or_default();
        if path.bytes().all(is_plain) {
            // Nothing to decode, nothing to cut: no allocation.
            let loose = path.strip_suffix('/').unwrap_or(path);
            let is_sound = path == "/" || loose.strip_prefix('/')?.split('/').all(is_place);
            return is_sound.then_some(Self { strict: path.into(), loose: loose.into() });
        }
        let (strict, decoded) = decode(path)?;
        let loose = cut(&decoded)?;
        Some(Self { strict: strict.into(), loose: loose.into() })
    }

    /// The same, without borrowing.
    pub(super) fn into_owned(self) -> CanonicalPath<'static> {
        let (strict, loose) = (self.strict.into_owned(), self.loose.into_owned());
        CanonicalPath { strict: strict.into(), loose: loose.into() }
    }

    /// What allow rules compare: unreserved characters decoded, the hexadecimal digits of other
    /// encoded ones in upper case.
    pub fn strict(&self) -> &str {
        &self.strict
    }

    /// What deny rules compare: all decoded, without parameters and without a slash at the end.
    pub fn loose(&self) -> &str {
        &self.loose
    }
}

/// RFC 3986 `pchar` or a slash, but for `%` and the `;` of parameters.
fn is_plain(byte: u8) -> bool {
    is_unreserved(byte) || b"/!$&'()*+,=:@".contains(&byte)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_place(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
}

/// The path with its unreserved characters decoded, and with everything decoded.
fn decode(path: &str) -> Option<(String, String)> {
    let (mut strict, mut decoded) = (String::with_capacity(path.len()), Vec::new());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'#') {
                return None;
            }
            strict.push(char::from(byte));
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let byte = u8::try_from(digit()? << 4 | digit()?).ok()?;
        if byte.is_ascii_control() || matches!(byte, b'/' | b'\\') {
            return None;
        }
        if is_unreserved(byte) {
            strict.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(strict, "%{byte:02X}");
        }
        decoded.push(byte);
    }
    let is_encoded = |bytes: &[u8]| match bytes {
        [b'%', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    };
    if decoded.windows(3).any(is_encoded) {
        return None;
    }
    Some((strict, String::from_utf8(decoded).ok()?))
}

/// Without parameters, and without what would be a query or fragment had it not been encoded.
fn cut(decoded: &str) -> Option<String> {
    let (mut loose, mut is_over) = (String::with_capacity(decoded.len()), false);
    let mut segments = decoded.strip_prefix('/')?.split('/').peekable();
    while let Some(segment) = segments.next() {
        let place = segment.split([';', '?', '#']).next().unwrap_or_default();
        let ends = segment.is_empty() && segments.peek().is_none();
        if !ends && !is_place(place) {
            return None;
        }
        if !ends && !is_over {
            loose.push('/');
            loose.push_str(place);
        }
        is_over |= segment.contains(['?', '#']);
    }
    Some(loose)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_path_are_one() {
        for (spelling, strict, loose) in [
            ("/", "/", ""),
            ("/healthz", "/healthz", "/healthz"),
            ("/healthz?probe=/../x", "/healthz", "/healthz"),
            ("/api/", "/api/", "/api"),
            ("/%61p%69/%7eme%2d", "/api/~me-", "/api/~me-"),
            ("/a%20b/%c3%a9", "/a%20b/%C3%A9", "/a b/é"),
            ("/users/a%40b", "/users/a%40b", "/users/a@b"),
            ("/users/a@b", "/users/a@b", "/users/a@b"),
            ("/a;v=1/b;w", "/a;v=1/b;w", "/a/b"),
            ("/a%3Bv/b", "/a%3Bv/b", "/a/b"),
            ("/a%3Fb/c", "/a%3Fb/c", "/a"),
            ("/a%23/", "/a%23/", "/a"),
            ("/100%25", "/100%25", "/100%"),
            ("/100%25/g", "/100%25/g", "/100%/g"),
            ("/.../.a/a.", "/.../.a/a.", "/.../.a/a."),
            ("/{x}|y", "/{x}|y", "/{x}|y"),
            ("/pkg.Service/Method", "/pkg.Service/Method", "/pkg.Service/Method"),
        ] {
            let path = CanonicalPath::parse(spelling).expect(spelling);
            assert_eq!((path.strict(), path.loose()), (strict, loose), "{spelling}");
        }
    }

    #[test]
    fn what_services_may_disagree_about_is_no_path() {
        for path in [
            "",
            "?",
            "*",
            "api",
            "http://a/",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/./a",
            "/a/../b",
            "/a/..",
            "/%2e%2e/a",
            "/.%2E",
            "/%2e",
            "/..;/a",
            "/a/.;x=1",
            "/..%3bx/a",
            "/;x",
            "/a/;",
            "/;/a",
            "/..%3f/a",
            "/?/..%23",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/%7f",
            "/a b",
            "/a\tb",
            "/é",
            "/a#b",
            "/%",
            "/%4",
            "/%4g",
            "/%zz",
            "/%+1",
            "/%c0%ae",
            "/%ff",
            "/a%252fb",
            "/%2561",
            "/%25%32%65",
            "/a%2541",
        ] {
            let found = CanonicalPath::parse(path);
            // Behind the question mark it is a query.
            assert_eq!(found.is_none(), path != "/?/..%23", "{path:?}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_path_is_its_own(path in "/([a-c.;%/@é?]|%2[0-9a-fA-F]|%[2-7][0-9a-f]){0,12}") {
            if let Some(path) = CanonicalPath::parse(&path) {
                let again = CanonicalPath::parse(path.strict()).expect("a path");
                prop_assert_eq!(&again, &path);
            }
        }
    }
}
