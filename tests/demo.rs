//! The demo: every command on its page is run as printed.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use support::certs::TestCa;
use support::cli::text;
use support::gateway::{CLIENT, GATEWAY, PATIENCE};
use tempfile::TempDir;

/// A running demo. Dropping it kills the process.
struct Demo {
    child: Child,
    /// What it printed on standard output.
    page: String,
}

impl Demo {
    /// In `directory`, with ports that the system chooses.
    fn start(directory: &Path, certs: &str) -> Self {
        let arguments = ["--port", "0", "--admin-port", "0", "--certs", certs];
        let mut child = demo(directory, &arguments).spawn().expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut page = String::new();
        while !page.contains("Press Ctrl-C") {
            if stdout.read_line(&mut page).expect("text") == 0 {
                let output = child.wait_with_output().expect("it ended");
                panic!("no page: {:?}", text(&output));
            }
        }
        Self { child, page }
    }

    /// The commands under the comment that starts with `title`.
    fn commands(&self, title: &str) -> Vec<&str> {
        let start = format!("# {title}");
        let lines = self.page.lines().skip_while(|line| !line.starts_with(&start)).skip(1);
        let commands: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        assert!(!commands.is_empty(), "nothing under {title:?} in {}", self.page);
        commands
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.expect("kill runs").success());
    }

    fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "it did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn demo(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linkerd-gateway"));
    command.arg("demo").args(arguments).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command as printed: output, error, exit code.
fn bash(directory: &Path, command: &str) -> (String, String, Option<i32>) {
    let output = Command::new("bash").args(["-c", command]).current_dir(directory).output();
    text(&output.expect("bash is installed"))
}

/// A refusal of curl's: nothing came, and the alert is named.
fn refused(directory: &Path, command: &str, alert: &str) {
    let (out, error, code) = bash(directory, command);
    // 56: failure in receiving. With TLS 1.3 a client learns of its refusal when it reads.
    assert_eq!((out.as_str(), code), ("", Some(56)), "{error}");
    assert!(error.contains(alert), "{error}");
}

fn every_command_works(directory: &Path, certs: &str) {
    let demo = Demo::start(directory, certs);
    let run = |title: &str| {
        let commands = demo.commands(title);
        assert_eq!(commands.len(), 1, "{commands:?}");
        let (out, error, code) = bash(directory, commands[0]);
        assert_eq!((error.as_str(), code), ("", Some(0)), "{}: {out}", commands[0]);
        out
    };
    let answer = run("An authenticated request with a transport header");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("Hello from web.demo.svc.cluster.local:80"), "{answer}");
    assert_eq!(run("The echo service"), "hello\n");
    let answer = run("The same web service for a plain mTLS client");
    assert!(answer.starts_with("Hello from web.demo.svc.cluster.local:80"), "{answer}");
    let told = "The gateway says that you are client.default.serviceaccount.identity.";
    assert!(answer.contains(told), "{answer}");
    refused(directory, demo.commands("Refused: no client certificate")[0], "certificate required");
    refused(directory, demo.commands("Refused: a certificate from another")[0], "unknown ca");

    let commands = demo.commands("Readiness and metrics");
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert_eq!(bash(directory, commands[0]).0, "ready\n");
    let metrics = bash(directory, commands[1]).0;
    let counted = |outcome: &str, count: u32| {
        let line = format!("gateway_connections_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line:?} is not in {metrics}");
    };
    counted("closed", 3);
    counted("certificate_missing", 1);
    counted("certificate_untrusted", 1);

    // Nothing on the page was left out.
    let is_command =
        |line: &&str| ["printf ", "echo ", "curl "].iter().any(|c| line.starts_with(c));
    assert_eq!(demo.page.lines().filter(is_command).count(), 7, "{}", demo.page);
    assert!(!demo.page.contains(":0 ") && !demo.page.contains("port 0"), "{}", demo.page);
}

#[test]
fn every_command_of_the_page_works_as_printed() {
    let directory = TempDir::new().expect("a directory");
    every_command_works(directory.path(), "certs-dev");
}

#[test]
fn every_command_works_also_where_paths_need_quotes() {
    let directory = TempDir::new().expect("a directory");
    every_command_works(directory.path(), "it's a $directory");
}

#[test]
fn a_second_start_uses_the_same_certificates_and_ctrl_c_ends_with_0() {
    let directory = TempDir::new().expect("a directory");
    let certs = directory.path().join("certs");
    let files =
        ["ca.crt", "issuer.key", "gateway/tls.crt", "web/tls.key", "stranger/client/tls.crt"];
    let read = || files.map(|file| std::fs::read(certs.join(file)).expect(file));
    let mut first = Demo::start(directory.path(), "certs");
    let before = read();
    first.signal("INT");
    assert_eq!(first.wait().code(), Some(0));
    let mut second = Demo::start(directory.path(), "certs");
    assert!(before == read(), "certificates were replaced");
    second.signal("TERM");
    assert_eq!(second.wait().code(), Some(0));
}

#[test]
fn a_missing_leaf_is_made_again_by_the_same_authority() {
    let directory = TempDir::new().expect("a directory");
    drop(Demo::start(directory.path(), "certs"));
    let file = |name: &str| directory.path().join("certs").join(name);
    let anchor = std::fs::read(file("ca.crt")).expect("an anchor");
    std::fs::remove_file(file("web/tls.key")).expect("removed");
    let demo = Demo::start(directory.path(), "certs");
    assert!(anchor == std::fs::read(file("ca.crt")).expect("an anchor"));
    let command = demo.commands("The same web service")[0];
    assert!(bash(directory.path(), command).0.starts_with("Hello"));
}

/// Exit 69, and a message that names the port, that another process has it, and the flag.
fn says_taken(mut command: Command, port: u16, remedy: &str) {
    let (out, error, code) = text(&command.output().expect("it runs"));
    assert_eq!((out.as_str(), code), ("", Some(69)), "{error}");
    for words in [&format!(":{port} "), "another process has this port", remedy] {
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
}

#[test]
fn a_taken_port_is_named_with_the_flag_that_changes_it() {
    let directory = TempDir::new().expect("a directory");
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let number = taken.local_addr().expect("bound").port();
    let port = number.to_string();
    let start = |arguments: &[&str]| demo(directory.path(), arguments);
    says_taken(start(&["--port", &port, "--admin-port", "0"]), number, "--port");
    says_taken(start(&["--port", "0", "--admin-port", &port]), number, "--admin-port");

    // `run` reports its own key and flag.
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linkerd-gateway"));
        command.args(["run", "--config", "certs-dev/demo.toml"]).args(arguments);
        command.current_dir(directory.path());
        command
    };
    let (address, free) = (format!("[::]:{port}"), "127.0.0.1:0");
    let gateway = ["--listen", &address, "--admin-listen", free];
    says_taken(run(&gateway), number, "gateway.listen or --listen");
    let admin = ["--listen", free, "--admin-listen", &address];
    says_taken(run(&admin), number, "admin.listen or --admin-listen");

    // Nothing to stop where the address is the fault.
    let foreign = run(&["--listen", "192.0.2.1:4143"]).output().expect("it runs");
    let (_, error, code) = text(&foreign);
    assert_eq!(code, Some(69), "{error}");
    assert!(error.contains("192.0.2.1:4143") && error.contains("no such address"), "{error}");
    assert!(error.contains("--listen") && !error.contains("stop it"), "{error}");
}

#[test]
fn expired_development_certificates_are_told_with_the_way_out() {
    let directory = TempDir::new().expect("a directory");
    let certs = directory.path().join("certs-dev");
    drop(Demo::start(directory.path(), "certs-dev"));
    let ca = TestCa::new("old");
    ca.write_anchor(&certs, "ca.crt");
    ca.leaf().dns(GATEWAY).expired().issue().write_to(&certs.join("gateway"));
    ca.leaf().dns(CLIENT).expired().issue().write_to(&certs.join("client"));
    let mut command = demo(directory.path(), &["--port", "0", "--admin-port", "0"]);
    let (out, error, code) = text(&command.output().expect("it ends"));
    assert_eq!((out.as_str(), code), ("", Some(64)), "{error}");
    for words in ["certs-dev/gateway/tls.crt", "expired", "remove certs-dev", "--certs"] {
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
}

#[test]
fn a_reader_of_the_page_that_went_away_does_not_end_the_demo() {
    let directory = TempDir::new().expect("a directory");
    let mut child = demo(directory.path(), &["--port", "0", "--admin-port", "0"])
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("accepting connections") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).expect("text"), 0, "it ended");
    }
    std::thread::sleep(Duration::from_millis(300));
    let mut demo = Demo { child, page: String::new() };
    assert!(demo.child.try_wait().expect("a child").is_none(), "it ended");
    demo.signal("INT");
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("text");
    assert_eq!(demo.wait().code(), Some(0), "{rest}");
}
