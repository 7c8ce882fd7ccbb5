//! What a connection asks for: a service's name and port, or a port of this host.
//!
//! Called by the header stage, configuration and route tables. Names are DNS names in the form
//! that Linkerd accepts: RFC 5280 plus underscore, lower-cased, one trailing dot ignored.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

/// Longest DNS name in bytes without its trailing dot (RFC 1035 2.3.4).
pub const MAX_NAME: usize = 253;

/// A TCP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(NonZeroU16);

impl Port {
    /// `None` for 0.
    pub fn new(port: u16) -> Option<Self> {
        NonZeroU16::new(port).map(Self)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A valid, lower-case DNS name without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(Arc<str>);

/// Why a text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No `:` between name and port.
    #[error("expected name:port")]
    Form,
    /// Not a DNS name.
    #[error("the name is not a DNS name of letters, digits, '-' and '_'")]
    Name,
    /// Not a port.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl ServiceName {
    /// Lower-cases and checks a DNS name; one trailing dot is dropped.
    ///
    /// # Errors
    /// [`TargetError::Name`], also for IP addresses.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let mut buffer = [0; MAX_NAME];
        lower_case(text, &mut buffer).map(|name| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a connection is to go, as routes are keyed and policy matches it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A port of this host (sidecar use); policy sees `localhost:<port>`.
    Local(Port),
    /// A port of a service.
    Service(ServiceName, Port),
}

impl Target {
    /// Parses `name:port`.
    ///
    /// # Errors
    /// See [`TargetError`].
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let (name, port) = text.rsplit_once(':').ok_or(TargetError::Form)?;
        let port = port.parse().ok().and_then(Port::new).ok_or(TargetError::Port)?;
        Ok(Self::Service(ServiceName::parse(name)?, port))
    }

    /// The port asked for.
    pub fn port(&self) -> Port {
        match self {
            Self::Local(port) | Self::Service(_, port) => *port,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(port) => write!(f, "localhost:{port}"),
            Self::Service(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Writes `text` without its trailing dot in lower case into `buffer`, without allocating.
///
/// # Errors
/// [`TargetError::Name`] when it is no DNS name.
pub fn lower_case<'b>(text: &str, buffer: &'b mut [u8; MAX_NAME]) -> Result<&'b str, TargetError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let place = buffer.get_mut(..text.len()).ok_or(TargetError::Name)?;
    place.copy_from_slice(text.as_bytes());
    place.make_ascii_lowercase();
    let name = std::str::from_utf8(place).map_err(|_| TargetError::Name)?;
    let last = name.rsplit('.').next().unwrap_or_default();
    if !is_dns_name(name) || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(TargetError::Name);
    }
    Ok(name)
}

/// True for labels of 1 to 63 lower- or upper-case letters, digits, `-` and `_`, not starting or
/// ending with `-`, 253 bytes in all. No trailing dot, no wildcard.
pub fn is_dns_name(name: &str) -> bool {
    name.len() <= MAX_NAME && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=63).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_targets() {
        let target = Target::parse("Podinfo.Test.svc.cluster.local.:9898").expect("valid");
        assert_eq!(target.to_string(), "podinfo.test.svc.cluster.local:9898");
        assert_eq!(Target::Local(Port::new(80).expect("not 0")).to_string(), "localhost:80");
    }

    #[test]
    fn refuses_what_is_no_target() {
        let long = format!("{}:80", ["a"; 128].join("."));
        for (text, error) in [
            ("web", TargetError::Form),
            ("web:0", TargetError::Port),
            ("web:65536", TargetError::Port),
            ("web:x", TargetError::Port),
            (":80", TargetError::Name),
            ("10.0.0.1:80", TargetError::Name),
            ("[::1]:80", TargetError::Name),
            ("*.web:80", TargetError::Name),
            ("we b:80", TargetError::Name),
            ("-web:80", TargetError::Name),
            ("web..a:80", TargetError::Name),
            ("wéb:80", TargetError::Name),
            (long.as_str(), TargetError::Name),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
    }
}
