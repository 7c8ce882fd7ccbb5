//! What a request is refused with: an HTTP status and a `Status` object, worded as a real server
//! words it. Every part of the fake that can refuse returns these; `http` writes them out.

use serde_json::{Value, json};

use super::resources::Resource;

/// A refusal.
#[derive(Clone, Debug)]
pub struct ApiError {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    /// The `details` of the Status, or null.
    pub details: Value,
}

/// One field that is wrong: an entry of `details.causes`.
#[derive(Clone, Debug)]
pub struct Cause {
    pub reason: &'static str,
    pub field: String,
    pub message: String,
}

/// Collects the causes of a 422.
#[derive(Clone, Debug, Default)]
pub struct Causes(pub Vec<Cause>);

impl Causes {
    /// A required field is missing.
    pub fn required(&mut self, field: impl Into<String>, why: &str) {
        self.add("FieldValueRequired", field, format!("Required value: {why}"));
    }

    /// A value breaks its rule.
    pub fn invalid(&mut self, field: impl Into<String>, value: &str, why: &str) {
        self.add("FieldValueInvalid", field, format!("Invalid value: \"{value}\": {why}"));
    }

    /// Two entries of a list say the same.
    pub fn duplicate(&mut self, field: impl Into<String>, value: &str) {
        self.add("FieldValueDuplicate", field, format!("Duplicate value: \"{value}\""));
    }

    /// A value is none of those that are known.
    pub fn unsupported(&mut self, field: impl Into<String>, value: &str, known: &[&str]) {
        let known = known.join("\", \"");
        let message = format!("Unsupported value: \"{value}\": supported values: \"{known}\"");
        self.add("FieldValueNotSupported", field, message);
    }

    /// A value may not be set.
    pub fn forbidden(&mut self, field: impl Into<String>, why: &str) {
        self.add("FieldValueForbidden", field, format!("Forbidden: {why}"));
    }

    /// Too many or too long.
    pub fn too_long(&mut self, field: impl Into<String>, limit: usize) {
        self.add("FieldValueTooLong", field, format!("Too long: may not be more than {limit}"));
    }

    /// A value has the wrong JSON type.
    pub fn wrong_type(&mut self, field: impl Into<String>, expected: &str) {
        let field = field.into();
        let message = format!("Invalid value: {field} in body must be of type {expected}");
        self.add("FieldValueTypeInvalid", field, message);
    }

    fn add(&mut self, reason: &'static str, field: impl Into<String>, message: String) {
        self.0.push(Cause { reason, field: field.into(), message });
    }

    /// Refuses if there is a cause.
    pub fn check(self, resource: &Resource, name: &str) -> Result<(), ApiError> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(ApiError::invalid(resource, name, &self)),
        }
    }
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: String, details: Value) -> Self {
        Self { code, reason, message, details }
    }

    fn about(resource: &Resource, name: &str) -> Value {
        match resource.group.is_empty() {
            true => json!({ "name": name, "kind": resource.plural }),
            false => json!({ "name": name, "group": resource.group, "kind": resource.plural }),
        }
    }

    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message, Self::about(resource, name))
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into(), Value::Null)
    }

    /// `why` is the part after the colon.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let qualified = resource.qualified();
        let message = format!("Operation cannot be fulfilled on {qualified} \"{name}\": {why}");
        Self::new(409, "Conflict", message, Self::about(resource, name))
    }

    /// Something else was written since the caller read.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Self::conflict(resource, name, why)
    }

    /// A version that is no longer kept.
    pub fn expired(message: &str) -> Self {
        Self::new(410, "Expired", message.into(), Value::Null)
    }

    pub fn forbidden(message: String, details: Value) -> Self {
        Self::new(403, "Forbidden", message, details)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message.into(), Value::Null)
    }

    pub fn invalid(resource: &Resource, name: &str, causes: &Causes) -> Self {
        let lines: Vec<_> =
            causes.0.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let list = match lines.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let kind = match resource.group.is_empty() {
            true => resource.kind.clone(),
            false => format!("{}.{}", resource.kind, resource.group),
        };
        let causes: Vec<_> = causes
            .0
            .iter()
            .map(|c| json!({ "reason": c.reason, "message": c.message, "field": c.field }))
            .collect();
        let mut details = Self::about(resource, name);
        details["kind"] = resource.kind.clone().into();
        details["causes"] = causes.into();
        Self::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {list}"), details)
    }

    /// Wrong parameters of a list or watch.
    pub fn invalid_options(causes: &Causes) -> Self {
        let cause = causes.0.first().map(|c| format!("{}: {}", c.field, c.message));
        let message =
            format!("ListOptions.meta.k8s.io \"\" is invalid: {}", cause.unwrap_or_default());
        Self::new(422, "Invalid", message, json!({ "kind": "ListOptions" }))
    }

    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message.into(), Value::Null)
    }

    pub fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self::new(404, "NotFound", message, Self::about(resource, name))
    }

    /// Nothing is created in a namespace that is being deleted.
    pub fn terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let message = format!(
            "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} \
             because it is being terminated",
            resource.qualified()
        );
        Self::forbidden(message, Self::about(resource, name))
    }

    /// No such path: the group, version or resource is not served.
    pub fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message.into(), json!({}))
    }

    /// A list or watch from a version that this server has not reached.
    pub fn too_large_version(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let cause = json!({ "reason": "ResourceVersionTooLarge", "message": message });
        let details = json!({ "causes": [cause], "retryAfterSeconds": 1 });
        Self::new(504, "Timeout", message, details)
    }

    pub fn too_large_request() -> Self {
        let message = "Request entity too large: limit is 3145728";
        Self::new(413, "RequestEntityTooLarge", message.into(), Value::Null)
    }

    pub fn too_many_requests(seconds: u64) -> Self {
        let message = "too many requests, please try again later";
        Self::new(429, "TooManyRequests", message.into(), json!({ "retryAfterSeconds": seconds }))
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized".into(), Value::Null)
    }

    pub fn unavailable() -> Self {
        let message = "the server is currently unable to handle the request";
        Self::new(503, "ServiceUnavailable", message.into(), Value::Null)
    }

    pub fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message, Value::Null)
    }

    /// Any status, for faults on demand.
    pub fn of_code(code: u16) -> Self {
        match code {
            401 => Self::unauthorized(),
            410 => Self::expired("too old resource version"),
            429 => Self::too_many_requests(1),
            500 => Self::internal("Internal error occurred: etcdserver: request timed out"),
            503 => Self::unavailable(),
            _ => {
                let reason = match code {
                    400 => "BadRequest",
                    403 => "Forbidden",
                    404 => "NotFound",
                    409 => "Conflict",
                    504 => "Timeout",
                    _ => "Unknown",
                };
                Self::new(code, reason, format!("fault on demand: {code}"), Value::Null)
            }
        }
    }

    /// How long the caller is told to wait.
    pub fn retry_after(&self) -> Option<u64> {
        self.details["retryAfterSeconds"].as_u64()
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}
