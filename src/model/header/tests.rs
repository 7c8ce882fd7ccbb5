//! The codec against fixed bytes and against prost, field by field and byte by byte.

use proptest::prelude::*;
use prost::Message;

use super::*;

/// The schema as prost sees it.
#[derive(Clone, PartialEq, Message)]
struct ProstHeader {
    #[prost(int32, tag = "1")]
    port: i32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, optional, tag = "3")]
    session_protocol: Option<ProstSession>,
}

#[derive(Clone, PartialEq, Message)]
struct ProstSession {
    #[prost(oneof = "ProstKind", tags = "1, 2")]
    kind: Option<ProstKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ProstKind {
    #[prost(message, tag = "1")]
    Http1(ProstEmpty),
    #[prost(message, tag = "2")]
    Http2(ProstEmpty),
}

#[derive(Clone, PartialEq, Message)]
struct ProstEmpty {}

type Owned = (Option<String>, u16, Option<SessionProtocol>);

fn ours(bytes: &[u8]) -> Result<Option<(Owned, usize)>, HeaderError> {
    let mut name = [0; MAX_NAME];
    Ok(match decode(bytes, &mut name)? {
        Decoded::Incomplete => None,
        Decoded::Complete { header, length } => {
            let owned = (header.name.map(str::to_owned), header.port.get(), header.session);
            Some((owned, length))
        }
    })
}

/// What a decoder built on prost would say of a whole message.
fn theirs(message: &[u8]) -> Result<Owned, HeaderError> {
    let header = ProstHeader::decode(message).map_err(|_| HeaderError::Message)?;
    let port = u16::try_from(header.port).ok().filter(|p| *p != 0).ok_or(HeaderError::Port)?;
    let mut buffer = [0; MAX_NAME];
    let name = match header.name.as_str() {
        "" => None,
        name => Some(lower_case(name, &mut buffer).map_err(|_| HeaderError::Name)?.to_owned()),
    };
    let session = header.session_protocol.and_then(|s| s.kind).map(|kind| match kind {
        ProstKind::Http1(_) => SessionProtocol::Http1,
        ProstKind::Http2(_) => SessionProtocol::Http2,
    });
    Ok((name, port, session))
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short");
    [PREFACE.as_slice(), &length.to_be_bytes(), message].concat()
}

fn encoded(name: Option<&str>, port: u16, session: Option<SessionProtocol>) -> Vec<u8> {
    let mut out = Vec::new();
    let port = Port::new(port).expect("not 0");
    encode(&Header { name, port, session }, &mut out);
    out
}

#[test]
fn encodes_the_bytes_that_linkerd_writes() {
    let bytes = encoded(Some("a.b"), 4143, Some(SessionProtocol::Http2));
    let message = b"\x08\xaf\x20\x12\x03a.b\x1a\x02\x12\x00";
    assert_eq!(bytes, framed(message));
    assert_eq!(encoded(None, 80, None), framed(b"\x08\x50"));
    assert_eq!(&encoded(None, 80, Some(SessionProtocol::Http1))[27..], b"\x08\x50\x1a\x02\x0a\x00");
}

#[test]
fn any_split_is_incomplete_until_the_last_byte_and_the_rest_is_kept() {
    let header = encoded(Some("Web.Default.svc.cluster.local."), 65535, None);
    let bytes = [header.as_slice(), b"GET /"].concat();
    for end in 0..header.len() {
        assert_eq!(ours(&bytes[..end]), Ok(None), "after {end} bytes");
    }
    let owned = (Some("web.default.svc.cluster.local".to_owned()), 65535, None);
    for end in header.len()..=bytes.len() {
        assert_eq!(ours(&bytes[..end]), Ok(Some((owned.clone(), header.len()))));
    }
}

#[test]
fn refuses_at_the_first_wrong_byte() {
    assert_eq!(ours(b"GET / HTTP/1.1"), Err(HeaderError::Preface));
    assert_eq!(ours(b"transport.l5d.io/v2"), Err(HeaderError::Preface));
    assert_eq!(ours(b""), Ok(None));
    let mut long = PREFACE.to_vec();
    long.extend(u32::MAX.to_be_bytes());
    assert_eq!(ours(&long), Err(HeaderError::TooLong));
    long.truncate(PREFACE.len());
    long.extend(65_510_u32.to_be_bytes());
    assert_eq!(ours(&long), Err(HeaderError::TooLong));
    long.truncate(PREFACE.len());
    long.extend(65_509_u32.to_be_bytes());
    assert_eq!(ours(&long), Ok(None));
    for (message, error) in [
        (&b"\x08\x00"[..], HeaderError::Port),
        (b"", HeaderError::Port),
        (b"\x08\x80\x80\x04", HeaderError::Port),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", HeaderError::Port),
        (b"\x08\x50\x12\x04a..b", HeaderError::Name),
        (b"\x08\x50\x12\x0910.0.0.10", HeaderError::Name),
        (b"\x08\x50\x12\x01*", HeaderError::Name),
        (b"\x08\x50\x12\x01\xff", HeaderError::Message),
        (b"\x08\x50\x12\x05a", HeaderError::Message),
        (b"\x0a\x50", HeaderError::Message),
        (b"\x08\x50\x00", HeaderError::Message),
    ] {
        assert_eq!(ours(&framed(message)), Err(error), "{message:02x?}");
    }
}

#[test]
fn deep_groups_are_refused_not_followed() {
    let message = vec![0x23; 60_000];
    assert_eq!(ours(&framed(&message)), Err(HeaderError::Message));
}

/// Bytes that look like protobuf often enough to reach every branch.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        any::<u8>().prop_map(|b| vec![b]),
        (any::<u16>()).prop_map(|p| {
            let mut v = vec![0x08];
            wire::put_varint(&mut v, u32::from(p));
            v
        }),
        "[a-zA-Z0-9._-]{0,12}".prop_map(|s| {
            let mut v = vec![0x12, u8::try_from(s.len()).expect("short")];
            v.extend(s.bytes());
            v
        }),
        Just(vec![0x1a, 0x02, 0x0a, 0x00]),
        Just(vec![0x1a, 0x02, 0x12, 0x00]),
        Just(vec![0x1a, 0x04, 0x12, 0x02, 0x18, 0x01]),
        Just(vec![0x1a, 0x00]),
        Just(vec![0x23, 0x24]),
        Just(vec![0x23, 0x28, 0x01, 0x24]),
        proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(token, 0..8).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn decodes_exactly_what_prost_decodes(message in messages(), tail in any::<[u8; 3]>()) {
        let mut bytes = framed(&message);
        let length = bytes.len();
        bytes.extend(tail);
        prop_assert_eq!(ours(&bytes), theirs(&message).map(|owned| Some((owned, length))));
    }

    #[test]
    fn what_we_encode_both_decode(
        name in proptest::option::of("[a-z0-9]{1,20}(\\.[a-z]{1,20}){0,3}"),
        port in 1_u16..,
        session in prop_oneof![
            Just(None), Just(Some(SessionProtocol::Http1)), Just(Some(SessionProtocol::Http2))
        ],
    ) {
        // A name of digits only is no DNS name.
        prop_assume!(name.as_ref().is_none_or(|n| n.bytes().any(|b| !b.is_ascii_digit() && b != b'.')));
        prop_assume!(name.as_ref().is_none_or(|n| n.contains('.') || n.bytes().any(|b| b.is_ascii_alphabetic())));
        let bytes = encoded(name.as_deref(), port, session);
        prop_assert_eq!(theirs(&bytes[FIXED..]), Ok((name.clone(), port, session)));
        prop_assert_eq!(ours(&bytes), Ok(Some(((name, port, session), bytes.len()))));
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ours(&bytes);
        let _ = ours(&framed(&bytes));
    }
}
