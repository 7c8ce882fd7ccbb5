//! Reading the fields of a Link.
//!
//! A field that is absent, null or empty has its default. One that is wrong is named, with what was
//! expected, and whoever asks decides by [`Stops`] what goes on.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{
    ExcludedKey, FieldProblem, GatewayAddress, Link, LinkGateway, NAMESPACE_FILTER_LABEL,
    ParsedLink, ProbeSpec, Stops,
};
use crate::model::identity::Identity;
use crate::model::kubernetes::duration;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::kubernetes::selector::Selector;
use crate::model::route::unusable;
use crate::model::service::is_dns_name;

/// The port of the gateway in Linkerd's chart.
const GATEWAY_PORT: u16 = 4143;
/// The port of its probe in Linkerd's chart.
const PROBE_PORT: u16 = 4191;
/// The period in Linkerd's chart.
const PERIOD: Duration = Duration::from_secs(3);
/// A shorter period would be an attack on the gateway.
const SHORTEST: Duration = Duration::from_millis(100);
/// The default of the CRD.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The default of the CRD.
const FAILURE_THRESHOLD: u32 = 3;
/// How much of a wrong value is shown.
const MAX_SHOWN: usize = 120;

/// Reads a Link: the whole object, of v1alpha1, v1alpha2 or v1alpha3.
pub fn parse(object: &Value) -> ParsedLink {
    let metadata = |name: &str| Arc::from(object["metadata"][name].as_str().unwrap_or_default());
    let key = ObjectKey::new(metadata("namespace"), metadata("name"));
    let mut fields = Fields { spec: &object["spec"], problems: Vec::new() };
    if !fields.spec.is_object() {
        // Without selectors everything would be deleted: absence is not an order.
        fields.wrong("", &format!("an object, found {}", shown(fields.spec)), Stops::Mirroring);
    }
    let gateway = fields.gateway();
    let (remote_discovery, namespace_filter) = split(fields.selector("remoteDiscoverySelector"));
    let link = Link {
        uid: metadata("uid"),
        generation: object["metadata"]["generation"].as_i64().unwrap_or_default(),
        created: metadata("creationTimestamp"),
        cluster: fields.cluster(&key.name),
        domain: fields.domain(),
        credentials: fields.text("clusterCredentialsSecret", Stops::Mirroring),
        probe: gateway.as_ref().and_then(|_| fields.probe()),
        gateway,
        selector: fields.selector("selector"),
        remote_discovery,
        federated: fields.selector("federatedServiceSelector"),
        namespace_filter,
        excluded_labels: fields.excluded("excludedLabels"),
        excluded_annotations: fields.excluded("excludedAnnotations"),
        key,
    };
    ParsedLink { link, problems: fields.problems }
}

/// A selector that names the label of namespace filters is one.
/// Why the API server would refuse the endpoints of every mirror. It refuses loopback addresses, too,
/// but a Link on one host has no others.
fn refused(address: &GatewayAddress) -> Option<&'static str> {
    match address {
        GatewayAddress::Ip(ip) if !ip.is_loopback() => unusable(*ip),
        _ => None,
    }
}

fn split(selector: Selector) -> (Selector, Option<Selector>) {
    let is_filter =
        selector.requirements().iter().any(|asked| &*asked.key == NAMESPACE_FILTER_LABEL);
    if is_filter { (Selector::default(), Some(selector)) } else { (selector, None) }
}

struct Fields<'a> {
    spec: &'a Value,
    problems: Vec<FieldProblem>,
}

impl Fields<'_> {
    fn cluster(&mut self, name: &str) -> Arc<str> {
        let stated = self.text("targetClusterName", Stops::Mirroring);
        let cluster = stated.clone().unwrap_or_else(|| name.into());
        if !is_dns_label(&cluster) {
            let origin =
                if stated.is_some() { "found" } else { "it is not set, and the Link's name is" };
            let expected = "1 to 63 lower-case letters, digits and '-', as in names of Services";
            self.wrong(
                "targetClusterName",
                &format!("{expected}; {origin} {}", shown(Value::from(&*cluster))),
                Stops::Mirroring,
            );
        }
        cluster
    }

    fn domain(&mut self) -> Arc<str> {
        let Some(stated) = self.text("targetClusterDomain", Stops::Mirroring) else {
            return "cluster.local".into();
        };
        let domain = stated.trim_end_matches('.').to_ascii_lowercase();
        if !is_dns_name(&domain) {
            self.expected(
                "targetClusterDomain",
                "a DNS domain like cluster.local",
                Stops::Mirroring,
            );
        }
        domain.into()
    }

    fn gateway(&mut self) -> Option<LinkGateway> {
        let stated = self.text("gatewayAddress", Stops::Mirroring)?;
        let mut addresses = Vec::new();
        for token in stated.split(',').map(str::trim).filter(|token| !token.is_empty()) {
            match GatewayAddress::parse(token) {
                Some(address) if addresses.contains(&address) => {}
                Some(address) => match refused(&address) {
                    Some(why) => {
                        let found = shown(Value::from(token));
                        let text =
                            format!("addresses that clients can reach; found {found}: {why}");
                        self.wrong("gatewayAddress", &text, Stops::Mirroring);
                    }
                    None => addresses.push(address),
                },
                None => self.wrong(
                    "gatewayAddress",
                    &format!(
                        "IP addresses and DNS names, separated by commas; found {}",
                        shown(Value::from(token))
                    ),
                    Stops::Mirroring,
                ),
            }
        }
        if addresses.is_empty() {
            return None;
        }
        let port = self.number("gatewayPort", Stops::Mirroring).unwrap_or(GATEWAY_PORT);
        let identity = self.text("gatewayIdentity", Stops::Mirroring).and_then(|text| {
            let identity = Identity::parse(&text).ok();
            if identity.is_none() {
                let expected = "a DNS-like identity of Linkerd or a spiffe:// URI";
                self.expected("gatewayIdentity", expected, Stops::Mirroring);
            }
            identity
        });
        Some(LinkGateway { addresses, port, identity })
    }

    fn probe(&mut self) -> Option<ProbeSpec> {
        let known = self.problems.len();
        if !matches!(self.at("probeSpec"), Value::Null | Value::Object(_)) {
            self.expected("probeSpec", "an object", Stops::Probing);
        }
        let path = self.text("probeSpec.path", Stops::Probing);
        if path.as_deref().is_some_and(|path| !is_path(path)) {
            self.expected("probeSpec.path", "a path like /ready", Stops::Probing);
        }
        let port = self.number("probeSpec.port", Stops::Probing).unwrap_or(PROBE_PORT);
        let period = self.duration("probeSpec.period").unwrap_or(PERIOD);
        let timeout = self.duration("probeSpec.timeout").unwrap_or(TIMEOUT);
        let threshold = self.number("probeSpec.failureThreshold", Stops::Probing);
        if self.problems.len() > known {
            return None;
        }
        Some(ProbeSpec {
            path: path?,
            port,
            period,
            timeout: timeout.min(period),
            failure_threshold: threshold.unwrap_or(FAILURE_THRESHOLD),
        })
    }

    fn selector(&mut self, field: &str) -> Selector {
        let value = self.at(field);
        if !matches!(value, Value::Null | Value::Object(_)) {
            self.expected(field, "a label selector", Stops::Mirroring);
            return Selector::default();
        }
        Selector::from_json(value).unwrap_or_else(|error| {
            self.wrong(
                &format!("{field}.{}", error.field),
                &clip(&error.expected),
                Stops::Mirroring,
            );
            Selector::default()
        })
    }

    /// A list, or what a chart's value would be: one text with commas.
    fn excluded(&mut self, field: &str) -> Vec<ExcludedKey> {
        let entries: Option<Vec<&str>> = match self.at(field) {
            Value::Null => Some(Vec::new()),
            Value::String(text) => Some(text.split(',').collect()),
            Value::Array(entries) => entries.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let Some(entries) = entries else {
            self.expected(
                field,
                "a list of keys like example.com/a or example.com/*",
                Stops::Mirroring,
            );
            return Vec::new();
        };
        let entries = entries.into_iter().map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(ExcludedKey::parse).collect()
    }

    /// A text; a number is what YAML makes of an unquoted one.
    fn text(&mut self, field: &str, stops: Stops) -> Option<Arc<str>> {
        let text = match self.at(field) {
            Value::Null => return None,
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => {
                self.expected(field, "a text", stops);
                return None;
            }
        };
        (!text.is_empty()).then(|| text.into())
    }

    /// A number from 1 to `T`'s largest, as such or as text.
    fn number<T: TryFrom<u64> + Bounded>(&mut self, field: &str, stops: Stops) -> Option<T> {
        let number = match self.at(field) {
            Value::Null => return None,
            Value::String(text) if text.trim().is_empty() => return None,
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_u64(),
        };
        let number =
            number.filter(|number| *number > 0).and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            self.expected(field, &format!("a number from 1 to {}", T::LARGEST), stops);
        }
        number
    }

    /// A duration; a bare number is seconds, as the gateway Service's annotation has them.
    fn duration(&mut self, field: &str) -> Option<Duration> {
        let text = self.text(field, Stops::Probing)?;
        let seconds = text.parse().ok().filter(|seconds| *seconds <= 86_400);
        let duration = seconds.map(Duration::from_secs).or_else(|| duration::parse(&text));
        let duration = duration.filter(|duration| *duration >= SHORTEST);
        if duration.is_none() {
            self.expected(field, "a duration like 3s, from 100ms to 24h", Stops::Probing);
        }
        duration
    }

    fn at(&self, field: &str) -> &Value {
        field.split('.').fold(self.spec, |value, name| &value[name])
    }

    fn expected(&mut self, field: &str, expected: &str, stops: Stops) {
        let found = shown(self.at(field));
        self.wrong(field, &format!("{expected}, found {found}"), stops);
    }

    fn wrong(&mut self, field: &str, expected: &str, stops: Stops) {
        let field = if field.is_empty() { "spec".to_owned() } else { format!("spec.{field}") };
        let expected = match expected.starts_with("expected ") {
            true => expected.to_owned(),
            false => format!("expected {expected}"),
        };
        self.problems.push(FieldProblem { field, expected, stops });
    }
}

/// The largest number of a field.
trait Bounded {
    const LARGEST: u64;
}

impl Bounded for u16 {
    const LARGEST: u64 = u16::MAX as u64;
}

impl Bounded for u32 {
    const LARGEST: u64 = u32::MAX as u64;
}

/// True for what may be part of a Service's name: RFC 1123's labels, lower-case.
pub fn is_dns_label(text: &str) -> bool {
    is_dns_name(text) && text.bytes().all(|b| !b.is_ascii_uppercase() && b != b'.' && b != b'_')
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= 2048 && path.bytes().all(|b| b.is_ascii_graphic())
}

fn shown(value: impl Display) -> String {
    clip(&value.to_string())
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
