//! Tells the operator that a limit is reached, once in a while however many connections it costs.

use crate::model::notice::Notice;
use crate::model::outcome::Outcome;
use crate::runtime::now_millis;

/// What has been dropped since the last line, by limit.
#[derive(Debug, Default)]
pub(super) struct Notices {
    connections: Notice,
    handshakes: Notice,
    silent: Notice,
    source: Notice,
}

impl Notices {
    /// A connection ended with `outcome`; says so when the last line is old enough.
    pub(super) fn note(&self, outcome: Outcome) {
        let notice = match outcome {
            Outcome::HandshakeLimit => &self.handshakes,
            Outcome::SilentLimit => &self.silent,
            Outcome::SourceLimit => &self.source,
            _ => &self.connections,
        };
        if let Some(dropped) = notice.count(now_millis()) {
            tracing::warn!(outcome = outcome.label(), dropped, "limit reached: {}", outcome.hint());
        }
    }
}
