//! The chunked transfer coding (RFC 9112, 7.1), both ways.
//!
//! The decoder takes bytes as they come and keeps nothing but its state and unfinished trailers; it
//! accepts only what the grammar allows, because two readers that disagree about a chunk are how
//! requests are smuggled.

use std::io::Write;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::orig_proto::ORIG_PROTO;

/// Bytes of chunk extensions of one body that are skipped before it is refused.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// Bytes of trailers.
const MAX_TRAILERS: usize = 16 * 1024;
/// Trailer fields.
const MAX_TRAILER_FIELDS: usize = 64;

/// Why a body is no chunked one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Extensions without end.
    #[error("its chunk extensions are too long")]
    Extensions,
    /// No hexadecimal size, or one that no body has.
    #[error("a chunk has no valid size")]
    Size,
    /// A line or chunk does not end with CR LF.
    #[error("a chunk does not end where its size says")]
    Termination,
    /// Unreadable or too long.
    #[error("its trailers are malformed or too long")]
    Trailers,
}

/// What [`Decoder::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of the body.
    Data(&'a [u8]),
    /// The body has ended, with these trailers.
    End(Option<HeaderMap>),
    /// Nothing more in this input.
    More,
}

#[derive(Debug, Default)]
enum State {
    /// Before the first digit of a size.
    #[default]
    Start,
    /// Within a size.
    Size(u64),
    /// Between the size and the end of its line.
    Extension(u64),
    /// LF has to come.
    SizeLf(u64),
    /// Within data.
    Data(u64),
    /// CR has to come, then LF.
    DataCr,
    DataLf,
    /// Within trailers; everything since the last chunk.
    Trailers(Vec<u8>),
}

/// Reads one chunked body.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    extensions: usize,
}

impl Decoder {
    /// The next piece of `input`, which is advanced past it. After [`Piece::End`] what is left of
    /// `input` belongs to the next message.
    ///
    /// # Errors
    /// See [`ChunkError`]; the body is unusable from there on.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Piece<'a>, ChunkError> {
        loop {
            if let State::Data(left) = &mut self.state {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                if take == 0 {
                    return Ok(Piece::More);
                }
                let (data, rest) = input.split_at(take);
                *input = rest;
                *left -= take as u64;
                if *left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(Piece::Data(data));
            }
            let Some((byte, rest)) = input.split_first() else {
                return Ok(Piece::More);
            };
            *input = rest;
            if let Some(trailers) = self.step(*byte)? {
                return Ok(Piece::End(trailers));
            }
        }
    }

    /// One byte of framing; trailers when it was the last.
    fn step(&mut self, byte: u8) -> Result<Option<Option<HeaderMap>>, ChunkError> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        self.state = match (std::mem::take(&mut self.state), byte) {
            (State::Start, _) => State::Size(digit.ok_or(ChunkError::Size)?),
            (State::Size(size), b'\r') => State::SizeLf(size),
            (State::Size(size), b';' | b' ' | b'\t') => State::Extension(size),
            (State::Size(size), _) => {
                let digit = digit.ok_or(ChunkError::Size)?;
                // A size whose top digit is in use would lose it with the next one.
                let size = if size >> 60 == 0 { size << 4 | digit } else { Err(ChunkError::Size)? };
                State::Size(size)
            }
            (State::Extension(size), b'\r') => State::SizeLf(size),
            (State::Extension(_), b'\n') => return Err(ChunkError::Termination),
            (State::Extension(size), _) => {
                self.extensions += 1;
                if self.extensions > MAX_EXTENSIONS {
                    return Err(ChunkError::Extensions);
                }
                State::Extension(size)
            }
            (State::SizeLf(0), b'\n') => State::Trailers(Vec::new()),
            (State::SizeLf(size), b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Start,
            (State::Trailers(mut bytes), _) => {
                bytes.push(byte);
                if bytes == b"\r\n" {
                    return Ok(Some(None));
                }
                if bytes.ends_with(b"\r\n\r\n") {
                    return Ok(Some(Some(trailers(&bytes)?)));
                }
                if bytes.len() > MAX_TRAILERS {
                    return Err(ChunkError::Trailers);
                }
                State::Trailers(bytes)
            }
            _ => return Err(ChunkError::Termination),
        };
        Ok(None)
    }
}

fn trailers(bytes: &[u8]) -> Result<HeaderMap, ChunkError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let parsed = httparse::parse_headers(bytes, &mut fields);
    let Ok(httparse::Status::Complete((_, fields))) = parsed else {
        return Err(ChunkError::Trailers);
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else { return Err(ChunkError::Trailers) };
        map.append(name, value);
    }
    forbid(&mut map);
    Ok(map)
}

/// Removes what no trailer may say (RFC 9110, 6.5.1): framing, routing, authentication. HTTP/2
/// refuses to carry what is about a connection, and a message would then have no end.
pub fn forbid(trailers: &mut HeaderMap) {
    use http::header;
    for name in [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::HOST,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::AUTHORIZATION,
        header::FORWARDED,
        header::SET_COOKIE,
        super::hop::CLIENT_ID,
        super::hop::PROXY_ERROR,
        super::hop::PROXY_CONNECTION,
        super::hop::DST_CANONICAL,
        super::hop::DST_OVERRIDE,
        super::hop::KEEP_ALIVE,
        super::hop::OLD_PROXY_CONNECTION,
        HeaderName::from_static(ORIG_PROTO),
    ] {
        trailers.remove(name);
    }
}

/// The line before a chunk of `length` bytes, which must not be 0; after the chunk comes [`END_OF_CHUNK`].
pub fn size_line(length: usize) -> Vec<u8> {
    format!("{length:x}\r\n").into_bytes()
}

/// After each chunk.
pub const END_OF_CHUNK: &[u8] = b"\r\n";

/// The end of a body, with its trailers.
pub fn end(trailers: Option<&HeaderMap>) -> Vec<u8> {
    let mut out = b"0\r\n".to_vec();
    for (name, value) in trailers.into_iter().flatten() {
        // Writing to a vector cannot fail.
        let _ = write!(out, "{name}: ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Decoded = (Vec<u8>, Option<HeaderMap>, usize);

    /// Decodes `body` in steps of `step` bytes: its data, its trailers, and what came after it.
    fn decode(body: &[u8], step: usize) -> Result<Option<Decoded>, ChunkError> {
        let (mut decoder, mut data, mut used) = (Decoder::default(), Vec::new(), 0);
        for part in body.chunks(step.max(1)) {
            let mut input = part;
            loop {
                match decoder.next(&mut input)? {
                    Piece::Data(bytes) => data.extend_from_slice(bytes),
                    Piece::More => break,
                    Piece::End(trailers) => {
                        used += part.len() - input.len();
                        return Ok(Some((data, trailers, body.len() - used)));
                    }
                }
            }
            used += part.len();
        }
        Ok(None)
    }

    #[test]
    fn reads_chunks_extensions_and_trailers_however_they_are_cut() {
        let body = b"4;a=b\r\nWiki\r\n6 \r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX-A: 1\r\nHost: x\r\n\r\nNEXT";
        for step in 1..body.len() {
            let (data, trailers, left) = decode(body, step).expect("fine").expect("complete");
            assert_eq!(data, b"Wikipedia in \r\n\r\nchunks.");
            let trailers = trailers.expect("some");
            assert_eq!((trailers.len(), &trailers["x-a"]), (1, &HeaderValue::from_static("1")));
            assert_eq!(left, 4);
        }
    }

    #[test]
    fn refuses_what_another_reader_could_understand_otherwise() {
        for (body, error) in [
            (&b"\r\n"[..], ChunkError::Size),
            (b"-1\r\n", ChunkError::Size),
            (b"+1\r\n", ChunkError::Size),
            (b"0x1\r\n", ChunkError::Size),
            (b"1\nx", ChunkError::Size),
            (b"1;a\nx", ChunkError::Termination),
            (b"1\rx", ChunkError::Termination),
            (b"1\r\nxy", ChunkError::Termination),
            (b"1\r\nx\n", ChunkError::Termination),
            (b"11111111111111111\r\n", ChunkError::Size),
            (b"0\r\nno colon\r\n\r\n", ChunkError::Trailers),
        ] {
            assert_eq!(decode(body, 1), Err(error), "{}", String::from_utf8_lossy(body));
        }
        let endless = [b"1;".to_vec(), vec![b'a'; 20_000]].concat();
        assert_eq!(decode(&endless, 512), Err(ChunkError::Extensions));
        let endless = [b"0\r\na: ".to_vec(), vec![b'a'; 20_000]].concat();
        assert_eq!(decode(&endless, 512), Err(ChunkError::Trailers));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(parts: Vec<Vec<u8>>, step in 1..64usize) {
            let mut body = Vec::new();
            for part in parts.iter().filter(|part| !part.is_empty()) {
                body.extend([&size_line(part.len())[..], part, END_OF_CHUNK].concat());
            }
            body.extend(end(None));
            let (data, trailers, left) = decode(&body, step).expect("fine").expect("complete");
            prop_assert_eq!((data, trailers, left), (parts.concat(), None, 0));
        }

        #[test]
        fn nothing_panics(body: Vec<u8>, step in 1..64usize) {
            let _ = decode(&body, step);
        }
    }
}
