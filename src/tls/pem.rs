//! PEM text to certificates and keys. The only user of rustls-pemfile, which is archived upstream
//! but a thin shell over rustls-pki-types, whose `PemObject` could replace it here.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What the last line of a block begins with.
const END: &[u8] = b"-----END ";

/// Why PEM text gives no certificates or key.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// A block is cut off or not base64. The parser's own words are left out: they quote the file,
    /// and of a key with its line breaks lost they would quote all of it into log and `/certs`.
    #[error(
        "is not valid PEM: a block's first or last line is broken, a line break is missing, or it is not base64"
    )]
    Malformed,
    /// No certificate in it.
    #[error("holds no certificate (expected a PEM block CERTIFICATE)")]
    NoCertificate,
    /// No private key in it.
    #[error(
        "holds no private key (expected a PEM block PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY)"
    )]
    NoKey,
    /// It was cut, or is still being written.
    #[error("ends within a PEM block: it was cut off, or is still being written")]
    Partial,
}

/// All certificates of the text, in order; at least one.
///
/// # Errors
/// See [`PemError`].
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    if ends_within_a_block(text) {
        return Err(PemError::Partial);
    }
    let found = rustls_pemfile::certs(&mut &*text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| PemError::Malformed)?;
    if found.is_empty() { Err(PemError::NoCertificate) } else { Ok(found) }
}

/// The first private key of the text.
///
/// # Errors
/// See [`PemError`].
pub fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    if ends_within_a_block(text) {
        return Err(PemError::Partial);
    }
    let found = rustls_pemfile::private_key(&mut &*text).map_err(|_| PemError::Malformed)?;
    found.ok_or(PemError::NoKey)
}

/// A file caught while it is being written ends inside a block, which the parser passes over: in
/// its body, or in one of the lines of dashes around it.
fn ends_within_a_block(text: &[u8]) -> bool {
    let count = |mark: &[u8]| text.windows(mark.len()).filter(|w| *w == mark).count();
    let last = text.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_cut = last.starts_with(b"-") && !(last.starts_with(END) && last.ends_with(b"-----"));
    is_cut || count(b"-----BEGIN ") != count(END)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_nothing_garbage_and_halves() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = rcgen::CertificateParams::default().self_signed(&key).expect("cert").pem();
        assert_eq!(certificates(pem.repeat(2).as_bytes()).expect("two").len(), 2);
        assert!(private_key(key.serialize_pem().as_bytes()).is_ok());
        let half = format!("{pem}{}", &pem[..pem.len() / 2]);
        for text in ["", "garbage", &pem[..pem.len() / 2], &half] {
            assert!(certificates(text.as_bytes()).is_err(), "{text}");
            assert!(private_key(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_error_quotes_nothing_of_a_key() {
        let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let secret = pem.lines().nth(1).expect("base64");
        for broken in [
            pem.replace('\n', " "),
            pem.replace("END", "THE END"),
            pem.replacen(secret, &format!("{secret}!"), 1),
            pem.replace("PRIVATE KEY-----", "PRIVATE KEY----"),
        ] {
            let error = private_key(broken.as_bytes()).expect_err("broken");
            assert!(!format!("{error} {error:?}").contains(&secret[..8]), "{error}");
        }
    }

    #[test]
    fn a_list_that_is_cut_anywhere_within_its_last_certificate_is_refused() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = rcgen::CertificateParams::default().self_signed(&key).expect("cert").pem();
        let (two, one) = (pem.repeat(2), pem.len());
        for end in one + 1..two.trim_end().len() {
            let cut = certificates(&two.as_bytes()[..end]);
            assert!(
                cut.is_err(),
                "{} certificates in {:?}",
                cut.map_or(0, |c| c.len()),
                &two[one..end]
            );
        }
    }
}
