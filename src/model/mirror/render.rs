//! Mirrors as the JSON of the API.

use serde_json::{Value, json};

use super::object::Object;
use crate::model::kubernetes::object::Version;

pub(super) fn object(_object: &Object, _replaces: Option<&Version>) -> Value {
    json!({})
}
