//! HTTP/2 with prior knowledge. Windows are so large that the gateway never waits for one.

use anyhow::Context;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE as DATE_HEADER};
use http::{HeaderValue, Method, Response, StatusCode};
use tokio::net::TcpStream;

use super::super::http::{CONNECTION_WINDOW, STREAM_WINDOW};
use super::super::pattern;
use super::{Asked, DATE, TYPE};

/// A gateway may put everything on one connection.
const STREAMS: u32 = 10_000;

/// Answers requests until the gateway closes.
///
/// # Errors
/// What is no HTTP/2.
pub async fn serve(stream: TcpStream) -> anyhow::Result<()> {
    let mut builder = Builder::new();
    builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    let handshake = builder.max_concurrent_streams(STREAMS).handshake(stream);
    let mut connection = match handshake.await {
        Ok(connection) => connection,
        Err(error) => return ended(error),
    };
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = match request {
            Ok(request) => request,
            Err(error) => return ended(error),
        };
        let asked = Asked::parse(request.uri().path());
        if request.method() == Method::POST {
            let body = request.into_body();
            tokio::task::spawn_local(async move { drop(post(asked, body, respond).await) });
        } else {
            let body = asked.map(|asked| Bytes::from_static(pattern::at(asked.offset, asked.size)));
            // Streams that the gateway has reset are its own affair.
            let _ = answer(&mut respond, body.ok_or_else(|| "another path".to_owned()));
        }
    }
    Ok(())
}

/// The end of a connection belongs to the gateway, faults in its frames do not.
fn ended(error: h2::Error) -> anyhow::Result<()> {
    if error.is_io() || error.is_remote() { Ok(()) } else { Err(error).context("HTTP/2") }
}

async fn post(
    asked: Option<Asked>,
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut taken = 0;
    let mut fault = asked.is_none().then(|| "another path".to_owned());
    let asked = asked.unwrap_or(Asked { size: 0, offset: 0 });
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        let right = pattern::verify(asked.offset + taken as u64, &part);
        fault = fault.or(right.err().map(|error| error.to_string()));
        taken += part.len();
    }
    if taken != asked.size {
        fault = fault.or(Some(format!("a body of {taken} bytes")));
    }
    let path = Bytes::from(asked.path()).slice(1..);
    answer(&mut respond, fault.map_or(Ok(path), Err))
}

fn answer(respond: &mut SendResponse<Bytes>, body: Result<Bytes, String>) -> Result<(), h2::Error> {
    let (status, body) = match body {
        Ok(body) => (StatusCode::OK, body),
        Err(fault) => (StatusCode::BAD_REQUEST, Bytes::from(fault)),
    };
    let mut response = Response::new(());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(DATE_HEADER, HeaderValue::from_static(DATE));
    respond.send_response(response, false)?.send_data(body, true)
}
