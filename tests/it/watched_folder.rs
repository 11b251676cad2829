//! A folder into which others put pictures, through the real program and a real broker: each file is one part, whatever
//! else lies there, and whatever happens to the folder and the program.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use image::GrayImage;
use serde_json::Value;

use crate::support::conveyor::Dice;
use crate::support::events::{ALARM, assert_no_gap, events, is_state, is_verdict};
use crate::support::line::{Line, PATIENCE, Running, settings};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber};

/// A camera that watches the folder `in` beside the settings.
fn camera(mode: &str) -> String {
    format!(
        "[[camera]]\nname = \"top\"\nsource = \"directory\"\npath = \"in\"\nwatch = true\nreopen_min_ms = 100\n\
         reopen_max_ms = 200\n[camera.trigger]\nmode = \"{mode}\"\n"
    )
}

fn picture(path: &Path, level: u8) {
    GrayImage::from_pixel(64, 48, image::Luma([level])).save(path).unwrap();
}

fn file_of(event: &Value) -> Option<&str> {
    event["frame"]["file"].as_str()
}

/// Events as they come until there are `count` of them, without doubles.
fn until(reader: &Subscriber, messages: &mut Vec<Message>, count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let all = events(messages);
        if all.len() >= count {
            return all;
        }
        let short = |event: &Value| format!("{:?} {} {}", file_of(event), event["part"], event["reason"]);
        let told: Vec<String> = all.iter().map(short).collect();
        assert!(began.elapsed() < PATIENCE, "{} of {count} events: {told:#?}", all.len());
        messages.extend(reader.next(Duration::from_millis(200)));
    }
}

/// Events of the next second, of which there are none.
fn nothing_more(reader: &Subscriber) {
    let end = Instant::now() + Duration::from_secs(1);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if let Some(message) = reader.next(left).filter(is_verdict) {
            panic!("{}", message.json());
        }
    }
}

fn stop(service: &mut Running) {
    service.signal("TERM");
    assert_eq!(service.end().code(), Some(0), "{}", service.stderr());
}

/// Two pictures beside those that macOS writes to a share, and others that are still being copied: two parts.
#[test]
fn hidden_and_unfinished_files_are_no_parts() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| folder.path().join("in").join(name);
    fs::create_dir(folder.path().join("in")).unwrap();
    for name in ["0.png", "1.png"] {
        picture(&inside(name), 90);
    }
    for name in ["._0.png", "._1.png", "~2.png", ".2.png.Ab3dEf", "2.png.filepart", "2.part.png", "Thumbs.db"] {
        fs::write(inside(name), b"\0\x05\x16\x07").unwrap();
    }
    let mut line = Line::run_in(folder, &settings(broker.port, &camera("hardware")), |_| {});
    let mut messages = Vec::new();
    let parts = until(&reader, &mut messages, 2);
    nothing_more(&reader);
    stop(&mut line.service);
    assert_no_gap(&parts);
    let told: Vec<_> = parts.iter().map(|event| (event["part"]["trigger"].as_u64(), file_of(event))).collect();
    assert_eq!(told, [(Some(1), Some("0.png")), (Some(2), Some("1.png"))]);
    assert!(parts.iter().all(|event| event["reason"].is_null()), "{parts:#?}");
}

/// A cut file is one part without a verdict, by name, and those after it do not wait for it.
#[test]
fn a_file_that_never_becomes_whole_is_one_part_without_a_verdict() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("in");
    fs::create_dir(&inside).unwrap();
    picture(&inside.join("1.png"), 90);
    let whole = fs::read(inside.join("1.png")).unwrap();
    fs::write(inside.join("1.png"), &whole[..whole.len() / 2]).unwrap();
    let mut line = Line::run_in(folder, &settings(broker.port, &camera("hardware")), |_| {});
    let mut messages = reader.until(|message| is_state(message, "online"));
    picture(&inside.join("2.png"), 90);
    let first = &until(&reader, &mut messages, 1)[0];
    assert_eq!((file_of(first), first["reason"].as_str()), (Some("2.png"), None));
    let second = &until(&reader, &mut messages, 2)[1];
    assert_eq!((file_of(second), second["reason"].as_str()), (Some("1.png"), Some("frame_damaged")), "{second}");
    assert_eq!((second["part"]["trigger"].as_u64(), second["frame"]["width"].as_u64()), (Some(2), Some(64)));
    // Written whole at last, it is a part of its own.
    fs::write(inside.join("1.png"), &whole).unwrap();
    let third = &until(&reader, &mut messages, 3)[2];
    assert_eq!((file_of(third), third["reason"].as_str()), (Some("1.png"), None));
    nothing_more(&reader);
    stop(&mut line.service);
    assert_eq!(line.service.times_logged("no picture"), 1, "{}", line.service.stderr());
}

/// Killed at any moment while files come: each has exactly one event with its name. Where files are parts, some get the
/// next start's word that it knows no verdict.
fn killed(mode: &str) {
    const FILES: usize = 120;
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("in");
    fs::create_dir(&inside).unwrap();
    let text = settings(broker.port, &camera(mode));
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let mut line = Line::run_in(folder, &text, |_| {});
    let (mut messages, mut written) = (Vec::new(), 0);
    while written < FILES {
        // Some die while they start, most among the files.
        if dice.below(5) > 0 {
            line.service.logged("camera open");
        }
        let last = (written + 12).min(FILES);
        while written < last {
            picture(&inside.join("x.tmp.png"), written as u8);
            fs::rename(inside.join("x.tmp.png"), inside.join(format!("{written}.png"))).unwrap();
            written += 1;
        }
        std::thread::sleep(Duration::from_millis(dice.below(150)));
        line.service.signal("KILL");
        line.service.end();
        let Line { folder, .. } = line;
        line = Line::run_in(folder, &text, |_| {});
    }
    let all = until(&reader, &mut messages, FILES);
    nothing_more(&reader);
    stop(&mut line.service);
    let mut files: BTreeMap<&str, usize> = BTreeMap::new();
    all.iter().filter_map(file_of).for_each(|file| *files.entry(file).or_default() += 1);
    let twice: Vec<_> = files.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "more than one event: {twice:?}");
    let restarted = all.iter().filter(|event| event["reason"] == "restarted").count();
    println!("{mode}: {} files with one event each, {restarted} of them restarted", files.len());
    assert_eq!((files.len(), all.len()), (FILES, FILES), "{files:?}");
    assert!(mode == "hardware" || restarted == 0);
}

#[test]
fn killed_among_files_that_are_parts() {
    killed("hardware");
}

#[test]
fn killed_among_files_that_are_no_parts() {
    killed("free");
}

/// A folder that is not there yet, goes and comes back: a lost camera that says so, and returns without old files.
#[test]
fn a_folder_that_goes_is_a_lost_camera_and_comes_back_by_itself() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let folder = tempfile::tempdir().unwrap();
    let (inside, away) = (folder.path().join("in"), folder.path().join("away"));
    let mut line = Line::run_in(folder, &settings(broker.port, &camera("hardware")), |_| {});
    let lost = |message: &Message| message.topic == ALARM && !message.payload.is_empty();
    let well = |message: &Message| message.topic == ALARM && message.payload.is_empty();
    let mut messages = reader.until(lost);
    let alarm = messages.last().unwrap().json();
    let text = alarm["alarms"][0]["message"].as_str().unwrap();
    assert!(text.contains("make or mount the folder; the line goes on by itself"), "{text}");
    fs::create_dir(&inside).unwrap();
    messages.extend(reader.until(well));
    picture(&inside.join("1.png"), 90);
    until(&reader, &mut messages, 1);
    fs::rename(&inside, &away).unwrap();
    messages.extend(reader.until(lost));
    fs::rename(&away, &inside).unwrap();
    messages.extend(reader.until(well));
    picture(&inside.join("2.png"), 90);
    let all = until(&reader, &mut messages, 2);
    nothing_more(&reader);
    stop(&mut line.service);
    assert_no_gap(&all);
    assert_eq!(all.iter().map(file_of).collect::<Vec<_>>(), [Some("1.png"), Some("2.png")]);
}
