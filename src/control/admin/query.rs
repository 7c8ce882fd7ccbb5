//! The part of a request's address behind `?`.

/// One `name` or `name=value`, escapes undone.
pub(super) type Pair = (String, Option<String>);

/// All parts of a query in order; `None` when an escape is malformed or what it hides is no UTF-8.
pub(super) fn pairs(query: &str) -> Option<Vec<Pair>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((name, value)) => Some((decoded(name)?, Some(decoded(value)?))),
            None => Some((decoded(part)?, None)),
        })
        .collect()
}

/// `%XX` becomes its byte. A `+` stays one: neither identities nor variables have spaces.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_malformed_ones_refused() {
        let pair = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
        assert_eq!(pairs(""), Some(vec![]));
        assert_eq!(pairs("A&&B=1=2"), Some(vec![pair("A", None), pair("B", Some("1=2"))]));
        let spiffe = Some(vec![pair("identity", Some("spiffe://td/a"))]);
        assert_eq!(pairs("identity=spiffe://td/a"), spiffe);
        assert_eq!(pairs("identity=spiffe%3A%2f%2Ftd%2Fa"), spiffe);
        for malformed in ["a=%", "a=%4", "a=%zz", "%ff", "a=%c3"] {
            assert_eq!(pairs(malformed), None, "{malformed}");
        }
    }
}
