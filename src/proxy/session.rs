//! The facts of one connection, gathered stage by stage, and their one end: one [`Outcome`], one
//! access-log line, one set of metric increments.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use super::authorize::{Allowed, Denied};
use super::connect::Connected;
use super::limits::Authenticated;
use super::relay::{Broken, Side};
use super::route::{Asked, RouteError};
use crate::model::header::SessionProtocol;
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::model::route::{Route, RouteTable};
use crate::observe::access::{self, AccessRecord, Selection};
use crate::observe::metrics::{Metrics, Transport};
use crate::state::connections::{Registration, Stage};

/// One connection from accept to its outcome.
pub struct Session {
    /// Its place among the live connections.
    pub registration: Registration,
    /// The server name of the ClientHello.
    pub sni: Option<Box<str>>,
    /// Its place in the count of its identity.
    pub authenticated: Option<Authenticated>,
    /// Its listener's place in `gateway.listen`.
    pub listener: u16,
    metrics: Arc<Metrics>,
    accepted: Instant,
    established: Option<Instant>,
    routed: Option<Instant>,
    connect_time: Option<Duration>,
    transport_header: bool,
    protocol: Option<SessionProtocol>,
    route: Option<Arc<Route>>,
    rule: Option<Arc<str>>,
    unknown_target: Option<Box<str>>,
    server_identity: Option<Identity>,
    client_transport: Option<Transport>,
    endpoint_transport: Option<Transport>,
    detail: Option<Box<str>>,
}

impl Session {
    /// A connection that was just accepted.
    pub fn new(registration: Registration, metrics: Arc<Metrics>) -> Self {
        Self {
            registration,
            sni: None,
            authenticated: None,
            listener: 0,
            metrics,
            accepted: Instant::now(),
            established: None,
            routed: None,
            connect_time: None,
            transport_header: false,
            protocol: None,
            route: None,
            rule: None,
            unknown_target: None,
            server_identity: None,
            client_transport: None,
            endpoint_transport: None,
            detail: None,
        }
    }

    /// The handshake is complete and the client known.
    pub fn established(&mut self, identity: &Identity, transport_header: bool) {
        let now = Instant::now();
        self.metrics.handshake(now - self.accepted);
        self.established = Some(now);
        self.transport_header = transport_header;
        let live = &self.registration;
        live.identified(identity.clone());
        live.enter(Stage::Header);
        let bytes = Arc::clone(&live.bytes);
        self.client_transport = Some(self.metrics.client_transport(live.local, identity, bytes));
    }

    /// The header was received; `route` is what it led to, if anything.
    pub fn header(
        &mut self,
        protocol: Option<SessionProtocol>,
        route: Result<&Route, &RouteError>,
        identity: &Identity,
    ) {
        self.protocol = protocol;
        if let Err(RouteError::Unknown(name, port) | RouteError::NotExported { name, port, .. }) =
            route
        {
            self.unknown_target = Some(format!("{name}:{port}").into());
        }
        self.metrics.header(protocol, route.ok().map(|route| &route.target), identity);
    }

    /// The session protocol of the header.
    pub fn protocol(&self) -> Option<SessionProtocol> {
        self.protocol
    }

    /// `route` is where it wants to go. Registered before policy is asked, and before it is looked
    /// whether there still is such a route: what is swapped in meanwhile either decides about this
    /// connection or finds it here (`control::enforce`).
    pub fn routed(&mut self, route: Arc<Route>) {
        self.registration.targeted(route.target.clone());
        fence(Ordering::SeqCst);
        self.registration.enter(Stage::Connect);
        self.routed = Some(Instant::now());
        self.route = Some(route);
    }

    /// An HTTP session begins: each of its requests finds its own way. Its target is registered also
    /// when it has no route yet: it may have one by the next request.
    pub fn asked(&mut self, asked: &Asked, routes: &RouteTable) {
        match asked {
            Asked::Service(target) => match routes.by_target(target) {
                Some(route) => self.routed(Arc::clone(route)),
                None => {
                    self.registration.targeted(target.clone());
                    fence(Ordering::SeqCst);
                }
            },
            Asked::Local(route) => self.routed(Arc::clone(route)),
        }
    }

    /// Policy decided.
    pub fn authorized(&mut self, verdict: &Result<Allowed, Denied>) {
        let rule = match verdict {
            Ok(allowed) => &allowed.rule,
            Err(denied) => &denied.rule,
        };
        self.metrics.authorized(verdict.is_ok(), rule);
        self.rule = Some(Arc::clone(rule));
    }

    /// An endpoint was reached.
    pub fn connected(&mut self, connected: &Connected) {
        self.connect_time = self.routed.map(|at| at.elapsed());
        self.connect_time.into_iter().for_each(|time| self.metrics.connect(time));
        self.server_identity = connected.identity.clone();
        let live = &self.registration;
        live.connected(connected.address);
        live.enter(Stage::Relay);
        if let Some(route) = &self.route {
            let (identity, bytes) = (connected.identity.as_ref(), Arc::clone(&live.bytes));
            let address = connected.address;
            let transport =
                self.metrics.endpoint_transport(&route.target, address, identity, bytes);
            self.endpoint_transport = Some(transport);
        }
    }

    /// The relay ended.
    pub fn relayed(&mut self, result: Result<(), Broken>) -> Outcome {
        let (client, endpoint) = match result {
            Ok(()) => ("", ""),
            Err(Broken { side: Side::Client, fault }) => (fault.errno(), ""),
            Err(Broken { side: Side::Endpoint, fault }) => ("", fault.errno()),
        };
        if let Some(transport) = self.client_transport.take() {
            transport.close(client);
        }
        if let Some(transport) = self.endpoint_transport.take() {
            transport.close(endpoint);
        }
        result.map_or_else(|broken| broken.outcome(), |()| Outcome::Closed)
    }

    /// More about the outcome, for the access log.
    pub fn explain(&mut self, detail: String) {
        self.detail = Some(detail.into());
    }

    /// Ends it: counted once, and logged once if `log` selects it.
    pub fn finish(self, outcome: Outcome, log: &Selection) {
        let live = &self.registration;
        self.metrics.outcome(outcome);
        let total = self.accepted.elapsed();
        let sample = match log.decide(outcome, total) {
            Ok(sample) => sample,
            Err(skipped) => return self.metrics.access_skipped(skipped),
        };
        access::log(&AccessRecord {
            via: live.via(),
            identity: live.identity(),
            sni: self.sni.as_deref(),
            transport_header: self.transport_header,
            session: self.protocol,
            target: self.unknown_target.as_deref(),
            route: self.route.as_ref().map(|route| &route.target),
            rule: self.rule.as_deref(),
            endpoint: live.endpoint(),
            server_identity: self.server_identity.as_ref(),
            bytes_from_client: live.bytes.from_client(),
            bytes_to_client: live.bytes.to_client(),
            handshake: self.established.map(|at| at - self.accepted),
            connect: self.connect_time,
            total,
            detail: self.detail.as_deref(),
            sample,
            ..AccessRecord::new(live.id, live.source(), live.local, outcome)
        });
    }
}
