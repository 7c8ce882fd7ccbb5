//! What webpki does not tell of a certificate that it has parsed: its names counted raw, and when
//! it is valid.
//!
//! The verifier's own iterators skip malformed names, which would let a certificate with one good
//! and one malformed name pass for one with a single name; and it keeps validity to itself, which
//! the verified-chain cache needs. This decides nothing else: whether the certificate is trusted
//! is webpki's business.

use super::identity::{Identity, IdentityError};

/// id-ce-subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const URI: u8 = 0x86;

/// The identity of a DER certificate.
///
/// # Errors
/// See [`IdentityError`]; bytes that are no certificate are [`IdentityError::Malformed`].
pub fn identity(certificate: &[u8]) -> Result<Identity, IdentityError> {
    let (mut uris, mut dns) = (Vec::new(), Vec::new());
    let mut names = names(certificate).ok_or(IdentityError::Malformed)?;
    while !names.is_empty() {
        let (tag, value) = element(&mut names).ok_or(IdentityError::Malformed)?;
        let list = match tag {
            URI => &mut uris,
            DNS_NAME => &mut dns,
            _ => continue,
        };
        // Both are IA5String: a name outside ASCII is malformed, never skipped.
        let text = std::str::from_utf8(value).ok().filter(|t| t.is_ascii());
        list.push(text.ok_or(IdentityError::Malformed)?);
    }
    Identity::from_names(&uris, &dns)
}

/// When a DER certificate is valid: first and last second, both inclusive, since 1970.
///
/// `None` when the bytes are no certificate.
pub fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    let mut input = certificate;
    let mut certificate = expect(&mut input, SEQUENCE)?;
    let mut tbs = expect(&mut certificate, SEQUENCE)?;
    // Version [0] is optional; serial number, signature algorithm and issuer follow.
    let (first, _) = element(&mut tbs)?;
    for _ in 0..(if first == VERSION { 3 } else { 2 }) {
        element(&mut tbs)?;
    }
    let mut validity = expect(&mut tbs, SEQUENCE)?;
    Some((time(&mut validity)?, time(&mut validity)?))
}

/// A UTCTime `YYMMDDhhmmssZ` or GeneralizedTime `YYYYMMDDhhmmssZ` (RFC 5280 4.1.2.5).
fn time(input: &mut &[u8]) -> Option<u64> {
    let (tag, value) = element(input)?;
    let text = std::str::from_utf8(value).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: u64 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    if rest.len() != 10 || !rest.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |at: usize| rest.get(at..at + 2).and_then(|digits| digits.parse::<u64>().ok());
    let (month, day) = (number(0)?, number(2)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        // Before 1970 is before every clock that we compare with.
        return (year < 1970).then_some(0);
    }
    let (hour, minute, second) = (number(4)?, number(6)?, number(8)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = hour * 3600 + minute * 60 + second;
    Some(days_since_1970(year, month, day) * 86_400 + seconds)
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, counting years from March so that a
/// leap day is the last day of a year.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

/// The content of the GeneralNames; empty when the extension is absent.
fn names(certificate: &[u8]) -> Option<&[u8]> {
    let mut input = certificate;
    let mut certificate = expect(&mut input, SEQUENCE)?;
    let mut tbs = expect(&mut certificate, SEQUENCE)?;
    let mut found: &[u8] = &[];
    let mut seen = false;
    while !tbs.is_empty() {
        let (tag, mut value) = element(&mut tbs)?;
        if tag != EXTENSIONS {
            continue;
        }
        let mut extensions = expect(&mut value, SEQUENCE)?;
        while !extensions.is_empty() {
            let mut extension = expect(&mut extensions, SEQUENCE)?;
            if expect(&mut extension, OBJECT_IDENTIFIER)? != SUBJECT_ALT_NAME {
                continue;
            }
            if std::mem::replace(&mut seen, true) {
                return None;
            }
            // An optional BOOLEAN `critical` may stand before the value.
            let (tag, value) = element(&mut extension)?;
            let mut value =
                if tag == OCTET_STRING { value } else { expect(&mut extension, OCTET_STRING)? };
            found = expect(&mut value, SEQUENCE)?;
        }
    }
    Some(found)
}

fn expect<'b>(input: &mut &'b [u8], tag: u8) -> Option<&'b [u8]> {
    element(input).and_then(|(found, value)| (found == tag).then_some(value))
}

/// One DER element with a definite length and a low tag number.
fn element<'b>(input: &mut &'b [u8]) -> Option<(u8, &'b [u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        rest = after;
        if bytes.is_empty() || bytes.len() > 4 {
            return None;
        }
        bytes.iter().fold(0, |sum, b| (sum << 8) | usize::from(*b))
    };
    let (value, after) = rest.split_at_checked(length)?;
    *input = after;
    Some((tag, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn leaf(sans: Vec<SanType>) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = sans;
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(Ia5String::try_from(text).expect("ascii"))
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(Ia5String::try_from(text).expect("ascii"))
    }

    #[test]
    fn reads_names_and_ignores_other_kinds() {
        let ip = SanType::IpAddress([10, 0, 0, 1].into());
        let email = SanType::Rfc822Name(Ia5String::try_from("a@b").expect("ascii"));
        let der = leaf(vec![ip, email, dns("web.ns")]);
        assert_eq!(identity(&der), Identity::parse("web.ns"));
        let der = leaf(vec![dns("a.b"), dns("c.d"), uri("spiffe://td/a")]);
        assert_eq!(identity(&der), Identity::parse("spiffe://td/a"));
    }

    #[test]
    fn counts_malformed_names_too() {
        assert_eq!(identity(&leaf(vec![])), Err(IdentityError::Missing));
        assert_eq!(
            identity(&leaf(vec![dns("a.b"), dns("bad name")])),
            Err(IdentityError::Ambiguous)
        );
        assert_eq!(identity(&leaf(vec![dns("*.b")])), Err(IdentityError::Malformed));
        assert_eq!(identity(b""), Err(IdentityError::Malformed));
        let mut der = leaf(vec![dns("ab.cd")]);
        let at = der.windows(5).position(|w| w == b"ab.cd").expect("the name");
        der[at] = 0xff;
        assert_eq!(identity(&der), Err(IdentityError::Malformed));
    }

    #[test]
    fn reads_when_a_certificate_is_valid() {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2100, 3, 1);
        let der = params.self_signed(&key).expect("a certificate").der().to_vec();
        assert_eq!(validity(&der), Some((1_709_164_800, 4_107_542_400)));
        assert_eq!(validity(b"0"), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (identity(&bytes), validity(&bytes));
        }

        #[test]
        fn a_damaged_certificate_never_panics(at in 0_usize..300, value: u8) {
            let mut der = leaf(vec![dns("a.b"), uri("spiffe://td/x")]);
            let at = at % der.len();
            der[at] = value;
            let _ = (identity(&der), validity(&der));
        }
    }
}
