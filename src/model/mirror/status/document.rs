//! A Link's status as JSON: the shape of Linkerd's controller, with conditions of the Link added.
//!
//! A status of thousands of Services is kept, read and written as text: as a tree it would weigh
//! several times as much. What is read becomes the text that we would write for it, so that two
//! texts are equal when they say the same.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::model::kubernetes::object::ObjectKey;

/// The whole of `status`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Document<'a> {
    #[serde(borrow)]
    pub(super) conditions: Vec<Condition<'a>>,
    #[serde(borrow)]
    pub(super) mirror_services: Vec<Entry<'a>>,
    #[serde(borrow)]
    pub(super) federated_services: Vec<Entry<'a>>,
}

/// One element of `mirrorServices` or `federatedServices`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Entry<'a> {
    #[serde(borrow)]
    pub(super) controller_name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) remote_ref: Reference<'a>,
    #[serde(borrow)]
    pub(super) conditions: Vec<Condition<'a>>,
}

/// One condition, of the Link or of an entry.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) reason: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) message: Cow<'a, str>,
    /// RFC 3339.
    #[serde(borrow)]
    pub(super) last_transition_time: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) observed_generation: Option<i64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) local_ref: Option<Reference<'a>>,
}

/// A Service.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Reference<'a> {
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
}

/// Namespace and name, then the conditions.
pub(super) type Known<'a> = HashMap<(&'a str, &'a str), &'a [Condition<'a>]>;

impl<'a> Document<'a> {
    /// A status that has another shape, or none, says nothing.
    pub(super) fn parse(text: &'a str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        text(self)
    }
}

/// Anything of a status as JSON.
pub(super) fn text(part: &impl Serialize) -> String {
    // Strings and numbers in structs: there is nothing in them that JSON lacks.
    serde_json::to_string(part).unwrap_or_default()
}

/// The conditions of a list by the Service.
pub(super) fn known<'a>(entries: &'a [Entry<'a>]) -> Known<'a> {
    let key = |entry: &'a Entry<'_>| (&*entry.remote_ref.namespace, &*entry.remote_ref.name);
    entries.iter().map(|entry| (key(entry), &*entry.conditions)).collect()
}

/// The time since when a condition has its status.
pub(super) fn transition<'a>(
    known: &'a [Condition<'_>],
    kind: &str,
    status: &str,
    now: &'a str,
) -> Cow<'a, str> {
    let known = known.iter().find(|known| known.kind == kind && known.status == status);
    let time = known.map(|known| &*known.last_transition_time).filter(|time| !time.is_empty());
    time.unwrap_or(now).into()
}

impl<'a> Reference<'a> {
    pub(super) fn service(key: &'a ObjectKey) -> Self {
        Self {
            group: "core".into(),
            kind: "Service".into(),
            name: (*key.name).into(),
            namespace: (*key.namespace).into(),
        }
    }
}
