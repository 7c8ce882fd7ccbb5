//! The protobuf subset that the transport header needs: three fields, unknown ones skipped.
//!
//! Accepts and refuses exactly what prost does (property-tested in `header::tests`): the last
//! value of a repeated scalar wins, messages merge, groups are skipped to a depth of 100.

use bytes::BufMut;

use super::{HeaderError, SessionProtocol};

/// prost's limit on nested groups, which bounds our stack too.
const MAX_DEPTH: u32 = 100;

/// The message's fields before they are checked.
pub(super) struct Message<'b> {
    pub(super) port: i32,
    pub(super) name: &'b str,
    pub(super) session: Option<SessionProtocol>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WireType {
    Varint,
    Fixed64,
    Length,
    StartGroup,
    EndGroup,
    Fixed32,
}

/// Reads a whole `transport.l5d.io.Header`.
pub(super) fn message(mut bytes: &[u8]) -> Result<Message<'_>, HeaderError> {
    let mut message = Message { port: 0, name: "", session: None };
    while !bytes.is_empty() {
        match key(&mut bytes)? {
            // An int32 is the low half of its varint.
            #[expect(clippy::cast_possible_truncation, reason = "protobuf's int32 truncates")]
            (1, WireType::Varint) => message.port = varint(&mut bytes)? as i32,
            (2, WireType::Length) => {
                let text = length_delimited(&mut bytes)?;
                message.name = std::str::from_utf8(text).map_err(|_| HeaderError::Message)?;
            }
            (3, WireType::Length) => {
                session(length_delimited(&mut bytes)?, &mut message.session)?;
            }
            (1..=3, _) => return Err(HeaderError::Message),
            (field, kind) => skip(&mut bytes, field, kind, MAX_DEPTH)?,
        }
    }
    Ok(message)
}

/// Merges one occurrence of `SessionProtocol`: the last kind wins.
fn session(mut bytes: &[u8], out: &mut Option<SessionProtocol>) -> Result<(), HeaderError> {
    while !bytes.is_empty() {
        let kind = match key(&mut bytes)? {
            (1, WireType::Length) => SessionProtocol::Http1,
            (2, WireType::Length) => SessionProtocol::Http2,
            (1..=2, _) => return Err(HeaderError::Message),
            (field, kind) => {
                skip(&mut bytes, field, kind, MAX_DEPTH - 1)?;
                continue;
            }
        };
        let mut empty = length_delimited(&mut bytes)?;
        while !empty.is_empty() {
            let (field, kind) = key(&mut empty)?;
            skip(&mut empty, field, kind, MAX_DEPTH - 2)?;
        }
        *out = Some(kind);
    }
    Ok(())
}

fn key(bytes: &mut &[u8]) -> Result<(u32, WireType), HeaderError> {
    let key = u32::try_from(varint(bytes)?).map_err(|_| HeaderError::Message)?;
    let kind = match key & 7 {
        0 => WireType::Varint,
        1 => WireType::Fixed64,
        2 => WireType::Length,
        3 => WireType::StartGroup,
        4 => WireType::EndGroup,
        5 => WireType::Fixed32,
        _ => return Err(HeaderError::Message),
    };
    match key >> 3 {
        0 => Err(HeaderError::Message),
        field => Ok((field, kind)),
    }
}

fn skip(bytes: &mut &[u8], field: u32, kind: WireType, depth: u32) -> Result<(), HeaderError> {
    let Some(deeper) = depth.checked_sub(1) else {
        return Err(HeaderError::Message);
    };
    match kind {
        WireType::Varint => varint(bytes).map(drop),
        WireType::Fixed64 => take(bytes, 8).map(drop),
        WireType::Fixed32 => take(bytes, 4).map(drop),
        WireType::Length => length_delimited(bytes).map(drop),
        WireType::EndGroup => Err(HeaderError::Message),
        WireType::StartGroup => loop {
            match key(bytes)? {
                (end, WireType::EndGroup) if end == field => return Ok(()),
                (inner, kind) => skip(bytes, inner, kind, deeper)?,
            }
        },
    }
}

fn length_delimited<'b>(bytes: &mut &'b [u8]) -> Result<&'b [u8], HeaderError> {
    let length = usize::try_from(varint(bytes)?).map_err(|_| HeaderError::Message)?;
    take(bytes, length)
}

fn take<'b>(bytes: &mut &'b [u8], length: usize) -> Result<&'b [u8], HeaderError> {
    let (head, tail) = bytes.split_at_checked(length).ok_or(HeaderError::Message)?;
    *bytes = tail;
    Ok(head)
}

/// A varint of at most 10 bytes and 64 bits.
fn varint(bytes: &mut &[u8]) -> Result<u64, HeaderError> {
    let mut value = 0_u64;
    for index in 0..10_u32 {
        let byte = *take(bytes, 1)?.first().ok_or(HeaderError::Message)?;
        if index == 9 && byte > 1 {
            return Err(HeaderError::Message);
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(HeaderError::Message)
}

/// Appends a varint.
pub(super) fn put_varint(out: &mut impl BufMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or_default());
}
