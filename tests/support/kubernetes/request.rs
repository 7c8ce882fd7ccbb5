//! A request as the API understands it: verb, resource, namespace, name and parameters out of method,
//! path and query. Called by `http`.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request};

use super::error::{ApiError, Causes};
use super::rbac::Access;
use super::read::ListQuery;
use super::selectors::Selector;
use super::store::Store;
use super::watch::WatchQuery;
use super::write::Target;

/// The one kind of patch that is served.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// Decoded parameters.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// As it was sent.
    pub text: String,
    pairs: Vec<(String, String)>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub access: Access,
    /// `v1` of `/api/v1`.
    version: String,
    pub query: Query,
    /// Without parameters.
    pub content_type: String,
    /// `PartialObjectMetadata` is wanted.
    pub is_partial: bool,
}

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self { text: text.into(), pairs: pairs.collect() }
    }

    /// A parameter's value; empty without.
    pub fn first(&self, name: &str) -> &str {
        let found = self.pairs.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    fn is_true(&self, name: &str) -> bool {
        matches!(self.first(name), "1" | "t" | "true")
    }

    fn number(&self, name: &str) -> Result<u64, ApiError> {
        let text = self.first(name);
        let number = if text.is_empty() { Ok(0) } else { text.parse() };
        number.map_err(|_| ApiError::bad_request(format!("Invalid value: \"{text}\": {name}")))
    }
}

impl Asked {
    /// Reads a request with the segments of its path.
    pub fn parse(request: &Request<Incoming>, path: &[&str]) -> Result<Self, ApiError> {
        let (group, version, rest) = match path {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(ApiError::no_such_path()),
        };
        let (namespace, rest) = match rest {
            // What is below a namespace's own name is its subresource.
            ["namespaces", name, "finalize" | "status"] => (*name, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            ["namespaces", name] => (*name, rest),
            _ => ("", rest),
        };
        let (plural, name, sub) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, sub] => (*plural, *name, *sub),
            _ => return Err(ApiError::no_such_path()),
        };
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let verb = match sub {
            // Made anew, of an account that is there.
            "token" => verb(request.method(), "", false)?,
            _ => verb(request.method(), name, query.is_true("watch"))?,
        };
        let resource = if sub.is_empty() { plural.into() } else { format!("{plural}/{sub}") };
        let mut name = decode(name);
        if name.is_empty() && matches!(verb, "deletecollection" | "list" | "watch") {
            // Whoever may read one name may list and watch exactly that one.
            let selector = Selector::parse("", query.first("fieldSelector"))?;
            name = selector.name().unwrap_or_default().to_owned();
        }
        let header = |of| request.headers().get(of).and_then(|value| value.to_str().ok());
        let content_type = header(CONTENT_TYPE).unwrap_or_default();
        Ok(Self {
            access: Access {
                verb,
                group: group.into(),
                resource,
                namespace: namespace.into(),
                name,
            },
            version: version.into(),
            query,
            content_type: content_type.split(';').next().unwrap_or_default().trim().to_owned(),
            is_partial: header(ACCEPT).unwrap_or_default().contains("as=PartialObjectMetadata"),
        })
    }

    pub fn is_json(&self) -> bool {
        matches!(self.content_type.as_str(), "" | "application/json")
    }

    /// Finds the resource, if it is served at this path.
    pub fn target(&self, store: &Store) -> Result<Target, ApiError> {
        let access = &self.access;
        let (plural, sub) = access.resource.split_once('/').unwrap_or((&access.resource, ""));
        let mut resources = store.resources();
        let found = resources.find(|(_, r)| r.group == access.group && r.plural == plural);
        let (place, resource) = found.ok_or_else(ApiError::no_such_path)?;
        let version = resource.versions.iter().position(|v| v.name == self.version);
        let version = version.ok_or_else(ApiError::no_such_path)?;
        let is_collection = matches!(access.verb, "deletecollection" | "list" | "watch");
        let is_named = !is_collection && (access.verb != "create" || sub == "token");
        let target = Target {
            place,
            resource: resource.clone(),
            version,
            namespace: if resource.is_namespaced {
                access.namespace.clone()
            } else {
                String::new()
            },
            name: if is_named { access.name.clone() } else { String::new() },
            is_status: sub == "status",
        };
        let has_namespace = !target.namespace.is_empty();
        match sub {
            "" => {}
            "status" if target.has_status() => {}
            "token" if plural == "serviceaccounts" && access.verb == "create" => {}
            "finalize" if plural == "namespaces" && access.verb == "update" => {}
            _ => return Err(ApiError::no_such_path()),
        }
        if target.is_status && !matches!(access.verb, "get" | "patch" | "update") {
            return Err(ApiError::method_not_allowed());
        }
        if resource.is_namespaced && !has_namespace && !matches!(access.verb, "list" | "watch") {
            return Err(match access.verb {
                "create" | "deletecollection" => ApiError::method_not_allowed(),
                _ => ApiError::no_such_path(),
            });
        }
        if !resource.is_namespaced && plural != "namespaces" && !access.namespace.is_empty() {
            return Err(ApiError::no_such_path());
        }
        Ok(target)
    }

    fn selector(&self) -> Result<Selector, ApiError> {
        Selector::parse(self.query.first("labelSelector"), self.query.first("fieldSelector"))
    }

    pub fn list_query(&self) -> Result<ListQuery, ApiError> {
        if self.query.is_true("sendInitialEvents") {
            return Err(ApiError::bad_request("sendInitialEvents is forbidden for list"));
        }
        Ok(ListQuery {
            selector: self.selector()?,
            limit: self.query.number("limit")? as usize,
            proceed: self.query.first("continue").to_owned(),
            version: self.query.first("resourceVersion").to_owned(),
            matching: self.query.first("resourceVersionMatch").to_owned(),
            is_partial: self.is_partial,
        })
    }

    /// `streams_lists`: whether the server knows `sendInitialEvents`.
    pub fn watch_query(&self, streams_lists: bool) -> Result<WatchQuery, ApiError> {
        let query = &self.query;
        let wants_list = query.is_true("sendInitialEvents");
        let matching = query.first("resourceVersionMatch");
        let mut causes = Causes::default();
        if wants_list && !streams_lists {
            let why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate \
                       is enabled";
            causes.forbidden("sendInitialEvents", why);
        } else if wants_list && matching != "NotOlderThan" {
            causes.forbidden("resourceVersionMatch", "must be NotOlderThan with sendInitialEvents");
        } else if !wants_list && !matching.is_empty() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is \
                       provided";
            causes.forbidden("resourceVersionMatch", why);
        }
        if !causes.0.is_empty() {
            return Err(ApiError::invalid_options(&causes));
        }
        let seconds = query.number("timeoutSeconds")?;
        Ok(WatchQuery {
            selector: self.selector()?,
            version: query.first("resourceVersion").to_owned(),
            timeout: (seconds > 0).then(|| Duration::from_secs(seconds)),
            has_bookmarks: query.is_true("allowWatchBookmarks"),
            is_streaming_list: wants_list,
            is_partial: self.is_partial,
            is_doubled: false,
        })
    }
}

fn verb(method: &Method, name: &str, is_watch: bool) -> Result<&'static str, ApiError> {
    let is_named = !name.is_empty();
    match (method.as_str(), is_named) {
        ("GET", false) if is_watch => Ok("watch"),
        ("GET", false) => Ok("list"),
        ("GET", true) => Ok("get"),
        ("POST", false) => Ok("create"),
        ("PUT", true) => Ok("update"),
        ("PATCH", true) => Ok("patch"),
        ("DELETE", true) => Ok("delete"),
        ("DELETE", false) => Ok("deletecollection"),
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// `%2F` and `+`.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next(), bytes.next()].map(|digit| {
                    digit.and_then(|d| char::from(d).to_digit(16)).unwrap_or_default() as u8
                });
                out.push(digits[0] << 4 | digits[1]);
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
