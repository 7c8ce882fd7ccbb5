//! `explain`: which policy rule decides about a connection or a request, and why the others do not.
//! Offline from a configuration, or from the rules that a running gateway has.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::Deserialize;

use super::{Failure, output};
use crate::config::load::{Sources, load};
use crate::model::identity::Identity;
use crate::model::policy::{
    Action, CanonicalPath, IdentityPattern, Match, Method, NO_MATCH, NO_RULES, Network,
    PathPattern, Policy, RequestFacts, Requests, Rule, TargetPattern, Verdict,
};
use crate::model::service::{Port, Target};

/// How long a running gateway may take to answer.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Most of an answer that is read: far more than 10,000 rules need.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// Who connects.
    #[arg(long, value_name = "NAME", value_parser = Identity::parse)]
    identity: Identity,
    /// Where from.
    #[arg(long, value_name = "IP")]
    source: IpAddr,
    /// Where to: name:port, or localhost:port for a port of the gateway's own host.
    #[arg(long, value_name = "NAME:PORT", value_parser = target)]
    target: Target,
    /// The method of a request in an HTTP session; GET when only a path is given. Without both
    /// a relay of bytes is explained.
    #[arg(long, value_name = "METHOD", value_parser = Method::parse)]
    method: Option<Method>,
    /// The path of a request in an HTTP session; / when only a method is given.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The configuration whose rules are asked.
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// The admin address of a running gateway whose rules are asked, like 127.0.0.1:4191.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// List every rule that does not match, not only those before the one that decides.
    #[arg(long)]
    all: bool,
}

/// Runs `explain`. The exit code is 0 whatever the verdict.
///
/// # Errors
/// Exit 64 when the configuration is wrong, 69 when the gateway does not answer.
pub fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let rules = match args.admin {
        Some(admin) => running(admin).map_err(Failure::unavailable)?,
        None => {
            let sources = Sources::from_process(args.config.clone());
            load(&sources).map_err(Failure::usage)?.settings.policy
        }
    };
    output::print(report(args, rules).as_bytes())
}

fn report(args: &ExplainArgs, rules: Vec<Rule>) -> String {
    let policy = Policy::new(rules);
    let verdict = verdict(args, &policy);
    let mut text = String::new();
    let said = match verdict.action {
        Action::Allow => "allowed",
        Action::Deny => "denied",
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{said} by {}", verdict.rule);
    let _ = match &*verdict.rule {
        NO_RULES => writeln!(
            text,
            "  there are no rules: any authenticated identity may reach any routed target"
        ),
        NO_MATCH => writeln!(text, "  there are rules, and none of them matches"),
        _ => Ok(()),
    };
    about_requests(args, &policy, &mut text);
    for (number, rule) in policy.rules().iter().enumerate() {
        let decides = rule.name == verdict.rule;
        let _ = writeln!(
            text,
            "{} {number} {} {}: {}",
            if decides { ">" } else { " " },
            rule.action.label(),
            rule.name,
            why(rule, decides, args)
        );
        if decides && !args.all {
            break;
        }
    }
    text
}

fn verdict(args: &ExplainArgs, policy: &Policy) -> Verdict {
    let ExplainArgs { identity, source, target, .. } = args;
    match args.request() {
        Some(request) => policy.decide_request(identity, *source, target, request),
        None => policy.decide(identity, *source, target),
    }
}

/// What was asked, where a rule's methods or paths make a difference.
fn about_requests(args: &ExplainArgs, policy: &Policy, text: &mut String) {
    let involved =
        |rule: &Rule| rule.names_requests() && args.matches(rule, Requests::Unseen).connection();
    let Some(request) = args.request() else {
        if policy.rules().iter().any(involved) {
            text.push_str(
                "  this is about a relay of bytes, whose requests are not seen; for a request in an \
                 HTTP session add --method and --path\n",
            );
        }
        return;
    };
    let path = request.path.escape_debug();
    let _ = match CanonicalPath::parse(request.path) {
        Some(canonical) if canonical.strict() == request.path => {
            writeln!(text, "  asked: {} {path}", request.method)
        }
        Some(canonical) => {
            writeln!(text, "  asked: {} {path}, compared as {}", request.method, canonical.strict())
        }
        None => writeln!(
            text,
            "  asked: {} {path}, which services may read differently: no allow rule that names \
             paths matches it, and every deny rule that names paths does",
            request.method
        ),
    };
}

fn why(rule: &Rule, decides: bool, args: &ExplainArgs) -> String {
    let request = args.request();
    let matches = args.matches(rule, request.map_or(Requests::Unseen, Requests::One));
    if matches.all() {
        let unseen = if request.is_none() && rule.names_requests() {
            "; it names methods or paths, and as requests are not seen it denies all"
        } else {
            ""
        };
        return match decides {
            true => format!("decides{unseen}"),
            false => "matches too, but an earlier rule has decided".to_owned(),
        };
    }
    let mut reasons = Vec::new();
    if !matches.identity {
        reasons.push(format!("{} is none of its identities", args.identity));
    }
    if !matches.network {
        reasons.push(format!("{} is in none of its networks", args.source));
    }
    if !matches.target {
        reasons.push(format!("{} is none of its targets", args.target));
    }
    match request {
        Some(request) => {
            if !matches.method {
                reasons.push(format!("{} is none of its methods", request.method));
            }
            if !matches.path {
                reasons.push(format!("{} is none of its paths", request.path.escape_debug()));
            }
        }
        None if !(matches.method && matches.path) => {
            reasons.push("it names methods or paths, and requests are not seen".to_owned());
        }
        None => {}
    }
    reasons.join("; ")
}

impl ExplainArgs {
    /// The request; none for a relay of bytes.
    fn request(&self) -> Option<RequestFacts<'_>> {
        let (method, path) = (self.method.as_ref().map(Method::as_str), self.path.as_deref());
        let request = RequestFacts { method: method.unwrap_or("GET"), path: path.unwrap_or("/") };
        (method.is_some() || path.is_some()).then_some(request)
    }

    fn matches(&self, rule: &Rule, requests: Requests<'_>) -> Match {
        rule.matches(&self.identity, self.source, &self.target, requests)
    }
}

/// As policy writes targets: `localhost:80` is a port of the gateway's own host.
fn target(text: &str) -> anyhow::Result<Target> {
    if let Some(port) = text.strip_prefix("localhost:") {
        let port = port.parse().ok().and_then(Port::new);
        return port.map(Target::Local).ok_or_else(|| anyhow!("the port is not 1 to 65535"));
    }
    Ok(Target::parse(text)?)
}

/// The answer of `/policy`.
#[derive(Deserialize)]
struct Answer {
    rules: Vec<RunningRule>,
}

#[derive(Deserialize)]
struct RunningRule {
    name: String,
    action: String,
    #[serde(default)]
    identities: Vec<String>,
    #[serde(default)]
    networks: Vec<RunningNetwork>,
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
}

#[derive(Deserialize)]
struct RunningNetwork {
    cidr: String,
    except: Vec<String>,
}

/// The rules of a running gateway.
fn running(admin: SocketAddr) -> anyhow::Result<Vec<Rule>> {
    let body = get(admin, "/policy").with_context(|| format!("{admin}: /policy"))?;
    let answer: Answer =
        serde_json::from_str(&body).context("/policy is not what this version answers")?;
    answer.rules.into_iter().map(RunningRule::parse).collect()
}

fn get(admin: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, ADMIN_TIMEOUT)?;
    stream.set_read_timeout(Some(ADMIN_TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(MOST_BYTES).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        Some("403") => Err(anyhow!("refused: ask from the gateway's own host, over loopback")),
        _ => Err(anyhow!("{}", head.lines().next().unwrap_or_default().escape_debug())),
    }
}

impl RunningRule {
    fn parse(self) -> anyhow::Result<Rule> {
        let network = |network: &RunningNetwork| -> anyhow::Result<Network> {
            let except = network.except.iter().map(|cidr| Ok(cidr.parse()?));
            Ok(Network {
                cidr: network.cidr.parse()?,
                except: except.collect::<anyhow::Result<_>>()?,
            })
        };
        let identities = self.identities.iter().map(|text| IdentityPattern::parse(text));
        let targets = self.targets.iter().map(|text| TargetPattern::parse(text));
        let methods = self.methods.iter().map(|text| Method::parse(text));
        let paths = self.paths.iter().map(|text| PathPattern::parse(text));
        Ok(Rule {
            name: self.name.into(),
            action: if self.action == "allow" { Action::Allow } else { Action::Deny },
            identities: identities.collect::<Result<_, _>>()?,
            networks: self.networks.iter().map(network).collect::<anyhow::Result<_>>()?,
            targets: targets.collect::<Result<_, _>>()?,
            methods: methods.collect::<Result<_, _>>()?,
            paths: paths.collect::<Result<_, _>>()?,
        })
    }
}
