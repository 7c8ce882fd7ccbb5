//! Headers that are about one hop, and those that only we may set.

use http::header::{CONNECTION, HeaderName, PROXY_AUTHENTICATE, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};

/// The verified identity of the client, for the endpoint.
pub const CLIENT_ID: HeaderName = HeaderName::from_static("l5d-client-id");
/// An error's message, from us to the client's proxy.
pub const PROXY_ERROR: HeaderName = HeaderName::from_static("l5d-proxy-error");
/// `close` tells the client's proxy to leave the connection.
pub const PROXY_CONNECTION: HeaderName = HeaderName::from_static("l5d-proxy-connection");

pub(super) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
pub(super) const OLD_PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
/// Where an application wanted to go: it must not steer the proxies behind us.
pub(super) const DST_OVERRIDE: HeaderName = HeaderName::from_static("l5d-dst-override");
pub(super) const DST_CANONICAL: HeaderName = HeaderName::from_static("l5d-dst-canonical");

/// Removes what is about the hop before us, and what only we may say. `te: trailers` stays: it says
/// what the client itself can read.
pub fn strip_request(headers: &mut HeaderMap) {
    strip(headers);
    for name in [DST_OVERRIDE, DST_CANONICAL, CLIENT_ID, PROXY_ERROR, PROXY_CONNECTION] {
        headers.remove(name);
    }
}

/// Removes what is about the hop behind us, and what only we may say.
pub fn strip_response(headers: &mut HeaderMap) {
    strip(headers);
    for name in [PROXY_AUTHENTICATE, PROXY_AUTHENTICATION_INFO, PROXY_ERROR, PROXY_CONNECTION] {
        headers.remove(name);
    }
}

/// The protocol that a client would change to. None that is HTTP again, or carries it: whoever
/// speaks that with the endpoint is asked about no request any more.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    if !has_token(headers, &CONNECTION, b"upgrade") {
        return None;
    }
    let mut values = headers.get_all(UPGRADE).iter();
    let (Some(only), None) = (values.next(), values.next()) else { return None };
    let is_http = |name: &[u8]| {
        let name = name.split(|b| *b == b'/').next().unwrap_or_default().trim_ascii();
        [&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|http| name.eq_ignore_ascii_case(http))
    };
    (!only.as_bytes().split(|b| *b == b',').any(is_http)).then(|| only.clone())
}

fn strip(headers: &mut HeaderMap) {
    let takes_trailers = headers.contains_key(TE) && has_token(headers, &TE, b"trailers");
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        // Who names a header that routes, frames or authenticates would have us drop it.
        for name in named.iter().filter(|name| !is_protected(name)) {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [HTTP2_SETTINGS, KEEP_ALIVE, OLD_PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Headers that `connection` cannot take away.
fn is_protected(name: &HeaderName) -> bool {
    use http::header;
    matches!(
        *name,
        header::HOST
            | header::CONTENT_LENGTH
            | header::CONTENT_TYPE
            | header::FORWARDED
            | header::AUTHORIZATION
            | header::COOKIE
            | header::SET_COOKIE
    ) || *name == CLIENT_ID
}

/// True when one of a header's values has `token` in its comma-separated list, in any case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).iter().any(|value| {
        value.as_bytes().split(|b| *b == b',').any(|part| {
            let bare = part.split(|b| *b == b';').next().unwrap_or_default();
            bare.trim_ascii().eq_ignore_ascii_case(token)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        map
    }

    #[test]
    fn what_is_about_one_hop_does_not_pass() {
        let mut headers = map(&[
            ("connection", "close, X-Private"),
            ("connection", "keep-alive, host"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("te", "gzip, trailers;q=1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("host", "web"),
            ("l5d-client-id", "root"),
            ("l5d-dst-override", "other:80"),
            ("x-public", "2"),
        ]);
        strip_request(&mut headers);
        assert_eq!(headers, map(&[("host", "web"), ("x-public", "2"), ("te", "trailers")]));
    }

    #[test]
    fn nobody_upgrades_to_another_http() {
        for (value, passes) in [
            ("websocket", true),
            ("SPDY/3.1, x", true),
            ("h2c", false),
            ("H2C ", false),
            ("websocket, h2c", false),
            ("HTTP/2.0", false),
            ("tls/1.2", false),
        ] {
            let headers = map(&[("connection", "x, Upgrade"), ("upgrade", value)]);
            assert_eq!(upgrade(&headers).is_some(), passes, "{value}");
            assert_eq!(upgrade(&map(&[("upgrade", value)])), None);
        }
        let twice = map(&[("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "h2c")]);
        assert_eq!(upgrade(&twice), None);
    }

    #[test]
    fn an_endpoint_cannot_speak_for_us() {
        let mut headers = map(&[
            ("l5d-proxy-error", "x"),
            ("l5d-proxy-connection", "close"),
            ("proxy-authenticate", "Basic"),
            ("server", "x"),
        ]);
        strip_response(&mut headers);
        assert_eq!(headers, map(&[("server", "x")]));
    }
}
