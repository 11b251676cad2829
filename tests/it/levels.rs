//! Cameras of more than 8 bits through the real program: levels taken once and kept, told by `check`, and set by the settings.

use std::fs;
use std::path::Path;

use image::{ImageBuffer, Luma};
use serde_json::Value;

use crate::support::events::{events, is_state};
use crate::support::line::{FOLDER, Line, program, settings};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber};

/// Six pictures of 12 bits in 16, the first ones darker than 10 bits could be.
fn deep_pictures(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for at in 0..6u32 {
        let value = |x: u32, y: u32| ((x * 50 + y * 7 + at) % 3100 + if at == 0 { 0 } else { 900 }) as u16;
        ImageBuffer::from_fn(80, 60, |x, y| Luma([value(x, y)])).save(folder.join(format!("{at}.png"))).unwrap();
    }
}

/// What `check` says of the camera.
fn checked(folder: &Path, settings: &str) -> (bool, String) {
    let file = folder.join("line.toml");
    fs::write(&file, settings).unwrap();
    let mut command = program(&["check", "--json", file.to_str().unwrap()]);
    let done = command.env("STATE_DIRECTORY", folder.join("state")).output().unwrap();
    let said: Value = serde_json::from_slice(&done.stdout).unwrap();
    let found = said["checks"].as_array().unwrap().iter().find(|check| check["name"] == "camera top").unwrap();
    (found["ok"] == true, found["detail"].as_str().unwrap().to_owned())
}

#[test]
fn levels_are_taken_from_the_first_pictures_and_then_frozen() {
    let broker = Mosquitto::start(Rules::default());
    let settings = settings(broker.port, FOLDER);
    let folder = tempfile::tempdir().unwrap();
    deep_pictures(&folder.path().join("parts"));
    let (fine, said) = checked(folder.path(), &settings);
    assert!(fine && said.contains("80x60 Gray16, 12 significant bits (brightest value "), "{said}");
    assert!(said.ends_with("in 4 pictures); the start takes and keeps levels: black 0, white 4095, gamma 1"), "{said}");

    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut line = Line::run_in(folder, &settings, |_| {});
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let messages = reader.until(|message| is_state(message, "offline") && !message.json()["model"].is_null());
    let judged = events(&messages);
    assert_eq!(judged.iter().filter(|event| event["verdict"] != "no_verdict").count(), 6, "{judged:?}");
    let log = line.service.stderr();
    assert!(log.contains("levels taken from the first pictures and kept in"), "{log}");
    let kept = line.folder.path().join("state/levels/top.json");
    let taken: Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    assert_eq!((&taken["white"], &taken["bits"]), (&4095.into(), &12.into()));

    // Frozen: a start with brighter pictures takes nothing new, and does not believe what 12 bits cannot hold.
    let folder = line.folder;
    let bright = ImageBuffer::from_fn(80, 60, |x, y| Luma([(x * 300 + y) as u16]));
    for at in 0..6 {
        bright.save(folder.path().join(format!("parts/{at}.png"))).unwrap();
    }
    let (fine, said) = checked(folder.path(), &settings);
    assert!(!fine && said.contains("levels of 12 bits were taken from the first pictures and kept in"), "{said}");
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let hardware = format!("{settings}[camera.trigger]\nmode = \"hardware\"\n");
    let mut line = Line::run_in(folder, &hardware, |_| {});
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    // The retained one is the first run's.
    let over = |message: &Message| is_state(message, "offline") && !message.json()["model"].is_null();
    let messages = reader.until(|message| !message.retained && over(message));
    let judged = events(&messages);
    assert!(!judged.is_empty() && judged.iter().all(|event| event["reason"] == "frame_damaged"), "{judged:?}");
    assert!(line.service.stderr().contains("levels as they were taken"), "{}", line.service.stderr());

    // The settings win.
    let set = format!("{settings}[camera.levels]\nblack = 10\nwhite = 30000\ngamma = 2.2\n");
    let (fine, said) = checked(line.folder.path(), &set);
    assert!(fine && said.ends_with("levels of the settings: black 10, white 30000, gamma 2.2"), "{said}");
}

#[test]
fn levels_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("line.toml");
    fs::create_dir(folder.path().join("parts")).unwrap();
    for (levels, expected) in [
        ("black = 5", "camera 'top'.levels.white: missing; write the sensor's largest value: 255 for 8 bits"),
        ("black = 700\nwhite = 700", "camera 'top'.levels.black: black 700 is not below white 700"),
        ("white = 4095\ngamma = 9.0", "camera 'top'.levels.gamma: 9 is out of range; allowed: 0.2 to 5"),
        ("white = 70000", "camera 'top'.levels.white"),
        ("whit = 4095", "camera 'top'.levels.whit: unknown key; did you mean 'white'?"),
    ] {
        fs::write(&file, format!("{}[camera.levels]\n{levels}\n", settings(1, FOLDER))).unwrap();
        let done = program(&["check", "--before-start", file.to_str().unwrap()]).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.code() == Some(78) && said.contains(expected), "{levels}: {said}");
    }
}

/// The synthetic camera delivers as industrial sensors do, and says so.
#[cfg(feature = "opencv")]
#[test]
fn synthetic_products_come_in_every_format() {
    for format in ["gray12", "bayer_gbrg8", "bayer_rggb12"] {
        let broker = Mosquitto::start(Rules::default());
        let camera = format!(
            "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\nfps = 10.0\ncount = 8\n\
             pool = 4\npixel_format = \"{format}\"\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let (fine, said) = checked(folder.path(), &settings(broker.port, &camera));
        assert!(fine && said.contains(&format!("64x64 {format}")), "{said}");
        let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
        let mut line = Line::run_in(folder, &settings(broker.port, &camera), |_| {});
        assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
        let messages = reader.until(|message| is_state(message, "offline") && !message.json()["model"].is_null());
        let events = events(&messages);
        assert!(
            events.len() == 8 && events.iter().any(|event| event["verdict"] != "no_verdict"),
            "{format}: {events:?}"
        );
    }
}
