//! Says in the log when a certificate in use is about to expire, and when it has: once each.
//!
//! Asked by the credentials follower in every round. Nothing is taken out of use: an expired leaf
//! of ours is still better than none, and an expired anchor is refused by the verifier itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;

use crate::tls::facts::{CertificateFacts, Role};

/// Warned of when this part of the validity is left: Linkerd renews with 30 % left and cert-manager
/// with a third, so a tenth means that a renewal is late.
const LATE: u32 = 10;
/// The longest warning ahead, for anchors that are valid for years.
const LONGEST_WARNING: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What has been said, by fingerprint.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    told: Mutex<HashMap<String, Stage>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Late,
    Expired,
}

impl Expiry {
    /// Tells what is new at `now` about the certificates in use.
    pub(super) fn tell(&self, certificates: &[CertificateFacts], now: SystemTime) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // A certificate that is renewed, or valid again after a step of the clock, is forgotten.
        told.retain(|fingerprint, _| {
            let facts = certificates.iter().find(|facts| facts.fingerprint == *fingerprint);
            facts.is_some_and(|facts| stage(facts, now).is_some())
        });
        for facts in certificates {
            let Some(stage) = stage(facts, now) else { continue };
            if told.insert(facts.fingerprint.clone(), stage) != Some(stage) {
                log(facts, stage);
            }
        }
    }
}

fn stage(facts: &CertificateFacts, now: SystemTime) -> Option<Stage> {
    let Ok(left) = facts.not_after.duration_since(now) else { return Some(Stage::Expired) };
    let lifetime = facts.not_after.duration_since(facts.not_before).unwrap_or_default();
    (left <= (lifetime / LATE).min(LONGEST_WARNING)).then_some(Stage::Late)
}

fn log(facts: &CertificateFacts, stage: Stage) {
    let (role, subject) = (facts.role.label(), &facts.subject);
    let (path, not_after) = (facts.path.display(), format_rfc3339_seconds(facts.not_after));
    let consequence = consequence(facts.role);
    match stage {
        Stage::Late => tracing::warn!(role, subject, %path, %not_after,
            "a certificate in use expires soon and is not renewed yet; from then on {consequence}; \
             look at what renews the file"),
        Stage::Expired => tracing::error!(role, subject, %path, %not_after,
            "a certificate in use has expired: {consequence}; replace the file, it is taken without \
             a restart"),
    }
}

/// What happens to traffic when a certificate of this role has expired.
fn consequence(role: Role) -> &'static str {
    match role {
        Role::Anchor => "clients whose certificates lead to this anchor alone are refused",
        Role::Intermediate | Role::Leaf => {
            "clients and endpoints that check it refuse this gateway; established connections go on"
        }
        Role::Route => "clients of the route's server names refuse this gateway",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_validity_or_thirty_days_are_warned_ahead() {
        let day = Duration::from_secs(24 * 60 * 60);
        let at = |days: u32| SystemTime::UNIX_EPOCH + day * days;
        let facts = |from, until| CertificateFacts {
            role: Role::Leaf,
            path: "a".into(),
            subject: String::new(),
            issuer: String::new(),
            serial: String::new(),
            not_before: at(from),
            not_after: at(until),
            fingerprint: String::new(),
            last_use: None,
        };
        for (until, now, expected) in [
            (100, 89, None),
            (100, 90, Some(Stage::Late)),
            (100, 100, Some(Stage::Late)),
            (100, 101, Some(Stage::Expired)),
            (3650, 3619, None),
            (3650, 3620, Some(Stage::Late)),
        ] {
            assert_eq!(stage(&facts(0, until), at(now)), expected, "{until} {now}");
        }
    }
}
