//! HTTP/1.1 on a connection that stays open: heads by httparse, bodies by their length only.

use anyhow::{Context, bail};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::pattern;
use super::{Asked, DATE, TYPE};

/// Bytes that a read takes: a body of the largest usual size with its head.
const READ: usize = 80 * 1024;
/// Headers that a gateway may send, its own ones included.
const HEADERS: usize = 64;

/// A request's head.
struct Head {
    is_post: bool,
    asked: Option<Asked>,
    /// Bytes of the body that follows.
    length: usize,
}

/// Answers requests until the gateway closes, one after the other.
///
/// # Errors
/// What is no HTTP/1.1, or a body without a length.
pub async fn serve(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut buffer = BytesMut::with_capacity(READ);
    loop {
        let head = loop {
            if let Some((head, length)) = parse(&buffer)? {
                buffer.advance(length);
                break head;
            }
            if !more(&mut stream, &mut buffer).await {
                return Ok(());
            }
        };
        let Some(fault) = body(&mut stream, &mut buffer, &head).await else { return Ok(()) };
        if answer(&mut stream, &head, fault).await.is_err() {
            // The end of a connection belongs to the gateway.
            return Ok(());
        }
    }
}

/// False at the connection's end.
async fn more(stream: &mut TcpStream, buffer: &mut BytesMut) -> bool {
    buffer.reserve(READ);
    stream.read_buf(buffer).await.is_ok_and(|count| count > 0)
}

/// A complete head and its length.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<(Head, usize)>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(end) = request.parse(bytes).context("no HTTP/1.1")? else {
        return Ok(None);
    };
    let is_post = request.method == Some("POST");
    let asked = request.path.and_then(Asked::parse);
    let mut length = 0;
    for header in &*request.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value)?.trim().parse().context("content-length")?;
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("the client's content-length was replaced by chunks");
        }
    }
    Ok(Some((Head { is_post, asked, length }, end)))
}

/// Takes the body and says what is wrong with it; nothing when the connection ends.
async fn body(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    head: &Head,
) -> Option<Result<(), String>> {
    let mut fault = Ok(());
    let asked = head.asked.unwrap_or(Asked { size: 0, offset: 0 });
    if head.length != if head.is_post { asked.size } else { 0 } {
        fault = Err(format!("a body of {} bytes", head.length));
    }
    let mut taken = 0;
    while taken < head.length {
        if buffer.is_empty() && !more(stream, buffer).await {
            return None;
        }
        let part = buffer.split_to(buffer.len().min(head.length - taken));
        let right = pattern::verify(asked.offset + taken as u64, &part);
        fault = fault.and(right.map_err(|error| error.to_string()));
        taken += part.len();
    }
    Some(fault)
}

async fn answer(
    stream: &mut TcpStream,
    head: &Head,
    fault: Result<(), String>,
) -> std::io::Result<()> {
    let (status, body) = match (fault, head.asked) {
        (Err(fault), _) => ("400 Bad Request", Bytes::from(fault)),
        (Ok(()), None) => ("400 Bad Request", Bytes::from_static(b"another path")),
        (Ok(()), Some(asked)) if head.is_post => ("200 OK", Bytes::from(asked.path()).slice(1..)),
        (Ok(()), Some(asked)) => {
            ("200 OK", Bytes::from_static(pattern::at(asked.offset, asked.size)))
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {TYPE}\r\ncontent-length: {}\r\ndate: {DATE}\r\n\r\n",
        body.len()
    );
    stream.write_all_buf(&mut Buf::chain(head.as_bytes(), body)).await
}
