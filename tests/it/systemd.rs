//! The notify protocol over real sockets, and the unit as systemd itself reads it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use vcp_line::systemd::{Notifier, Progress, Watchdog, watchdog_interval};

/// `systemd-analyze security` of Debian 12 gives the unit 1.9; more than this means a protection was lost.
const LARGEST_EXPOSURE: f64 = 2.0;

/// Set for the process that runs [`notifying`].
const CHILD: &str = "VCP_LINE_TEST_NOTIFY";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn receive(socket: &UnixDatagram) -> Option<String> {
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Not a test of its own: the service whose messages the next tests read.
#[test]
fn notifying() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let notifier = Notifier::from_env().expect("a socket");
    notifier.ready("2 cameras\nREADY=0").expect("sent");
    let interval = watchdog_interval().expect("WATCHDOG_USEC is set");
    let progress = Arc::new(Progress::default());
    progress.step();
    let watchdog = Watchdog::start(notifier.clone(), interval, vec![progress]).expect("a thread");
    std::thread::sleep(interval);
    drop(watchdog);
    notifier.stopping().expect("sent");
}

fn messages_of_a_child(socket: &UnixDatagram, address: &str) -> Vec<String> {
    let done = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "systemd::notifying"])
        .env(CHILD, "1")
        .env("NOTIFY_SOCKET", address)
        .env("WATCHDOG_USEC", "400000")
        .env_remove("WATCHDOG_PID")
        .output()
        .expect("this test again");
    assert!(done.status.success(), "{}", text(&done));
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    std::iter::from_fn(|| receive(socket)).collect()
}

#[test]
fn systemd_hears_ready_watchdog_and_stopping_in_this_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    let heard = messages_of_a_child(&socket, &path.display().to_string());
    assert_eq!(heard, ["READY=1\nSTATUS=2 cameras READY=0", "WATCHDOG=1", "STOPPING=1"]);
}

#[test]
fn abstract_sockets_work_too() {
    let name = format!("vcp-line-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("bound");
    assert_eq!(messages_of_a_child(&socket, &format!("@{name}")).len(), 3);
}

#[test]
fn the_watchdog_starves_when_one_inference_thread_hangs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(Duration::from_millis(600))).expect("a timeout");
    let (healthy, hanging) = (Arc::new(Progress::default()), Arc::new(Progress::default()));
    let notifier = Notifier::to(&path.display().to_string()).expect("a socket");
    let threads = vec![healthy.clone(), hanging.clone()];
    let watchdog = Watchdog::start(notifier, Duration::from_millis(200), threads).expect("a thread");
    for _ in 0..3 {
        healthy.step();
        hanging.waiting();
        assert_eq!(receive(&socket).as_deref(), Some("WATCHDOG=1"));
    }
    healthy.step();
    assert_eq!(receive(&socket), None, "one thread hangs");
    hanging.step();
    assert_eq!(receive(&socket).as_deref(), Some("WATCHDOG=1"));
    drop(watchdog);
}

/// The unit in a folder of its own, with a program that exists here.
fn unit() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(repository("deploy/vcp-line@.service")).expect("the unit");
    let path = folder.path().join("vcp-line@.service");
    std::fs::write(&path, text.replace("/usr/bin/vcp-line", "/bin/true")).expect("written");
    (folder, path)
}

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .env("SYSTEMD_COLORS", "0")
        .output()
        .expect("systemd-analyze runs; install the Debian package systemd")
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let (_folder, unit) = unit();
    let output = analyze(&["verify", "--man=no"], &unit);
    assert!(output.status.success() && text(&output).trim().is_empty(), "{}", text(&output));
}

#[test]
fn the_unit_is_hardened() {
    let (_folder, unit) = unit();
    let output = analyze(&["security", "--offline=true", "--no-pager"], &unit);
    let text = text(&output);
    let summary = text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{text}"));
    let number = summary.split(": ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    let exposure: f64 = number.parse().unwrap_or_else(|_| panic!("{summary}"));
    println!("exposure {exposure}");
    assert!(exposure <= LARGEST_EXPOSURE, "{text}");
}
