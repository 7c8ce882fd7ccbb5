//! How a probe of one gateway address can end, and when the next one is due.
//!
//! `control::mirror::probe` finds it out; conditions, Events, `/links` and the `reason` label of
//! `gateway_address_probe_failures_total` say it in these words.

use std::fmt;
use std::time::Duration;

/// Shorter periods are lengthened to this: a period of nothing would be a flood.
pub const MIN_PERIOD: Duration = Duration::from_millis(100);

/// What one probe came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// It answered 200 after this long, a new connection included.
    Alive(Duration),
    /// It did not.
    Failed(Failure),
    /// We could not ask, which says nothing about the gateway.
    Unknown(Unasked),
}

/// Why we could not ask: our own credentials do not serve, above all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unasked {
    /// There are none.
    NoCredentials,
    /// Our certificate has expired.
    Expired,
    /// The gateway has proved who it is, and refuses our certificate.
    Refused,
    /// No descriptor or memory is left for a connection.
    NoSocket,
}

impl Unasked {
    /// A word for conditions.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::Expired => "own_certificate_expired",
            Self::Refused => "own_certificate_refused",
            Self::NoSocket => "no_socket",
        }
    }

    /// What an operator can do.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NoCredentials => "load a certificate of our own: /certs names the problem",
            Self::Expired => "our own certificate has expired: renew it, /certs names its file",
            Self::Refused => {
                "the gateway does not take our certificate: compare our trust anchors with those \
                 of the target cluster"
            }
            Self::NoSocket => {
                "no descriptor or memory is left for a connection: look at process_open_fds \
                 and process_max_fds"
            }
        }
    }
}

macro_rules! failures {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal, $hint:literal;)+) => {
        /// Why a probe failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Failure {
            $($(#[doc = $doc])+ $variant,)+
            /// It answered another status than 200; redirects are not followed.
            Status(u16),
        }

        impl Failure {
            /// The values of the `reason` label.
            pub const LABELS: &[&'static str] = &[$($label,)+ "status"];

            /// The value of the `reason` label.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                    Self::Status(_) => "status",
                }
            }

            /// What an operator should look at.
            pub fn hint(self) -> &'static str {
                match self {
                    $(Self::$variant => $hint,)+
                    Self::Status(503) => "the gateway says that it is not ready: it drains, or has \
                        no certificate yet; look at its /ready",
                    Self::Status(403) => "the gateway's policy does not allow the probe: its pod \
                        must declare the probe's path as its own readiness probe",
                    Self::Status(404) => "the gateway does not know the probe's path: compare \
                        probeSpec.path with its annotation mirror.linkerd.io/probe-path",
                    Self::Status(_) => "only status 200 counts: is this the gateway's admin port, \
                        and is nothing in between that answers for it?",
                }
            }
        }
    };
}

failures! {
    /// Nobody listens at the address and port.
    Refused = "refused",
        "nobody listens there: is probeSpec.port the port that this address serves (a NodePort gateway has another)?";
    /// The network knows no way to it.
    Unreachable = "unreachable",
        "there is no route to the address: is it reachable from this cluster?";
    /// No connection in time.
    ConnectTimeout = "connect_timeout",
        "packets are lost: look at firewalls and security groups between the clusters";
    /// The handshake did not end in time.
    HandshakeTimeout = "handshake_timeout",
        "it accepts connections and says nothing: a load balancer without a gateway behind it?";
    /// No answer in time.
    AnswerTimeout = "answer_timeout",
        "it proved who it is and does not answer: the gateway is stuck or overloaded";
    /// The connection broke off before an answer.
    Closed = "closed",
        "the connection was closed before an answer: a load balancer without a gateway behind it?";
    /// What came is no HTTP.
    NotHttp = "not_http",
        "what answers there does not speak HTTP: is probeSpec.port the admin port (4191)?";
    /// What came is no TLS.
    NotTls = "not_tls",
        "what answers there does not speak TLS, but the Link names a gatewayIdentity";
    /// Its certificate has expired.
    CertificateExpired = "certificate_expired",
        "the gateway's certificate has expired: look at the target cluster's identity issuer";
    /// Its certificate is not valid yet.
    CertificateNotYetValid = "certificate_not_yet_valid",
        "the gateway's certificate is not valid yet: compare the clocks of both clusters";
    /// Its certificate leads to none of our anchors.
    CertificateUntrusted = "certificate_untrusted",
        "the clusters' trust anchors differ: add the target's anchor to identity.trust_anchors";
    /// Its certificate breaks a rule, or names no single identity.
    CertificateInvalid = "certificate_invalid",
        "the gateway's certificate is malformed or names no single identity";
    /// It is somebody else than the Link says.
    IdentityMismatch = "identity_mismatch",
        "another identity than gatewayIdentity answers: is the address still the gateway's, and the Link up to date?";
    /// The handshake failed in another way.
    Tls = "tls_failed",
        "the TLS handshake failed: only TLS 1.3 is spoken here";
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}: {}", self.hint()),
            _ => write!(f, "{}: {}", self.label(), self.hint()),
        }
    }
}

/// How often, and for how long at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    period: Duration,
    timeout: Duration,
}

impl Schedule {
    /// A probe takes no longer than a period, whatever `timeout` says, so that they never pile up.
    pub fn new(period: Duration, timeout: Duration) -> Self {
        let period = period.max(MIN_PERIOD);
        // A timeout of nothing would make every probe fail.
        let timeout = if timeout.is_zero() { period } else { timeout.min(period) };
        Self { period, timeout }
    }

    /// The longest that one probe may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// From the end of a probe that took `taken` to the start of the next: a period from start to
    /// start, and up to a tenth more, of which `random` in 0..=255 chooses how much.
    pub fn wait(&self, taken: Duration, random: u8) -> Duration {
        let jitter = self.period.mul_f64(f64::from(random) / 2560.0);
        (self.period + jitter).saturating_sub(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_probe_never_outlasts_its_period() {
        assert_eq!(Schedule::new(s(3), s(30)).timeout(), s(3));
        assert_eq!(Schedule::new(s(30), s(2)).timeout(), s(2));
        assert_eq!(Schedule::new(s(3), Duration::ZERO).timeout(), s(3));
        assert_eq!(Schedule::new(Duration::ZERO, s(30)).timeout(), MIN_PERIOD);
    }

    #[test]
    fn the_next_one_is_due_a_period_after_the_last_began_and_less_than_a_tenth_later() {
        let schedule = Schedule::new(s(10), s(30));
        assert_eq!(schedule.wait(Duration::ZERO, 0), s(10));
        assert_eq!(schedule.wait(s(4), 0), s(6));
        let last = schedule.wait(Duration::ZERO, 255);
        assert!(last > Duration::from_millis(10_900) && last < s(11), "{last:?}");
        assert_eq!(schedule.wait(s(12), 255), Duration::ZERO);
    }

    #[test]
    fn every_failure_has_a_label_of_the_set_and_tells_what_to_look_at() {
        for status in [204, 301, 403, 404, 500, 503] {
            let failure = Failure::Status(status);
            assert!(Failure::LABELS.contains(&failure.label()));
            assert!(failure.to_string().starts_with(&format!("status {status}: ")));
        }
        let text = Failure::IdentityMismatch.to_string();
        assert!(text.starts_with("identity_mismatch: another identity"), "{text}");
        let mut labels = Failure::LABELS.to_vec();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Failure::LABELS.len());
    }
}
