//! A log that nobody takes: the line goes on, counts what was lost, says so in an alarm, and stops when asked.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::commands::publish;
use crate::support::events::is_verdict;
use crate::support::line::{CAROUSEL, Line, PATIENCE, pictures, program, settings};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber};

/// The service with this standard error; killed by its process id when dropped.
struct Mute {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Mute {
    fn start(port: u16, stderr: impl Into<Stdio>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        pictures(&folder.path().join("parts"));
        let file = folder.path().join("line.toml");
        std::fs::write(&file, settings(port, CAROUSEL)).unwrap();
        let mut command = program(&["run", file.to_str().unwrap()]);
        command.env("STATE_DIRECTORY", folder.path().join("state")).stdout(Stdio::null()).stderr(stderr);
        Self { child: command.spawn().unwrap(), _folder: folder }
    }

    /// Asks it to stop; the exit code.
    fn stop(&mut self) -> Option<i32> {
        let done = std::process::Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the service does not stop");
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

fn alarm_of(kind: &'static str) -> impl Fn(&Message) -> bool {
    move |message| message.topic.ends_with("/alarm") && message.payload.contains(&format!("\"{kind}\""))
}

/// Inspects, says what has become of its log, survives a broker that restarts, and stops.
fn goes_on_without_a_log(stderr: impl Into<Stdio>) {
    let mut broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut line = Mute::start(broker.port, stderr);
    // Either may come first.
    let mut heard = reader.until(alarm_of("log"));
    let alarm = heard.pop().unwrap().json();
    if !heard.iter().any(is_verdict) {
        reader.until(is_verdict);
    }
    let told = alarm["alarms"].as_array().unwrap().iter().find(|alarm| alarm["kind"] == "log").unwrap();
    assert!(told["message"].as_str().unwrap().contains("lines of the log were lost"), "{alarm}");
    drop(reader);
    broker.stop();
    broker.restart();
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    for _ in 0..20 {
        reader.until(is_verdict);
    }
    assert_eq!(line.stop(), Some(0));
}

#[test]
fn on_a_full_disk() {
    goes_on_without_a_log(File::options().write(true).open("/dev/full").unwrap());
}

#[test]
fn into_a_pipe_whose_reader_has_gone() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    goes_on_without_a_log(OwnedFd::from(writer));
}

#[test]
fn into_a_pipe_that_nobody_reads_while_strangers_send_nonsense() {
    let broker = Mosquitto::start(Rules::default());
    let (mut stalled, writer) = std::io::pipe().unwrap();
    // A pipe holds 64 KiB; this much is in it before the service says a word.
    let mut full = writer.try_clone().unwrap();
    std::io::Write::write_all(&mut full, &[b'.'; 60 * 1024]).unwrap();
    drop(full);
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut line = Mute::start(broker.port, OwnedFd::from(writer));
    reader.until(is_verdict);
    for _ in 0..200 {
        publish(broker.port, "nonsense", b"{}", &[]);
    }
    for _ in 0..20 {
        reader.until(is_verdict);
    }
    assert_eq!(line.stop(), Some(0));
    let mut all = Vec::new();
    stalled.read_to_end(&mut all).unwrap();
    assert!(all.len() >= 60 * 1024);
}

#[test]
fn a_message_that_comes_again_and_again_is_counted_instead() {
    let broker = Mosquitto::start(Rules::default());
    let line = Line::with_pictures(&settings(broker.port, CAROUSEL));
    line.service.logged("commands can come in");
    let all: String = "{\"correlation_id\":\"\\u001b[2J\"}\n".repeat(2000);
    publish_lines(broker.port, &all);
    line.service.logged("more lines like those from vcp_line::service::commands");
    assert!(line.service.times_logged("command refused") <= 60, "{}", line.service.times_logged("command refused"));
    assert!(!line.service.stderr().contains('\x1b'), "nobody's escape sequences are obeyed");
}

/// Each line as one message.
fn publish_lines(port: u16, lines: &str) {
    let mut child = std::process::Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-l", "-t", "vcp-line/caps/cmd/nonsense"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto_pub starts; install the Debian package mosquitto-clients");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
