//! The real binary and openssl as black boxes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the gateway's binary with `input` on standard input, to its end.
pub fn gateway(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_linkerd-gateway"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that does not read its input closes the pipe early.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("it ends")
}

/// `inspect WHAT -` with `input`: its output, its error, its exit code.
pub fn inspect(what: &str, input: &[u8]) -> (String, String, Option<i32>) {
    text(&gateway(&["inspect", what, "-"], input))
}

/// Output, error and exit code.
pub fn text(output: &Output) -> (String, String, Option<i32>) {
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (utf8(&output.stdout), utf8(&output.stderr), output.status.code())
}

/// The output of a command that has to succeed silently on standard error.
pub fn succeeds(output: &Output) -> String {
    let (out, error, code) = text(output);
    assert_eq!((error.as_str(), code), ("", Some(0)), "{out}");
    out
}

/// Checks for exit 64 with `reason` on standard error and nothing on standard output.
pub fn refused(output: &Output, reason: &str) {
    let (out, error, code) = text(output);
    assert_eq!((out.as_str(), code), ("", Some(64)), "{error}");
    assert!(error.contains(reason), "{error:?} does not say {reason:?}");
}

/// Runs openssl in `directory`; it has to succeed.
pub fn openssl(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output();
    let output = output.expect("openssl is installed");
    assert!(output.status.success(), "openssl {arguments:?}: {:?}", text(&output));
    text(&output).0
}

/// The value of a line of `inspect cert` in its first certificate.
pub fn field(explained: &str, name: &str) -> Vec<String> {
    let first = explained.split("\ncertificate 2").next().unwrap_or_default();
    let lines = first.lines().filter_map(|line| line.strip_prefix("  "));
    let values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values.map(|value| value.trim_start().to_owned()).collect()
}
