//! One request: who asks, whether they may, what goes wrong on demand, and what the store answers.
//! Called by `server` for every request of every connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use serde_json::Value;

use super::accounts;
use super::cluster::Cluster;
use super::delete;
use super::discovery;
use super::error::ApiError;
use super::faults::Fault;
use super::log::Logged;
use super::read;
use super::request::{self, Asked};
use super::server::{Account, Shared};
use super::watch::Watch;
use super::write::{self, How, Target};

/// What is sent.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;
/// Of a request's body, as a real server's.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// What a part of an answer needs to leave before its connection breaks.
const TO_LEAVE: Duration = Duration::from_millis(50);

/// What a request comes to.
enum Answer {
    Json(StatusCode, Bytes),
    Stream(Box<Watch>),
    /// A stream of nothing.
    Silence,
}

/// Answers one request.
pub async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    match respond(&shared, request).await {
        Ok(response) => response,
        Err(error) => refusal(&error),
    }
}

async fn respond(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let known = authenticate(shared, &request);
    shared.log.lock().expect("whole").unauthorized += usize::from(known.is_err());
    let (token, account) = known?;
    let path = request.uri().path().to_owned();
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    if request.method() == hyper::Method::GET {
        if let ["healthz" | "livez" | "readyz", ..] = segments.as_slice() {
            return Ok(json(StatusCode::OK, Bytes::from_static(b"ok")));
        }
        let found = discovery::answer(&shared.store.lock().expect("whole"), &segments);
        if let Some(found) = found {
            return Ok(json(StatusCode::OK, found.to_string().into()));
        }
    }
    let mut asked = Asked::parse(&request, &segments)?;
    let body = body(request).await?;
    let is_write = !matches!(asked.access.verb, "get" | "list" | "watch");
    let parsed = if is_write { parse(&asked, &body) } else { Ok(Value::Null) };
    let is_allowed = account.rules.allow(&asked.access);
    let refused = asked.access.denied(&account.name);
    if !is_allowed {
        shared.log.lock().expect("whole").deny(&account.name, &asked.access);
    }
    if asked.access.verb == "create"
        && asked.access.name.is_empty()
        && let Ok(body) = &parsed
    {
        // To faults and in the log a new object has its name; to RBAC it had none.
        asked.access.name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    }
    let place = shared.log.lock().expect("whole").add(Logged {
        access: asked.access.clone(),
        user: account.name.clone(),
        query: asked.query.text.clone(),
        code: 0,
        body: parsed.as_ref().map_or(Value::Null, Clone::clone),
        content_type: asked.content_type.clone(),
    });
    let fault = shared.faults.lock().expect("whole").take(&asked.access, &token);
    let result = match is_allowed {
        true => obey(shared, &asked, parsed, &token, &account, fault.as_ref()).await,
        false => Err(refused),
    };
    let code = result.as_ref().map_or_else(|error| error.code, Answer::code);
    shared.log.lock().expect("whole").answered(place, code);
    Ok(spoil(result?, fault.as_ref()).await)
}

fn authenticate(
    shared: &Shared,
    request: &Request<Incoming>,
) -> Result<(String, Account), ApiError> {
    let header = request.headers().get(hyper::header::AUTHORIZATION);
    let text = header.and_then(|header| header.to_str().ok()).unwrap_or_default();
    let token = text.strip_prefix("Bearer ").ok_or_else(ApiError::unauthorized)?;
    let account = shared.accounts.lock().expect("whole").get(token).cloned();
    Ok((token.to_owned(), account.ok_or_else(ApiError::unauthorized)?))
}

async fn body(request: Request<Incoming>) -> Result<Bytes, ApiError> {
    let collected = Limited::new(request.into_body(), MAX_BODY).collect().await;
    Ok(collected.map_err(|_| ApiError::too_large_request())?.to_bytes())
}

fn parse(asked: &Asked, body: &Bytes) -> Result<Value, ApiError> {
    if body.is_empty() && asked.access.verb.starts_with("delete") {
        return Ok(Value::Null);
    }
    if asked.access.verb != "patch" && !asked.is_json() {
        return Err(ApiError::unsupported_media_type("application/json"));
    }
    let text = String::from_utf8_lossy(body);
    serde_json::from_slice(body).map_err(|error| {
        ApiError::bad_request(format!("the body cannot be read as JSON: {error}: {text:.80}"))
    })
}

/// Does what was asked, with the faults that come before it.
async fn obey(
    shared: &Arc<Shared>,
    asked: &Asked,
    body: Result<Value, ApiError>,
    token: &str,
    account: &Account,
    fault: Option<&Fault>,
) -> Result<Answer, ApiError> {
    match fault {
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Status(code)) => return Err(ApiError::of_code(*code)),
        Some(Fault::TooManyRequests(after)) => return Err(ApiError::too_many_requests(*after)),
        _ => {}
    }
    let target = asked.target(&shared.store.lock().expect("whole"))?;
    match asked.access.verb {
        "get" => {
            let store = shared.store.lock().expect("whole");
            let found = read::get(&store, &target, asked.is_partial)?;
            Ok(Answer::Json(StatusCode::OK, found))
        }
        "list" => {
            let query = asked.list_query()?;
            let found = read::list(&mut shared.store.lock().expect("whole"), &target, &query)?;
            Ok(Answer::Json(StatusCode::OK, found))
        }
        "watch" if fault == Some(&Fault::Silent) => Ok(Answer::Silence),
        "watch" => {
            let mut query = asked.watch_query(shared.options.streams_lists)?;
            query.is_doubled = fault == Some(&Fault::Doubled);
            Ok(Answer::Stream(Box::new(Watch::begin(shared, target, query)?)))
        }
        _ => {
            let body = body?;
            run_hooks(shared, asked, token).await;
            let answer = change(shared, asked, &target, body, account);
            shared.changed();
            answer
        }
    }
}

/// What a test does just before a write. It may wait for things, so it runs on a thread of its own.
async fn run_hooks(shared: &Arc<Shared>, asked: &Asked, token: &str) {
    loop {
        let hook = shared.faults.lock().expect("whole").take_hook(&asked.access, token);
        let Some(hook) = hook else { return };
        let cluster = Cluster::new(Arc::clone(shared));
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            hook(&cluster);
            tell.send(())
        });
        told.await.expect("the hook does not panic");
    }
}

fn change(
    shared: &Shared,
    asked: &Asked,
    target: &Target,
    body: Value,
    account: &Account,
) -> Result<Answer, ApiError> {
    let how = How {
        is_test: false,
        has_controllers: shared.options.has_controllers,
        is_dry_run: !asked.query.first("dryRun").is_empty(),
        relaxed: shared.relaxed(),
    };
    let store = &mut *shared.store.lock().expect("whole");
    let (code, object) = match asked.access.verb {
        "create" if asked.access.resource == "serviceaccounts/token" => {
            let request = accounts::request_token(shared, store, target)?;
            return Ok(Answer::Json(StatusCode::CREATED, request.to_string().into()));
        }
        "create" => (StatusCode::CREATED, write::create(store, target, body, how)?),
        "update" if asked.access.resource == "namespaces/finalize" => {
            let namespace = delete::finalize(store, target, &body)?;
            return Ok(Answer::Json(StatusCode::OK, namespace.to_string().into()));
        }
        "update" => {
            let is_new = store.find(target.place, &target.key()).is_none();
            let mut create = asked.access.clone();
            (create.verb, create.name) = ("create", String::new());
            if is_new && target.resource.creates_on_update && !account.rules.allow(&create) {
                return Err(create.denied(&account.name));
            }
            let code = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            (code, write::update(store, target, body, how)?)
        }
        "patch" if asked.content_type == request::MERGE_PATCH => {
            (StatusCode::OK, write::merge_patch(store, target, &body, how)?)
        }
        "patch" => return Err(ApiError::unsupported_media_type(request::MERGE_PATCH)),
        "delete" => {
            let status = delete::delete(store, target, &body, how)?;
            return Ok(Answer::Json(StatusCode::OK, status.to_string().into()));
        }
        "deletecollection" => {
            let status = delete::collection(store, target, &asked.list_query()?.selector, how);
            return Ok(Answer::Json(StatusCode::OK, status.to_string().into()));
        }
        _ => return Err(ApiError::method_not_allowed()),
    };
    let form = super::store::Form::Whole;
    Ok(Answer::Json(code, object.render(&target.resource, target.version, form)))
}

impl Answer {
    fn code(&self) -> u16 {
        match self {
            Self::Json(code, _) => code.as_u16(),
            Self::Silence | Self::Stream(_) => 200,
        }
    }
}

/// Writes an answer, with the faults that come after it.
async fn spoil(answer: Answer, fault: Option<&Fault>) -> Response<Body> {
    match (answer, fault) {
        (Answer::Json(code, text), Some(Fault::Cut)) => {
            let half = text.slice(..text.len() / 2);
            let mut response = json(code, text.clone());
            response.headers_mut().insert(CONTENT_LENGTH, text.len().into());
            *response.body_mut() = cut_after(Ok(half));
            response
        }
        (Answer::Json(code, text), Some(Fault::Truncated)) => {
            json(code, text.slice(..text.len() / 2))
        }
        (Answer::Json(code, text), _) => json(code, text),
        (Answer::Stream(mut watch), Some(Fault::Truncated)) => {
            let first = watch.next().await;
            let line = first.and_then(Result::ok).unwrap_or_default();
            let half = line.slice(..line.len() / 2);
            events(streamed(stream::iter([Ok(half)])))
        }
        (Answer::Stream(mut watch), Some(Fault::Cut)) => {
            let first = watch.next().await.unwrap_or_else(|| Ok(Bytes::new()));
            events(cut_after(first))
        }
        (Answer::Stream(watch), _) => events(streamed(stream::unfold(watch, async |mut watch| {
            let line = watch.next().await?;
            Some((line, watch))
        }))),
        (Answer::Silence, _) => events(streamed(stream::pending())),
    }
}

/// Sends a part, and breaks the connection when that has left: a break at once would take it back.
fn cut_after(part: io::Result<Bytes>) -> Body {
    let broken = async {
        tokio::time::sleep(TO_LEAVE).await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    };
    streamed(stream::once(async { part }).chain(stream::once(broken)))
}

fn streamed(lines: impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(lines.map(|line| line.map(Frame::data))).boxed_unsync()
}

fn events(body: Body) -> Response<Body> {
    let mut response = json(StatusCode::OK, Bytes::new());
    *response.body_mut() = body;
    response
}

fn json(code: StatusCode, text: Bytes) -> Response<Body> {
    let body = Full::new(text).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn refusal(error: &ApiError) -> Response<Body> {
    let code = StatusCode::from_u16(error.code).expect("a status");
    let mut response = json(code, error.status().to_string().into());
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}
