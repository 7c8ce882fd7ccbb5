//! The process log: one `tracing` subscriber on standard error, in text or JSON lines.
//!
//! Called once by `cli/run.rs`, which also runs the thread that writes (`queue.rs`). JSON lines are
//! flat: `timestamp` (RFC 3339, UTC), `level`, `target`, `message` and the event's fields side by
//! side.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

mod queue;

pub use queue::{Queue, lost};

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is malformed.
    #[error("the log level is no filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The subscriber is gone.
    #[error("the log filter cannot be changed: {0}")]
    Reload(reload::Error),
    /// The process has a subscriber already.
    #[error("logging was started already")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging. `level` is a `tracing` filter (`info`, `warn,linkerd_gateway=debug`); `access`
/// adds the access log, at level info unless `level` names `access` or is more talkative. Somebody
/// must run the queue.
///
/// # Errors
/// See [`LogError`].
pub fn init(level: &str, json: bool, access: bool) -> Result<(Filter, Arc<Queue>), LogError> {
    let is_terminal = std::io::stderr().is_terminal();
    let queue = Arc::<Queue>::default();
    let (subscriber, filter) = subscriber(level, json, access, is_terminal, Arc::clone(&queue))?;
    subscriber.try_init()?;
    std::panic::set_hook(Box::new(report));
    Ok((filter, queue))
}

/// A panic is one line of the log like any other; who survives it says so in the next.
fn report(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    tracing::error!(
        thread = thread.name(),
        location = panic.location().map(tracing::field::display),
        backtrace = is_captured.then(|| tracing::field::display(&backtrace)),
        "panic, which is a bug in this program: {}; please report it",
        panic.payload_as_str().unwrap_or("no text")
    );
}

/// Changes what is logged while the process runs.
#[derive(Clone, Debug)]
pub struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    /// Whether the access log is switched on.
    access: Arc<AtomicBool>,
}

impl Filter {
    /// As the arguments of [`init`].
    ///
    /// # Errors
    /// See [`LogError`]; the old filter stays.
    pub fn change(&self, level: &str, access: bool) -> Result<(), LogError> {
        let filter = filter(level, access)?;
        self.handle.reload(filter).map_err(LogError::Reload)?;
        self.access.store(access, Ordering::Relaxed);
        Ok(())
    }

    /// Changes the level alone: the access log stays on or off.
    ///
    /// # Errors
    /// As [`Filter::change`].
    pub fn change_level(&self, level: &str) -> Result<(), LogError> {
        self.change(level, self.access.load(Ordering::Relaxed))
    }

    /// The filter in force, what was added for the access log included; a valid level itself.
    ///
    /// # Errors
    /// When the subscriber is gone.
    pub fn current(&self) -> Result<String, LogError> {
        self.handle.with_current(ToString::to_string).map_err(LogError::Reload)
    }
}

/// A subscriber of any form.
type Boxed = Box<dyn tracing::Subscriber + Send + Sync>;

fn subscriber<W>(
    level: &str,
    json: bool,
    access: bool,
    colours: bool,
    writer: W,
) -> Result<(Boxed, Filter), LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(level, access)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let registry = tracing_subscriber::registry().with(filter);
    let subscriber: Boxed = if json {
        let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
        Box::new(registry.with(lines))
    } else {
        Box::new(registry.with(lines.with_ansi(colours)))
    };
    let access = Arc::new(AtomicBool::new(access));
    Ok((subscriber, Filter { handle, access }))
}

fn filter(level: &str, access: bool) -> Result<EnvFilter, LogError> {
    let mut filter = EnvFilter::try_new(level)?;
    // rustls warns of what peers do wrong, with their bytes at any length; the access line says
    // the same, cut and escaped, once. Whoever debugs TLS names it.
    if !level.contains("rustls") {
        filter = filter.add_directive("rustls=off".parse()?);
    }
    // The client of API servers warns of answers that it cannot read with all that was in them, also
    // of a Secret. We say ourselves what failed. Whoever names it has been told (SECURITY.md).
    if !level.contains("kube_client") {
        filter = filter.add_directive("kube_client=off".parse()?);
    }
    // Its watches warn of every try; we tell each outage once.
    if !level.contains("kube_runtime") {
        filter = filter.add_directive("kube_runtime=off".parse()?);
    }
    if !access {
        return Ok(filter.add_directive("access=off".parse()?));
    }
    let mut parts = level.split(',').map(str::trim);
    if parts.clone().any(|part| part.starts_with("access")) {
        return Ok(filter);
    }
    // `warn` is about the process log: the access log still has its lines.
    let general = parts.find_map(|part| part.parse::<LevelFilter>().ok());
    let verbose = general.is_some_and(|general| general >= LevelFilter::DEBUG);
    let directive = if verbose { "access=debug" } else { "access=info" };
    Ok(filter.add_directive(directive.parse()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use super::*;
    use crate::model::access::LoggedRequests;
    use crate::model::identity::Identity;
    use crate::model::outcome::Outcome;
    use crate::model::service::Target;
    use crate::observe::access::{self, AccessRecord, RequestRecord, RequestSelection};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("whole").write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `log` writes with these settings.
    fn lines(level: &str, json: bool, access: bool, log: impl FnOnce()) -> Vec<String> {
        // What each place that logs is worth is remembered for the whole process, and computed anew
        // for every subscriber: two at a time can miss a line.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber(level, json, access, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber.expect("a subscriber").0, log);
        let bytes = buffer.0.lock().expect("whole").clone();
        String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_rustls_says_of_peers_is_not_logged_unless_asked_for() {
        let warn = || tracing::warn!(target: "rustls::msgs::handshake", "Illegal SNI hostname");
        for (level, logged) in [("info", 0), ("trace,access=off", 0), ("warn,rustls=warn", 1)] {
            assert_eq!(lines(level, false, true, warn).len(), logged, "{level}");
        }
    }

    fn record(outcome: Outcome) -> AccessRecord<'static> {
        let address = |port| ([127, 0, 0, 1], port).into();
        AccessRecord::new(7, address(1), address(4143), outcome)
    }

    fn hostile() {
        let route = Target::parse("web.demo.svc.c:80").expect("a target");
        let identity = Identity::parse("spiffe://td/a").expect("an identity");
        access::log(&AccessRecord {
            identity: Some(&identity),
            sni: Some("a\" outcome=\"closed\"\n{\"level\":\"x\"}\u{1b}[2J"),
            target: Some("\u{202e}\r\n"),
            route: Some(&route),
            bytes_from_client: 5,
            connect: Some(Duration::from_micros(1500)),
            detail: Some("x y"),
            ..record(Outcome::UnknownTarget)
        });
    }

    #[test]
    fn a_json_line_is_flat_and_one_line_whatever_the_peer_wrote() {
        let lines = lines("info", true, true, hostile);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let json: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
        for (key, value) in [
            ("level", "WARN"),
            ("target", "access"),
            ("message", "connection"),
            ("outcome", "unknown_target"),
            ("identity", "spiffe://td/a"),
            ("sni", "a%22 outcome=%22closed%22%0A{%22level%22:%22x%22}%1B[2J"),
            ("requested", "%E2%80%AE%0D%0A"),
            ("route", "web.demo.svc.c:80"),
            ("detail", "x y"),
            ("hint", Outcome::UnknownTarget.hint()),
        ] {
            assert_eq!(json[key], value, "{key}");
        }
        assert_eq!(json["id"], 7);
        assert_eq!(json["bytes_from_client"], 5);
        assert_eq!(json["connect_ms"], 1.5);
        assert!(json["timestamp"].as_str().is_some_and(|t| t.ends_with('Z') && t.contains('T')));
        for absent in ["session", "endpoint", "server_identity", "handshake_ms"] {
            assert!(json.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn a_text_line_is_one_line_whatever_the_peer_wrote() {
        let lines = lines("info", false, true, hostile);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].bytes().all(|b| (b' '..=b'~').contains(&b)), "{lines:?}");
        assert!(lines[0].contains("sni=\"a%22 outcome=%22closed%22%0A"), "{lines:?}");
        assert!(lines[0].contains(" outcome=\"unknown_target\" "), "{lines:?}");
    }

    fn request(path: &str, log: impl FnOnce(RequestRecord<'_>)) {
        let route = Target::parse("web.demo.svc.c:80").expect("a target");
        let identity = Identity::parse("spiffe://td/a").expect("an identity");
        log(RequestRecord {
            id: 7,
            request: 3,
            peer: ([127, 0, 0, 1], 1).into(),
            identity: Some(&identity),
            method: "GET",
            path,
            version: "HTTP/2",
            route: Some(&route),
            rule: Some("all"),
            endpoint: Some(([127, 0, 0, 1], 80).into()),
            status: 200,
            grpc_status: None,
            request_bytes: 1,
            response_bytes: 2,
            latency: Duration::from_micros(1500),
            error: None,
            retries: 0,
            failed: false,
        });
    }

    #[test]
    fn a_requests_line_has_its_facts_and_no_query() {
        let all = RequestSelection::new(LoggedRequests::All, 1);
        let logged = lines("info", true, true, || {
            request("/a\" b\n?token=secret#x", |record| access::log_request(&record, &all));
        });
        let mut json: serde_json::Value = serde_json::from_str(&logged[0]).expect("JSON");
        let timestamp = json.as_object_mut().expect("an object").remove("timestamp");
        assert!(timestamp.is_some() && logged.len() == 1);
        let expected = serde_json::json!({
            "level": "INFO", "target": "access", "message": "request", "id": 7, "request": 3,
            "peer": "127.0.0.1:1", "identity": "spiffe://td/a", "method": "GET",
            "path": "/a%22 b%0A", "version": "HTTP/2", "route": "web.demo.svc.c:80", "rule": "all",
            "endpoint": "127.0.0.1:80", "status": 200, "request_bytes": 1, "response_bytes": 2,
            "latency_ms": 1.5,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn an_error_of_ours_is_a_warning_and_a_sample_says_so() {
        let some = RequestSelection::new(LoggedRequests::All, 100);
        let lines = lines("info", true, true, || {
            request("/", |record| {
                access::log_request(&record, &some);
                let refused = RequestRecord {
                    endpoint: None,
                    status: 0,
                    grpc_status: Some(14),
                    error: Some("failfast"),
                    retries: 1,
                    failed: true,
                    ..record
                };
                access::log_request(&refused, &some);
            });
        });
        let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
        assert_eq!(
            (&json(&lines[0])["sample"], &json(&lines[0])["level"]),
            (&100.into(), &"INFO".into())
        );
        let refused = json(&lines[1]);
        for (key, value) in [
            ("level", serde_json::json!("WARN")),
            ("error", "failfast".into()),
            ("grpc_status", 14.into()),
            ("retries", 1.into()),
            ("failed", true.into()),
        ] {
            assert_eq!(refused[key], value, "{key}");
        }
        for absent in ["sample", "status", "endpoint"] {
            assert!(refused.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn levels_follow_the_outcome_and_the_access_switch() {
        let all = || {
            access::log(&record(Outcome::ClosedBeforeFirstByte));
            access::log(&record(Outcome::Closed));
            access::log(&record(Outcome::NotTls));
            tracing::info!("process");
        };
        for (level, access, expected) in [
            ("info", true, 3),
            ("info", false, 1),
            ("warn", true, 2),
            ("debug", true, 4),
            ("debug", false, 1),
            ("access=debug,warn", true, 3),
            ("access=debug,warn", false, 0),
            ("off", true, 2),
        ] {
            assert_eq!(lines(level, false, access, all).len(), expected, "{level} {access}");
        }
    }

    #[test]
    fn hints_are_given_for_warnings_only() {
        let lines = lines("info", false, true, || {
            access::log(&record(Outcome::ClientTruncated));
            access::log(&record(Outcome::NotTls));
        });
        assert!(!lines[0].contains("hint=") && lines[1].contains("hint="), "{lines:?}");
    }

    #[test]
    fn the_level_changes_alone_and_what_is_shown_can_be_set_again() {
        let (_subscriber, filter) =
            subscriber("info", false, false, false, std::io::sink).expect("a subscriber");
        assert!(filter.current().expect("a filter").contains("access=off"));
        filter.change_level("debug").expect("changed");
        let shown = filter.current().expect("a filter");
        assert!(shown.contains("access=off") && shown.contains("debug"), "{shown}");
        filter.change_level(&shown).expect("changed");
        assert_eq!(filter.current().expect("a filter"), shown);
        filter.change("warn", true).expect("changed");
        assert!(filter.current().expect("a filter").contains("access=info"));
        assert!(filter.change_level("x=y=z").is_err());
        assert!(filter.current().expect("a filter").contains("warn"), "the old one stays");
    }

    #[test]
    fn what_an_api_server_answered_is_in_no_line_unless_asked_for() {
        let warn = || tracing::warn!(target: "kube_client::client", "a Secret");
        for level in ["info", "trace", "warn,linkerd_gateway=debug"] {
            assert_eq!(lines(level, false, true, warn), Vec::<String>::new(), "{level}");
        }
        assert_eq!(lines("info,kube_client=warn", false, true, warn).len(), 1);
    }

    #[test]
    fn a_malformed_filter_is_an_error() {
        assert!(matches!(filter("x=y=z", true), Err(LogError::Filter(_))));
    }
}
