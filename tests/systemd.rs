//! As a systemd service: what the manager hears, the sockets that it passes, the shipped unit.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

use support::backend;
use support::certs::TestCa;
use support::client::{Client, half_close, header_for, read_all};
use support::gateway::{Builder, GATEWAY, PATIENCE};
use support::namespace::skip;
use support::process::replace;

const ECHO: &str = "echo.test.svc.cluster.local:7";

/// A service manager's end of `NOTIFY_SOCKET`.
struct Manager(UnixDatagram);

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self(socket)
    }

    /// The next message that is not about the watchdog.
    fn next(&self) -> String {
        loop {
            let message = self.any();
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
    }

    fn any(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).expect("UTF-8")
    }
}

/// A gateway with a manager that wants to hear from it twice a second.
fn managed(builder: Builder) -> (Builder, Manager) {
    let path = builder.path().join("notify");
    let manager = Manager::listen(&path);
    let builder =
        builder.env("NOTIFY_SOCKET", path.to_str().expect("UTF-8")).env("WATCHDOG_USEC", "1000000");
    (builder, manager)
}

#[test]
fn the_manager_hears_of_ready_reload_watchdog_and_stop() {
    let ca = TestCa::new("ca");
    let (builder, manager) = managed(Builder::new(&ca));
    let mut gateway = builder.start();
    assert_eq!(manager.next(), "STATUS=waiting for usable credentials\n");
    let status = "READY=1\nSTATUS=accepting connections, configuration generation";
    assert_eq!(manager.next(), format!("{status} 1\n"));
    assert_eq!((manager.any(), manager.any()), ("WATCHDOG=1\n".into(), "WATCHDOG=1\n".into()));

    gateway.signal("HUP");
    let reloading = manager.next();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    assert!(time.trim_end().parse::<u64>().is_ok_and(|time| time > 0), "{reloading}");
    assert_eq!(manager.next(), format!("{status} 2\n"));

    replace(&gateway.file("gateway.toml"), "x = 1");
    gateway.signal("HUP");
    assert!(manager.next().starts_with("RELOADING=1\n"));
    let refused = "; the last reload was refused, see the log\n";
    assert_eq!(manager.next(), format!("{status} 2{refused}"));

    gateway.signal("TERM");
    assert_eq!(manager.next(), "STOPPING=1\nSTATUS=draining\n");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn a_gateway_without_usable_credentials_lives_and_is_not_ready() {
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca);
    let certificate = builder.path().join("gateway/tls.crt");
    fs::write(&certificate, "none").expect("written");
    let (builder, manager) = managed(builder);
    let gateway = builder.spawn();
    assert_eq!(manager.any(), "STATUS=waiting for usable credentials\n");
    for _ in 0..3 {
        assert_eq!(manager.any(), "WATCHDOG=1\n");
    }
    ca.identity(GATEWAY).write_to(&gateway.file("gateway"));
    assert!(manager.next().starts_with("READY=1\n"));
}

/// Lets the gateway inherit `listener` as descriptor 3, as a service manager passes it.
fn pass(builder: Builder, listener: &TcpListener, name: &str) -> Builder {
    fcntl_setfd(listener, FdFlags::empty()).expect("set");
    let script = format!("exec 3<&{}; export LISTEN_PID=$$; exec \"$@\"", listener.as_raw_fd());
    builder
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", name)
        .through(&["bash", "-c", &script, "bash"])
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

#[test]
fn a_restart_on_a_passed_socket_refuses_nobody() {
    let ca = TestCa::new("ca");
    let (listener, address) = listener();
    let start = || {
        let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
        pass(builder, &listener, "gateway").start()
    };
    let mut first = start();
    assert_eq!(first.address, address);
    let mut client = Client::new(&ca).open(address, ECHO);
    half_close(&mut client);
    assert_eq!(read_all(&mut client), b"");
    first.signal("TERM");
    assert_eq!(first.wait().code(), Some(0));

    // Nobody accepts: the connection is there all the same, and the next gateway serves it.
    let waiting = TcpStream::connect(address).expect("the kernel's queue");
    let _second = start();
    let mut client = Client::new(&ca).over(waiting).expect("a handshake");
    client.write_all(&[&header_for(ECHO, None)[..], b"late"].concat()).expect("sent");
    client.read_exact(&mut [0; 4]).expect("served");
}

#[test]
fn a_passed_socket_is_found_by_its_address() {
    let ca = TestCa::new("ca");
    let (listener, address) = listener();
    let section = format!("[admin]\nlisten = \"{address}\"");
    let gateway = pass(Builder::new(&ca).configure(&section), &listener, "any.socket").start();
    assert_eq!(gateway.admin, address);
    assert_eq!(gateway.get("/ready"), "ready\n");
}

#[test]
fn a_passed_socket_that_nobody_wants_is_refused_and_one_for_another_process_ignored() {
    let ca = TestCa::new("ca");
    let (listener, address) = listener();
    let output = run_with(&listener, "$$", &ca);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{error}");
    let expected = format!(
        "the socket {address} (\"odd\") that the service manager passed is for no listener: give \
         it the FileDescriptorName gateway, admin or metrics, or the address of a listener"
    );
    assert!(error.contains(&expected), "{error}");
    // It goes on to bind admin.listen, which is taken.
    let output = run_with(&listener, "1", &ca);
    assert_eq!(output.status.code(), Some(69), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a gateway that cannot start: its admin port is taken.
fn run_with(listener: &TcpListener, pid: &str, ca: &TestCa) -> std::process::Output {
    let (_taken, admin) = self::listener();
    let directory = tempfile::tempdir().expect("a directory");
    ca.write_anchor(directory.path(), "ca.crt");
    ca.identity(GATEWAY).write_to(directory.path());
    // The passed socket is refused before anything is bound; `admin` must then be free.
    let admin = if pid == "1" { admin } else { ([127, 0, 0, 1], 0).into() };
    let configuration = format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"{admin}\"\n[identity]\n\
         certificate = \"tls.crt\"\nkey = \"tls.key\"\ntrust_anchors = [\"ca.crt\"]\n"
    );
    fs::write(directory.path().join("gateway.toml"), configuration).expect("written");
    fcntl_setfd(listener, FdFlags::empty()).expect("set");
    let script = format!("exec 3<&{}; export LISTEN_PID={pid}; exec \"$@\"", listener.as_raw_fd());
    Command::new("bash")
        .args(["-c", &script, "bash", env!("CARGO_BIN_EXE_linkerd-gateway")])
        .args(["run", "--config", "gateway.toml"])
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "odd")
        .current_dir(directory.path())
        .output()
        .expect("bash")
}

/// A shipped unit's text.
fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd").join(name);
    fs::read_to_string(path).expect(name)
}

#[test]
fn the_shipped_units_are_correct_and_well_confined() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        skip("the_shipped_units_are_correct_and_well_confined", "needs systemd-analyze");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let service = shipped("linkerd-gateway.service");
    let service =
        service.replace("/usr/bin/linkerd-gateway", env!("CARGO_BIN_EXE_linkerd-gateway"));
    for (name, text) in [
        ("linkerd-gateway.service", &service),
        ("linkerd-gateway.socket", &shipped("linkerd-gateway.socket")),
    ] {
        fs::write(directory.path().join(name), text).expect("written");
    }
    // The threshold is ten times the exposure that `security` prints, where less is better.
    for arguments in [
        &["verify", "--man=no", "./linkerd-gateway.service", "./linkerd-gateway.socket"][..],
        &["security", "--offline=true", "--threshold=20", "./linkerd-gateway.service"],
    ] {
        let output = Command::new("systemd-analyze")
            .args(arguments)
            .current_dir(directory.path())
            .output()
            .expect("systemd-analyze");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, error) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}\n{out}\n{error}");
        assert!(!error.contains("linkerd-gateway."), "{arguments:?}\n{error}");
    }
}

#[test]
fn the_unit_waits_for_the_drain_and_listens_where_the_gateway_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gateway.toml");
    let text = "[identity]\ncertificate = \"c\"\nkey = \"k\"\ntrust_anchors = [\"a\"]\n";
    fs::write(&file, text).expect("written");
    let sources = linkerd_gateway::config::load::Sources { file: Some(file), ..Default::default() };
    let settings = linkerd_gateway::config::load::load(&sources).expect("correct").settings;
    let service = shipped("linkerd-gateway.service");
    let timeout = service.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let timeout = humantime::parse_duration(timeout.expect("set")).expect("a time");
    let drain = settings.gateway.lame_duck + settings.gateway.drain_deadline;
    assert!(timeout >= drain + std::time::Duration::from_secs(5), "{timeout:?} {drain:?}");

    let socket = shipped("linkerd-gateway.socket");
    let ports = socket.lines().filter_map(|line| line.strip_prefix("ListenStream="));
    let ports: Vec<SocketAddr> = ports.map(|port| port.parse().expect("an address")).collect();
    let gateway = settings.gateway.listen.iter().map(|listener| listener.address);
    assert_eq!(ports, gateway.chain([settings.admin.listen]).collect::<Vec<_>>());
}
