//! The independent consumer as a child process: compiled by itself, asked over its standard input.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The program, compiled once for all tests of one binary.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("consumer-", env!("CARGO_CRATE_NAME")));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/consumer/main.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let done = Command::new(rustc).args(["--edition", "2024", "-O", "-o"]).arg(&program).arg(source).status();
        assert!(done.expect("rustc runs").success());
        program
    })
}

/// What the consumer has counted.
pub struct Report(HashMap<String, String>);

impl Report {
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or_else(|_| panic!("no number '{name}' in {:?}", self.0))
    }

    /// Parts at the end of each file that have no event.
    pub fn unaccepted(&self) -> Vec<u64> {
        self.text("unaccepted").split(',').filter_map(|count| count.parse().ok()).collect()
    }

    /// One row of the table of faults; panics unless nothing is lost, in order, and repeated only under its event id.
    pub fn row(&self, fault: &str) {
        println!(
            "| {fault} | {} | {} | {} | {} | {} | {} | {} |",
            self.number("listed"),
            self.number("lost"),
            self.number("gaps"),
            self.number("duplicates"),
            self.number("twice") + self.number("changed"),
            self.number("disorder"),
            self.number("restarted"),
        );
        for name in ["lost", "gaps", "twice", "changed", "disorder", "refused"] {
            assert_eq!(self.number(name), 0, "{fault}: {name} in {:?}", self.0);
        }
    }
}

/// A running consumer; killed by its process id when dropped.
pub struct Consumer {
    child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// What it says of its connection. Read all the time: a full pipe would stop it.
    said: Receiver<String>,
}

impl Consumer {
    /// Returns when the broker has confirmed its subscription.
    pub fn start(port: u16) -> Self {
        Self::by(Command::new(program()), "127.0.0.1", port)
    }

    /// The same, started by `command`, which runs [`program`].
    pub fn by(mut command: Command, host: &str, port: u16) -> Self {
        let mut child = command
            .args([host, &port.to_string(), "consumer", "vcp-line/caps/+/verdict"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, said) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Ends with the consumer, or when nobody listens any more.
        let read = move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line));
        std::thread::Builder::new().name("consumer".into()).spawn(read).unwrap();
        let mut consumer = Self { child, ask, answers, said };
        consumer.subscribed();
        consumer
    }

    /// Returns when it has subscribed once more.
    pub fn subscribed(&mut self) {
        while self.said.recv().expect("the consumer goes on") != "subscribed" {}
    }

    fn asked(&mut self, question: &str) -> Report {
        writeln!(self.ask, "{question}").unwrap();
        let answer = self.answers.next().unwrap().unwrap();
        Report(answer.split(' ').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect())
    }

    pub fn report(&mut self) -> Report {
        self.asked("report")
    }

    /// How long live verdicts took from capture to publishing: `p50`, `p99`, `max` in milliseconds, of so many `times`.
    pub fn times(&mut self) -> Report {
        self.asked("times")
    }

    pub fn judge(&mut self, files: &[PathBuf]) -> Report {
        let files: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
        self.asked(&format!("judge {}", files.join(" ")))
    }

    /// Returns when it knows so many parts.
    pub fn until_parts(&mut self, count: u64, patience: Duration) {
        let start = Instant::now();
        while self.asked("parts").number("parts") < count {
            assert!(start.elapsed() < patience, "waited in vain for {count} parts: {:?}", self.report().0);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns when nothing has come for a while.
    pub fn until_quiet(&mut self) {
        let mut before = u64::MAX;
        loop {
            let now = self.report().number("messages");
            if now == before {
                return;
            }
            before = now;
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().unwrap();
        }
    }
}
