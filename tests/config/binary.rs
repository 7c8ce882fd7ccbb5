//! `check`, `config print` and `config origins`, the real binary.

use std::process::{Command, Output};

use linkerd_gateway::config::load::{Sources, load};

use crate::certs::TestCa;
use crate::support::{Directory, IDENTITY, settings};

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(directory: &Directory, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_linkerd-gateway"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(directory.path())
        .output()
        .expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// With the files that `IDENTITY` names, usable ones.
fn complete(text: &str) -> Directory {
    let directory = Directory::new(format!("{IDENTITY}{text}"));
    let ca = TestCa::new("ca");
    let leaf = ca.identity("gateway.test.serviceaccount.identity.linkerd.cluster.local");
    directory.write("c", &leaf.chain);
    directory.write("k", &leaf.key);
    directory.write("a", &ca.anchor);
    directory
}

#[test]
fn check_says_ok_and_what_it_read() {
    let directory = complete("[[route]]\ntarget = \"a.x:1\"\ndns = \"a:1\"\n");
    directory.write("config.d/a.toml", "[gateway]\nlisten = [\"127.0.0.1:1\"]");
    let run = run(&directory, &["check", "--config", "gateway.toml"], &[]);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let expected = "configuration ok: 1 route, gateway 127.0.0.1:1, admin [::]:4191 \
                    (gateway.toml, config.d/a.toml)\n";
    assert_eq!(run.stdout, expected);
}

#[test]
fn check_lists_all_problems_and_exits_64() {
    let directory = complete("[gatway]\n[log]\nlevel = 5\n");
    let variables = [("LINKERD_GATEWAY_CONFIG", "gateway.toml"), ("LINKERD_GATEWAY_X", "1")];
    let run = run(&directory, &["check"], &variables);
    assert_eq!((run.code, run.stdout.as_str()), (Some(64), ""));
    let lines: Vec<_> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{}", run.stderr);
    assert_eq!(lines[0], "linkerd-gateway: 3 problems in the configuration (gateway.toml)");
    assert_eq!(lines[1], "gateway.toml:5: gatway: is not a known key: did you mean \"gateway\"?");
    assert!(lines[2].starts_with("gateway.toml:7: log.level: found the number 5"), "{}", lines[2]);
    assert!(lines[3].starts_with("LINKERD_GATEWAY_X: is not a known variable"), "{}", lines[3]);
}

#[test]
fn check_names_every_file_that_cannot_be_read() {
    let directory = Directory::new(IDENTITY);
    let run = run(&directory, &["check", "--config", "gateway.toml"], &[]);
    assert_eq!(run.code, Some(64));
    for key in ["identity.certificate: c ", "identity.key: k ", "identity.trust_anchors[0]: a "] {
        assert!(run.stderr.contains(&format!("\n{key}cannot be read: ")), "{}", run.stderr);
    }
}

#[test]
fn check_of_a_missing_file_exits_64() {
    let run = run(&complete(""), &["check", "--config", "none.toml"], &[]);
    assert_eq!(run.code, Some(64));
    assert!(run.stderr.contains("\nnone.toml: cannot be read: No such file"), "{}", run.stderr);
}

#[test]
fn an_empty_variable_names_no_file() {
    let empty = [("LINKERD_GATEWAY_CONFIG", "")];
    let run = run(&complete(""), &["check"], &empty);
    assert_eq!(run.code, Some(64));
    assert!(run.stderr.contains("in the configuration (no file)\n"), "{}", run.stderr);
}

#[test]
fn config_origins_says_where_each_value_comes_from() {
    let directory = complete("[log]\nlevel = \"warn\"\n");
    let variables = [("LINKERD_GATEWAY_RUNTIME__WORKERS", "3")];
    let arguments = ["config", "origins", "--config", "gateway.toml"];
    let run = run(&directory, &arguments, &variables);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for line in [
        "workers = 3  # LINKERD_GATEWAY_RUNTIME__WORKERS",
        "level = \"warn\"  # gateway.toml:6",
        "format = \"text\"  # default",
        "# local_address is not set",
    ] {
        assert!(run.stdout.lines().any(|printed| printed == line), "{line}\n{}", run.stdout);
    }
}

#[test]
fn what_config_print_prints_loads_to_the_same_settings() {
    let text = "name = \"spiffe://td/a\"\n[[identity.trust]]\nanchors = [\"t'\\\"\\\\ \\n\"]\n\
        trust_domains = [\"a\"]\n[gateway]\nlocal_ports = [1, 2]\nlocal_address = \"::1\"\n\
        [runtime]\nworkers = 2\n[[route]]\ntarget = \"A.x:1\"\nsni = [\"A.b\"]\ndefault = true\n\
        certificate = \"c\"\nkey = \"k\"\ntls = { identity = \"e.f\" }\nendpoints = [\"10.0.0.1:1\", \
        { address = \"10.0.0.2:2\", tls.identity = \"a.b\" }]\n[[route]]\ntarget = \"b.x:1\"\n\
        session = \"http\"\ndns = \"b.y:2\"\n";
    let directory = complete(text);
    let variables = [("LINKERD_GATEWAY_DNS__SERVERS", "127.0.0.1:53,[::1]:53")];
    let mut sources = directory.sources();
    sources.environment = crate::support::variables(&variables);
    let expected = load(&sources).expect("correct").settings;
    for command in ["print", "origins"] {
        let arguments = ["config", command, "--config", "gateway.toml"];
        let run = run(&directory, &arguments, &variables);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(settings(&run.stdout), expected, "{}", run.stdout);
    }
}

#[test]
fn config_print_of_a_wrong_configuration_exits_64() {
    let run = run(&complete("x = 1\n"), &["config", "print", "--config", "gateway.toml"], &[]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(64), ""));
    assert!(
        run.stderr.contains("gateway.toml:5: identity.x: is not a known key"),
        "{}",
        run.stderr
    );
}

#[test]
fn run_takes_its_flags_as_the_last_layer_and_names_them() {
    let directory = complete("[runtime]\nworkers = 1\n");
    let flags = [
        "run",
        "--config",
        "gateway.toml",
        "--workers",
        "many",
        "--log",
        "inof",
        "--log-format",
        "xml",
        "--listen",
        "127.0.0.1:1",
        "--listen",
        "x",
        "--admin-listen",
        "y",
    ];
    for arguments in [&flags[..], &flags[1..]] {
        let run = run(&directory, arguments, &[]);
        assert_eq!(run.code, Some(64), "{}", run.stderr);
        assert!(run.stderr.contains(" 5 problems "), "{}", run.stderr);
        for line in [
            "--workers: runtime.workers: found \"many\"",
            "--log: log.level: found \"inof\"",
            "--log-format: log.format: found \"xml\"",
            "--listen: gateway.listen[1]: found \"x\"",
            "--admin-listen: admin.listen: found \"y\"",
        ] {
            assert!(run.stderr.contains(line), "{line}\n{}", run.stderr);
        }
    }
}

#[test]
fn a_flag_before_a_subcommand_is_refused_not_ignored() {
    let run = run(&complete(""), &["--config", "other.toml", "check"], &[]);
    assert_eq!(run.code, Some(64), "{}", run.stdout);
}

#[test]
fn variables_that_are_no_text_do_not_panic() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let output = Command::new(env!("CARGO_BIN_EXE_linkerd-gateway"))
        .arg("check")
        .env_clear()
        .env(OsStr::from_bytes(b"LINKERD_GATEWAY_\xff"), OsStr::from_bytes(b"\xfe"))
        .env("LINKERD_GATEWAY_LOG__LEVEL", OsStr::from_bytes(b"\xff"))
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(64));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[test]
fn sources_of_the_process_hold_only_our_variables() {
    let sources = Sources::from_process(None);
    assert!(sources.environment.iter().all(|(name, _)| name.starts_with("LINKERD_GATEWAY_")));
}
