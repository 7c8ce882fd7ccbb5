//! `inspect`: explains bytes that somebody else made, a certificate or a transport header. Input
//! is hostile: bounded in size, and escaped before it is printed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};

use super::{Failure, output};
use crate::model::header::SessionProtocol;
use crate::model::service::{Port, Target, TargetError};

mod certificate;
mod header;

/// Most input that is read. Certificate bundles of whole operating systems are smaller.
const MAX_INPUT: u64 = 4 * 1024 * 1024;

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Explain each certificate of a file, and which identity the gateway would read from it.
    Cert(CertArgs),
    /// Decode a transport header, or encode one.
    Header(HeaderArgs),
}

#[derive(Debug, Args)]
struct CertArgs {
    /// PEM or DER file, `-` for standard input.
    file: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("to").args(["target", "port"]))]
struct HeaderArgs {
    /// File that starts with a header, `-` for standard input.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The bytes themselves, in hexadecimal; spaces and colons are ignored.
    #[arg(long, value_name = "HEX", conflicts_with = "file")]
    hex: Option<String>,
    /// Write a header's bytes to standard output instead.
    #[arg(long, requires = "to", conflicts_with_all = ["file", "hex"])]
    encode: bool,
    /// With --encode: the service to ask for.
    #[arg(long, value_name = "NAME:PORT", requires = "encode", value_parser = Target::parse)]
    target: Option<Target>,
    /// With --encode: a port of the gateway's own host.
    #[arg(long, value_name = "N", requires = "encode", value_parser = parse_port)]
    port: Option<Port>,
    /// With --encode: the application protocol; without it the bytes are opaque.
    #[arg(long, requires = "encode")]
    session: Option<Session>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Session {
    Http1,
    Http2,
}

impl From<Session> for SessionProtocol {
    fn from(session: Session) -> Self {
        match session {
            Session::Http1 => Self::Http1,
            Session::Http2 => Self::Http2,
        }
    }
}

/// Runs `inspect`.
///
/// # Errors
/// Exit 64 when the input cannot be read or is not what it should be. What can be said about it
/// has been printed then.
pub fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let explained = match &args.what {
        What::Cert(args) => certificate::explain(&read(&args.file)?),
        What::Header(args) => match (&args.target, args.port, &args.hex) {
            (Some(target), _, _) => return encode(target, args.session),
            (None, Some(port), _) => return encode(&Target::Local(port), args.session),
            (None, None, Some(hex)) => header::explain(&header::parse_hex(hex)?),
            (None, None, None) => header::explain(&read(&args.file)?),
        },
    };
    output::print(explained.text.as_bytes())?;
    match explained.fault {
        Some(fault) => Err(Failure::usage(anyhow!(fault))),
        None => Ok(()),
    }
}

/// What `inspect` found out.
struct Explained {
    /// For standard output; everything in it is escaped.
    text: String,
    /// What is wrong with the input, if it is not what it should be.
    fault: Option<String>,
}

fn encode(target: &Target, session: Option<Session>) -> Result<(), Failure> {
    output::print(&header::encode(target, session.map(SessionProtocol::from)))
}

fn parse_port(text: &str) -> Result<Port, TargetError> {
    text.parse().ok().and_then(Port::new).ok_or(TargetError::Port)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let name = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        output::escape(&path.to_string_lossy())
    };
    let bytes = read_limited(path).with_context(|| format!("cannot read {name}"));
    bytes.map_err(Failure::usage)
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_INPUT + 1).read_to_end(&mut bytes)?
    } else {
        File::open(path)?.take(MAX_INPUT + 1).read_to_end(&mut bytes)?
    };
    if read as u64 > MAX_INPUT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB"));
    }
    Ok(bytes)
}
