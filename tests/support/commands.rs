//! Commands as a line controller sends them: through `mosquitto_pub`, or by plain HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Topic of the line's acknowledgements.
pub const ACK: &str = "vcp-line/caps/ack";

/// A client that sends each of its lines as one message; ended by its process id when dropped.
pub struct Sender {
    child: Child,
    lines: Option<ChildStdin>,
}

impl Sender {
    pub fn start(port: u16, command: &str) -> Self {
        let topic = format!("vcp-line/caps/cmd/{command}");
        let mut child = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-l", "-t", &topic])
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub starts; install the Debian package mosquitto-clients");
        let lines = child.stdin.take();
        Self { child, lines }
    }

    pub fn send(&mut self, message: &Value) {
        let lines = self.lines.as_mut().expect("open");
        writeln!(lines, "{message}").unwrap();
        lines.flush().unwrap();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // What was sent is delivered first.
        drop(self.lines.take());
        self.child.wait().unwrap();
    }
}

/// One message as it is, whatever it is.
pub fn publish(port: u16, command: &str, payload: &[u8], extra: &[&str]) {
    let topic = format!("vcp-line/caps/cmd/{command}");
    let mut child = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", &topic])
        // It refuses to send nothing unless told so.
        .arg(if payload.is_empty() { "-n" } else { "-s" })
        .args(extra)
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto_pub starts; install the Debian package mosquitto-clients");
    let mut input = child.stdin.take().unwrap();
    input.write_all(payload).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
}

/// A trigger with a part id, acknowledged under the same id.
pub fn part(id: &str) -> Value {
    json!({ "correlation_id": id, "part_id": id })
}

/// Status and body of a request, over a connection of its own.
pub fn http(port: u16, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, Value) {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}Content-Length: {length}");
    let (status, text) = raw(port, format!("{head}\r\n\r\n{body}").as_bytes());
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Status and body in answer to these bytes.
pub fn raw(port: u16, request: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // A server that refuses early may close before everything was written.
    stream.write_all(request).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {answer:?}")), body.to_owned())
}
