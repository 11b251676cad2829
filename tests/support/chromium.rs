//! A real browser without a screen: Debian's Chromium, driven by its DevTools protocol over two pipes.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::{Value, json};

use super::line::PATIENCE;

/// A page in a browser of its own; ended by its process id when dropped.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    calls: u64,
    session: String,
    /// What came while an answer was waited for.
    events: VecDeque<Value>,
    /// What the page complained about: errors, exceptions, broken rules of the policy.
    pub complaints: Vec<String>,
    profile: Option<tempfile::TempDir>,
}

/// Where pictures of the page are kept for people to look at.
pub fn shots() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    fs::create_dir_all(&folder).unwrap();
    folder
}

impl Browser {
    /// An empty page.
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // File descriptors 3 and 4 are where the browser listens and answers.
        let script = "exec 3<&0 4>&1 0</dev/null 1>/dev/null; exec chromium \"$@\"";
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", "--lang=en-GB", "--mute-audio"])
            .args(["--disable-extensions", "--disable-background-networking", "--disable-component-update"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let commands = child.stdin.take().unwrap();
        let (sender, messages) = sync_channel(10_000);
        let answers = BufReader::new(child.stdout.take().unwrap());
        let read = move || {
            for message in answers.split(0).map_while(Result::ok) {
                if serde_json::from_slice(&message).is_ok_and(|message: Value| sender.send(message).is_err()) {
                    return;
                }
            }
        };
        thread::Builder::new().name("chromium".into()).spawn(read).unwrap();
        let mut browser = Self {
            child,
            commands,
            messages,
            calls: 0,
            session: String::new(),
            events: VecDeque::new(),
            complaints: Vec::new(),
            profile: Some(profile),
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// The answer to a command of the protocol.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut command = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).expect("chromium; run scripts/setup-debian.sh");
        let until = Instant::now() + PATIENCE;
        loop {
            let message = self.messages.recv_timeout(until.saturating_duration_since(Instant::now()));
            let message = message.unwrap_or_else(|error| panic!("{method}: no answer of chromium: {error}"));
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.take(message);
        }
    }

    fn take(&mut self, message: Value) {
        let said = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(said["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") if said["type"] == "error" || said["type"] == "warning" => {
                self.complaints.push(said["args"].to_string());
            }
            Some("Log.entryAdded") if said["entry"]["level"] == "error" => {
                self.complaints.push(said["entry"].to_string());
            }
            _ => {}
        }
        self.events.push_back(message);
    }

    /// Returns when the page has loaded.
    pub fn open(&mut self, url: &str) {
        self.events.clear();
        self.call("Page.navigate", json!({ "url": url }));
        self.event("Page.loadEventFired");
    }

    fn event(&mut self, method: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.events.iter().position(|event| event["method"] == method) {
                return self.events.remove(at).unwrap();
            }
            match self.messages.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => panic!("waited in vain for {method}"),
                Err(RecvTimeoutError::Disconnected) => panic!("chromium has ended"),
            }
        }
    }

    /// The value of an expression of the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Returns when the expression is true.
    pub fn until(&mut self, expression: &str) {
        let since = Instant::now();
        while self.value(&format!("Boolean({expression})")) != true {
            if since.elapsed() > PATIENCE {
                let text = self.value("document.body.innerText");
                panic!("waited in vain for {expression}; complaints {:?}; the page says {text}", self.complaints);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Size of the screen, pixels.
    pub fn screen(&mut self, width: u32, height: u32) {
        let mobile = width < 600;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Whether the person wants it dark.
    pub fn dark(&mut self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// Keeps what the screen shows.
    pub fn shoot(&mut self, name: &str) -> PathBuf {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let path = shots().join(format!("{name}.png"));
        fs::write(&path, base64(shot["data"].as_str().unwrap())).unwrap();
        path
    }

    /// Clicks where the first element of this selector is.
    pub fn click(&mut self, selector: &str) {
        self.until(&format!("document.querySelector({})", json!(selector)));
        let middle = "(e) => { e.scrollIntoView({block:'center'}); const b = e.getBoundingClientRect(); \
                      return [b.x + b.width / 2, b.y + b.height / 2]; }";
        let at = self.value(&format!("({middle})(document.querySelector({}))", json!(selector)));
        self.click_at(at[0].as_f64().unwrap(), at[1].as_f64().unwrap());
    }

    pub fn click_at(&mut self, x: f64, y: f64) {
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Types into whatever has the focus.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key, as in `Enter` or `j`.
    pub fn press(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyDown", "key": key, "text": text }));
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
    }

    /// What axe-core finds wrong with the page as it stands, one line each.
    pub fn barriers(&mut self, axe: &str) -> Vec<String> {
        if self.value("typeof axe") == "undefined" {
            self.value(&format!("{axe};true"));
        }
        let violations = self.value(
            "axe.run(document, { resultTypes: ['violations'] }).then((r) => r.violations.map((v) => `${v.id}: ${v.help}: \
             ${v.nodes.slice(0, 4).map((n) => n.html.slice(0, 160) + ' ' + (n.any[0]?.message ?? '')).join(' | ')}`))",
        );
        serde_json::from_value(violations).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session.clear();
        let close = json!({ "id": 0, "method": "Browser.close" });
        let asked = self.commands.write_all(format!("{close}\0").as_bytes()).is_ok();
        let since = Instant::now();
        while asked && since.elapsed() < Duration::from_secs(5) && self.child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(20));
        }
        self.child.kill().ok();
        self.child.wait().unwrap();
        // A process of the browser may still write into its folder.
        if let Some(profile) = self.profile.take() {
            let folder = profile.keep();
            for _ in 0..50 {
                if fs::remove_dir_all(&folder).is_ok() {
                    break;
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |letter: u8| match letter {
        b'A'..=b'Z' => u32::from(letter - b'A'),
        b'a'..=b'z' => u32::from(letter - b'a') + 26,
        b'0'..=b'9' => u32::from(letter - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').collect();
    let bytes = digits.chunks(4).flat_map(|four| {
        let bits = four.iter().fold(0, |bits, letter| bits << 6 | digit(*letter)) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    });
    bytes.collect()
}
