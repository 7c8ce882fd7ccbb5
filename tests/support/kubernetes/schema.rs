//! What a structural schema does to a custom resource: fields that it does not know are dropped,
//! defaults are filled in, and values of the wrong type are refused. Called by `write` for what is
//! stored and by `store` for what is shown in another version. Patterns and CEL rules are not checked.

use serde_json::Value;

use super::error::Causes;

/// Drops what `schema` does not know. `metadata`, `apiVersion` and `kind` of the object itself
/// are not the schema's.
pub fn prune(value: &mut Value, schema: &Value) {
    let Value::Object(fields) = value else { return };
    let known = &schema["properties"];
    fields.retain(|name, field| {
        if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            return true;
        }
        prune_below(field, &known[name]);
        !known[name].is_null() || keeps_unknown(schema)
    });
}

fn keeps_unknown(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

fn prune_below(value: &mut Value, schema: &Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(|item| prune_below(item, &schema["items"]));
        }
        Value::Object(fields) => {
            let (known, further) = (&schema["properties"], &schema["additionalProperties"]);
            fields.retain(|name, field| {
                let of_field = if known[name].is_null() { further } else { &known[name] };
                prune_below(field, of_field);
                !of_field.is_null() && *of_field != Value::Bool(false) || keeps_unknown(schema)
            });
        }
        _ => {}
    }
}

/// Fills in defaults below `value`.
pub fn default(value: &mut Value, schema: &Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| default(item, &schema["items"])),
        Value::Object(fields) => {
            for (name, of_field) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(value) = of_field.get("default")
                    && !fields.contains_key(name)
                {
                    fields.insert(name.clone(), value.clone());
                }
                if let Some(field) = fields.get_mut(name) {
                    default(field, of_field);
                }
            }
        }
        _ => {}
    }
}

/// Whether `value` has the types, fields and values that `schema` demands.
pub fn check(causes: &mut Causes, path: &str, value: &Value, schema: &Value) {
    if schema["nullable"] == true && value.is_null() {
        return;
    }
    let is_int_or_string = schema["x-kubernetes-int-or-string"] == true;
    let is_right = match schema["type"].as_str() {
        _ if is_int_or_string => value.is_i64() || value.is_string(),
        Some("array") => value.is_array(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("object") => value.is_object(),
        Some("string") => value.is_string(),
        _ => true,
    };
    if !is_right {
        let expected = schema["type"].as_str().unwrap_or("integer or string");
        return causes.wrong_type(path, expected);
    }
    if let Some(known) = schema["enum"].as_array()
        && !known.contains(value)
    {
        let known: Vec<_> = known.iter().filter_map(Value::as_str).collect();
        causes.unsupported(path, value.as_str().unwrap_or_default(), &known);
    }
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check(causes, &format!("{path}[{index}]"), item, &schema["items"]);
            }
            limits(causes, path, items.len(), &schema["minItems"], &schema["maxItems"]);
        }
        Value::Object(fields) => {
            for name in schema["required"].as_array().into_iter().flatten() {
                let name = name.as_str().unwrap_or_default();
                if !fields.contains_key(name) {
                    causes.required(join(path, name), "");
                }
            }
            for (name, field) in fields {
                let known = &schema["properties"][name];
                let of_field =
                    if known.is_null() { &schema["additionalProperties"] } else { known };
                check(causes, &join(path, name), field, of_field);
            }
        }
        Value::String(text) => {
            limits(causes, path, text.len(), &schema["minLength"], &schema["maxLength"]);
            format(causes, path, text, schema["format"].as_str().unwrap_or_default());
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            let is_low = schema["minimum"].as_f64().is_some_and(|minimum| number < minimum);
            let is_high = schema["maximum"].as_f64().is_some_and(|maximum| number > maximum);
            if is_low || is_high {
                causes.invalid(path, &number.to_string(), "out of range");
            }
        }
        Value::Bool(_) | Value::Null => {}
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn limits(causes: &mut Causes, path: &str, length: usize, least: &Value, most: &Value) {
    let length = length as u64;
    if least.as_u64().is_some_and(|least| length < least) {
        causes.invalid(path, &length.to_string(), "too short");
    }
    if let Some(most) = most.as_u64()
        && length > most
    {
        causes.too_long(path, most as usize);
    }
}

/// The formats that CRDs of ours and of Linkerd name.
fn format(causes: &mut Causes, path: &str, text: &str, format: &str) {
    let is_right = match format {
        "date-time" => humantime::parse_rfc3339(text).is_ok() || is_date_time(text),
        "duration" => is_duration(text),
        _ => true,
    };
    if !is_right {
        causes.invalid(path, text, &format!("{path} in body must be of type {format}"));
    }
}

/// With an offset, which humantime does not read.
fn is_date_time(text: &str) -> bool {
    text.parse::<k8s_openapi::jiff::Timestamp>().is_ok()
}

/// `1m30s`, `1.5h`, `0`: numbers with units one after the other, a unit always, as Go reads them.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix('-').unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        if digits.len() == rest.len() {
            return false;
        }
        let units = ["ns", "us", "µs", "ms", "s", "m", "h"];
        let unit = units.iter().filter(|unit| digits.starts_with(**unit)).max_by_key(|u| u.len());
        let Some(unit) = unit else { return false };
        rest = &digits[unit.len()..];
        parts += 1;
    }
    parts > 0
}
