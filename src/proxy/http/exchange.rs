//! One request: where it may go, an endpoint that takes it, and the head of the response.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::body::{BodyFault, Bounds, RequestBody, Source};
use super::client1::{self, Transfer};
use super::client2::{self, Http2};
use super::context::Context;
use super::outgoing::Request;
use super::pool::{Choice, Connection, Place};
use super::record::Record;
use super::response::{self, Response, ResponseBody, Upgraded};
use super::wire::Wire;
use crate::model::balance::choose;
use crate::model::counts::ByteCounts;
use crate::model::header::SessionProtocol;
use crate::model::http::failure::Failure;
use crate::model::http::head::{Framing, content_length};
use crate::model::http::hop::strip_response;
use crate::model::http::orig_proto::{self, ORIG_PROTO};
use crate::model::identity::Identity;
use crate::model::policy::RequestFacts;
use crate::model::route::{Endpoint, Route};
use crate::proxy::authorize::authorize_request;
use crate::proxy::connect::{ConnectError, Connected, OpenCount, Opening};
use crate::proxy::end::End;
use crate::proxy::preface;
use crate::proxy::relay::Side;
use crate::runtime::now_millis;

/// How often a request is sent again that an endpoint gave back unseen.
const MOST_REPEATS: u32 = 7;
/// Before it is sent again for the second time; each pause is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(5);

/// What an interim response (1xx) is handed to.
pub trait Interim: Send {
    /// The client gets it now.
    fn pass(&mut self, status: StatusCode, headers: HeaderMap);
}

/// Why there is no response to pass on.
#[derive(Debug)]
pub enum Failed {
    /// We answer ourselves.
    Answer(Failure),
    /// The stream ends as the endpoint's did.
    Reset(h2::Reason),
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self::Answer(failure)
    }
}

/// A request under way, and what counts it at its endpoint.
pub struct Answered {
    /// What the client gets.
    pub response: Response,
    /// The endpoint's place in the balance, until the response has ended.
    pub place: Option<OpenCount>,
}

/// Serves one request up to the head of its response.
pub async fn exchange(
    context: &Context,
    request: Request,
    record: &mut Record,
    interim: &mut impl Interim,
) -> Answered {
    let (is_grpc, orig) = (request.is_grpc, request.orig);
    let result = match admit(context, &request, record) {
        Ok(route) => forward(context, &route, request, record, interim).await,
        Err(failure) => Err(failure.into()),
    };
    let failure = match result {
        Ok(mut answered) => {
            let Response { headers, upgraded, .. } = &mut answered.response;
            let protocol = upgraded.as_ref().and_then(|_| headers.get(UPGRADE).cloned());
            strip_response(headers);
            if let Some(protocol) = protocol {
                headers.insert(UPGRADE, protocol);
            }
            headers.remove(ORIG_PROTO);
            if let Some(value) = orig.and_then(|orig| orig_proto::value(orig.version)) {
                headers.insert(HeaderName::from_static(ORIG_PROTO), value);
            }
            return answered;
        }
        Err(Failed::Answer(failure)) => failure,
        Err(Failed::Reset(reason)) => {
            let body = ResponseBody::Reset(reason);
            let (status, headers) = (StatusCode::BAD_GATEWAY, HeaderMap::new());
            let response = Response { status, headers, body, upgraded: None };
            return Answered { response, place: None };
        }
    };
    record.failed(failure);
    let mut response = response::failed(failure, is_grpc);
    if let Some(value) = orig.and_then(|orig| orig_proto::value(orig.version)) {
        response.headers.insert(HeaderName::from_static(ORIG_PROTO), value);
    }
    Answered { response, place: None }
}

/// Route, policy, bounds: everything that is known before an endpoint is asked.
fn admit(context: &Context, request: &Request, record: &mut Record) -> Result<Arc<Route>, Failure> {
    let route = context.route().ok_or(Failure::UnknownTarget)?;
    let policy = context.gateway.state.policy.load();
    let facts = RequestFacts { method: request.method.as_str(), path: request.asked_path() };
    let verdict = authorize_request(&policy, &context.client, context.source, &route.target, facts);
    match &verdict {
        Ok(allowed) => record.authorized(true, &allowed.rule),
        Err(denied) => {
            record.authorized(false, &denied.rule);
            return Err(Failure::Denied);
        }
    }
    request.check()?;
    let most = context.rules.http.settings.max_body_size;
    let length = content_length(&request.headers).map_err(|_| Failure::Malformed)?;
    if most.zip(length).is_some_and(|(most, length)| length > most) {
        return Err(Failure::BodyTooLarge);
    }
    let in_flight = context.gateway.in_flight.load(Ordering::Relaxed);
    let is_too_much = in_flight > context.rules.http.settings.max_requests_in_flight;
    if is_too_much || context.gateway.state.pressure.is_high() {
        return Err(Failure::Overload);
    }
    Ok(route)
}

/// Tries endpoints until one has taken the request.
async fn forward(
    context: &Context,
    route: &Arc<Route>,
    mut request: Request,
    record: &mut Record,
    interim: &mut impl Interim,
) -> Result<Answered, Failed> {
    request.rewrite(context)?;
    let connector = &context.rules.connector;
    let deadline = Instant::now() + connector.total_timeout;
    let mut tried = Vec::new();
    let mut last = Failure::FailFast;
    let mut repeats = 0;
    loop {
        let now = now_millis();
        let next = choose(&route.endpoints, |i| tried.contains(&i), now, || fastrand::u32(..));
        let Some((index, endpoint)) = next.and_then(|i| Some((i, route.endpoints.get(i)?))) else {
            return Err(last.into());
        };
        let place = OpenCount::new(endpoint);
        let is_last = tried.len() + 1 == route.endpoints.len();
        let until =
            if is_last { deadline } else { deadline.min(Instant::now() + connector.timeout) };
        let attempt = Attempt { context, route, endpoint, until, is_first: repeats == 0 };
        let failed = match attempt.run(request, interim).await {
            Ok(response) => {
                record.served_by(endpoint.dial_address());
                endpoint.state.succeeded();
                return Ok(Answered { response, place: Some(place) });
            }
            Err(failed) => failed,
        };
        match failed {
            Fail::Final(failed) => {
                record.served_by(endpoint.dial_address());
                return Err(failed);
            }
            Fail::Again { failure, request: again, same } => {
                // A kept connection that had just been closed says nothing about its endpoint.
                repeats += u32::from(same);
                if !same || repeats > MOST_REPEATS {
                    tried.push(index);
                }
                (last, request) = (failure, *again);
                record.repeated();
                if Instant::now() >= deadline || !request.body.rewind() {
                    return Err(last.into());
                }
                if same && repeats > 1 {
                    sleep_until(deadline.min(Instant::now() + PAUSE * (1 << repeats))).await;
                }
            }
        }
    }
}

/// One request on one endpoint.
struct Attempt<'a> {
    context: &'a Context,
    route: &'a Arc<Route>,
    endpoint: &'a Arc<Endpoint>,
    until: Instant,
    /// No connection has turned out to be useless.
    is_first: bool,
}

/// Why an attempt failed.
enum Fail {
    /// The request was never served: another endpoint may have it.
    Again { failure: Failure, request: Box<Request>, same: bool },
    /// It may have been: that is its end.
    Final(Failed),
}

impl From<Failure> for Fail {
    fn from(failure: Failure) -> Self {
        Self::Final(failure.into())
    }
}

impl Attempt<'_> {
    async fn run(&self, request: Request, interim: &mut impl Interim) -> Result<Response, Fail> {
        let is_meshed = self.endpoint.onward.is_some();
        if request.leaves_http() || (!is_meshed && request.version != http::Version::HTTP_2) {
            self.over_http1(request, interim).await
        } else {
            self.over_http2(request, interim).await
        }
    }

    fn place(&self, is_private: bool) -> Place {
        let bounds = self.context.rules.http.pool();
        Place::new(Arc::clone(self.endpoint), bounds, is_private || self.route.proxy_protocol)
    }

    /// Connects; a request that was not sent yet may go elsewhere.
    async fn dial(&self, session: SessionProtocol) -> Result<(End, Option<Identity>), Failure> {
        let context = self.context;
        let gateway = &context.gateway;
        let credentials = gateway.state.credentials.load_full().ok_or(Failure::Unexpected)?;
        let opening = Opening {
            session: Some(session),
            proxy_header: preface::onward(self.route, &context.live, None, &context.client),
        };
        let connector = &context.rules.connector;
        let target = &self.route.target;
        let dialled = connector
            .dial(target, self.endpoint, self.until, &opening, &credentials, &gateway.metrics)
            .await;
        dialled.map_err(|error| {
            tracing::debug!(%target, %error, "cannot reach an endpoint");
            failure_of(&error)
        })
    }

    async fn over_http1(
        &self,
        mut request: Request,
        interim: &mut impl Interim,
    ) -> Result<Response, Fail> {
        let framing = request.framing()?;
        let head = request.http1_head(&self.route.target, framing)?;
        // A connection that leaves HTTP does not come back, and one over TLS is for one client.
        let place = self.place(request.leaves_http() || self.endpoint.onward.is_some());
        // Where one kept connection was closed all may be.
        let kept = if self.is_first { place.take() } else { None };
        let (connection, identity) = match kept {
            Some(connection) => (connection, None),
            None => match self.dial(SessionProtocol::Http1).await {
                Ok((end, identity)) => (self.connection(end, identity.as_ref()), identity),
                Err(failure) => return Err(again(failure, request, false)),
            },
        };
        let reused = connection.reused;
        self.context.gateway.metrics.http_endpoint_request(reused);
        let body = std::mem::replace(&mut request.body, nothing());
        let method = request.method.clone();
        let expects = request.expects_continue();
        let mut transfer = Transfer::new(connection, place, method, head, body, framing, expects);
        let head = loop {
            match transfer.head().await {
                Ok(client1::Head::Interim(status, headers)) => interim.pass(status, headers),
                Ok(client1::Head::Final(head)) => break head,
                Err(error) => return Err(self.broken_http1(error, transfer, request, reused)),
            }
        };
        let leaves = request.leaves_http()
            && match head.status {
                StatusCode::SWITCHING_PROTOCOLS => request.upgrade.is_some(),
                status => request.method == http::Method::CONNECT && status.is_success(),
            };
        if head.status == StatusCode::SWITCHING_PROTOCOLS && !leaves {
            return Err(Failure::Endpoint.into());
        }
        let (upgraded, body) = if leaves {
            (transfer.into_upgraded(), ResponseBody::Empty)
        } else {
            (None, ResponseBody::Http1(Box::new(transfer)))
        };
        let upgraded = upgraded.map(|(connection, early)| Upgraded {
            connected: Connected {
                end: connection.into_end(),
                address: self.endpoint.dial_address(),
                identity,
                place: OpenCount::new(self.endpoint),
            },
            early,
        });
        let mut headers = head.headers;
        // What leaves HTTP has no length, whatever it says (RFC 9110, 9.3.6).
        if upgraded.is_some() || matches!(head.framing, Framing::Chunked) {
            headers.remove(http::header::CONTENT_LENGTH);
        }
        Ok(Response { status: head.status, headers, body, upgraded })
    }

    fn broken_http1(
        &self,
        error: client1::TransferError,
        transfer: Transfer,
        mut request: Request,
        reused: bool,
    ) -> Fail {
        if let client1::TransferError::Body(fault) = error {
            return body_fault(fault);
        }
        tracing::debug!(endpoint = %self.endpoint.address, %error, "no response");
        if !reused {
            self.endpoint.state.failed(now_millis());
        }
        if transfer.may_repeat() {
            request.body = transfer.into_body();
            return again(Failure::Endpoint, request, reused);
        }
        Failure::Endpoint.into()
    }

    fn connection(&self, end: End, identity: Option<&Identity>) -> Connection {
        let bytes = Arc::<ByteCounts>::default();
        let transport = self.context.gateway.metrics.endpoint_transport(
            &self.route.target,
            self.endpoint.dial_address(),
            identity,
            Arc::clone(&bytes),
        );
        Connection::new(end, bytes, transport, self.context.rules.timeouts.user)
    }

    async fn over_http2(
        &self,
        mut request: Request,
        interim: &mut impl Interim,
    ) -> Result<Response, Fail> {
        let head = request.http2_head(&self.route.target)?;
        let connection = match timeout_at(self.until, self.http2()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(failure)) => return Err(again(failure, request, false)),
            Err(_elapsed) => return Err(again(Failure::EndpointTimeout, request, false)),
        };
        let body = std::mem::replace(&mut request.body, nothing());
        let sending = timeout_at(self.until, connection.send(head, body)).await;
        let mut transfer = match sending {
            Ok(Ok(transfer)) => transfer,
            Ok(Err((_, body))) => {
                request.body = body;
                return Err(again(Failure::Endpoint, request, true));
            }
            // All its streams are taken for longer than connecting may take.
            Err(_elapsed) => return Err(Failure::EndpointTimeout.into()),
        };
        let head = loop {
            match transfer.head().await {
                Ok(client2::Head::Interim(status, headers)) => interim.pass(status, headers),
                Ok(client2::Head::Final(head)) => break head,
                Err(error) => return Err(self.broken_http2(error, transfer, request)),
            }
        };
        let body = ResponseBody::Http2(Box::new(transfer));
        Ok(Response { status: head.status, headers: head.headers, body, upgraded: None })
    }

    fn broken_http2(
        &self,
        error: client2::TransferError,
        transfer: client2::Transfer,
        mut request: Request,
    ) -> Fail {
        tracing::debug!(endpoint = %self.endpoint.address, %error, "no response");
        if error.is_unserved() {
            request.body = transfer.into_body();
            return again(Failure::Endpoint, request, true);
        }
        match error {
            client2::TransferError::Body(fault) => body_fault(fault),
            // A marked request is HTTP/1 for its client, which knows no resets.
            client2::TransferError::Reset(_) if request.version != http::Version::HTTP_2 => {
                Failure::Endpoint.into()
            }
            client2::TransferError::Reset(reason) => Fail::Final(Failed::Reset(reason)),
            client2::TransferError::Connection(_) => {
                self.endpoint.state.failed(now_millis());
                Failure::Endpoint.into()
            }
        }
    }

    /// A connection that takes another request.
    async fn http2(&self) -> Result<Http2, Failure> {
        let generation = {
            let credentials = self.context.gateway.state.credentials.load();
            credentials.as_ref().map_or(0, |credentials| credentials.generation)
        };
        let place = self.place(false);
        if self.route.proxy_protocol {
            return self.dial_http2(generation).await;
        }
        let lock = match place.choose(generation, false) {
            Choice::Use(connection) => return Ok(connection),
            Choice::Dial(lock) => lock,
        };
        let _dialing = lock.lock().await;
        if let Choice::Use(connection) = place.choose(generation, true) {
            return Ok(connection);
        }
        let connection = self.dial_http2(generation).await?;
        place.share(&connection);
        Ok(connection)
    }

    async fn dial_http2(&self, generation: u64) -> Result<Http2, Failure> {
        let (end, identity) = self.dial(SessionProtocol::Http2).await?;
        let bytes = Arc::<ByteCounts>::default();
        let gateway = &self.context.gateway;
        let transport = gateway.metrics.endpoint_transport(
            &self.route.target,
            self.endpoint.dial_address(),
            identity.as_ref(),
            Arc::clone(&bytes),
        );
        let window = gateway.windows.take_shared(self.context.rules.http.settings.window_budget);
        let wire = Wire::new(end, Side::Endpoint, bytes, Vec::new());
        let generation = identity.is_some().then_some(generation);
        let opened = Http2::open(wire, window, transport, generation).await;
        opened.map_err(|_| Failure::Endpoint)
    }
}

fn again(failure: Failure, request: Request, same: bool) -> Fail {
    Fail::Again { failure, request: Box::new(request), same }
}

fn body_fault(fault: BodyFault) -> Fail {
    Fail::Final(match fault {
        BodyFault::Aborted(reason) => Failed::Reset(reason),
        BodyFault::Timeout => Failed::Answer(Failure::BodyTimeout),
        BodyFault::TooLarge => Failed::Answer(Failure::BodyTooLarge),
    })
}

fn failure_of(error: &ConnectError) -> Failure {
    match error {
        ConnectError::NoEndpoints => Failure::FailFast,
        ConnectError::OwnListener(_) => Failure::Loop,
        ConnectError::TimedOut(_) => Failure::EndpointTimeout,
        ConnectError::Tcp(_, error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Failure::EndpointTimeout
        }
        ConnectError::Tls(..) | ConnectError::NoHeader(_) | ConnectError::Tcp(..) => {
            Failure::Endpoint
        }
    }
}

fn nothing() -> RequestBody {
    RequestBody::new(Source::Empty, Bounds { size: None, timeout: None })
}
