//! The JSON of `/certs`, `/routes` and `/connections`: what an operator sees of the state.
//!
//! Shapes are part of the interface: keys are added, never renamed. Text that a peer chose is
//! escaped by the serializer.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::Admin;
use crate::model::identity::Identity;
use crate::model::last_use::LastUse;
use crate::model::policy::{Network, Rule};
use crate::model::route::{Endpoint, Route, SessionMode};
use crate::state::connections::HttpLive;
use crate::state::{Configuration, CredentialsStatus};

/// The last moment that RFC 3339 can write, 9999-12-31T23:59:59Z, in seconds since the epoch.
const LAST_MOMENT: Duration = Duration::from_secs(253_402_300_799);
const DAY: i64 = 24 * 60 * 60;

#[derive(Serialize)]
struct Certs {
    identity: Option<String>,
    generation: Option<u64>,
    status: Status,
    certificates: Vec<Certificate>,
}

/// How loading goes.
#[derive(Serialize)]
struct Status {
    loaded: u64,
    refused: u64,
    loaded_at: Option<String>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct Certificate {
    role: &'static str,
    path: String,
    subject: String,
    issuer: String,
    serial: String,
    fingerprint: String,
    not_before: String,
    not_after: String,
    /// Whole days; negative once expired.
    expires_in_days: i64,
    expired: bool,
    /// Anchors only: when one last vouched for a peer; `null` for never since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used: Option<Option<String>>,
}

#[derive(Serialize)]
struct PolicyView<'a> {
    /// Empty: any authenticated identity may reach any routed target.
    rules: Vec<RuleView<'a>>,
}

/// Absent lists do not restrict. `explain --admin` reads this back.
#[derive(Serialize)]
struct RuleView<'a> {
    name: &'a str,
    action: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    identities: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    networks: Vec<NetworkView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    methods: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    paths: Vec<String>,
}

#[derive(Serialize)]
struct NetworkView {
    cidr: String,
    except: Vec<String>,
}

#[derive(Serialize)]
struct RouteView<'a> {
    target: String,
    sni: &'a [String],
    default: bool,
    session: &'static str,
    proxy_protocol: bool,
    /// `static`, `dns` or `kubernetes`.
    source: &'static str,
    /// Who may reach it, whatever the policy says beyond that: the Service's annotation. Nobody when
    /// empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_identities: Option<Vec<String>>,
    endpoints: Vec<EndpointView<'a>>,
}

#[derive(Serialize)]
struct EndpointView<'a> {
    address: String,
    weight: u32,
    /// Who the endpoint must be, over onward TLS.
    tls_identity: Option<&'a str>,
    open_connections: u32,
    ejected: bool,
}

#[derive(Serialize)]
struct ConnectionView {
    id: u64,
    /// The client, which a PROXY header may have named.
    peer: String,
    /// The load balancer that sent that header.
    via: Option<String>,
    local: String,
    worker: usize,
    stage: &'static str,
    identity: Option<String>,
    target: Option<String>,
    endpoint: Option<String>,
    /// Since it was accepted.
    seconds: u64,
    bytes_from_client: u64,
    bytes_to_client: u64,
    /// HTTP sessions only.
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<HttpView>,
}

#[derive(Serialize)]
struct HttpView {
    version: &'static str,
    /// Requests that have not ended.
    streams: u32,
    /// Requests so far.
    requests: u64,
}

/// `/certs`
pub(super) fn certs(admin: &Admin) -> String {
    let now = SystemTime::now();
    let credentials = admin.state.credentials.load();
    let certificates = credentials.iter().flat_map(|credentials| &credentials.certificates);
    let view = Certs {
        identity: credentials.as_ref().map(|c| c.identity.to_string()),
        generation: credentials.as_ref().map(|c| c.generation),
        status: status(&admin.state.credentials_status.load()),
        certificates: certificates
            .map(|facts| Certificate {
                role: facts.role.label(),
                path: facts.path.display().to_string(),
                subject: facts.subject.clone(),
                issuer: facts.issuer.clone(),
                serial: facts.serial.clone(),
                fingerprint: facts.fingerprint.clone(),
                not_before: rfc3339(facts.not_before),
                not_after: rfc3339(facts.not_after),
                expires_in_days: days_until(facts.not_after, now),
                expired: facts.not_after < now,
                last_used: facts.last_use.as_ref().map(last_used),
            })
            .collect(),
    };
    json(&view)
}

/// `/config_dump`: the generation, and the values under `configuration`.
pub(super) fn configuration(admin: &Admin) -> String {
    let configuration = admin.state.configuration.load();
    let Configuration { generation, dump } = &**configuration;
    format!("{{\"generation\":{generation},\"configuration\":{dump}}}")
}

/// `/policy`: the rules in order, in the words of the configuration.
pub(super) fn policy(admin: &Admin) -> String {
    let policy = admin.state.policy.load();
    json(&PolicyView { rules: policy.rules().iter().map(rule_view).collect() })
}

/// `/routes`, in the order of configuration.
pub(super) fn routes(admin: &Admin) -> String {
    let now = (admin.clock)();
    let table = admin.state.routes.load();
    let routes: Vec<_> = table.routes().iter().map(|route| route_view(route, now)).collect();
    json(&routes)
}

/// `/connections`, oldest first.
pub(super) fn connections(admin: &Admin) -> String {
    let now = SystemTime::now();
    let all = admin.state.connections.list();
    let views: Vec<_> = all
        .iter()
        .map(|live| ConnectionView {
            id: live.id,
            peer: live.source().to_string(),
            via: live.via().map(|via| via.to_string()),
            local: live.local.to_string(),
            worker: live.worker,
            stage: live.stage().label(),
            identity: live.identity().map(Identity::to_string),
            target: live.target().map(ToString::to_string),
            endpoint: live.endpoint().map(|endpoint| endpoint.to_string()),
            seconds: now.duration_since(live.accepted_at).unwrap_or_default().as_secs(),
            bytes_from_client: live.bytes.from_client(),
            bytes_to_client: live.bytes.to_client(),
            http: live.http_session().map(http_view),
        })
        .collect();
    json(&views)
}

fn http_view(session: &HttpLive) -> HttpView {
    HttpView {
        version: session.version(),
        streams: session.in_flight(),
        requests: session.requests(),
    }
}

fn status(status: &CredentialsStatus) -> Status {
    Status {
        loaded: status.loaded,
        refused: status.refused,
        loaded_at: status.loaded_at.map(rfc3339),
        problem: status.problem.as_deref().map(str::to_owned),
    }
}

fn rule_view(rule: &Rule) -> RuleView<'_> {
    let network = |network: &Network| NetworkView {
        cidr: network.cidr.to_string(),
        except: network.except.iter().map(ToString::to_string).collect(),
    };
    RuleView {
        name: &rule.name,
        action: rule.action.label(),
        identities: rule.identities.iter().map(ToString::to_string).collect(),
        networks: rule.networks.iter().map(network).collect(),
        targets: rule.targets.iter().map(ToString::to_string).collect(),
        methods: rule.methods.iter().map(ToString::to_string).collect(),
        paths: rule.paths.iter().map(ToString::to_string).collect(),
    }
}

fn route_view(route: &Route, now: u64) -> RouteView<'_> {
    let session = match route.session {
        SessionMode::Auto => "auto",
        SessionMode::Http => "http",
        SessionMode::Passthrough => "passthrough",
    };
    let endpoint = |endpoint| endpoint_view(endpoint, now);
    RouteView {
        target: route.target.to_string(),
        sni: &route.sni,
        default: route.default,
        session,
        proxy_protocol: route.proxy_protocol,
        source: route.source.label(),
        allowed_identities: route
            .restriction
            .as_ref()
            .map(|restriction| restriction.identities().iter().map(ToString::to_string).collect()),
        endpoints: route.endpoints.iter().map(|e| endpoint(e)).collect(),
    }
}

fn endpoint_view(endpoint: &Endpoint, now: u64) -> EndpointView<'_> {
    EndpointView {
        address: endpoint.dial_address().to_string(),
        weight: endpoint.weight,
        tls_identity: endpoint.onward.as_ref().map(|onward| onward.identity.as_str()),
        open_connections: endpoint.state.open(),
        ejected: endpoint.state.is_ejected(now),
    }
}

/// Strings, numbers and lists of them always serialize; `null` would be the honest rest.
pub(super) fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    text.push('\n');
    text
}

/// Seconds precision, UTC. Times outside 1970 to 9999 are moved to the nearer end: a certificate may
/// state any, and the formatter panics on them.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(LAST_MOMENT);
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since).to_string()
}

/// Nothing for never.
fn last_used(last_use: &LastUse) -> Option<String> {
    let since = Some(last_use.seconds()).filter(|seconds| *seconds > 0)?;
    Some(rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(since)))
}

/// Whole days from `now` until `then`, rounded down.
fn days_until(then: SystemTime, now: SystemTime) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match then.duration_since(now) {
        Ok(left) => seconds(left) / DAY,
        Err(past) => (-seconds(past.duration())).div_euclid(DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_of_a_certificate_panics() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(rfc3339(epoch - Duration::from_secs(9)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(epoch + LAST_MOMENT), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(epoch + LAST_MOMENT * 2), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn days_are_whole_and_negative_once_expired() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let hours = |n: u64| Duration::from_secs(n * 3600);
        assert_eq!(days_until(now + hours(47), now), 1);
        assert_eq!(days_until(now, now), 0);
        assert_eq!(days_until(now - hours(1), now), -1);
        assert_eq!(days_until(now - hours(25), now), -2);
    }
}
