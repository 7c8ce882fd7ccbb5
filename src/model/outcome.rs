//! Every way a connection can end: the closed set behind the `outcome` metric label, the access
//! log and the operator's hint.
//!
//! A stage's error becomes one of these at the stage's edge; nothing else describes an end. The
//! order follows the life of a connection.

/// How loudly an outcome is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Of interest only while debugging: health checks of load balancers.
    Debug,
    /// The normal course of events.
    Info,
    /// Something that an operator may have to mend.
    Warn,
}

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal, $level:ident, $hint:literal;)+) => {
        /// How one connection ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Outcome {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Outcome {
            /// All outcomes, in the order of a connection's life.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The value of the `outcome` label in metrics and logs.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }

            /// How loudly it is logged.
            pub fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level),+ }
            }

            /// What an operator should look at; empty when there is nothing to do.
            pub fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint),+ }
            }
        }
    };
}

outcomes! {
    /// Closed or reset by the peer before its first byte: a load balancer's check.
    ClosedBeforeFirstByte = "closed_before_first_byte", Debug, "";
    /// limits.max_connections are open.
    ConnectionLimit = "connection_limit", Debug,
        "limits.max_connections are open: add replicas, or raise it";
    /// Dropped as the oldest of too many connections that had not said hello.
    SilentLimit = "silent_limit", Debug,
        "more than limits.max_silent_connections wait for a ClientHello and the oldest are dropped; /connections shows from where they come";
    /// Dropped as the oldest of too many unauthenticated connections of its source.
    SourceLimit = "source_limit", Debug,
        "more than limits.max_unauthenticated_per_source of one address are not authenticated and the oldest are dropped; raise it when many clients share an address";
    /// Dropped as the oldest of too many handshakes in flight.
    HandshakeLimit = "handshake_limit", Debug,
        "more than limits.max_handshakes are in flight and the oldest are dropped: add replicas, or raise it when processors are idle";
    /// Its network must send a PROXY header, and the first bytes are none.
    ProxyProtocolMissing = "proxy_protocol_missing", Warn,
        "proxy_protocol of gateway.listen has this peer's network, and it sent no PROXY header; switch it on in the load balancer, or list only the load balancers";
    /// Its PROXY header is malformed, damaged, too long or cut off.
    ProxyProtocolInvalid = "proxy_protocol_invalid", Warn,
        "proxy_protocol of gateway.listen has this peer's network, and its PROXY header is wrong; the detail names the fault";
    /// No complete handshake and header before the deadline.
    HandshakeTimeout = "handshake_timeout", Warn,
        "the peer was silent or too slow; see limits.handshake_timeout";
    /// The peer went away during the handshake.
    HandshakeClosed = "handshake_closed", Info,
        "the peer closed or reset during the TLS handshake; its own log may name an untrusted certificate of ours";
    /// The first bytes were no TLS record.
    NotTls = "not_tls", Warn, "the peer spoke plaintext; is a load balancer in between ending TLS, or is the client not meshed?";
    /// No common TLS version: the peer does not offer 1.3.
    TlsVersion = "tls_version", Warn, "the peer does not offer TLS 1.3";
    /// The handshake failed for another reason: no common parameters, a bad signature, an alert.
    TlsFailed = "tls_failed", Warn, "the TLS handshake failed; the detail names the rule";
    /// The peer presented no certificate.
    CertificateMissing = "certificate_missing", Warn,
        "the peer presented no client certificate; is the client meshed?";
    /// The chain does not lead to one of our trust anchors.
    CertificateUntrusted = "certificate_untrusted", Warn,
        "the peer's chain leads to no configured trust anchor; compare /certs with the peer's anchor";
    /// A certificate of the chain has expired.
    CertificateExpired = "certificate_expired", Warn, "the peer's certificate has expired; check its renewal and both clocks";
    /// A certificate of the chain is not valid yet.
    CertificateNotYetValid = "certificate_not_yet_valid", Warn, "the peer's certificate is not valid yet; check both clocks";
    /// The certificate is malformed, of the wrong usage, a CA, or its chain breaks a rule.
    CertificateInvalid = "certificate_invalid", Warn, "the peer's certificate breaks a rule; the detail names it";
    /// The certificate names no identity.
    IdentityMissing = "identity_missing", Warn, "the peer's certificate has no URI or DNS name";
    /// The certificate names several identities.
    IdentityAmbiguous = "identity_ambiguous", Warn, "the peer's certificate names several identities; it must name one";
    /// The certificate's name is malformed or a wildcard.
    IdentityMalformed = "identity_malformed", Warn, "the peer's certificate has a malformed or wildcard name";
    /// The identity's trust domain is not one of its anchor's.
    IdentityOutsideTrustDomain = "identity_outside_trust_domain", Warn,
        "an anchor vouched for a trust domain that [[identity.trust]] does not give it";
    /// limits.max_connections_per_identity of this identity are open.
    IdentityLimit = "identity_limit", Warn,
        "this identity has limits.max_connections_per_identity open connections; raise it, or see /connections for what it does";
    /// The peer did not negotiate the transport header although it is required.
    TransportHeaderRequired = "transport_header_required", Warn,
        "the client did not offer ALPN transport.l5d.io/v1 and gateway.require_transport_header is set";
    /// The peer closed or reset before its header was complete.
    HeaderTruncated = "header_truncated", Warn, "the peer closed before its transport header was complete";
    /// The header is malformed, too long, or absent.
    HeaderInvalid = "header_invalid", Warn, "the peer sent no valid transport header; the detail names the fault";
    /// The client broke HTTP, or a bound of it.
    HttpProtocolError = "http_protocol_error", Warn,
        "the client broke HTTP or a bound of it and its session was ended; the detail names the rule";
    /// No route for the target or server name.
    UnknownTarget = "unknown_target", Warn, "no route has this target; see /routes";
    /// A Service of our own cluster that is not exported, or not with this port.
    NotExported = "not_exported", Warn,
        "the Service or its port is not exported: give it a label that kubernetes.export_selectors selects (mirror.linkerd.io/exported=true unless that is changed), and list the port where it has the annotation linkerd-gateway.io/exported-ports; /routes shows what is exported";
    /// A local port that is not listed.
    LocalPortRefused = "local_port_refused", Warn, "the port is not listed in gateway.local_ports";
    /// Policy denied it.
    Denied = "denied", Warn, "a policy rule denied it, or rules exist and none allows it; `linkerd-gateway explain` says which and why";
    /// The route has no endpoint now.
    NoEndpoints = "no_endpoints", Warn,
        "the route's DNS name has given no usable address, or the Service has no pod that is ready and known; see /routes";
    /// Every endpoint refused or failed.
    ConnectFailed = "connect_failed", Warn, "no endpoint of the route accepted the connection; see /routes";
    /// No endpoint answered in time.
    ConnectTimeout = "connect_timeout", Warn, "no endpoint of the route answered in time; see /routes";
    /// Onward TLS failed or the endpoint is not who it should be.
    OnwardTlsFailed = "onward_tls_failed", Warn,
        "the endpoint's TLS handshake failed or its identity is not the expected one";
    /// An endpoint led back to one of our own listeners.
    OwnListener = "own_listener", Warn, "the route ends at this gateway's own listener; correct its endpoints";
    /// Both sides ended cleanly.
    Closed = "closed", Info, "";
    /// The client reset the connection.
    ClientReset = "client_reset", Info, "";
    /// The client closed without TLS close_notify.
    ClientTruncated = "client_truncated", Info, "the client closed without close_notify; bytes may be missing";
    /// The client sent something that TLS forbids.
    ClientTlsError = "client_tls_error", Warn, "the client broke the TLS protocol; the detail names the rule";
    /// The client stopped acknowledging.
    ClientUnreachable = "client_unreachable", Info, "the client did not acknowledge data or keepalives in time";
    /// The endpoint reset the connection.
    EndpointReset = "endpoint_reset", Info, "";
    /// The endpoint closed without TLS close_notify.
    EndpointTruncated = "endpoint_truncated", Info, "the endpoint closed without close_notify; bytes may be missing";
    /// The endpoint sent something that TLS forbids.
    EndpointTlsError = "endpoint_tls_error", Warn, "the endpoint broke the TLS protocol; the detail names the rule";
    /// The endpoint stopped acknowledging.
    EndpointUnreachable = "endpoint_unreachable", Info, "the endpoint did not acknowledge data or keepalives in time";
    /// Nothing was relayed for too long.
    IdleTimeout = "idle_timeout", Info, "";
    /// A changed policy does not allow it any more.
    NoLongerAllowed = "no_longer_allowed", Warn,
        "a reload changed the policy rules, or someone the Service's annotation linkerd-gateway.io/allowed-identities, and this connection is not allowed any more; /routes shows the annotation, and `linkerd-gateway explain` says which rule decides";
    /// Its target is not exported any more.
    NoLongerExported = "no_longer_exported", Warn,
        "the Service was deleted, or lost the label that exported it, or its annotation linkerd-gateway.io/exported-ports does not list this port any more";
    /// An operator closed it: `DELETE /connections`.
    ClosedByOperator = "closed_by_operator", Info, "an operator closed it through the admin API's DELETE /connections";
    /// Closed to free memory.
    MemoryLimit = "memory_limit", Info,
        "memory was above limits.memory_watermark: give the process more, or add replicas";
    /// Its code panicked; only this connection ended.
    Panicked = "panicked", Warn,
        "a bug in this program ended this one connection; please report it with the log line of the panic before it";
    /// Cancelled through the connection registry: the process is stopping.
    Cancelled = "cancelled", Info, "";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn labels_are_unique_and_warnings_have_hints() {
        let labels: HashSet<_> = Outcome::ALL.iter().map(|o| o.label()).collect();
        assert_eq!(labels.len(), Outcome::ALL.len());
        for outcome in Outcome::ALL {
            assert!(outcome.level() != Level::Warn || !outcome.hint().is_empty(), "{outcome:?}");
        }
    }
}
