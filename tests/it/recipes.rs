//! Recipes that are prepared in files: changed over to in one acknowledged step between two parts, and carried to another line.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::commands::{ACK, publish};
use crate::support::events::is_verdict;
use crate::support::line::{Line, finished, program, settings};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber};

const CAMERA: &str = "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 4\n\
                      fps = 20.0\n";

fn asked(broker: u16, reader: &Subscriber, name: &str, id: &str, mut command: Value) -> Value {
    command["correlation_id"] = id.into();
    publish(broker, name, command.to_string().as_bytes(), &[]);
    let is_answer = |message: &Message| message.topic == ACK && message.json()["correlation_id"] == id;
    reader.until(is_answer).last().unwrap().json()
}

/// The first part that is judged by this recipe.
fn judged_by(reader: &Subscriber, id: &str, version: u32) -> Value {
    let recipe = json!({ "id": id, "version": version });
    reader.until(|message| is_verdict(message) && message.json()["recipe"] == recipe).last().unwrap().json()
}

fn prepared(folder: &Path, id: &str, text: &str) {
    fs::create_dir_all(folder.join("recipes")).unwrap();
    fs::write(folder.join("recipes").join(format!("{id}.toml")), text).unwrap();
}

#[test]
fn a_line_changes_over_to_what_was_prepared_and_whoever_spoke_last_is_heard() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let folder = tempfile::tempdir().unwrap();
    prepared(folder.path(), "lid", "defect_threshold = 0.25\nregions = [[[1, 1], [60, 1], [60, 60]]]\n");
    prepared(folder.path(), "ring", "version = 7\ndefect_threshold = 0.75\n");
    prepared(folder.path(), "wrong", "defect_threshold = 0.5\nmemory = \"none.memory\"\n");
    let mut line = Line::run_in(folder, &settings(broker.port, CAMERA), |_| {});
    line.service.logged("commands can come in");
    judged_by(&reader, "cap", 1);
    let change = |id: &str, to: &str| {
        let ack = asked(broker.port, &reader, "recipe", id, json!({ "id": to }));
        ack["applied"][0]["recipe"]["version"].as_u64().ok_or(ack)
    };
    assert_eq!(change("c-1", "lid"), Ok(1));
    assert_eq!(judged_by(&reader, "lid", 1)["defect_threshold"], 0.25);
    assert_eq!(change("c-2", "ring"), Ok(7));
    assert_eq!(judged_by(&reader, "ring", 7)["defect_threshold"], 0.75);
    // What was said of a product by command stays with it, until its file says something else.
    asked(broker.port, &reader, "threshold", "t-1", json!({ "defect_threshold": 0.5 }));
    judged_by(&reader, "ring", 8);
    assert_eq!(change("c-3", "lid"), Ok(1));
    assert_eq!(change("c-4", "ring"), Ok(8));
    assert_eq!(judged_by(&reader, "ring", 8)["defect_threshold"], 0.5);
    prepared(line.folder.path(), "ring", "version = 7\ndefect_threshold = 0.625\n");
    assert_eq!(change("c-5", "ring"), Ok(9));
    assert_eq!(judged_by(&reader, "ring", 9)["defect_threshold"], 0.625);
    for (id, to, reason) in [
        ("w-1", "none", "recipes/none.toml"),
        ("w-2", "wrong", "none.memory"),
        ("w-3", "../line", "is no name of a recipe"),
    ] {
        let refused = change(id, to).expect_err("refused");
        assert!(refused["error"].as_str().unwrap_or_default().contains(reason), "{refused}");
    }
    asked(broker.port, &reader, "rollback", "b-1", json!({}));
    assert_eq!(judged_by(&reader, "ring", 10)["defect_threshold"], 0.5);
    let file = line.folder.path().join("line.toml");
    let history = |more: &[&str]| {
        let mut program = program(&[&["recipe", "history", file.to_str().unwrap()], more].concat());
        program.env("STATE_DIRECTORY", line.folder.path().join("state")).env("TZ", "Asia/Tokyo");
        let output = program.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let found: Value = serde_json::from_str(&history(&["--json", "--camera", "top"])).unwrap();
    let entries = found.as_array().unwrap();
    let (now, first) = (&entries[0], entries.last().unwrap());
    assert_eq!((&now["in_use"], &now["recipe"]["info"]), (&true.into(), &json!({ "id": "ring", "version": 10 })));
    let since = &now["since"];
    assert_eq!((&since["by"], &since["via"], &since["command"]), (&"rollback".into(), &"mqtt".into(), &"b-1".into()));
    assert_eq!((&first["in_use"], &first["since"]), (&false.into(), &Value::Null), "that of the settings: {first}");
    let at: jiff::Timestamp = since["at"].as_str().unwrap().parse().unwrap();
    let local =
        at.to_zoned_datetime(jiff::tz::TimeZone::get("Asia/Tokyo").unwrap()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let text = history(&[]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("SINCE                CAMERA      RECIPE"), "{text}");
    assert!(lines[1].starts_with(&format!("{local}  top         ring ")), "{text}");
    assert!(lines[1].ends_with("10  now  rollback, MQTT, id b-1"), "{text}");
    assert!(text.contains("recipe file, MQTT, id c-1") && text.contains("command, MQTT, id t-1"), "{text}");
    assert!(lines.last().unwrap().ends_with("1  -    not noted"), "{text}");
    line.service.signal("TERM");
    assert!(line.service.end().success());
    let text = fs::read_to_string(line.folder.path().join("line.toml")).unwrap();
    let _again = Line::run_in(line.folder, &text, |_| {});
    judged_by(&reader, "ring", 10);
}

#[test]
fn a_recipe_is_listed_shown_compared_and_carried_to_another_line() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let said = |folder: &Path, arguments: &[&str]| {
        let file = folder.join("line.toml");
        if !file.exists() {
            fs::write(&file, settings(1, CAMERA)).unwrap();
        }
        let output = finished(&[&["recipe", arguments[0], file.to_str().unwrap()], &arguments[1..]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    };
    prepared(here.path(), "lid", "defect_threshold = 0.25\nregions = [[[1, 1], [60, 1], [60, 60]]]\n");
    let (fine, text) = said(here.path(), &["list"]);
    assert!(fine && text.contains("lid") && text.contains("cap"), "{text}");
    let (fine, text) = said(here.path(), &["show", "lid"]);
    assert!(fine && text.contains("defect_threshold = 0.25"), "{text}");
    let (fine, text) = said(here.path(), &["diff", "lid", "cap"]);
    assert!(fine && text.contains("defect_threshold") && text.contains("0.25") && text.contains("0.5"), "{text}");
    let file = here.path().join("lid.vcpz");
    let (fine, text) = said(here.path(), &["export", "lid", file.to_str().unwrap()]);
    assert!(fine, "{text}");
    let (fine, text) = said(there.path(), &["import", file.to_str().unwrap()]);
    assert!(fine && text.contains("lid"), "{text}");
    assert_eq!(said(there.path(), &["show", "lid"]), said(here.path(), &["show", "lid"]));
    let (fine, text) = said(there.path(), &["import", file.to_str().unwrap()]);
    assert!(!fine && text.contains("--replace"), "{text}");
    let (fine, text) = said(there.path(), &["import", file.to_str().unwrap(), "--replace"]);
    assert!(fine, "{text}");
    fs::write(&file, b"no zip").unwrap();
    let (fine, text) = said(there.path(), &["import", file.to_str().unwrap()]);
    assert!(!fine && text.contains("lid.vcpz"), "{text}");
}
