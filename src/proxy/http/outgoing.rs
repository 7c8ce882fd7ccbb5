//! A request as it goes on: headers of one hop and those that only we may set are replaced, and the
//! version of HTTP that the endpoint gets is decided.

use http::header::{CONTENT_LENGTH, EXPECT, FORWARDED, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request as HttpRequest, Uri, Version};

use super::body::RequestBody;
use super::context::Context;
use crate::model::http::failure::{Failure, is_grpc};
use crate::model::http::forwarded::{self, without_default_port};
use crate::model::http::head::{Framing, RequestLine, content_length, write_request};
use crate::model::http::hop::{self, CLIENT_ID, has_token, strip_request};
use crate::model::http::orig_proto::{self, ORIG_PROTO, OrigProto};
use crate::model::service::Target;

/// A request on its way through us.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// As the client wrote it.
    pub uri: Uri,
    /// Its fields.
    pub headers: HeaderMap,
    /// What the endpoint gets, unless it is meshed: HTTP/1.x or HTTP/2.
    pub version: Version,
    /// What the client speaks, or spoke to its Linkerd proxy.
    pub spoken: Version,
    /// What a Linkerd proxy said that it was.
    pub orig: Option<OrigProto>,
    /// The protocol that the client would change to.
    pub upgrade: Option<HeaderValue>,
    /// It is a gRPC call.
    pub is_grpc: bool,
    /// Its body.
    pub body: RequestBody,
}

impl Request {
    /// One that came over HTTP/2.
    pub fn from_http2(head: http::request::Parts, body: RequestBody, is_plain: bool) -> Box<Self> {
        let http::request::Parts { method, uri, mut headers, .. } = head;
        let orig = headers.remove(ORIG_PROTO).as_ref().and_then(orig_proto::parse);
        let is_grpc = orig.is_none() && is_grpc(&headers);
        let version = match orig {
            Some(orig) => orig.version,
            // A browser speaks HTTP/2 whatever the service does; only gRPC needs it end to end.
            None if is_plain && !is_grpc => Version::HTTP_11,
            None => Version::HTTP_2,
        };
        let spoken = orig.map_or(Version::HTTP_2, |orig| orig.version);
        Box::new(Self { method, uri, headers, version, spoken, orig, upgrade: None, is_grpc, body })
    }

    /// One that came over HTTP/1.
    pub fn from_http1(head: http::request::Parts, body: RequestBody) -> Box<Self> {
        let http::request::Parts { method, uri, mut headers, version, .. } = head;
        // Nobody has upgraded this one.
        headers.remove(ORIG_PROTO);
        let version = version.clamp(Version::HTTP_10, Version::HTTP_11);
        let upgrade = hop::upgrade(&headers).filter(|_| version == Version::HTTP_11);
        let (spoken, orig, is_grpc) = (version, None, false);
        Box::new(Self { method, uri, headers, version, spoken, orig, upgrade, is_grpc, body })
    }

    /// True when the connection leaves HTTP if the endpoint agrees.
    pub fn leaves_http(&self) -> bool {
        self.upgrade.is_some() || self.method == Method::CONNECT
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    /// What policy compares; what has no path is none that a rule could allow.
    pub fn asked_path(&self) -> &str {
        if self.method == Method::CONNECT { "" } else { self.uri.path() }
    }

    /// Whether it is a request at all. A path that is none would be a whole URI, or nothing, to who
    /// reads the request line; what comes with CONNECT as a body is the next request to many
    /// servers, and HTTP/2 has no connection that could become a tunnel.
    ///
    /// # Errors
    /// [`Failure::Malformed`].
    pub fn check(&self) -> Result<(), Failure> {
        let is_sound = match self.method {
            Method::CONNECT => {
                let is_framed = [CONTENT_LENGTH, TRANSFER_ENCODING]
                    .iter()
                    .any(|name| self.headers.contains_key(name));
                self.orig.is_none() && self.spoken != Version::HTTP_2 && !is_framed
            }
            Method::OPTIONS if self.path() == "*" => true,
            _ => self.path().starts_with('/'),
        };
        if is_sound { Ok(()) } else { Err(Failure::Malformed) }
    }

    /// How its body is framed for an HTTP/1 endpoint.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be.
    pub fn framing(&self) -> Result<Framing, Failure> {
        let length = content_length(&self.headers).map_err(|_| Failure::Malformed)?;
        match length {
            Some(length) => Ok(Framing::Length(length)),
            None if self.body.is_end() => Ok(Framing::None),
            None if self.version == Version::HTTP_10 => Err(Failure::LengthRequired),
            None => Ok(Framing::Chunked),
        }
    }

    /// True when the client waits for `100 Continue` before its body.
    pub fn expects_continue(&self) -> bool {
        self.version == Version::HTTP_11 && has_token(&self.headers, &EXPECT, b"100-continue")
    }

    /// Replaces what only we may say.
    ///
    /// # Errors
    /// [`Failure::Loop`] when the request has passed us before on its way to the same target.
    pub fn rewrite(&mut self, context: &Context) -> Result<(), Failure> {
        strip_request(&mut self.headers);
        let words = context.words.as_ref().ok_or(Failure::Unexpected)?;
        self.headers.insert(CLIENT_ID, words.client.clone());
        let Some((authority, element)) = &words.forwarded else { return Ok(()) };
        if forwarded::is_loop(&self.headers, context.own.as_str(), authority) {
            return Err(Failure::Loop);
        }
        self.headers.append(FORWARDED, element.clone());
        Ok(())
    }

    /// The head for an HTTP/1 endpoint.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be said.
    pub fn http1_head(&self, target: &Target, framing: Framing) -> Result<Vec<u8>, Failure> {
        let authority = self.authority(target);
        let host = HeaderValue::from_str(&authority).map_err(|_| Failure::Malformed)?;
        let absolute = self.orig.is_some_and(|orig| orig.absolute_form);
        let whole;
        let line_target = match self.path() {
            _ if self.method == Method::CONNECT => authority.as_str(),
            path if absolute && path.starts_with('/') => {
                whole = format!("http://{authority}{path}");
                &whole
            }
            path => path,
        };
        let (method, version) = (&self.method, self.version);
        let line = RequestLine { method, target: line_target, version, host: &host };
        let mut head = Vec::with_capacity(512);
        let upgrade = self.upgrade.as_ref();
        write_request(&mut head, line, &self.headers, framing, upgrade);
        Ok(head)
    }

    /// The request for an HTTP/2 endpoint: h2c as the client sent it, a meshed one with the mark
    /// that its proxy undoes.
    ///
    /// # Errors
    /// [`Failure`] when it cannot be said.
    pub fn http2_head(&self, target: &Target) -> Result<HttpRequest<()>, Failure> {
        let authority: Authority = match self.uri.authority() {
            Some(authority) if self.version == Version::HTTP_2 => authority.clone(),
            _ => self.authority(target).parse().map_err(|_| Failure::Malformed)?,
        };
        let path = self.uri.path_and_query().cloned();
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(authority)
            .path_and_query(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build();
        let mut request = HttpRequest::new(());
        *request.uri_mut() = uri.map_err(|_| Failure::Malformed)?;
        *request.method_mut() = self.method.clone();
        *request.version_mut() = Version::HTTP_2;
        let mut headers = self.headers.clone();
        headers.remove(TRANSFER_ENCODING);
        if let Some(mark) = self.mark() {
            headers.remove(HOST);
            headers.insert(HeaderName::from_static(ORIG_PROTO), mark);
        }
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// What `host` says: the target, and for ports of this host what the client said.
    fn authority(&self, target: &Target) -> String {
        let own = match target {
            Target::Local(_) => {
                let host = self.headers.get(HOST).and_then(|host| host.to_str().ok());
                self.uri.authority().map(Authority::as_str).or(host)
            }
            Target::Service(..) => None,
        };
        own.map_or_else(|| without_default_port(&target.to_string()).to_owned(), str::to_owned)
    }

    fn mark(&self) -> Option<HeaderValue> {
        match (self.orig, self.version) {
            (_, Version::HTTP_2) => None,
            (Some(OrigProto { absolute_form: true, .. }), Version::HTTP_11) => {
                Some(HeaderValue::from_static("HTTP/1.1; absolute-form"))
            }
            (_, version) => orig_proto::value(version),
        }
    }
}
