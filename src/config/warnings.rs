//! What is correct and yet may not be meant. `check` prints it; nothing is refused for it.

use super::{RouteSettings, Settings};
use crate::model::policy::{Action, Rule};
use crate::model::route::SessionMode;

/// The routes that a warning names; how many more there are is said.
const SHOWN: usize = 3;

/// One line for each warning.
pub fn warnings(settings: &Settings) -> Vec<String> {
    settings.policy.iter().filter_map(|rule| unseen(rule, &settings.routes)).collect()
}

/// A rule about requests that can apply where requests are not seen.
fn unseen(rule: &Rule, routes: &[RouteSettings]) -> Option<String> {
    let applies = |route: &&RouteSettings| {
        rule.targets.is_empty() || rule.targets.iter().any(|t| t.matches(&route.target))
    };
    let reason = |route: &RouteSettings| {
        let key = match route {
            RouteSettings { session: SessionMode::Passthrough, .. } => "session = \"passthrough\"",
            RouteSettings { default: true, .. } => "default = true",
            RouteSettings { sni, .. } if !sni.is_empty() => "sni",
            _ => return None,
        };
        Some(format!("{} ({key})", route.target))
    };
    let mut found = routes.iter().filter(applies).filter_map(reason);
    let mut shown: Vec<_> = found.by_ref().take(SHOWN).collect();
    if !rule.names_requests() || shown.is_empty() {
        return None;
    }
    match found.count() {
        0 => {}
        more => shown.push(format!("{more} more")),
    }
    let effect = match rule.action {
        Action::Allow => "allows nothing",
        Action::Deny => "denies every connection that it matches otherwise",
    };
    Some(format!(
        "policy.rule \"{}\" names methods or paths, and can apply to connections that are relayed \
         as bytes, where requests are not seen and it {effect}: {}",
        rule.name,
        shown.join(", ")
    ))
}
