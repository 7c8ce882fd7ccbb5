//! `[[route]]`: each by itself, and that no two claim the same target, server name or default.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::endpoint::{self, Behind};
use super::listeners::Listener;
use super::path;
use super::values::one_of;
use crate::config::raw::{Cursor, shown};
use crate::config::{KeyPairPaths, RouteSettings};
use crate::model::route::SessionMode;
use crate::model::service::{ServiceName, Target};

/// Reads all routes; `listeners` are what none of them may end at.
pub fn routes(root: &Cursor<'_>, listeners: &[Listener<'_>]) -> Option<Vec<RouteSettings>> {
    let Some(at) = root.child("route") else {
        return Some(Vec::new());
    };
    let mut claims = Claims::default();
    let entries = at.entries("tables like [[route]]")?;
    let routes: Vec<_> = entries.iter().map(|at| route(at, listeners, &mut claims)).collect();
    routes.into_iter().collect()
}

/// What routes have claimed so far, and where.
#[derive(Default)]
struct Claims<'t> {
    targets: HashMap<Target, Cursor<'t>>,
    names: HashMap<String, Cursor<'t>>,
    default: HashMap<(), Cursor<'t>>,
}

fn claim<'t, K: Hash + Eq>(claimed: &mut HashMap<K, Cursor<'t>>, key: K, at: &Cursor<'t>) {
    match claimed.entry(key) {
        Entry::Vacant(free) => {
            free.insert(at.clone());
        }
        Entry::Occupied(taken) => {
            let first = taken.get();
            at.refuse::<()>(format!(
                "found {}, which {} has already ({})",
                at.value(),
                first.path(),
                first.origin()
            ));
        }
    }
}

fn route<'t>(
    at: &Cursor<'t>,
    listeners: &[Listener<'_>],
    claims: &mut Claims<'t>,
) -> Option<RouteSettings> {
    at.table()?;
    let target = at.required("target", TARGET, target);
    let names = at.required("sni", "a list of server names", |at| server_names(at, claims));
    let default = at.required("default", "true or false", Cursor::boolean);
    let session = at.required("session", "a mode", |at| {
        let modes = [
            ("auto", SessionMode::Auto),
            ("http", SessionMode::Http),
            ("passthrough", SessionMode::Passthrough),
        ];
        one_of(at, &modes)
    });
    let proxy_protocol = at.required("proxy_protocol", "\"off\" or \"v2\"", |at| {
        one_of(at, &[("off", false), ("v2", true)])
    });
    let Behind { endpoints, tls } = endpoint::behind(at, listeners);
    let certificate = certificate(at, names.as_deref());
    if let Some((target, at)) = target.clone().zip(at.child("target")) {
        claim(&mut claims.targets, target, &at);
    }
    if let Some(at) = at.child("default").filter(|_| default == Some(true)) {
        claim(&mut claims.default, (), &at);
    }
    Some(RouteSettings {
        target: target?,
        sni: names?,
        certificate: certificate?,
        default: default?,
        session: session?,
        endpoints: endpoints?,
        tls: tls?,
        proxy_protocol: proxy_protocol?,
    })
}

const TARGET: &str = "a name and port like \"web.ns.svc.cluster.local:80\"";

fn target(at: &Cursor<'_>) -> Option<Target> {
    let text = at.parsed(TARGET, Some)?;
    match Target::parse(text) {
        // Policy writes ports of this host so; a service of that name would pass for one.
        Ok(Target::Service(name, _)) if name.as_str() == "localhost" => {
            at.refuse("is the form of gateway.local_ports, expected the name of a service")
        }
        Ok(target) => Some(target),
        Err(error) => at.wrong(&format!("{TARGET}: {error}")),
    }
}

fn server_names<'t>(at: &Cursor<'t>, claims: &mut Claims<'t>) -> Option<Vec<String>> {
    let read = |at: &Cursor<'_>| {
        let expected = "a DNS name like \"web.example.com\", without wildcard";
        at.parsed(expected, |text| Some(ServiceName::parse(text).ok()?.as_str().to_owned()))
    };
    let names = at.list("a list of server names like [\"web.example.com\"]", read)?;
    for (at, name) in at.entries("a list")?.iter().zip(&names) {
        claim(&mut claims.names, name.clone(), at);
    }
    Some(names)
}

/// The pair of `certificate` and `key`: both or none, and only for server names of the route.
fn certificate(at: &Cursor<'_>, names: Option<&[String]>) -> Option<Option<KeyPairPaths>> {
    let certificate = at.optional("certificate", path);
    let key = at.optional("key", path);
    match (certificate?, key?) {
        (None, None) => Some(None),
        (Some(_), None) => at.missing("key", "the private key of certificate"),
        (None, Some(_)) => at.missing("certificate", "the certificate of key"),
        (Some(certificate), Some(key)) => {
            if let (Some([]), Some(at)) = (names, at.child("certificate")) {
                return at.refuse(format!(
                    "found \"{}\", but the route has no sni, the only clients that would see it",
                    shown(&certificate.to_string_lossy())
                ));
            }
            Some(Some(KeyPairPaths { certificate, key }))
        }
    }
}
