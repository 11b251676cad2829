//! A line whose only camera is a synthetic conveyor, judged by the independent consumer across starts, kills and faults.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::consumer::Consumer;
use super::line::{Running, model, program, settings};
use super::mosquitto::{Mosquitto, Rules};

/// Longer than a busy machine takes to deliver what waits.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Minutes that the long form of these tests may take (`VCP_LINE_SOAK`, or `make soak`); `None` is the short form.
pub fn soak() -> Option<u64> {
    let minutes = std::env::var("VCP_LINE_SOAK").ok()?;
    Some(minutes.parse().expect("VCP_LINE_SOAK is a number of minutes"))
}

/// A broker, the consumer that listens there, and a line that has not been started.
pub fn stage() -> (Mosquitto, Consumer, Bench) {
    let broker = Mosquitto::start(Rules::default());
    let consumer = Consumer::start(broker.port);
    (broker, consumer, Bench::new())
}

/// A line in a folder of its own, whose cameras look at conveyors. Each start of the service gets new parts.
pub struct Bench {
    pub folder: tempfile::TempDir,
    cameras: &'static [&'static str],
    /// The parts that came: a file for each camera of each run.
    pub truths: Vec<PathBuf>,
    /// Parts that had come when the service was killed and were not accepted yet.
    pub unaccepted: Vec<usize>,
    /// With it the broker is asked for a certificate, which this authority has signed for `localhost`.
    pub authority: Option<PathBuf>,
    /// Another model than the small one of [`settings`].
    pub bundle: Option<PathBuf>,
    /// Lines of each `[[camera]]`.
    pub camera: String,
}

/// Numbers of parts between the conveyors of different runs and cameras.
const APART: usize = 1_000_000;

impl Bench {
    pub fn new() -> Self {
        Self::with_cameras(&["top"])
    }

    pub fn with_cameras(cameras: &'static [&'static str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let camera = "classes = [\"ring\"]\nsize = 64\npool = 4\nqueue = 64\n".into();
        Self { folder, cameras, truths: Vec::new(), unaccepted: Vec::new(), authority: None, bundle: None, camera }
    }

    pub fn outbox(&self) -> PathBuf {
        self.folder.path().join("state/outbox")
    }

    /// Starts the service on parts that no run before has had. `more` are further settings before the cameras.
    pub fn run(&mut self, port: u16, host: &str, count: Option<u64>, fps: f64, more: &str) -> Running {
        self.run_with(port, host, count, fps, more, |_| {})
    }

    pub fn run_with(
        &mut self,
        port: u16,
        host: &str,
        count: Option<u64>,
        fps: f64,
        more: &str,
        change: impl FnOnce(&mut Command),
    ) -> Running {
        let mut command = self.command(port, host, count, fps, more);
        change(&mut command);
        Running::start(command)
    }

    /// What [`Bench::run`] starts.
    pub fn command(&mut self, port: u16, host: &str, count: Option<u64>, fps: f64, more: &str) -> Command {
        let cameras: String = self.cameras.iter().map(|camera| self.conveyor(camera, count, fps)).collect();
        self.truths
            .extend((0..self.cameras.len()).map(|offset| self.truth(self.truths.len() + offset)).collect::<Vec<_>>());
        let mut text = settings(port, &format!("keep_alive_s = 1\n{more}{cameras}")).replace("127.0.0.1", host);
        if let Some(authority) = &self.authority {
            let secure = format!("mqtts://localhost:{port}\"\nca = \"{}\"", authority.display());
            text = text.replace(&format!("mqtt://{host}:{port}\""), &secure);
        }
        if let Some(bundle) = &self.bundle {
            text = text.replace(&model().display().to_string(), &bundle.display().to_string());
        }
        let file = self.folder.path().join("line.toml");
        fs::write(&file, text).unwrap();
        let mut command = program(&["run", file.to_str().unwrap()]);
        command.env("STATE_DIRECTORY", self.folder.path().join("state"));
        command
    }

    fn truth(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("truth-{number}.jsonl"))
    }

    fn conveyor(&self, camera: &str, count: Option<u64>, fps: f64) -> String {
        let place = self.cameras.iter().position(|other| *other == camera).unwrap();
        let number = self.truths.len() + place;
        let count = count.map(|count| format!("count = {count}\n")).unwrap_or_default();
        format!(
            "[[camera]]\nname = \"{camera}\"\nsource = \"synthetic\"\nfps = {fps:?}\nfirst = {}\n{count}\
             truth_file = \"{}\"\n{}",
            1 + APART * number,
            self.truth(number).display(),
            self.camera
        )
    }

    /// Kills the service. The parts of this run are those that the dead process has written down: a trigger counts from
    /// then on. What came after the last of them is taken off the list, and counted.
    pub fn kill(&mut self, service: &mut Running) {
        service.signal("KILL");
        assert_eq!(service.end().code(), None, "{}", service.stderr());
        self.died();
    }

    /// The service has ended by itself; the parts of this run are those of which the log knows, as with [`Bench::kill`].
    pub fn died(&mut self) {
        let mut log = Vec::new();
        for entry in fs::read_dir(self.outbox()).into_iter().flatten() {
            log.extend(fs::read(entry.unwrap().path()).unwrap());
        }
        let log = String::from_utf8_lossy(&log);
        for truth in &self.truths[self.truths.len() - self.cameras.len()..] {
            let text = fs::read_to_string(truth).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let written = |line: &&str| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                log.contains(&format!("\"id\":{}", line["part"]))
            };
            let accepted = lines.iter().rposition(written).map_or(0, |last| last + 1);
            self.unaccepted.push(lines.len() - accepted);
            let kept: String = lines[..accepted].iter().map(|line| format!("{line}\n")).collect();
            fs::write(truth, kept).unwrap();
        }
    }

    pub fn delivered(&self) -> u64 {
        self.truths.iter().map(lines).sum()
    }

    /// Returns when the present run has shown some parts: then it has answered for the one before.
    pub fn until_running(&self, service: &mut Running) {
        let start = Instant::now();
        while self.truths.last().map_or(0, lines) < 20 {
            assert!(start.elapsed() < PATIENCE && service.is_running(), "{}", service.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// An orderly end, then the consumer's judgement on everything.
    pub fn end(&self, service: &mut Running, consumer: &mut Consumer, fault: &str) {
        service.signal("TERM");
        assert_eq!(service.end().code(), Some(0), "{}", service.stderr());
        consumer.until_quiet();
        let report = consumer.judge(&self.truths);
        report.row(fault);
        assert!(report.unaccepted().iter().all(|count| *count == 0), "parts without events: {:?}", report.unaccepted());
        // A part that had just come when the process died; there are never many of them.
        assert!(self.unaccepted.iter().all(|count| *count <= 10), "{:?}", self.unaccepted);
    }
}

fn lines(file: &PathBuf) -> u64 {
    fs::read_to_string(file).unwrap_or_default().lines().count() as u64
}

/// Numbers that look like chance and are the same every time.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
