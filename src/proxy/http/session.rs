//! The life of one HTTP session, from the client's first request to the connection's outcome.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::context::{Context, Words};
use super::response::Upgraded;
use super::watch::Watch;
use super::wire::Wire;
use super::{server1, server2};
use crate::model::header::SessionProtocol;
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::model::policy::RequestFacts;
use crate::proxy::authorize::authorize_request;
use crate::proxy::end::{End, Fault};
use crate::proxy::inbound::{Gateway, Rules};
use crate::proxy::relay::{Broken, Relay, Side};
use crate::proxy::route::Asked;
use crate::proxy::session::Session;
use crate::state::connections::Stage;

/// How long a client that has taken everything may take to end its side after ours has ended.
const GOODBYE: Duration = Duration::from_secs(2);

/// A session that begins.
pub struct Opening {
    /// The client's connection.
    pub end: End,
    /// What has been read of it after the header.
    pub early: Vec<u8>,
    /// What it speaks.
    pub protocol: SessionProtocol,
    /// Where its requests go.
    pub asked: Asked,
    /// The client.
    pub client: Identity,
    /// Who we are.
    pub own: Identity,
    /// What holds.
    pub rules: Arc<Rules>,
    /// No Linkerd proxy.
    pub is_plain: bool,
}

/// Serves a session to its end.
pub async fn serve(
    gateway: &Arc<Gateway>,
    session: &mut Session,
    opening: Box<Opening>,
) -> Outcome {
    let Opening { end, early, protocol, asked, client, own, rules, is_plain } = *opening;
    let live = Arc::clone(&session.registration);
    live.enter(Stage::Http);
    let bytes = Arc::clone(&live.bytes);
    bytes.add_from_client(early.len() as u64);
    let wire = Wire::new(end, Side::Client, Arc::clone(&bytes), early);
    let version = if protocol == SessionProtocol::Http2 { "2" } else { "1" };
    let counted = Counted::new(gateway, version);
    let context = Arc::new(Context {
        words: Words::new(&own, &client, &asked),
        series: gateway.metrics.http(asked.target(), &client),
        http: live.http(version),
        gateway: Arc::clone(gateway),
        source: live.source(),
        live,
        rules,
        client,
        own,
        asked,
        is_plain,
    });
    let timeouts = context.rules.timeouts;
    let stopping = gateway.state.closing.cancelled();
    let result = if protocol == SessionProtocol::Http2 {
        let budget = context.rules.http.settings.window_budget;
        let window = gateway.windows.take(budget);
        match server2::serve(&context, &wire, &window, stopping).await {
            server2::Ended::Done => Ok(()),
            server2::Ended::Connection => Err(None),
            server2::Ended::Protocol(reason) => {
                session.explain(format!("HTTP/2: {}", reason.description()));
                Err(Some(Outcome::HttpProtocolError))
            }
        }
    } else {
        match server1::serve(&context, &wire, stopping).await {
            server1::Ended::Done => Ok(()),
            server1::Ended::Connection => Err(None),
            server1::Ended::Protocol => Err(Some(Outcome::HttpProtocolError)),
            server1::Ended::Upgraded(endpoint) => {
                drop(counted);
                return relay(session, &context, wire, endpoint).await;
            }
        }
    };
    drop(counted);
    match result {
        Ok(()) => {
            goodbye(&wire, timeouts.user, timeouts.half_closed).await;
            session.relayed(Ok(()))
        }
        Err(Some(outcome)) => {
            gateway.metrics.http_protocol_error("protocol_error");
            goodbye(&wire, timeouts.user, GOODBYE).await;
            outcome
        }
        Err(None) if wire.has_ended() => session.relayed(Ok(())),
        Err(None) => {
            let fault = wire.fault().unwrap_or(Fault::Reset);
            session.relayed(Err(Broken { side: Side::Client, fault }))
        }
    }
}

/// Ends our side, and gives the client the time to end its own: a reset would overtake what it has
/// not read yet. A client that takes nothing for `patience` has had its time.
async fn goodbye(wire: &Wire, user_timeout: Duration, patience: Duration) {
    let mut watch = Watch::new(user_timeout);
    let interval = GOODBYE.min(watch.interval());
    let begun = Instant::now();
    let (mut least, mut since) = (usize::MAX, begun);
    loop {
        match timeout(interval, poll_fn(|cx| wire.poll_goodbye(cx))).await {
            Ok(Ok(())) => return wire.disarm(),
            Ok(Err(_)) => return,
            Err(_elapsed) => {}
        }
        let waiting = wire.waiting(&mut watch);
        if waiting == 0 && begun.elapsed() >= GOODBYE {
            return wire.disarm();
        }
        if waiting < least {
            (least, since) = (waiting, Instant::now());
        } else if since.elapsed() >= patience.max(GOODBYE) {
            return;
        }
    }
}

/// Both sides have left HTTP: from here on their bytes are theirs.
async fn relay(
    session: &mut Session,
    context: &Context,
    wire: Wire,
    endpoint: Upgraded,
) -> Outcome {
    // A reload looks at what the connection has become; one that came before it knew is made up for.
    if let Some((method, path)) = context.http.last_request() {
        let policy = context.gateway.state.policy.load();
        let facts = RequestFacts { method, path };
        let (target, client, source) = (context.asked.target(), &context.client, context.source);
        let routes = context.gateway.state.routes.load();
        let restriction = routes.governing(target).and_then(|route| route.restriction.as_deref());
        if authorize_request(&policy, client, source, target, facts, restriction).is_err() {
            return Outcome::NoLongerAllowed;
        }
    }
    let Some((client, from_client)) = wire.into_end() else { return Outcome::ClientReset };
    let Upgraded { connected, early } = endpoint;
    session.connected(&connected);
    let bytes = Arc::clone(&session.registration.bytes);
    bytes.add_to_client(early.len() as u64);
    let mut relay = Relay::new(client, connected.end, from_client, context.rules.timeouts);
    relay.also_from_endpoint(early);
    let relayed = relay.run(&bytes).await;
    session.relayed(relayed)
}

/// Counts an open session.
struct Counted<'a>(&'a Gateway, &'static str);

impl<'a> Counted<'a> {
    fn new(gateway: &'a Gateway, version: &'static str) -> Self {
        gateway.metrics.http_session(version, 1);
        Self(gateway, version)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics.http_session(self.1, -1);
    }
}
