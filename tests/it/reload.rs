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

/// What a reload brings: never the recipe of the one before, and by turns another crop, another place for it to follow, another
/// queue, another trigger.
struct Asked {
    /// For the map and the score. Every value of the map is a defect, so that its box is what was looked at.
    threshold: f64,
    crop: Option<[u32; 4]>,
    locates: bool,
}

impl Asked {
    fn of(reload: u32) -> Self {
        const CROPS: [Option<[u32; 4]>; 4] =
            [None, Some([0, 0, 32, 64]), Some([32, 0, 32, 64]), Some([16, 32, 48, 32])];
        // Decimals that JSON shows as they are written.
        let threshold = format!("{}e-7", 1 + reload % 60).parse().unwrap();
        let locates = cfg!(feature = "opencv") && reload % 5 == 4;
        Self { threshold, crop: CROPS[reload as usize / 2 % 4], locates }
    }

    fn settings(&self, broker: u16, reload: u32) -> String {
        let Self { threshold, crop, locates } = self;
        let by_turns = |words: [&'static str; 2], each: u32| words[(reload / each % 2) as usize];
        let (queue, full) = (by_turns(["8", "64"], 3), by_turns(["drop-oldest", "reject"], 7));
        let mut camera = format!("{CAMERA}queue = {queue}\nwhen_full = \"{full}\"\n");
        camera += &format!("[camera.trigger]\nmode = \"{}\"\n", by_turns(["free", "hardware"], 4));
        if let Some(crop) = crop {
            camera += &format!("[camera.view]\ncrop = {crop:?}\n");
        }
        if *locates {
            camera += "[camera.locate]\npicture = \"taught.png\"\nrectangle = [8, 8, 48, 48]\nshift_px = 4\nmissing = \"fail\"\n";
        }
        let area = 20 + reload;
        let recipe = format!("defect_threshold = {threshold:e}\nmin_area_px = {area}\nthreshold = {threshold:e}");
        settings(broker, &camera).replace("defect_threshold = 0.5", &recipe)
    }

    /// Whether the event is of this alone.
    fn has_judged(&self, event: &Value) -> bool {
        let is_whole = |found: &Value| *found == json!(self.crop.unwrap_or([0, 0, 64, 64]));
        let boxes = || event["defects"].as_array().is_some_and(|all| all.iter().all(|defect| is_whole(&defect["box"])));
        // What follows a part has its box elsewhere; a part without a verdict has none.
        event["threshold"] == self.threshold
            && event["defect_threshold"] == self.threshold
            && (event["reason"] != "part_not_found" || self.locates)
            && (!event["reason"].is_null() || event["location"].is_null() != self.locates)
            && (self.locates || !event["reason"].is_null() || boxes())
    }
}

#[test]
fn reloads_under_load_lose_nothing_and_no_part_is_judged_by_half_a_recipe() {
    let broker = Mosquitto::start(Rules::default());
    let verdicts = Subscriber::start(broker.port, "vcp-line/caps/top/verdict", &[]);
    let reader = Subscriber::start(broker.port, ACK, &[]);
    let folder = tempfile::tempdir().unwrap();
    let taught =
        image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x * x + y, y * y, x * y].map(|value| value as u8)));
    taught.save(folder.path().join("taught.png")).unwrap();
    let first = Asked::of(0);
    let mut line = Line::run_in(folder, &first.settings(broker.port, 0), |_| {});
    line.service.logged("commands can come in");
    verdicts.until(is_verdict);
    let reloads = soak().map_or(60, |_| 1000);
    let (mut known, mut turned) = (BTreeMap::from([(1, first)]), BTreeMap::<String, u32>::new());
    for reload in 1..=reloads {
        let asked = Asked::of(reload);
        write(line.folder.path(), &asked.settings(broker.port, reload));
        let ack = reloaded(broker.port, &reader, &format!("r-{reload}"));
        assert_eq!(ack["ok"], true, "{ack}");
        let applied = &ack["applied"];
        assert_eq!((&applied["cameras"], &applied["waiting"]), (&json!([]), &Value::Null), "{ack}");
        let recipe = &applied["recipes"][0];
        assert_eq!((&recipe["camera"], &recipe["recipe"]["id"]), (&"top".into(), &"cap".into()), "{ack}");
        known.insert(recipe["recipe"]["version"].as_u64().unwrap(), asked);
        for key in applied["changed"].as_array().unwrap() {
            *turned.entry(key.as_str().unwrap().to_owned()).or_default() += 1;
        }
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
    let version = |event: &Value| event["recipe"]["version"].as_u64().unwrap();
    let half: Vec<&Value> = events.iter().filter(|event| !known[&version(event)].has_judged(event)).collect();
    let mut undecided = BTreeMap::<&str, usize>::new();
    for reason in events.iter().filter_map(|event| event["reason"].as_str()) {
        *undecided.entry(reason).or_default() += 1;
    }
    println!(
        "{reloads} reloads, {} parts, 0 lost, {} by half a recipe, without a verdict {undecided:?}; {turned:?}",
        events.len(),
        half.len()
    );
    assert!(half.is_empty(), "{}: {}", half.len(), half[0]);
    let undecided: usize = undecided.values().sum();
    assert!(undecided <= events.len() / 2, "{undecided} of {}", events.len());
    let of = |key: &str| turned.iter().find(|(name, _)| name.ends_with(key)).map_or(0, |(_, count)| *count);
    for key in ["view.crop", "queue", "when_full", "trigger.mode"] {
        assert!(of(key) >= reloads / 10, "{key}: {turned:?}");
    }
    let versions: std::collections::BTreeSet<u64> = events.iter().map(version).collect();
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
