//! A real broker and an independent client: Debian's `mosquitto` on a free loopback port, and `mosquitto_sub`.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything here should take, short enough to notice that it does not.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A port nobody listens on at the moment, and that no other test of this program was given.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let socket = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = socket.expect("loopback has ports").port();
        if GIVEN.lock().expect("nobody panics here").insert(port) {
            return port;
        }
    }
}

/// How the broker treats its clients and its memory.
#[derive(Clone, Copy, Default)]
pub struct Rules {
    /// Only users added with [`Mosquitto::add_user`] may connect.
    pub passwords: bool,
    /// Sessions and retained messages survive an orderly restart.
    pub persistence: bool,
}

/// A running broker; stopped by its process id when dropped.
pub struct Mosquitto {
    pub port: u16,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Mosquitto {
    pub fn start(rules: Rules) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        // Started as root, mosquitto would change to a user that cannot read the folder.
        let mut config = format!("user root\nlistener {port} 127.0.0.1\nmax_queued_messages 0\n");
        if rules.passwords {
            fs::write(path("users"), "").expect("writable");
            config += &format!("allow_anonymous false\npassword_file {}\n", path("users"));
        } else {
            config += "allow_anonymous true\n";
        }
        if rules.persistence {
            config += &format!("persistence true\npersistence_location {}/\n", folder.path().display());
        }
        Self::with_config(folder, port, &config)
    }

    /// Starts with a configuration of one's own, which makes it listen on `port`; its files lie in `folder`.
    pub fn with_config(folder: tempfile::TempDir, port: u16, config: &str) -> Self {
        fs::write(folder.path().join("mosquitto.conf"), config).expect("writable");
        let mut broker = Self { port, folder, child: None };
        broker.restart();
        broker
    }

    /// Makes it read users and access lists again.
    pub fn reload(&self) {
        self.signal("-HUP");
    }

    /// Starts it again on the same port.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the broker is still running");
        let log = fs::File::options().create(true).append(true).open(self.path("log")).expect("writable");
        let child = Command::new(program("mosquitto"))
            .arg("-c")
            .arg(self.path("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto starts; install the Debian package mosquitto");
        self.child = Some(child);
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "mosquitto does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL: nothing is saved.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
        }
    }

    /// SIGTERM: sessions and retained messages are saved.
    pub fn stop(&mut self) {
        self.signal("-TERM");
        if let Some(mut child) = self.child.take() {
            child.wait().expect("our own child");
        }
    }

    /// Stops answering without closing anything.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Answers again.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Allows one more user, at once.
    pub fn add_user(&self, user: &str, password: &str) {
        let done = Command::new(program("mosquitto_passwd"))
            .arg("-b")
            .arg(self.path("users"))
            .args([user, password])
            .stderr(Stdio::null())
            .status()
            .expect("mosquitto_passwd runs; install the Debian package mosquitto");
        assert!(done.success());
        self.signal("-HUP");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("the broker runs").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill runs").success());
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian keeps daemons out of a user's PATH.
fn program(name: &str) -> String {
    let system = format!("/usr/sbin/{name}");
    if Path::new(&system).exists() { system } else { name.into() }
}

/// A message as `mosquitto_sub` prints it.
#[derive(Clone, Debug)]
pub struct Message {
    pub retained: bool,
    pub topic: String,
    pub payload: String,
}

impl Message {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.payload).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// `mosquitto_sub` listening to a topic filter; it reconnects by itself.
pub struct Subscriber {
    child: Child,
    /// What came before the confirmation: retained, or kept for a session that goes on.
    early: RefCell<VecDeque<Message>>,
    lines: Receiver<Option<Message>>,
    reader: Option<JoinHandle<()>>,
}

impl Subscriber {
    /// Returns when the broker has confirmed the subscription. `extra` are further arguments of `mosquitto_sub`.
    pub fn start(port: u16, filter: &str, extra: &[&str]) -> Self {
        // Without stdbuf, what is printed into a pipe waits until 4 KiB have come together.
        let mut child = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub"])
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-q",
                "1",
                "-d",
                "-t",
                filter,
                "-F",
                "MESSAGE %r\t%t\t%p",
            ])
            .args(extra)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto_sub starts; install the Debian package mosquitto-clients");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = sync_channel(100_000);
        let reader = std::thread::Builder::new()
            .name("mosquitto_sub".into())
            .spawn(move || {
                for line in output.lines().map_while(Result::ok) {
                    let message = match line.strip_prefix("MESSAGE ") {
                        Some(text) => {
                            let mut parts = text.splitn(3, '\t');
                            let mut part = || parts.next().unwrap_or_default().to_string();
                            Some(Message { retained: part() == "1", topic: part(), payload: part() })
                        }
                        None if line.starts_with("Subscribed (mid") => None,
                        None => continue,
                    };
                    if send.send(message).is_err() {
                        return;
                    }
                }
            })
            .expect("a thread");
        let early = std::iter::from_fn(|| lines.recv_timeout(PATIENCE).expect("the broker confirms the subscription"));
        let early = RefCell::new(early.collect());
        Self { child, early, lines, reader: Some(reader) }
    }

    /// The next message, or `None` when none comes in time.
    pub fn next(&self, patience: Duration) -> Option<Message> {
        if let Some(message) = self.early.borrow_mut().pop_front() {
            return Some(message);
        }
        let end = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => panic!("mosquitto_sub has ended"),
            }
        }
    }

    /// Messages up to and including the first that `last` accepts. Panics when it does not come in time.
    pub fn until(&self, mut last: impl FnMut(&Message) -> bool) -> Vec<Message> {
        let mut messages = Vec::new();
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Some(message) = self.next(left) else { panic!("waited in vain after {} messages", messages.len()) };
            let done = last(&message);
            messages.push(message);
            if done {
                return messages;
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
    }
}
