//! The heads of HTTP/1 messages (RFC 9112): a request's is written, a response's is read.

use bytes::{BufMut, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::hop::has_token;

/// Longest head of a response in bytes; what servers commonly send is a tenth of it.
pub const MAX_HEAD: usize = 64 * 1024;
/// Most header fields of a response.
const MAX_FIELDS: usize = 128;

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// Where its last chunk says.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Why a head cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// No HTTP/1 head.
    #[error("the response is no HTTP/1: {0}")]
    Grammar(httparse::Error),
    /// Several lengths, or one that is none.
    #[error("the length of the body is ambiguous")]
    Length,
    /// Longer than [`MAX_HEAD`].
    #[error("the response's head is too long")]
    TooLong,
    /// A coding that cannot be passed on.
    #[error("its transfer coding is unknown")]
    Coding,
    /// A status that HTTP does not have, or a header that HTTP/2 could not carry.
    #[error("the response has an invalid status or header")]
    Value,
}

/// A complete head.
#[derive(Debug)]
pub struct ResponseHead {
    /// Its status.
    pub status: StatusCode,
    /// All fields, hop-by-hop ones included.
    pub headers: HeaderMap,
    /// How its body ends.
    pub framing: Framing,
    /// The connection may serve another request after it.
    pub keeps_alive: bool,
    /// Bytes that the head took.
    pub length: usize,
}

/// The one value of all `content-length` fields, `None` without one.
///
/// # Errors
/// [`HeadError::Length`] for anything that two readers could read differently.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, HeadError> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
        let value: u64 = digits.and_then(|v| v.parse().ok()).ok_or(HeadError::Length)?;
        if length.replace(value).is_some_and(|other| other != value) {
            return Err(HeadError::Length);
        }
    }
    Ok(length)
}

/// What a request line and its first fields say.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target: path and query, a whole URI, or an authority.
    pub target: &'a str,
    /// HTTP/1.1 or HTTP/1.0.
    pub version: Version,
    /// The `host` field.
    pub host: &'a HeaderValue,
}

/// Writes a request's head. Of `headers` those that frame the message are left out: `framing` says
/// it. `upgrade` is the protocol that the client would change to.
pub fn write_request(
    out: &mut Vec<u8>,
    line: RequestLine<'_>,
    headers: &HeaderMap,
    framing: Framing,
    upgrade: Option<&HeaderValue>,
) {
    out.put_slice(line.method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(line.target.as_bytes());
    out.put_slice(if line.version == Version::HTTP_10 {
        b" HTTP/1.0\r\n"
    } else {
        b" HTTP/1.1\r\n"
    });
    field(out, &HOST, line.host.as_bytes());
    for (name, value) in headers {
        if !matches!(*name, HOST | CONTENT_LENGTH | TRANSFER_ENCODING | CONNECTION | TE | COOKIE) {
            field(out, name, value.as_bytes());
        }
    }
    cookie(out, headers);
    match framing {
        Framing::Length(length) => field(out, &CONTENT_LENGTH, length.to_string().as_bytes()),
        Framing::Chunked => field(out, &TRANSFER_ENCODING, b"chunked"),
        Framing::None | Framing::UntilClose => {}
    }
    if let Some(protocol) = upgrade {
        field(out, &CONNECTION, b"upgrade");
        field(out, &http::header::UPGRADE, protocol.as_bytes());
    }
    out.put_slice(b"\r\n");
}

/// HTTP/2 may cut a cookie into crumbs, which HTTP/1 does not know (RFC 9113, 8.2.3).
fn cookie(out: &mut Vec<u8>, headers: &HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    out.put_slice(b"cookie: ");
    out.put_slice(first.as_bytes());
    for crumb in crumbs {
        out.put_slice(b"; ");
        out.put_slice(crumb.as_bytes());
    }
    out.put_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.put_slice(name.as_str().as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Reads a response's head from the beginning of `bytes`; `None` while it is incomplete. `method` is
/// the request's, which decides whether there is a body.
///
/// # Errors
/// See [`HeadError`].
pub fn read_response(bytes: &[u8], method: &Method) -> Result<Option<ResponseHead>, HeadError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(_) => return Err(HeadError::TooLong),
        Err(error) => return Err(HeadError::Grammar(error)),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(HeadError::Value)?;
    let headers = shared(bytes, length, parsed.headers)?;
    let is_http_11 = parsed.version == Some(1);
    let framing = framing(status, &headers, method, is_http_11)?;
    let keeps_alive = framing != Framing::UntilClose
        && !has_token(&headers, &CONNECTION, b"close")
        && (is_http_11 || has_token(&headers, &CONNECTION, b"keep-alive"))
        // Both at once is how responses are smuggled: what follows is not trusted.
        && !(headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH));
    Ok(Some(ResponseHead { status, headers, framing, keeps_alive, length }))
}

/// The fields as a map; one copy of the head, which all values share.
fn shared(
    bytes: &[u8],
    length: usize,
    fields: &[httparse::Header<'_>],
) -> Result<HeaderMap, HeadError> {
    let start = bytes.as_ptr() as usize;
    let all = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| HeadError::Value)?;
        // The parser's slices lie within `bytes`.
        let from = (field.value.as_ptr() as usize).saturating_sub(start);
        let value = match from + field.value.len() {
            end if !field.value.is_empty() && end <= all.len() => all.slice(from..end),
            _ => Bytes::copy_from_slice(field.value),
        };
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| HeadError::Value)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn framing(
    status: StatusCode,
    headers: &HeaderMap,
    method: &Method,
    is_http_11: bool,
) -> Result<Framing, HeadError> {
    if method == Method::CONNECT && status.is_success() {
        return Ok(Framing::UntilClose);
    }
    let length = content_length(headers)?;
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || method == Method::HEAD;
    if bodiless {
        return Ok(Framing::None);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        let only = (codings.next(), codings.next());
        return match only {
            (Some(coding), None) if is_http_11 && is_chunked(coding) => Ok(Framing::Chunked),
            _ => Err(HeadError::Coding),
        };
    }
    Ok(length.map_or(Framing::UntilClose, Framing::Length))
}

fn is_chunked(coding: &HeaderValue) -> bool {
    coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, method: Method) -> Result<Option<ResponseHead>, HeadError> {
        read_response(text.as_bytes(), &method)
    }

    #[test]
    fn a_request_is_written_with_one_host_and_one_framing() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("content-length", "9"), ("x-a", "1"), ("te", "trailers")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let host = HeaderValue::from_static("web.ns:80");
        let line = RequestLine {
            method: &Method::POST,
            target: "/a?b",
            version: Version::HTTP_11,
            host: &host,
        };
        let mut out = Vec::new();
        write_request(&mut out, line, &headers, Framing::Chunked, None);
        let expected =
            "POST /a?b HTTP/1.1\r\nhost: web.ns:80\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
        let mut out = Vec::new();
        let line = RequestLine { version: Version::HTTP_10, ..line };
        let protocol = HeaderValue::from_static("websocket");
        write_request(&mut out, line, &HeaderMap::new(), Framing::Length(0), Some(&protocol));
        let expected = "POST /a?b HTTP/1.0\r\nhost: web.ns:80\r\ncontent-length: 0\r\n\
            connection: upgrade\r\nupgrade: websocket\r\n\r\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn a_body_ends_where_the_head_says() {
        let get = Method::GET;
        for (text, method, framing, keeps_alive) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", &get, Framing::Length(5), true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", &Method::HEAD, Framing::None, true),
            ("HTTP/1.1 204 No\r\n\r\n", &get, Framing::None, true),
            ("HTTP/1.1 304 No\r\ncontent-length: 9\r\n\r\n", &get, Framing::None, true),
            ("HTTP/1.1 200 OK\r\n\r\n", &get, Framing::UntilClose, false),
            ("HTTP/1.1 200\r\ntransfer-encoding: Chunked\r\n\r\n", &get, Framing::Chunked, true),
            (
                "HTTP/1.1 200\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
                &get,
                Framing::Chunked,
                false,
            ),
            (
                "HTTP/1.1 200\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n",
                &get,
                Framing::Length(0),
                false,
            ),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", &get, Framing::Length(1), false),
            (
                "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n",
                &get,
                Framing::Length(1),
                true,
            ),
            (
                "HTTP/1.1 200\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n",
                &get,
                Framing::Length(2),
                true,
            ),
        ] {
            let head = read(text, method.clone()).expect("valid").expect("complete");
            assert_eq!((head.framing, head.keeps_alive), (framing, keeps_alive), "{text}");
            assert_eq!(head.length, text.len());
        }
    }

    #[test]
    fn an_ambiguous_head_is_refused() {
        for (text, error) in [
            ("HTTP/1.1 200\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", HeadError::Length),
            ("HTTP/1.1 200\r\ncontent-length: +1\r\n\r\n", HeadError::Length),
            ("HTTP/1.1 200\r\ncontent-length: 1, 1\r\n\r\n", HeadError::Length),
            ("HTTP/1.1 200\r\ntransfer-encoding: gzip, chunked\r\n\r\n", HeadError::Coding),
            ("HTTP/1.0 200\r\ntransfer-encoding: chunked\r\n\r\n", HeadError::Coding),
        ] {
            assert_eq!(read(text, Method::GET).expect_err("refused"), error, "{text}");
        }
        assert!(matches!(read("SSH-2.0\r\n\r\n", Method::GET), Err(HeadError::Grammar(_))));
        let long = format!("HTTP/1.1 200\r\nx: {}", "a".repeat(MAX_HEAD));
        assert_eq!(read(&long, Method::GET).expect_err("refused"), HeadError::TooLong);
        assert!(read("HTTP/1.1 200 OK\r\nx: y\r\n", Method::GET).expect("so far").is_none());
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = read_response(&bytes, &Method::GET);
            let head = [b"HTTP/1.1 200 OK\r\n".to_vec(), bytes].concat();
            let _ = read_response(&head, &Method::GET);
        }
    }
}
