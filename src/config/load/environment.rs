//! Environment variables and flags as layers: their texts become values by the key's kind.
//!
//! `LINKERD_GATEWAY_GATEWAY__LISTEN` is `gateway.listen`: `__` nests. A list of values is
//! `a, b` or TOML's `["a", "b"]`; a list of tables is TOML, `LINKERD_GATEWAY_ROUTE='[{...}]'`.
//!
//! Of our prefix these are no keys and never refused:
//! * `LINKERD_GATEWAY_CONFIG`, the file;
//! * what Kubernetes sets in every pod beside a Service named `linkerd-gateway`, which is how the
//!   gateway's own Service is named: `..._SERVICE_HOST`, `..._SERVICE_PORT[_<name>]`, `..._PORT`,
//!   `..._PORT_<n>_TCP[_ADDR|_PORT|_PROTO]`. Without that exception no such pod would start.

use std::path::PathBuf;

use super::values::value;
use super::{PREFIX, Sources};
use crate::config::problem::Report;
use crate::config::raw::{Node, Origin, Table, Value};
use crate::config::schema::{Key, Kind, ROOT, closest, paths};

/// The variable that names the file; with the prefix.
const CONFIG: &str = "LINKERD_GATEWAY_CONFIG";

/// The configuration file of `sources`.
pub fn file(sources: &Sources) -> Option<PathBuf> {
    let variable = || sources.environment.iter().find(|(name, _)| name == CONFIG);
    let named = sources.file.clone().or_else(|| variable().map(|(_, value)| value.into()));
    named.filter(|file| !file.as_os_str().is_empty())
}

/// The layer of the environment and the layer of the flags.
pub fn layers(sources: &Sources, report: &Report) -> [Table; 2] {
    let (mut environment, mut flags) = (Table::new(), Table::new());
    for (name, text) in &sources.environment {
        let suffix = name.strip_prefix(PREFIX).filter(|suffix| !is_foreign(suffix, text));
        let Some(suffix) = suffix else {
            continue;
        };
        let origin = Origin::Variable(name.as_str().into());
        let path: Vec<_> = suffix.split("__").map(str::to_ascii_lowercase).collect();
        // One spelling only, so that two variables cannot mean the same key.
        let resolved = if is_capitals(suffix) { resolve(&path) } else { Err(None) };
        match resolved {
            Ok(key) => place(&mut environment, &path, key, text, &origin, report),
            Err(reason) => report.add("", reason.unwrap_or_else(|| unknown(suffix)), Some(origin)),
        }
    }
    for (key, text, flag) in &sources.flags {
        let origin = Origin::Flag(flag);
        let path: Vec<_> = key.split('.').map(str::to_owned).collect();
        match resolve(&path) {
            Ok(key) => place(&mut flags, &path, key, text, &origin, report),
            Err(_) => report.add(key, "is not a known key", Some(origin)),
        }
    }
    [environment, flags]
}

/// True for variables with our prefix that are not ours; see the module's documentation.
fn is_foreign(suffix: &str, value: &str) -> bool {
    if suffix.contains("__") {
        return false;
    }
    // From each underscore on, for Services whose names go on: linkerd-gateway-admin.
    let tails = suffix.match_indices('_').filter_map(|(at, _)| suffix.get(at + 1..));
    suffix == "CONFIG"
        || std::iter::once(suffix).chain(tails).any(|tail| is_service_variable(tail, value))
}

fn is_service_variable(tail: &str, value: &str) -> bool {
    if let Some(rest) = tail.strip_prefix("SERVICE_") {
        return rest == "HOST" || rest == "PORT" || rest.starts_with("PORT_");
    }
    let Some(rest) = tail.strip_prefix("PORT") else {
        return false;
    };
    if rest.is_empty() {
        return value.contains("://");
    }
    let mut words = rest.split('_').skip(1);
    let number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
    let protocol = words.next().is_some_and(|word| matches!(word, "TCP" | "UDP" | "SCTP"));
    let detail = matches!(words.next(), None | Some("ADDR" | "PORT" | "PROTO"));
    rest.starts_with('_') && number && protocol && detail && words.next().is_none()
}

fn is_capitals(name: &str) -> bool {
    !name.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// The key of a path. `Err(None)` when there is none, `Err(Some)` when the reason is special.
fn resolve(path: &[String]) -> Result<&'static Key, Option<String>> {
    let mut keys = ROOT;
    let mut found: Option<&'static Key> = None;
    for name in path {
        if let Some(Kind::Tables(_) | Kind::Mixed(..)) = found.map(|key| key.kind) {
            let message = "is within a list: set the whole list as TOML, [{ ... }, { ... }]";
            return Err(Some(message.to_owned()));
        }
        let key = keys.iter().find(|key| key.name == *name).ok_or(None)?;
        keys = key.keys();
        found = Some(key);
    }
    match found {
        Some(Key { kind: Kind::Section(_), .. }) => {
            let example = keys.first().map_or("", |key| key.name).to_uppercase();
            Err(Some(format!("is a section: set its keys one by one, like ...__{example}")))
        }
        Some(key) => Ok(key),
        None => Err(None),
    }
}

fn unknown(suffix: &str) -> String {
    let names: Vec<_> = paths()
        .into_iter()
        .filter(|(path, key)| !path.contains('[') && !matches!(key.kind, Kind::Section(_)))
        .map(|(path, _)| path.to_uppercase().replace('.', "__"))
        .collect();
    match closest(&suffix.to_ascii_uppercase(), names.iter().map(String::as_str)) {
        Some(near) => format!("is not a known variable: did you mean {PREFIX}{near}?"),
        None => "is not a known variable: expected a key in capitals, tables separated by __, \
                 like LINKERD_GATEWAY_RUNTIME__WORKERS"
            .to_owned(),
    }
}

/// Puts the value at its path; a list that is there already (a repeated flag) goes on.
fn place(
    layer: &mut Table,
    path: &[String],
    key: &Key,
    text: &str,
    origin: &Origin,
    report: &Report,
) {
    let Some((last, sections)) = path.split_last() else {
        return;
    };
    let node = value(key, text, origin);
    if let (Kind::Tables(_), Value::Text(_)) = (key.kind, &node.value) {
        let message = "expected a list of tables as TOML, [{ ... }, { ... }]";
        report.add(path.join("."), message, Some(origin.clone()));
        return;
    }
    let mut table = layer;
    for section in sections {
        let empty = Node { value: Value::Table(Table::new()), origin: origin.clone() };
        match &mut table.entry(section.clone()).or_insert(empty).value {
            Value::Table(inner) => table = inner,
            _ => return,
        }
    }
    match (table.get_mut(last).map(|old| &mut old.value), node.value) {
        (Some(Value::Array(old)), Value::Array(new)) => old.extend(new),
        (_, value) => {
            table.insert(last.clone(), Node { value, origin: node.origin });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_variables_that_kubernetes_sets() {
        for (suffix, value) in [
            ("CONFIG", "a.toml"),
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "4143"),
            ("SERVICE_PORT_MC_GATEWAY", "4143"),
            ("PORT", "tcp://10.0.0.1:4143"),
            ("PORT_4143_TCP", "tcp://10.0.0.1:4143"),
            ("PORT_4143_TCP_ADDR", "10.0.0.1"),
            ("ADMIN_SERVICE_HOST", "10.0.0.1"),
            ("ADMIN_PORT_4191_TCP_PROTO", "tcp"),
        ] {
            assert!(is_foreign(suffix, value), "{suffix}");
        }
    }

    #[test]
    fn takes_no_misspelt_key_for_one_of_those() {
        let names = ["RUNTIME__WORKERS", "RUNTIME_WORKERS", "PORT", "ADMIN_PORT", "LIMITS__PORT"];
        for suffix in names {
            assert!(!is_foreign(suffix, "4143"), "{suffix}");
        }
        assert!(!is_foreign("GATEWAY__SERVICE_HOST", "10.0.0.1"));
        assert!(
            !is_foreign("PORTS_1_TCP", "")
                && !is_foreign("PORT_X_TCP", "")
                && !is_foreign("PORT_1_TCP_A", "")
        );
    }
}
