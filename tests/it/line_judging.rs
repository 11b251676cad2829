//! What judges on the real, running line: thresholds that were found with something else are alarmed, and a memory that cannot be
//! used has ways out.

use std::fs;

use serde_json::{Value, json};

use crate::line_activities::{Plant, eight};
use crate::support::events::{ALARM, is_verdict};
use crate::support::mosquitto::{Message, Subscriber};

/// The alarms of the camera as they come.
struct Alarms(Subscriber);

impl Alarms {
    fn of(plant: &Plant) -> Self {
        Self(Subscriber::start(plant.broker.port, ALARM, &[]))
    }

    /// The message of the alarm of this kind, once it stands; a busy machine has others.
    fn stands(&self, kind: &str) -> String {
        let of = |message: &Message| (!message.payload.is_empty()).then(|| alarm(&message.json(), kind)).flatten();
        of(self.0.until(|message| of(message).is_some()).last().unwrap()).unwrap()
    }

    fn is_over(&self, kind: &str) {
        self.0.until(|message| message.payload.is_empty() || alarm(&message.json(), kind).is_none());
    }
}

fn alarm(message: &Value, kind: &str) -> Option<String> {
    let all = message["alarms"].as_array().unwrap();
    let found = all.iter().find(|alarm| alarm["kind"] == kind);
    found.map(|alarm| alarm["message"].as_str().unwrap().to_owned())
}

fn learn(plant: &Plant, id: &str) -> Value {
    assert_eq!(plant.asked("learn", id, json!({ "camera": "top", "parts": 3 }))["pending"], true);
    let ack = plant.ack(id);
    assert_eq!(ack["ok"], true, "{ack}");
    ack["applied"].clone()
}

fn calibrate(plant: &Plant, id: &str) -> Value {
    assert_eq!(plant.asked("calibrate", id, eight(json!({ "apply": true })))["pending"], true);
    let ack = plant.ack(id);
    assert_eq!(ack["ok"], true, "{ack}");
    ack["applied"].clone()
}

#[test]
fn thresholds_found_with_something_else_are_alarmed_until_calibrated_or_set_by_hand() {
    let plant = Plant::start(100);
    let alarms = Alarms::of(&plant);
    learn(&plant, "l-1");
    let told = alarms.stands("thresholds");
    assert!(told.starts_with("the thresholds of recipe 'cap' version 1 were found with "), "{told}");
    assert!(told.contains("no memory, and parts are judged with "), "{told}");
    let found = calibrate(&plant, "c-1");
    alarms.is_over("thresholds");
    let file = found["files"][0].as_str().unwrap();
    assert!(file.ends_with("state/calibrations/top/cap/v2.json"), "{file}");
    let record: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(record["model"]["memory"]["parts"], 3, "{record}");

    // Another memory, taken back, and another precision at the next start.
    learn(&plant, "l-2");
    alarms.stands("thresholds");
    assert_eq!(plant.asked("rollback", "b-1", json!({ "camera": "top" }))["ok"], true);
    alarms.is_over("thresholds");
    let mut plant = plant.changed(100, |state| {
        let file = state.join("recipes.json");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, text.replace("\"fp32\"", "\"bf16\"")).unwrap();
    });
    let told = alarms.stands("thresholds");
    assert!(told.contains("reference bf16, memory ") && told.contains("reference fp32, memory "), "{told}");
    let by_hand = json!({ "camera": "top", "defect_threshold": 0.6 });
    assert_eq!(plant.asked("threshold", "t-1", by_hand)["ok"], true);
    alarms.is_over("thresholds");

    // What is not applied lies where nothing reads it.
    assert_eq!(plant.asked("calibrate", "c-2", eight(json!({})))["pending"], true);
    let found = plant.ack("c-2")["applied"].clone();
    assert!(found["files"][0].as_str().unwrap().ends_with("top/cap/v4-proposed.json"), "{found}");
    plant.line.service.signal("TERM");
    assert_eq!(plant.line.service.end().code(), Some(0), "{}", plant.line.service.stderr());
}

#[test]
fn a_lost_memory_is_learnt_anew_or_left_behind() {
    let plant = Plant::start(100);
    let alarms = Alarms::of(&plant);
    let first = learn(&plant, "l-1");
    calibrate(&plant, "c-1");
    let plant = plant.changed(100, |_| fs::write(first["file"].as_str().unwrap(), "no memory").unwrap());
    let told = alarms.stands("recipes");
    assert!(told.starts_with("camera 'top' gets no verdicts without its memory: "), "{told}");
    let unjudged = |topic: &str| topic.ends_with("/top/verdict");
    let last = plant.reader.until(|message| unjudged(&message.topic) && message.json()["reason"] == "engine_error");
    assert_eq!(last.last().unwrap().json()["verdict"], "no_verdict");
    let error = plant.refused("calibrate", "c-2", eight(json!({})));
    assert!(error.starts_with("camera 'top': ") && error.contains("is no memory, or damaged"), "{error}");

    // The next parts have no verdict, and make a new one all the same.
    let second = learn(&plant, "l-2");
    assert_eq!(plant.memory(), second["memory"]);
    let told = alarms.stands("thresholds");
    assert!(told.contains(second["memory"]["id"].as_str().unwrap()), "{told}");

    // What cannot be used any more is left out on the way back.
    let ack = plant.asked("rollback", "b-1", json!({ "camera": "top" }));
    assert_eq!((&ack["ok"], &ack["applied"][0]["memory"]), (&true.into(), &Value::Null), "{ack}");
    let left_out = ack["applied"][0]["left_out"].as_array().unwrap();
    assert!(left_out.len() == 2 && left_out[0].as_str().unwrap().contains("is no memory, or damaged"), "{ack}");
    alarms.is_over("thresholds");
    assert_eq!(plant.memory(), Value::Null);

    // A product whose memory is gone is refused, and taken without it when that is what is asked for.
    let lid = |id: &str, more: Value| {
        let mut command = json!({ "camera": "top", "id": id, "defect_threshold": 0.5 });
        more.as_object().unwrap().iter().for_each(|(key, value)| command[key] = value.clone());
        command
    };
    let third = learn(&plant, "l-3");
    assert_eq!(plant.asked("recipe", "r-1", lid("lid", json!({})))["ok"], true);
    fs::write(third["file"].as_str().unwrap(), "no memory").unwrap();
    let error = plant.refused("recipe", "r-2", lid("cap", json!({})));
    assert!(error.contains("is no memory, or damaged") && error.ends_with("recipe and memory in use stay"), "{error}");
    let ack = plant.asked("recipe", "r-3", lid("cap", json!({ "memory": false })));
    assert_eq!(ack["ok"], true, "{ack}");
    plant.reader.until(|message| {
        is_verdict(message) && message.json()["recipe"]["id"] == "cap" && message.json()["verdict"] != "no_verdict"
    });
}
