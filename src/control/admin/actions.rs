//! What an operator changes through the admin API: live connections, the log level, the process's
//! end. Every change is a line in the log.

use bytes::Bytes;
use hyper::StatusCode;

use super::Admin;
use super::answer::Answer;
use super::query;
use crate::config::check::log;
use crate::model::identity::Identity;
use crate::model::outcome::Outcome;
use crate::state::connections::Live;

/// What a DELETE without a selection is told: closing all is never meant by accident.
const SELECT: &str = "say which connections to close: DELETE /connections/<id> with an id of GET \
     /connections, or DELETE /connections?identity=<identity>\n";

/// `DELETE /connections/<id>`
pub(super) fn close_one(admin: &Admin, path: &str) -> Answer {
    let id = path.strip_prefix("/connections/").and_then(|id| id.parse::<u64>().ok());
    let is_closed = |id: &u64| admin.state.connections.cancel(*id, Outcome::ClosedByOperator);
    let Some(id) = id.filter(is_closed) else {
        let body = "no live connection has this id; GET /connections lists them\n";
        return Answer::text(StatusCode::NOT_FOUND, body);
    };
    tracing::info!(id, "connection closed through the admin API");
    closed(1)
}

/// `DELETE /connections?identity=...`
pub(super) fn close_by_identity(admin: &Admin, query: &str) -> Answer {
    let refused = |body: String| Answer::text(StatusCode::BAD_REQUEST, body);
    let identity = match query::pairs(query).as_deref() {
        Some([(name, Some(value))]) if name == "identity" => Identity::parse(value),
        _ => return refused(SELECT.to_owned()),
    };
    let identity = match identity {
        Ok(identity) => identity,
        Err(error) => return refused(format!("the identity cannot be one: {error}\n")),
    };
    let is_its = |live: &Live| live.identity() == Some(&identity);
    let count = admin.state.connections.cancel_where(Outcome::ClosedByOperator, is_its);
    tracing::info!(%identity, closed = count, "connections closed through the admin API");
    closed(count)
}

/// `GET /proxy-log-level`
pub(super) fn log_level(admin: &Admin) -> Answer {
    match admin.filter.as_ref().map(|filter| filter.current()) {
        Some(Ok(mut level)) => {
            level.push('\n');
            Answer::text(StatusCode::OK, level)
        }
        Some(Err(error)) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        None => fixed_level(),
    }
}

/// `PUT /proxy-log-level`
pub(super) fn change_log_level(admin: &Admin, body: &Bytes) -> Answer {
    let Some(filter) = &admin.filter else {
        return fixed_level();
    };
    let refused = |expected: &str| {
        Answer::text(
            StatusCode::BAD_REQUEST,
            format!("the body is no log filter: expected {expected}\n"),
        )
    };
    let Ok(text) = std::str::from_utf8(body) else {
        return refused("UTF-8");
    };
    let level = match log::filter(text) {
        Ok(level) => level,
        Err(expected) => return refused(&expected),
    };
    if let Err(error) = filter.change_level(level) {
        return refused(&error.to_string());
    }
    tracing::info!(
        filter = level,
        "log level changed through the admin API, until the next reload"
    );
    Answer::text(StatusCode::NO_CONTENT, "")
}

/// `POST /shutdown`
pub(super) fn shutdown(admin: &Admin) -> Answer {
    let Some(shutdown) = &admin.shutdown else {
        let body = "shutdown endpoint is not enabled\n";
        return Answer::text(StatusCode::NOT_FOUND, body);
    };
    if !shutdown.is_cancelled() {
        tracing::info!("shutdown asked for through the admin API");
    }
    shutdown.cancel();
    Answer::text(StatusCode::OK, "shutdown\n")
}

fn closed(count: usize) -> Answer {
    Answer::json(format!("{{\"closed\":{count}}}\n"))
}

fn fixed_level() -> Answer {
    Answer::text(StatusCode::NOT_FOUND, "the log level cannot be changed\n")
}
