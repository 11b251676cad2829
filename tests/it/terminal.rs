//! What the program prints: nobody reads it, the disk below it is full, others wrote it, the arguments are wrong.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::line::{FOLDER, PATIENCE, Running, finished, model, pictures, program, settings};
use crate::support::mosquitto::{Mosquitto, Rules, free_port};

/// Where a call finds what it needs.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        pictures(&folder.path().join("parts"));
        fs::write(folder.path().join("line.toml"), settings(free_port(), FOLDER)).unwrap();
        fs::create_dir(folder.path().join("outbox")).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Calls that print, with the results that they leave on disk.
    fn calls(&self) -> Vec<(Vec<String>, Option<String>)> {
        let model = model().to_str().unwrap();
        let inspect = ["inspect", "--engine", "reference", "--threads", "1", "--model", model];
        let image = self.file("parts/00.png");
        let call = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let synth = ["synth", "--classes", "ring", "--size", "64", "--good", "2", "--defective", "1"];
        vec![
            (call(&["outbox", &self.file("outbox")]), None),
            (call(&["model", "info", model]), None),
            (call(&["model", "info", "--json", model]), None),
            (call(&["check", &self.file("line.toml")]), None),
            (call(&["check", "--before-start", &self.file("line.toml")]), None),
            (call(&["--version"]), None),
            (call(&["--help"]), None),
            (call(&[&inspect[..], &[&image]].concat()), None),
            (call(&[&inspect[..], &["--maps", &self.file("maps"), &image]].concat()), Some(self.file("maps/00.npy"))),
            (
                call(&[&synth[..], &["--sheet", &self.file("sheet.png"), "--out", &self.file("set")]].concat()),
                Some(self.file("set/ring/test/good/001.png")),
            ),
            (call(&["model", "export", model, "--output", &self.file("model.onnx")]), Some(self.file("model.onnx"))),
            (call(&["demo", "--random-model", "--engine", "reference", "--parts", "2", "--rate", "20"]), None),
        ]
    }
}

fn printing_to(arguments: &[String], stdout: Stdio) -> Output {
    let arguments: Vec<&str> = ["--log", "off"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    program(&arguments).stdout(stdout).stderr(Stdio::piped()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_reader_that_has_gone_away_ends_a_command_quietly_and_cuts_no_results() {
    let place = Place::new();
    for (arguments, result) in place.calls() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let done = printing_to(&arguments, writer.into());
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("vcp-line: "), "{arguments:?}: {said}");
        if let Some(result) = result {
            assert!(Path::new(&result).is_file(), "{arguments:?}: no {result}");
            fs::remove_dir_all(place.file("set")).ok();
        }
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let place = Place::new();
    for (arguments, result) in place.calls() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let done = printing_to(&arguments, full.into());
        let said = text(&done.stderr);
        let last = said.lines().last().unwrap_or_default();
        let expected = "vcp-line: writing to standard output: No space left on device (os error 28)";
        assert_eq!((done.status.code(), last), (Some(1), expected), "{arguments:?}: {said}");
        if let Some(result) = result {
            assert!(Path::new(&result).is_file(), "{arguments:?}: no {result}");
        }
    }
}

#[test]
fn nobody_at_either_end_is_no_reason_to_panic() {
    let place = Place::new();
    for (arguments, _) in place.calls() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let arguments: Vec<&str> = ["--log", "off"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let done = program(&arguments).stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap();
        assert_eq!(done.code(), Some(0), "{arguments:?}");
        fs::remove_dir_all(place.file("set")).ok();
    }
}

/// The table of README: 2 for wrong arguments, 78 for wrong settings.
#[test]
fn wrong_arguments_end_with_two() {
    let place = Place::new();
    let absent = place.file("absent");
    let line = place.file("line.toml");
    let model = model().to_str().unwrap();
    let image = place.file("parts/00.png");
    let out = place.file("out");
    let wrong: &[&[&str]] = &[
        &["--log", "vcp_line=loud", "check", &line],
        &["check"],
        &["watch", "http://127.0.0.1"],
        &["watch", "mqtt://127.0.0.1:0"],
        &["watch", "mqtt://127.0.0.1/plant/#"],
        &["watch", "mqtt://127.0.0.1/%24SYS"],
        &["watch", "mqtt://127.0.0.1/k%F6ln"],
        &["watch", "mqtt://127.0.0.1", "--password-file", &line],
        &["watch", "mqtt://user@127.0.0.1", "--password-file", &absent],
        &["watch", "mqtt://127.0.0.1", "--ca", &line],
        &["watch", "mqtts://localhost", "--ca", &absent],
        &["trigger", "mqtt://127.0.0.1", "--part", "A"],
        &["trigger", "mqtt://127.0.0.1/vcp-line/+", "--part", "A"],
        &["trigger", "mqtt://127.0.0.1/vcp-line/caps", "--part", ""],
        &["trigger", "mqtt://127.0.0.1/vcp-line/caps", "--part", "A\nB"],
        &["outbox", &absent],
        &["outbox", &line],
        &["inspect", "--model", &absent, &image],
        &["inspect", "--model", model, "--engine", "reference", &absent],
        &["inspect", "--model", model, "--outline", "2", &image],
        &["inspect", "--model", model, "--maps", &out, &image, &image],
        &["model", "info", &absent],
        &["model", "export", &absent],
        &["model", "build", &absent],
        &["model", "build", model, "--engine", "openvino"],
        &["model", "import", "--clip", &absent, "--vcp", &image, "--image-size", "98", "--output", &out],
        &["eval", "--model", &absent, "--data", &out, "--layout", "mvtec"],
        &["eval", "--model", model, "--data", &absent, "--layout", "mvtec"],
        &["demo", "--model", &absent],
        &["demo", "--random-model", "--rate", "0"],
        &["demo", "--random-model", "--defective", "2"],
        &["demo", "--random-model", "--defect-threshold", "2"],
        &["synth", "--out", &out, "--train-good", "0", "--good", "0", "--defective", "0"],
        &["synth", "--out", &place.file("parts"), "--classes", "ring"],
        &["bench", "engine", "--model", &absent],
        &["bench", "pipeline", "--model", &absent],
        &["train", "clip", "--data", &absent, "--out", &out],
        &["train", "vcp", "--clip", &absent, "--data", &out, "--layout", "visa", "--image-size", "98", "-o", &out],
    ];
    for arguments in wrong {
        let done = finished(arguments);
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(!said.is_empty() && done.stdout.is_empty(), "{arguments:?}");
        assert!(!Path::new(&out).exists(), "{arguments:?} left something");
    }
    for settings in [absent.as_str(), &image] {
        assert_eq!(finished(&["check", settings]).status.code(), Some(78), "{settings}");
    }
}

fn publish(port: u16, topic: &str, payload: &[u8]) {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", topic, "-s"]).stdin(Stdio::piped());
    let mut client = command.spawn().unwrap();
    client.stdin.take().unwrap().write_all(payload).unwrap();
    assert!(client.wait().unwrap().success());
}

#[test]
fn what_others_wrote_is_spelled_out() {
    let broker = Mosquitto::start(Rules::default());
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let watch = Running::start(program(&["watch", "--text", &url]));
    // Until it hears, again: nothing tells from outside when it has subscribed.
    let wild = b"{\"correlation_id\":\"a\x1b[31m\x9b2J\nvcp-line/caps/ack: forged\"}";
    let began = std::time::Instant::now();
    while watch.stdout().is_empty() {
        assert!(began.elapsed() < PATIENCE, "nothing heard: {}", watch.stderr());
        publish(broker.port, "vcp-line/caps/ack", wild);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let said = watch.stdout();
    let expected = "vcp-line/caps/ack: {\"correlation_id\":\"a\\u{1b}[31m\u{fffd}2J\\nvcp-line/caps/ack: forged\"}";
    assert_eq!(said.lines().next(), Some(expected));

    // A file may have any name.
    let place = Place::new();
    let odd = place.file("a\x1b[2J\nb.png");
    fs::copy(place.file("parts/00.png"), &odd).unwrap();
    let absent = place.file("c\x1b[2J.png");
    let done = finished(&["inspect", "--engine", "reference", "--model", model().to_str().unwrap(), &odd, &absent]);
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    assert!(!out.contains('\x1b') && out.lines().count() == 1, "{out}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["image"], odd);
    assert!(!err.contains('\x1b') && err.contains("c\\u{1b}[2J.png"), "{err}");
}
