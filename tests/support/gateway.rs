//! The real binary as a gateway under test: started with a configuration, watched through its
//! JSON log, ended by its own process id.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use serde_json::Value;
use tempfile::TempDir;

use super::certs::TestCa;

/// How long anything that must happen may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The identity of the gateway under test.
pub const GATEWAY: &str =
    "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local";
/// The identity that tests connect with.
pub const CLIENT: &str = "client.default.serviceaccount.identity.linkerd.cluster.local";

type Lines = Arc<(Mutex<Vec<Value>>, Condvar)>;

/// A running gateway. Dropping it kills the process.
pub struct Gateway {
    child: Child,
    /// Where it accepts connections, on 127.0.0.1.
    pub address: SocketAddr,
    /// Its admin API, on 127.0.0.1.
    pub admin: SocketAddr,
    /// Its files: `ca.crt`, `gateway/tls.crt`, `gateway/tls.key`, `gateway.toml`.
    pub directory: TempDir,
    lines: Lines,
    /// Access-log lines already handed out by [`Gateway::outcome`].
    seen: usize,
}

/// How to start one.
pub struct Builder {
    directory: TempDir,
    configuration: String,
    environment: Vec<(String, String)>,
    prefix: Vec<String>,
}

impl Builder {
    /// A gateway with a certificate from `ca` that trusts `ca`, and ports that the system chooses.
    pub fn new(ca: &TestCa) -> Self {
        let directory = TempDir::new().expect("a directory");
        ca.write_anchor(directory.path(), "ca.crt");
        ca.identity(GATEWAY).write_to(&directory.path().join("gateway"));
        Self {
            directory,
            configuration: String::new(),
            environment: Vec::new(),
            prefix: Vec::new(),
        }
    }

    /// Where relative paths of the configuration start.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Appends to the configuration. `[gateway]`, `[admin]` and `[identity]` are there unless the
    /// text has them.
    pub fn configure(mut self, toml: &str) -> Self {
        self.configuration.push_str(toml);
        self.configuration.push('\n');
        self
    }

    /// A route from `target` to static endpoints.
    pub fn route(self, target: &str, endpoints: &[SocketAddr]) -> Self {
        let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
        self.configure(&format!("[[route]]\ntarget = \"{target}\"\nendpoints = {endpoints:?}"))
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it through another program that replaces itself with it, such as `unshare -n`.
    pub fn through(mut self, program: &[&str]) -> Self {
        self.prefix = program.iter().map(ToString::to_string).collect();
        self
    }

    /// Starts it and waits until it accepts connections.
    pub fn start(self) -> Gateway {
        let mut gateway = self.spawn();
        let line = gateway
            .line("accepting connections", |line| line["message"] == "accepting connections");
        gateway.address = loopback(line["listener"].as_str().expect("an address"));
        gateway
    }

    /// Starts it and waits for its first line only; `address` has port 0 until it accepts.
    pub fn spawn(self) -> Gateway {
        let mut configuration = String::new();
        for (section, text) in [
            ("[gateway]", "listen = [\"127.0.0.1:0\"]\nlame_duck = \"0s\""),
            ("[admin]", "listen = \"127.0.0.1:0\""),
            (
                "[identity]",
                "certificate = \"gateway/tls.crt\"\nkey = \"gateway/tls.key\"\ntrust_anchors = [\"ca.crt\"]\npoll_interval = \"50ms\"",
            ),
        ] {
            if !self.configuration.contains(section) {
                configuration.push_str(&format!("{section}\n{text}\n"));
            }
        }
        configuration.push_str(&self.configuration);
        let file = self.directory.path().join("gateway.toml");
        std::fs::write(&file, configuration).expect("written");
        let mut words = self.prefix;
        words.push(env!("CARGO_BIN_EXE_linkerd-gateway").to_owned());
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .args(["run", "--config", "gateway.toml", "--log-format", "json"])
            .args(["--log", "info,access=debug"])
            .current_dir(self.directory.path())
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = child.stderr.take().expect("piped");
        let lines = Lines::default();
        let collected = Arc::clone(&lines);
        std::thread::spawn(move || collect(BufReader::new(stderr), &collected));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let directory = self.directory;
        let mut gateway =
            Gateway { child, address: nowhere, admin: nowhere, directory, lines, seen: 0 };
        let line = gateway.line("its first line", |line| line["message"] == "starting");
        gateway.admin = loopback(line["admin"].as_str().expect("an address"));
        gateway
    }
}

impl Gateway {
    /// A gateway with one route.
    pub fn with_route(ca: &TestCa, target: &str, endpoint: SocketAddr) -> Self {
        Builder::new(ca).route(target, &[endpoint]).start()
    }

    /// A file of its directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.expect("kill runs").success(), "kill -{name} {pid}");
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "the gateway did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The first log line that `wanted` takes, from the start on; waits for it.
    pub fn line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(what, |lines| lines.iter().find(|line| wanted(line)).cloned())
    }

    /// The access-log line of the next connection that ended.
    pub fn outcome(&mut self) -> Value {
        let seen = self.seen;
        let line = self.wait_for("the next access-log line", |lines| {
            lines.iter().filter(|line| line["target"] == "access").nth(seen).cloned()
        });
        self.seen += 1;
        line
    }

    /// The next outcome's label must be `label`; gives its line.
    pub fn expect(&mut self, label: &str) -> Value {
        let line = self.outcome();
        assert_eq!(line["outcome"], label, "{line}");
        line
    }

    /// Every log line so far.
    pub fn lines(&self) -> Vec<Value> {
        self.lines.0.lock().expect("whole").clone()
    }

    /// Nobody reads the log while this is held: first the pipe fills, then the gateway's own queue.
    pub fn stall_log(&self) -> impl Sized {
        self.lines.0.lock().expect("whole")
    }

    /// The body of an admin path; the status must be 200.
    pub fn get(&self, path: &str) -> String {
        let (status, body) = self.request("GET", path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Status and body of an admin request.
    pub fn request(&self, method: &str, path: &str) -> (u16, String) {
        self.send(method, path, "")
    }

    /// Status and body of an admin request that has a body itself.
    pub fn send(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("the admin port");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// The value of one series of `/metrics`, named with its labels as exposed; 0 when absent.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Waits until `holds` does.
    pub fn eventually(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < until, "{what} never happened");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for<T>(&self, what: &str, find: impl Fn(&[Value]) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let (lines, changed) = &*self.lines;
        let mut lines = lines.lock().expect("whole");
        loop {
            if let Some(found) = find(&lines) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} never came; the log: {lines:#?}");
            lines = changed.wait_timeout(lines, left).expect("whole").0;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stderr: impl BufRead, lines: &Lines) {
    for line in stderr.lines().map_while(Result::ok) {
        let is_whole = serde_json::from_str::<Envelope>(&line).is_ok();
        let value = is_whole.then(|| serde_json::from_str(&line).ok()).flatten();
        let value = value.unwrap_or(Value::String(line));
        lines.0.lock().expect("whole").push(value);
        lines.1.notify_all();
    }
}

/// What a line must have, and once: an event's own field of such a name would stand beside it, and
/// collectors would take either. Any other line is kept as text.
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "parsing alone finds what is there twice")]
struct Envelope {
    level: IgnoredAny,
    message: Option<IgnoredAny>,
    target: IgnoredAny,
    timestamp: IgnoredAny,
}

/// The port of a listener, reached over loopback.
fn loopback(listener: &str) -> SocketAddr {
    let listener: SocketAddr = listener.parse().expect("an address");
    SocketAddr::from(([127, 0, 0, 1], listener.port()))
}
