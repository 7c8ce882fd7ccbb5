//! Label sets: which series exist, in the names that Linkerd uses where it has them.

use std::net::SocketAddr;

use prometheus_client::encoding::EncodeLabelSet;

use crate::model::identity::Identity;
use crate::model::service::Target;

/// The value of every label that would exceed its bound.
pub(super) const OTHER: &str = "other";

/// Labels of one series in the order in which they are written.
pub(super) type Labels = Vec<(&'static str, String)>;

/// `{path,code}` of the admin server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AdminLabels {
    pub(super) path: &'static str,
    pub(super) code: u16,
}

/// `{worker}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WorkerLabels {
    pub(super) worker: u64,
}

/// `labels` as written between the braces.
pub(super) fn text(labels: &Labels) -> String {
    let escape =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pair = |(name, value): &(&str, String)| format!("{name}=\"{}\"", escape(value));
    labels.iter().map(pair).collect::<Vec<_>>().join(",")
}

/// Labels of policy's decisions.
pub(super) fn rule(name: &str) -> Labels {
    let kind = if name.starts_with("default:") { "default" } else { "rule" };
    vec![("authz_kind", kind.into()), ("authz_name", name.into()), ("tls", "true".into())]
}

/// Labels of the transport header counter. No target is one that no route knows: it is not named,
/// or peers could create series at will.
pub(super) fn header(session: &str, target: Option<&Target>, client: &str) -> Labels {
    let (name, port) = match target {
        None => (String::new(), String::new()),
        Some(Target::Local(port)) => (String::new(), port.to_string()),
        Some(Target::Service(name, port)) => (name.to_string(), port.to_string()),
    };
    header_of(session, name, port, client)
}

/// As [`header`], for all targets and clients beyond the bound.
pub(super) fn header_other(session: &str) -> Labels {
    header_of(session, OTHER.into(), OTHER.into(), OTHER)
}

fn header_of(session: &str, name: String, port: String, client: &str) -> Labels {
    vec![
        ("session_protocol", session.into()),
        ("target_port", port),
        ("target_name", name),
        ("client_id", client.into()),
    ]
}

/// Labels of a connection from a client to us; `None` stands for all clients beyond the bound.
pub(super) fn client_transport(local: Option<SocketAddr>, client: Option<&Identity>) -> Labels {
    let mut labels = vec![("direction", "inbound".into()), ("peer", "src".into())];
    push_address(&mut labels, local);
    labels.push(("tls", "true".into()));
    labels.push(("client_id", client.map_or(OTHER, Identity::as_str).into()));
    labels
}

/// Labels of a connection from us to an endpoint.
pub(super) fn endpoint_transport(
    target: &Target,
    endpoint: SocketAddr,
    server: Option<&Identity>,
) -> Labels {
    let mut labels = match target {
        // A forward to a port of this pod is the second half of an inbound connection.
        Target::Local(_) => vec![("direction", "inbound".into()), ("peer", "dst".into())],
        Target::Service(..) => vec![
            ("direction", "outbound".into()),
            ("peer", "dst".into()),
            ("authority", target.to_string()),
        ],
    };
    push_address(&mut labels, Some(endpoint));
    push_server(&mut labels, server.map(Identity::as_str), endpoint.ip().is_loopback());
    push_service(&mut labels, target);
    labels
}

/// Labels of a client's HTTP requests to a target; `None` stands for all beyond the bound.
pub(super) fn http(target: Option<&Target>, client: Option<&Identity>) -> Labels {
    let mut labels = vec![
        ("direction", "inbound".into()),
        ("authority", target.map_or_else(|| OTHER.into(), Target::to_string)),
        ("tls", "true".into()),
        ("client_id", client.map_or(OTHER, Identity::as_str).into()),
    ];
    if let Some(target) = target {
        push_service(&mut labels, target);
    }
    labels
}

/// As [`endpoint_transport`], for all endpoints beyond the bound.
pub(super) fn endpoint_transport_other(has_tls: bool) -> Labels {
    let mut labels =
        vec![("direction", "outbound".into()), ("peer", "dst".into()), ("authority", OTHER.into())];
    push_address(&mut labels, None);
    push_server(&mut labels, has_tls.then_some(OTHER), false);
    labels
}

fn push_address(labels: &mut Labels, address: Option<SocketAddr>) {
    let other = || OTHER.to_owned();
    labels.push(("target_addr", address.map_or_else(other, |a| a.to_string())));
    labels.push(("target_ip", address.map_or_else(other, |a| a.ip().to_string())));
    labels.push(("target_port", address.map_or_else(other, |a| a.port().to_string())));
}

fn push_service(labels: &mut Labels, target: &Target) {
    if let Some((service, namespace)) = kubernetes_service(target) {
        labels.push(("dst_service", service.into()));
        labels.push(("dst_namespace", namespace.into()));
    }
}

fn push_server(labels: &mut Labels, server: Option<&str>, is_loopback: bool) {
    if let Some(identity) = server {
        labels.push(("tls", "true".into()));
        labels.push(("server_id", identity.into()));
        return;
    }
    let reason = if is_loopback { "loopback" } else { "not_provided_by_service_discovery" };
    labels.push(("tls", "no_identity".into()));
    labels.push(("no_tls_reason", reason.into()));
}

/// Service and namespace of `<svc>.<ns>.svc.<domain>`, or of a headless service's
/// `<hostname>.<svc>.<ns>.svc.<domain>`.
fn kubernetes_service(target: &Target) -> Option<(&str, &str)> {
    let Target::Service(name, _) = target else {
        return None;
    };
    let labels: Vec<&str> = name.as_str().split('.').collect();
    match labels.as_slice() {
        [service, namespace, "svc", _, ..] => Some((service, namespace)),
        [_, service, namespace, "svc", _, ..] => Some((service, namespace)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_kubernetes_service_of_a_target() {
        for (target, expected) in [
            ("web.demo.svc.cluster.local:80", Some(("web", "demo"))),
            ("web-0.web.demo.svc.cluster.local:80", Some(("web", "demo"))),
            ("web.demo.svc:80", None),
            ("web.example.com:80", None),
        ] {
            let target = Target::parse(target).expect("a target");
            assert_eq!(kubernetes_service(&target), expected);
        }
    }
}
