//! `inspect header`: what a connection's first bytes ask for, or where they go wrong.

use std::fmt::Write;

use anyhow::anyhow;

use super::Explained;
use crate::cli::{Failure, output};
use crate::model::header::{self, Decoded, Header, HeaderError, PREFACE, SessionProtocol};
use crate::model::service::{MAX_NAME, Target};

/// Application bytes and message bytes that are shown.
const SHOWN: usize = 64;
/// Where the message starts: after the preface and its four bytes of length.
const MESSAGE: usize = PREFACE.len() + 4;

/// Decodes the header at the start of `bytes`.
pub(super) fn explain(bytes: &[u8]) -> Explained {
    let mut name = [0; MAX_NAME];
    match header::decode(bytes, &mut name) {
        Ok(Decoded::Complete { header, length }) => {
            Explained { text: describe(&header, length, bytes), fault: None }
        }
        Ok(Decoded::Incomplete) => wrong(&incomplete(bytes)),
        Err(error) => wrong(&format!("{error}: {}", place(error, bytes))),
    }
}

/// The bytes that a client would write to reach `target`.
pub(super) fn encode(target: &Target, session: Option<SessionProtocol>) -> Vec<u8> {
    let name = match target {
        Target::Local(_) => None,
        Target::Service(name, _) => Some(name.as_str()),
    };
    let mut bytes = Vec::new();
    header::encode(&Header { name, port: target.port(), session }, &mut bytes);
    bytes
}

/// Bytes from hexadecimal digits, spaces and colons between them ignored.
///
/// # Errors
/// Exit 64 at any other character and at an odd number of digits.
pub(super) fn parse_hex(text: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for c in text.chars().filter(|c| *c != ':' && !c.is_whitespace()) {
        let digit = c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let Some(digit) = digit else {
            let c = output::escape(&c.to_string());
            return Err(Failure::usage(anyhow!("'{c}' is not a hexadecimal digit")));
        };
        match high.take() {
            Some(high) => bytes.push((high << 4) | digit),
            None => high = Some(digit),
        }
    }
    match high {
        Some(_) => Err(Failure::usage(anyhow!("an odd number of hexadecimal digits"))),
        None => Ok(bytes),
    }
}

fn describe(header: &Header<'_>, length: usize, bytes: &[u8]) -> String {
    let name = header.name.unwrap_or("none: a port of the gateway's own host");
    let session = header.session.map_or("none: opaque bytes", SessionProtocol::label);
    let rest = bytes.get(length..).unwrap_or_default();
    let mut text = format!(
        "name       {}\nport       {}\nsession    {session}\nheader     {length} bytes\n",
        output::escape(name),
        header.port,
    );
    // Writing to a String does not fail.
    let _ = match rest {
        [] => writeln!(text, "follows    nothing"),
        _ => {
            writeln!(text, "follows    {} bytes: {}", rest.len(), output::escape_bytes(rest, SHOWN))
        }
    };
    text
}

fn wrong(fault: &str) -> Explained {
    Explained { text: String::new(), fault: Some(fault.to_owned()) }
}

fn incomplete(bytes: &[u8]) -> String {
    let got = bytes.len();
    if got < PREFACE.len() {
        return format!("the input ends in the preface, after {got} of {} bytes", PREFACE.len());
    }
    match stated_length(bytes) {
        None => {
            format!("the input ends in the length, after {} of 4 bytes", got - PREFACE.len())
        }
        Some(length) => {
            let message = bytes.get(MESSAGE..).unwrap_or_default();
            format!("the input ends in the message, after {} of {length} bytes", message.len())
        }
    }
}

/// Which bytes the error is about.
fn place(error: HeaderError, bytes: &[u8]) -> String {
    match error {
        HeaderError::Preface => {
            let at = bytes.iter().zip(PREFACE).take_while(|(a, b)| a == b).count();
            let shown = output::escape_bytes(bytes, SHOWN);
            format!("the preface differs at offset {at}, the input is {shown}{}", guess(bytes))
        }
        HeaderError::TooLong => {
            let length = stated_length(bytes).unwrap_or_default();
            format!("the length at offset {} says {length} bytes", PREFACE.len())
        }
        HeaderError::Message | HeaderError::Name | HeaderError::Port => {
            let message = bytes.get(MESSAGE..).unwrap_or_default();
            let length = stated_length(bytes).and_then(|length| usize::try_from(length).ok());
            let message = length.and_then(|length| message.get(..length)).unwrap_or(message);
            let shown = output::escape_bytes(message, SHOWN);
            format!("the message at offset {MESSAGE} is {} bytes, {shown}", message.len())
        }
    }
}

fn stated_length(bytes: &[u8]) -> Option<u32> {
    let length = bytes.get(PREFACE.len()..MESSAGE)?.try_into().ok()?;
    Some(u32::from_be_bytes(length))
}

/// What is sent most often where a header belongs.
fn guess(bytes: &[u8]) -> &'static str {
    const METHODS: [&[u8]; 6] = [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"PRI * "];
    if bytes.starts_with(&[0x16, 0x03]) {
        " (a TLS handshake: the header is what is inside)"
    } else if METHODS.iter().any(|method| bytes.starts_with(method)) {
        " (HTTP without a header)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_explained_printably(
            cut in 0..=PREFACE.len(),
            length in prop_oneof![Just(None), any::<u32>().prop_map(Some), (0..40_u32).prop_map(Some)],
            rest in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut bytes = PREFACE[..cut].to_vec();
            bytes.extend(length.into_iter().flat_map(u32::to_be_bytes));
            bytes.extend(rest);
            let explained = explain(&bytes);
            let fault = explained.fault.unwrap_or_default();
            let allowed = |c: char| c == '\n' || c == ' ' || c.is_ascii_graphic();
            prop_assert!(explained.text.chars().chain(fault.chars()).all(allowed));
        }
    }
}
