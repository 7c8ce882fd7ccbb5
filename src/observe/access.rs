//! The access log: one line per connection, written when it ends; `select` decides which ends an
//! operator wants to see, all of them by default. Requests of HTTP sessions: `request`.
//!
//! Its target is `access`, its level the outcome's. Absent facts are left out. What a peer wrote
//! (server name, requested target, detail) is percent-escaped and cut, so that no line can be
//! forged, split or colour a terminal, in text and in JSON alike.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::{Level, event};

mod request;
mod select;

pub use request::{RequestRecord, RequestSelection, is_problem, log_request};
pub use select::{Selection, Skipped};

use crate::model::header::SessionProtocol;
use crate::model::identity::Identity;
use crate::model::outcome::{self, Outcome};
use crate::model::service::Target;

/// Longest text from a peer in a line, in bytes after escaping.
const MAX_TEXT: usize = 256;
/// Ends a text that was cut; part of [`MAX_TEXT`].
const CUT: &str = "...";

/// All facts of one connection that has ended.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// The registry's number of the connection.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// The load balancer that said so in a PROXY header.
    pub via: Option<SocketAddr>,
    /// Our address that it connected to.
    pub local: SocketAddr,
    /// How it ended.
    pub outcome: Outcome,
    /// The client's verified identity.
    pub identity: Option<&'a Identity>,
    /// The server name that the client sent.
    pub sni: Option<&'a str>,
    /// The client negotiated the transport header.
    pub transport_header: bool,
    /// The session protocol of its header.
    pub session: Option<SessionProtocol>,
    /// What its header asked for, when no route has it.
    pub target: Option<&'a str>,
    /// The target of the route that served it.
    pub route: Option<&'a Target>,
    /// The rule that allowed it.
    pub rule: Option<&'a str>,
    /// The endpoint that it was connected to.
    pub endpoint: Option<SocketAddr>,
    /// The identity that the endpoint proved.
    pub server_identity: Option<&'a Identity>,
    /// Application bytes from the client.
    pub bytes_from_client: u64,
    /// Application bytes to the client.
    pub bytes_to_client: u64,
    /// From accept to the end of the handshake, if it ended well.
    pub handshake: Option<Duration>,
    /// From the first connect attempt to the connection, if there is one.
    pub connect: Option<Duration>,
    /// From accept to the end.
    pub total: Duration,
    /// What exactly was wrong; may contain text from the peer.
    pub detail: Option<&'a str>,
    /// How many clean ends the line stands for, when only samples of them are logged.
    pub sample: Option<u64>,
}

impl<'a> AccessRecord<'a> {
    /// A record of a connection that ended at once; the caller fills in what is known.
    pub fn new(id: u64, peer: SocketAddr, local: SocketAddr, outcome: Outcome) -> Self {
        Self {
            id,
            peer,
            via: None,
            local,
            outcome,
            identity: None,
            sni: None,
            transport_header: false,
            session: None,
            target: None,
            route: None,
            rule: None,
            endpoint: None,
            server_identity: None,
            bytes_from_client: 0,
            bytes_to_client: 0,
            handshake: None,
            connect: None,
            total: Duration::ZERO,
            detail: None,
            sample: None,
        }
    }
}

/// Writes the line. Nothing is formatted when the log does not take it.
pub fn log(record: &AccessRecord<'_>) {
    // A level is part of an event's static description, so each needs its own.
    macro_rules! line {
        ($level:expr) => {
            event!(
                target: "access",
                $level,
                id = record.id,
                peer = %record.peer,
                via = record.via.map(tracing::field::display),
                local = %record.local,
                outcome = record.outcome.label(),
                identity = record.identity.map(Identity::as_str),
                sni = record.sni.map(clean).as_deref(),
                transport_header = record.transport_header,
                session = record.session.map(SessionProtocol::label),
                // Not `target`: JSON lines are flat and that key is the log's own.
                requested = record.target.map(clean).as_deref(),
                route = record.route.map(tracing::field::display),
                rule = record.rule,
                endpoint = record.endpoint.map(tracing::field::display),
                server_identity = record.server_identity.map(Identity::as_str),
                bytes_from_client = record.bytes_from_client,
                bytes_to_client = record.bytes_to_client,
                handshake_ms = record.handshake.map(milliseconds),
                connect_ms = record.connect.map(milliseconds),
                total_ms = milliseconds(record.total),
                detail = record.detail.map(clean).as_deref(),
                hint = hint(record.outcome),
                sample = record.sample,
                "connection",
            )
        };
    }
    match record.outcome.level() {
        outcome::Level::Debug => line!(Level::DEBUG),
        outcome::Level::Info => line!(Level::INFO),
        outcome::Level::Warn => line!(Level::WARN),
    }
}

/// Hints are for lines that someone should act on.
fn hint(outcome: Outcome) -> Option<&'static str> {
    (outcome.level() == outcome::Level::Warn).then_some(outcome.hint())
}

/// Milliseconds with three decimals: microseconds are what the clock is good for.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// `text` with every byte that is not plain printable ASCII, and `"`, `\` and `%`, as `%XX`, and
/// not longer than [`MAX_TEXT`]. Percent signs pass through both formats unchanged, where
/// backslashes would be escaped a second time.
fn clean(text: &str) -> Cow<'_, str> {
    let is_plain = |b: u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\' | b'%');
    if text.len() <= MAX_TEXT && text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    // What a cut would keep, in case the text turns out too long.
    let mut kept = 0;
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            const DIGITS: [char; 16] =
                ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
            let digit = |n: u8| DIGITS.get(usize::from(n)).copied().unwrap_or('0');
            out.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
        if out.len() + CUT.len() <= MAX_TEXT {
            kept = out.len();
        }
        if out.len() > MAX_TEXT {
            out.truncate(kept);
            out.push_str(CUT);
            break;
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_text_passes_and_hostile_text_is_escaped_and_cut() {
        assert!(matches!(clean("web.demo.svc:80 refused, os error 111"), Cow::Borrowed(_)));
        assert_eq!(clean("a\"b\\c\r\n\x1b[31m"), "a%22b%5Cc%0D%0A%1B[31m");
        assert_eq!(clean("\u{202e}é%"), "%E2%80%AE%C3%A9%25");
        assert_eq!(clean(&"a".repeat(256)), "a".repeat(256));
        assert_eq!(clean(&"a".repeat(257)), "a".repeat(253) + "...");
        assert_eq!(clean(&"\n".repeat(1 << 20)), "%0A".repeat(84) + "...");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_short_printable_ascii(text: String) {
            let out = clean(&text);
            prop_assert!(out.len() <= MAX_TEXT);
            prop_assert!(out.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\'));
        }
    }
}
