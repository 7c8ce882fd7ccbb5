//! `man` and `completions`, the real binary: every command is in them, and what reads them can.

#![allow(clippy::expect_used, reason = "test code")]

mod support;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use support::cli::{gateway, refused, succeeds};

/// Subcommands as `--help` lists them.
fn commands() -> Vec<String> {
    let help = succeeds(&gateway(&["--help"], b""));
    let (_, rest) = help.split_once("Commands:\n").expect("a list of commands");
    let lines = rest.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<_> =
        names.filter(|n| !n.is_empty() && *n != "help").map(str::to_owned).collect();
    assert!(names.len() >= 10, "{names:?}");
    names
}

#[test]
fn the_main_page_names_every_command() {
    let page = succeeds(&gateway(&["man"], b""));
    assert!(page.contains(".TH linkerd-gateway 1"), "{page}");
    for command in commands() {
        let name = format!("linkerd\\-gateway\\-{command}(1)");
        assert!(page.contains(&name), "{name} is not in\n{page}");
    }
}

#[test]
fn every_command_has_a_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("man/man1");
    succeeds(&gateway(&["man", "--out", out.to_str().expect("UTF-8")], b""));
    for command in commands() {
        let name = format!("linkerd-gateway-{command}");
        let page = fs::read_to_string(out.join(format!("{name}.1"))).expect(&name);
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
    }
    let config = fs::read_to_string(out.join("linkerd-gateway-config-origins.1")).expect("a page");
    assert!(config.contains("\\-\\-config"), "{config}");
}

#[test]
fn completions_name_every_command_and_bash_can_read_them() {
    for shell in ["bash", "zsh", "fish"] {
        let script = succeeds(&gateway(&["completions", shell], b""));
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
    }
    let script = succeeds(&gateway(&["completions", "bash"], b""));
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash");
    bash.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("read");
    assert!(bash.wait().expect("it ends").success(), "{script}");
}

#[test]
fn an_unknown_shell_is_refused_with_those_that_are_known() {
    refused(&gateway(&["completions", "csh"], b""), "possible values: bash");
}
