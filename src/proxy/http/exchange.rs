//! One request: where it may go, an endpoint that takes it, and the head of the response.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::time::{Instant, sleep_until};

use super::attempt::{Attempt, Fail};
use super::context::Context;
use super::outgoing::Request;
use super::record::Record;
use super::response::{self, Response, ResponseBody};
use crate::model::balance::choose;
use crate::model::http::failure::Failure;
use crate::model::http::head::content_length;
use crate::model::http::hop::strip_response;
use crate::model::http::orig_proto::{self, ORIG_PROTO};
use crate::model::policy::RequestFacts;
use crate::model::route::Route;
use crate::proxy::authorize::authorize_request;
use crate::proxy::connect::OpenCount;
use crate::runtime::now_millis;

/// How often a request is sent again that an endpoint gave back unseen.
const MOST_REPEATS: u32 = 7;
/// Before it is sent again for the second time; each pause is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(5);

/// Interim responses to one request; more is an endpoint that has lost its way.
pub const MOST_INTERIM: usize = 16;

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
    request: Box<Request>,
    record: &mut Record,
    interim: &mut impl Interim,
) -> Answered {
    let (is_grpc, orig) = (request.is_grpc, request.orig);
    let result = match admit(context, &request, record) {
        Ok(route) => forward(context, &route, request, record, interim).await,
        Err(failure) => Err(failure.into()),
    };
    let mut answered = match result {
        Ok(mut answered) => {
            let Response { headers, upgraded, .. } = &mut answered.response;
            let protocol = upgraded.as_ref().and_then(|_| headers.get(UPGRADE).cloned());
            strip_response(headers);
            if let Some(protocol) = protocol {
                headers.insert(UPGRADE, protocol);
            }
            headers.remove(ORIG_PROTO);
            answered
        }
        Err(Failed::Answer(failure)) => {
            record.failed(failure);
            Answered { response: response::failed(failure, is_grpc), place: None }
        }
        Err(Failed::Reset(reason)) => {
            let body = ResponseBody::Reset(reason);
            let (status, headers) = (StatusCode::BAD_GATEWAY, HeaderMap::new());
            let response = Response { status, headers, body, upgraded: None };
            return Answered { response, place: None };
        }
    };
    if let Some(value) = orig.and_then(|orig| orig_proto::value(orig.version)) {
        answered.response.headers.insert(HeaderName::from_static(ORIG_PROTO), value);
    }
    answered
}

/// Route, policy, bounds: everything that is known before an endpoint is asked.
fn admit(context: &Context, request: &Request, record: &mut Record) -> Result<Arc<Route>, Failure> {
    let route = context.route()?;
    let policy = context.gateway.state.policy.load();
    let facts = RequestFacts { method: request.method.as_str(), path: request.asked_path() };
    let (target, restriction) = (&route.target, route.restriction.as_deref());
    let (client, source) = (&context.client, context.source);
    let verdict = authorize_request(&policy, client, source, target, facts, restriction);
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
    mut request: Box<Request>,
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
                (last, request) = (failure, again);
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
