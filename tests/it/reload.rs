//! Settings that are read again while parts come: taken over as a whole or refused as a whole, and no part is lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::commands::{ACK, publish};
use crate::support::conveyor::soak;
use crate::support::events::{assert_no_gap, events, is_state, is_verdict};
use crate::support::line::{CAROUSEL, Line, pictures, settings};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber};
use crate::support::schema;

/// Twenty parts a second, every frame one.
const CAMERA: &str = "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 4\n\
                      fps = 20.0\n";

pub(super) fn write(folder: &Path, settings: &str) {
    let new = folder.join("new.toml");
    fs::write(&new, settings).unwrap();
    fs::rename(new, folder.join("line.toml")).unwrap();
}

/// The answer to this command over MQTT.
pub(super) fn asked(broker: u16, reader: &Subscriber, name: &str, id: &str, mut command: Value) -> Value {
    command["correlation_id"] = id.into();
    publish(broker, name, command.to_string().as_bytes(), &[]);
    let is_answer = |message: &Message| message.topic == ACK && message.json()["correlation_id"] == id;
    let answer = reader.until(is_answer).last().unwrap().json();
    schema::assert_valid(&schema::ack(), &answer);
    answer
}

pub(super) fn reloaded(broker: u16, reader: &Subscriber, id: &str) -> Value {
    asked(broker, reader, "reload", id, json!({}))
}

#[test]
fn reloads_under_load_lose_nothing_and_no_part_is_judged_by_half_a_recipe() {
    let broker = Mosquitto::start(Rules::default());
    let verdicts = Subscriber::start(broker.port, "vcp-line/caps/top/verdict", &[]);
    let reader = Subscriber::start(broker.port, ACK, &[]);
    let text = |threshold: f64, area: usize| {
        let recipe = format!("defect_threshold = {threshold}\nmin_area_px = {area}\nthreshold = {threshold}");
        settings(broker.port, CAMERA).replace("defect_threshold = 0.5", &recipe)
    };
    let mut line = Line::run(&text(0.5, 25));
    line.service.logged("commands can come in");
    verdicts.until(is_verdict);
    let mut known = BTreeMap::from([(1, 0.5)]);
    for reload in 1..=soak().map_or(40, |_| 1000) {
        // Halves and their like: what JSON shows is what is written.
        let threshold = f64::from(1 + reload % 60) / 64.0;
        write(line.folder.path(), &text(threshold, 20 + reload as usize));
        let ack = reloaded(broker.port, &reader, &format!("r-{reload}"));
        assert_eq!(ack["ok"], true, "{ack}");
        let recipe = &ack["applied"]["recipes"][0];
        assert_eq!((&recipe["camera"], &recipe["recipe"]["id"]), (&"top".into(), &"cap".into()), "{ack}");
        known.insert(recipe["recipe"]["version"].as_u64().unwrap(), threshold);
    }
    line.service.signal("TERM");
    assert!(line.service.end().success());
    let total = line.at_the_end("events");
    let messages = verdicts.until(|message| is_verdict(message) && message.json()["seq"] == total);
    let mut events = events(&messages);
    // The first was read above.
    let first = events[0]["seq"].as_u64().unwrap();
    events.iter_mut().for_each(|event| event["seq"] = (event["seq"].as_u64().unwrap() + 1 - first).into());
    assert_no_gap(&events);
    for event in &events {
        let version = event["recipe"]["version"].as_u64().unwrap();
        let thresholds = (event["threshold"].as_f64(), event["defect_threshold"].as_f64());
        let threshold = known.get(&version).copied();
        assert_eq!(thresholds, (threshold, threshold), "version {version}");
    }
    let versions: std::collections::BTreeSet<u64> =
        events.iter().map(|event| event["recipe"]["version"].as_u64().unwrap()).collect();
    assert!(versions.len() > 5, "{versions:?}");
    assert_eq!(known.len() as u64, *known.last_key_value().unwrap().0, "no version was left out or used twice");
}

#[test]
fn a_wrong_file_or_a_key_that_needs_a_restart_changes_nothing() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let text = settings(broker.port, CAMERA);
    let mut line = Line::run(&text);
    line.service.logged("commands can come in");
    reader.until(is_verdict);
    let folder = line.folder.path().to_owned();
    let lower = text.replace("defect_threshold = 0.5", "defect_threshold = 0.25");
    for (id, settings, reason) in [
        ("w-1", text.replace("= 0.5", "= 1.5"), "line.toml:8: recipe.defect_threshold"),
        ("w-2", lower.replace("[mqtt]", "[mqtt]\nprefix = \"plant\"\n[outbox]\nfsync = \"always\"\n[mqtt2]"), "mqtt2"),
        (
            "w-3",
            lower.replace("[mqtt]\n", "[mqtt]\nprefix = \"plant\"\n"),
            "mqtt.prefix cannot change while the line runs",
        ),
        (
            "w-4",
            format!("{lower}[camera.view]\ncrop = [8, 8, 64, 64]\n"),
            "camera 'top': [camera.view]: crop [8, 8, 64, 64]",
        ),
        ("w-7", format!("{lower}[camera.locate]\npicture = \"a.png\"\nrectangle = [0, 0, 32, 32]\n"), "top'.locate"),
        ("w-8", format!("{lower}[camera.view]\nundistort = \"none.json\"\n"), "camera 'top'.view.undistort"),
        ("w-5", lower.replace("\"top\"", "\"side\""), "camera 'side', camera 'top' cannot change"),
        ("w-6", lower.replace("[recipe]", "[recipe]\nmemory = \"none.memory\""), "none.memory"),
    ] {
        write(&folder, &settings);
        let ack = reloaded(broker.port, &reader, id);
        assert!(ack["error"].as_str().unwrap_or_default().contains(reason), "{ack}");
    }
    let event = reader.until(is_verdict).last().unwrap().json();
    assert_eq!((&event["recipe"]["version"], &event["defect_threshold"]), (&1.into(), &0.5.into()));

    // Whoever spoke last is heard, and a version never means two recipes; also after a restart.
    let applied = |ack: Value| ack["applied"]["recipes"].as_array().unwrap_or_else(|| panic!("{ack}")).clone();
    let version = |ack: Value| applied(ack)[0]["recipe"]["version"].clone();
    write(&folder, &lower);
    assert_eq!(version(reloaded(broker.port, &reader, "a-1")), 2);
    asked(broker.port, &reader, "threshold", "a-2", json!({ "defect_threshold": 0.75 }));
    write(&folder, &format!("# a word\n{lower}"));
    assert!(applied(reloaded(broker.port, &reader, "a-3")).is_empty());
    let event = reader.until(is_verdict).last().unwrap().json();
    assert_eq!((&event["recipe"]["version"], &event["defect_threshold"]), (&3.into(), &0.75.into()));
    write(&folder, &lower.replace("id = \"cap\"", "id = \"cap\"\nversion = 9"));
    assert_eq!(version(reloaded(broker.port, &reader, "a-4")), 9);
    write(&folder, &text.replace("id = \"cap\"", "id = \"cap\"\nversion = 9"));
    assert_eq!(version(reloaded(broker.port, &reader, "a-5")), 10);
    line.service.signal("TERM");
    assert!(line.service.end().success());
    let again = fs::read_to_string(folder.join("line.toml")).unwrap();
    let _line = Line::run_in(line.folder, &again, |_| {});
    let second = |message: &Message| is_verdict(message) && message.json()["recipe"]["version"] == 10;
    assert_eq!(reader.until(second).last().unwrap().json()["defect_threshold"], 0.5);
}

#[test]
fn another_broker_and_another_folder_come_with_a_signal_and_the_line_goes_on() {
    let (old, new) = (Mosquitto::start(Rules::default()), Mosquitto::start(Rules::default()));
    let (before, after) =
        (Subscriber::start(old.port, "vcp-line/#", &[]), Subscriber::start(new.port, "vcp-line/#", &[]));
    let bounds = "[outbox]\nmax_bytes = 4000000\n[archive]\nsample = 0.0\n";
    let text = settings(old.port, &format!("{bounds}{CAROUSEL}"));
    let mut line = Line::with_pictures(&text);
    line.service.logged("commands can come in");
    let mut messages = before.until(is_verdict);
    pictures(&line.folder.path().join("others"));
    let moved = settings(new.port, &format!("{bounds}{CAROUSEL}"))
        .replace("\"parts\"", "\"others\"")
        .replace("4000000", "8000000")
        .replace("sample = 0.0", "sample = 1.0");
    write(line.folder.path(), &moved);
    line.service.signal("HUP");
    line.service.logged("the camera's settings have changed: it is opened anew");
    // The old broker's readers learn that the line is gone from there.
    messages.extend(before.until(|message| is_state(message, "offline")));
    messages.extend(after.until(|message| is_state(message, "online")));
    messages.extend(after.until(is_verdict));
    line.service.signal("TERM");
    assert!(line.service.end().success());
    let total = line.at_the_end("events");
    assert_eq!(line.at_the_end("unsent"), 0);
    messages.extend(after.until(|message| is_verdict(message) && message.json()["seq"] == total));
    messages.sort_by_key(crate::support::events::number);
    assert_no_gap(&events(&messages));
}

#[test]
fn a_file_that_has_changed_is_read_again_where_the_settings_want_it() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let text = settings(broker.port, &format!("[commands]\nwatch = true\n{CAMERA}"));
    let mut line = Line::run(&text);
    line.service.logged("commands can come in");
    reader.until(is_verdict);
    let file = line.folder.path().join("line.toml");
    // Nobody has finished it yet.
    fs::write(&file, text.replace("defect_threshold = 0.5", "defect_threshold = 1.5")).unwrap();
    line.service.logged("recipe.defect_threshold");
    let lower = text.replace("defect_threshold = 0.5", "defect_threshold = 0.25");
    fs::write(&file, &lower[..lower.len() / 2]).unwrap();
    fs::write(&file, &lower).unwrap();
    let anew = |message: &Message| is_verdict(message) && message.json()["recipe"]["version"] == 2;
    assert_eq!(reader.until(anew).last().unwrap().json()["defect_threshold"], 0.25);
    line.service.signal("TERM");
    assert!(line.service.end().success());
    assert_eq!(line.service.stderr().matches("the settings file has changed").count(), 2, "{}", line.service.stderr());
}
