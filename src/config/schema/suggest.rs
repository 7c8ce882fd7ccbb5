//! "Did you mean": the known key that an unknown one most likely stands for.

use super::{Key, Kind, ROOT};

/// Beyond this no key is a misspelling, and the comparison's cost stays small.
const LONGEST: usize = 64;

/// The candidate nearest to `name`, if it is near: at most a third of the letters differ.
pub fn closest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if name.len() > LONGEST {
        return None;
    }
    let distance = |candidate: &str| strsim::damerau_levenshtein(name, candidate);
    let near = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    let (distance, candidate) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= (candidate.len() / 3).max(1)).then_some(candidate)
}

/// What an unknown key's message ends in: a sibling with a similar name, else the same name in
/// another table, else the names that are possible.
pub fn hint(name: &str, siblings: &'static [Key]) -> String {
    let usable = |key: &Key| !matches!(key.kind, Kind::Refused(_));
    let names = || siblings.iter().filter(|key| usable(key)).map(|key| key.name);
    if let Some(near) = closest(&name.to_ascii_lowercase().replace('-', "_"), names()) {
        return format!("did you mean \"{near}\"?");
    }
    match paths().into_iter().find(|(_, key)| key.name == name && usable(key)) {
        Some((path, _)) => format!("did you mean \"{path}\"?"),
        None if names().next().is_none() => String::from("expected nothing here"),
        None => format!("expected one of {}", names().collect::<Vec<_>>().join(", ")),
    }
}

/// Every key with its path: `runtime.workers`, `route[].target`.
pub fn paths() -> Vec<(String, &'static Key)> {
    let mut found = Vec::new();
    collect("", ROOT, &mut found);
    found
}

fn collect(prefix: &str, keys: &'static [Key], found: &mut Vec<(String, &'static Key)>) {
    for key in keys {
        let path = match prefix {
            "" => key.name.to_owned(),
            _ => format!("{prefix}.{}", key.name),
        };
        let inner = match key.kind {
            Kind::Mixed(..) | Kind::Tables(_) => format!("{path}[]"),
            _ => path.clone(),
        };
        found.push((path, key));
        collect(&inner, key.keys(), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(closest("lsten", ["listen", "enabled"]), Some("listen"));
        assert_eq!(closest("colour", ["listen", "enabled"]), None);
        assert_eq!(closest(&"listen".repeat(1000), ["listen"]), None);
        assert_eq!(closest("x", []), None);
    }

    #[test]
    fn points_to_the_table_that_has_the_key() {
        assert_eq!(hint("handshake_timeout", ROOT), "did you mean \"limits.handshake_timeout\"?");
        assert_eq!(hint("routes", ROOT), "did you mean \"route\"?");
        assert!(hint("zebra", ROOT).starts_with("expected one of runtime, gateway"));
    }
}
