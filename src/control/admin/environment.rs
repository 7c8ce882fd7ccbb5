//! `/env.json`: the process's environment, without its secrets.
//!
//! Values are hidden when the variable's name or their own form says that they are secret. Those of
//! our own configuration are shown: its keys name files and never hold what is in them, and
//! `/config_dump` shows the same.

use std::collections::BTreeMap;

use super::query;

/// What stands for a hidden value.
const HIDDEN: &str = "(hidden: looks like a secret)";
/// Parts of names whose values are hidden.
const SECRET: [&str; 8] =
    ["AUTH", "CREDENTIAL", "KEY", "PASSWD", "PASSWORD", "SECRET", "TOKEN", "PRIVATE"];
/// Ends of names whose values are paths: `AWS_WEB_IDENTITY_TOKEN_FILE`.
const PATHS: [&str; 3] = ["_DIR", "_FILE", "_PATH"];
/// Our own configuration.
const OURS: &str = "LINKERD_GATEWAY_";

/// The variables that `query` names, `null` where there is none; all of them without a query.
///
/// # Errors
/// What is wrong with the query.
pub(super) fn view(
    variables: impl Iterator<Item = (String, String)>,
    query: &str,
) -> Result<BTreeMap<String, Option<String>>, &'static str> {
    let all = variables.map(|(name, value)| {
        let value = shown(&name, value);
        (name, Some(value))
    });
    let names = query::pairs(query).ok_or("the query has a malformed escape")?;
    if names.is_empty() {
        return Ok(all.collect());
    }
    if names.iter().any(|(_, value)| value.is_some()) {
        return Err("the query lists names, like ?PATH&HOME, and has no values");
    }
    let all: BTreeMap<_, _> = all.collect();
    let find = |(name, _): query::Pair| {
        let value = all.get(&name).cloned().flatten();
        (name, value)
    };
    Ok(names.into_iter().map(find).collect())
}

fn shown(name: &str, value: String) -> String {
    let name = name.to_ascii_uppercase();
    let is_path = PATHS.iter().any(|end| name.ends_with(end)) || name.starts_with(OURS);
    let is_secret = !is_path && SECRET.iter().any(|part| name.contains(part));
    if !value.is_empty() && (is_secret || has_password(&value)) { HIDDEN.to_owned() } else { value }
}

/// True for an address like `postgres://user:password@host/`, or a PEM block.
fn has_password(value: &str) -> bool {
    let in_address = value.split("://").skip(1).any(|after| {
        let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
        authority.contains('@')
    });
    in_address || value.contains("PRIVATE KEY")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, value: &str) -> String {
        let all = [(name.to_owned(), value.to_owned())];
        let view = view(all.into_iter(), "").expect("a view");
        view[name].clone().expect("a value")
    }

    #[test]
    fn secrets_are_hidden_and_paths_are_not() {
        for (name, text) in [
            ("API_TOKEN", "x"),
            ("db_password", "x"),
            ("AWS_SECRET_ACCESS_KEY", "/abc"),
            ("DATABASE_URL", "postgres://me:word@db:5432/x"),
            ("PEM", "-----BEGIN PRIVATE KEY-----"),
            ("LINKERD_GATEWAY_X", "https://u:p@host"),
        ] {
            assert_eq!(value(name, text), HIDDEN, "{name}");
        }
        for (name, text) in [
            ("PATH", "/bin"),
            ("TOKEN_FILE", "/var/run/token"),
            ("LINKERD_GATEWAY_IDENTITY__KEY", "certs-dev/gateway/tls.key"),
            ("PROXY", "http://proxy:3128/a@b"),
            ("EMPTY_TOKEN", ""),
        ] {
            assert_eq!(value(name, text), text, "{name}");
        }
    }

    #[test]
    fn a_query_selects_and_must_be_names() {
        let all = || [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())];
        let some = view(all().into_iter(), "B&C").expect("a view");
        assert_eq!(
            some,
            BTreeMap::from([("B".to_owned(), Some("2".to_owned())), ("C".to_owned(), None)])
        );
        assert!(view(all().into_iter(), "A=1").is_err());
        assert!(view(all().into_iter(), "%zz").is_err());
    }
}
