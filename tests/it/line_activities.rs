//! What takes many parts of the real, running line: calibrations begun, watched, ended and rolled back over MQTT and HTTP.

use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::support::commands::{ACK, http, publish};
use crate::support::events::{STATE, is_state, is_verdict};
use crate::support::line::{Line, PATIENCE, settings, write_token};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber, free_port};
use crate::support::schema;
use serde_json::{Value, json};

const TOKEN: &str = "correct-horse-battery";

/// Two conveyors of pictures that all differ; nothing triggers them.
fn cameras(pool: u32) -> String {
    let camera = |name: &str, seed: u32| {
        format!(
            "[[camera]]\nname = \"{name}\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = {pool}\n\
             seed = {seed}\nfps = 15.0\n"
        )
    };
    camera("top", 1) + &camera("side", 2)
}

/// A number of the event, which tells it as briefly as single precision allows, as the acknowledgement tells it.
fn single(number: &Value) -> f32 {
    number.as_f64().unwrap() as f32
}

/// A line of two cameras whose broker and API are there.
pub struct Plant {
    pub broker: Mosquitto,
    pub reader: Subscriber,
    api: u16,
    pub line: Line,
}

impl Plant {
    pub fn start(pool: u32) -> Self {
        let broker = Mosquitto::start(Rules::default());
        let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
        let api = free_port();
        let line = Self::line(tempfile::tempdir().unwrap(), &broker, api, pool);
        Self { broker, reader, api, line }
    }

    fn line(folder: tempfile::TempDir, broker: &Mosquitto, api: u16, pool: u32) -> Line {
        write_token(folder.path(), TOKEN);
        let extra = format!("[http]\nlisten = \"127.0.0.1:{api}\"\ntoken_file = \"token\"\n{}", cameras(pool));
        let line = Line::run_in(folder, &settings(broker.port, &extra), |_| {});
        line.service.logged("commands can come in");
        line.service.logged("2 cameras, engine reference");
        line
    }

    /// Stopped in order, and started again in the same place.
    pub fn again(self, pool: u32) -> Self {
        self.changed(pool, |_| {})
    }

    /// Like [`Plant::again`]; something is done to its state folder between.
    pub fn changed(mut self, pool: u32, change: impl FnOnce(&Path)) -> Self {
        self.line.service.signal("TERM");
        assert_eq!(self.line.service.end().code(), Some(0), "{}", self.line.service.stderr());
        let Self { broker, reader, api, line: Line { folder, .. } } = self;
        change(&folder.path().join("state"));
        let line = Self::line(folder, &broker, api, pool);
        Self { broker, reader, api, line }
    }

    fn send(&self, name: &str, id: &str, mut command: Value) {
        command["correlation_id"] = id.into();
        publish(self.broker.port, name, command.to_string().as_bytes(), &[]);
    }

    /// The next acknowledgement with this id.
    pub fn ack(&self, id: &str) -> Value {
        let is_answer = |message: &Message| message.topic == ACK && message.json()["correlation_id"] == id;
        let answer = self.reader.until(is_answer).last().unwrap().json();
        schema::assert_valid(&schema::ack(), &answer);
        answer
    }

    pub fn asked(&self, name: &str, id: &str, command: Value) -> Value {
        self.send(name, id, command);
        self.ack(id)
    }

    pub fn refused(&self, name: &str, id: &str, command: Value) -> String {
        let ack = self.asked(name, id, command);
        assert_eq!(ack["ok"], false, "{ack}");
        ack["error"].as_str().unwrap().to_owned()
    }

    /// A state with activities that `wanted` likes.
    fn state(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let fits = |message: &Message| message.topic == STATE && wanted(&message.json()["activities"]);
        let state = self.reader.until(fits).last().unwrap().json();
        schema::assert_valid(&schema::state(), &state);
        state
    }

    /// The recipe by which frames of `camera` are judged that are captured from now on.
    fn recipe(&self, camera: &str) -> Value {
        let now = jiff::Timestamp::now();
        let topic = format!("vcp-line/caps/{camera}/verdict");
        let messages = self.reader.until(|message| {
            message.topic == topic
                && message.json()["time"]["captured"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() > now
        });
        let event = messages.last().unwrap().json();
        json!([event["recipe"]["id"], event["recipe"]["version"], single(&event["defect_threshold"])])
    }

    /// The memory by which frames of `top` are judged that are captured from now on; null without one.
    pub fn memory(&self) -> Value {
        self.recipe("top");
        // Frames that a busy machine has dropped were helped by nothing.
        let judged = |message: &Message| is_verdict(message) && message.json()["reason"].is_null();
        let event = self.reader.until(judged).last().unwrap().json();
        schema::assert_valid(&schema::verdict(), &event);
        event["model"]["memory"].clone()
    }

    pub fn memories(&self) -> Vec<String> {
        let folder = fs::read_dir(self.line.folder.path().join("state/memories"));
        let mut names: Vec<String> = folder
            .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        names.sort();
        names
    }

    /// `top` as the API shows it.
    fn camera(&self) -> Value {
        let (status, state) = http(self.api, "GET", "/api/state", None, "");
        assert_eq!(status, 200, "{state}");
        state["cameras"][0].clone()
    }
}

/// Eight parts promise at most 20 % at 80 %.
pub fn eight(more: Value) -> Value {
    let mut command = json!({ "camera": "top", "parts": 8, "false_rejects": 0.2, "confidence": 0.8 });
    for (key, value) in more.as_object().unwrap() {
        command[key] = value.clone();
    }
    command
}

#[test]
fn a_calibration_answers_twice_is_applied_when_asked_to_and_rolled_back() {
    let plant = Plant::start(100);
    assert_eq!(plant.recipe("top"), json!(["cap", 1, 0.5]));

    let ack = plant.asked("calibrate", "c-1", eight(json!({})));
    assert_eq!(ack["pending"], true, "{ack}");
    assert_eq!(ack["applied"], json!({ "camera": "top", "activity": "calibrate", "wanted": 8 }));
    let state = plant.state(|activities| activities[0]["kind"] == "calibrate");
    assert_eq!((&state["activities"][0]["camera"], &state["activities"][0]["wanted"]), (&"top".into(), &8.into()));
    let ack = plant.ack("c-1");
    assert_eq!((&ack["ok"], &ack["pending"]), (&true.into(), &Value::Null), "{ack}");
    let found = &ack["applied"];
    assert_eq!((&found["parts"], &found["promise"]["parts"]), (&8.into(), &8.into()), "{ack}");
    assert!(found["promise"]["bound"].as_f64().unwrap() <= 0.2, "{ack}");
    let threshold = found["after"]["defect_threshold"].clone();
    assert!(threshold.as_f64().unwrap() > 0.0 && threshold != 0.5, "{ack}");
    let record: Value = serde_json::from_slice(&fs::read(found["files"][0].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!((&record["by"], record["good"].as_array().unwrap().len()), (&"command".into(), 8));
    assert!(fs::read_to_string(found["files"][1].as_str().unwrap()).unwrap().ends_with("</svg>\n"));
    plant.state(Value::is_null);
    let again = plant.asked("calibrate", "c-1", eight(json!({})));
    assert_eq!(
        (&again["repeated"], &again["applied"]),
        (&true.into(), found),
        "delivered twice, it is answered by its end"
    );
    assert_eq!(plant.recipe("top"), json!(["cap", 1, 0.5]), "nobody has asked for it to be applied");
    let camera = plant.camera();
    assert_eq!((&camera["activity"], &camera["last_activity"]["ok"]), (&Value::Null, &true.into()), "{camera}");
    assert_eq!(camera["last_activity"]["applied"]["after"], found["after"]);

    // Over HTTP the first answer says that it has begun; the end is in the state.
    let body = eight(json!({ "apply": true })).to_string();
    let (status, ack) = http(plant.api, "POST", "/api/calibrate", Some(TOKEN), &body);
    assert_eq!((status, &ack["pending"]), (200, &true.into()), "{ack}");
    let start = Instant::now();
    let ended = loop {
        let camera = plant.camera();
        if camera["activity"].is_null() && !camera["last_activity"]["applied"]["recipe"].is_null() {
            break camera["last_activity"].clone();
        }
        assert!(start.elapsed() < PATIENCE, "{camera}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!(ended["applied"]["recipe"], json!({ "id": "cap", "version": 2 }));
    let applied = single(&ended["applied"]["after"]["defect_threshold"]);
    assert_eq!(plant.recipe("top"), json!(["cap", 2, applied]));
    assert_eq!(plant.recipe("side"), json!(["cap", 1, 0.5]), "the other camera keeps its recipe");
    assert_eq!(
        plant.asked("threshold", "t-1", json!({ "camera": "top", "defect_threshold": 0.75 }))["applied"][0]["recipe"],
        json!({ "id": "cap", "version": 3 })
    );

    // Back twice, with a start between: a version is never used for two recipes.
    let ack = plant.asked("rollback", "b-1", json!({ "camera": "top" }));
    let back =
        |version: u32| json!([{ "camera": "top", "recipe": { "id": "cap", "version": version }, "memory": null }]);
    assert_eq!(ack["applied"], back(4), "{ack}");
    assert_eq!(plant.recipe("top"), json!(["cap", 4, applied]));
    let mut plant = plant.again(100);
    assert_eq!(plant.recipe("top"), json!(["cap", 4, applied]));
    let ack = plant.asked("rollback", "b-2", json!({ "camera": "top" }));
    assert_eq!(ack["applied"], back(5), "{ack}");
    assert_eq!(plant.recipe("top"), json!(["cap", 5, 0.5]));
    let error = plant.refused("rollback", "b-3", json!({ "camera": "top" }));
    assert!(error.starts_with("camera 'top': recipe 'cap' version 5 is in use, and none was before it"), "{error}");
    plant.line.service.signal("TERM");
    assert_eq!(plant.line.service.end().code(), Some(0), "{}", plant.line.service.stderr());
}

#[test]
fn one_at_a_time_ended_by_a_command_by_another_recipe_and_by_the_end_of_the_service() {
    let mut plant = Plant::start(100);
    plant.recipe("top");
    for (id, command, reason) in [
        ("n-1", json!({ "parts": 59 }), "name the camera; this line has: top, side"),
        (
            "n-2",
            json!({ "camera": "top", "parts": 58 }),
            "58 good parts cannot promise at most 5 % false rejects with 95 %",
        ),
        ("n-3", json!({ "camera": "top", "false_rejects": 0.6 }), "false-reject rate 0.6 is out of range"),
        ("n-4", json!({ "camera": "top", "stop": true }), "camera 'top': no 'calibrate' is under way"),
    ] {
        let error = plant.refused("calibrate", id, command);
        assert!(error.starts_with(reason), "{error}");
    }
    let error = plant.refused("learn", "l-1", json!({ "camera": "top", "parts": 0 }));
    assert!(error.starts_with("learn: parts 0 is out of range"), "{error}");
    assert_eq!(plant.camera()["activity"], Value::Null);

    // One of each camera; the same command delivered twice begins nothing new.
    let long = |camera: &str| json!({ "camera": camera, "false_rejects": 0.01 });
    let begun = plant.asked("calibrate", "c-1", long("top"));
    assert_eq!((&begun["pending"], &begun["applied"]["wanted"]), (&true.into(), &299.into()), "{begun}");
    let mut repeated = begun.clone();
    repeated["repeated"] = true.into();
    assert_eq!(plant.asked("calibrate", "c-1", long("top")), repeated);
    let error = plant.refused("calibrate", "c-2", eight(json!({})));
    assert!(error.starts_with("camera 'top' is busy with 'calibrate' ("), "{error}");
    assert_eq!(plant.asked("calibrate", "c-3", long("side"))["pending"], true);
    let state = plant.state(|activities| activities.as_array().is_some_and(|all| all.len() == 2));
    assert_eq!(state["activities"][0]["camera"], "side", "in the order of their names");

    // A paused camera waits and says so.
    plant.asked("pause", "p-1", json!({ "camera": "top" }));
    let state = plant.state(|activities| !activities[1]["waits"].is_null());
    assert_eq!(state["activities"][1]["waits"], "the camera is paused; resume it");
    plant.asked("resume", "p-2", json!({ "camera": "top" }));
    plant.state(|activities| activities[1]["parts"].as_u64() > Some(3) && activities[1]["waits"].is_null());

    // Ended by a command: both hear it.
    plant.send("calibrate", "s-1", json!({ "camera": "top", "stop": true }));
    let ended = plant.ack("c-1");
    let error = ended["error"].as_str().unwrap();
    assert!(error.starts_with("ended by command after ") && error.ends_with("; nothing was changed"), "{error}");
    let stopped = plant.ack("s-1");
    assert_eq!((&stopped["applied"]["stopped"], &stopped["applied"]["wanted"]), (&"calibrate".into(), &299.into()));

    // By another recipe.
    assert_eq!(plant.asked("calibrate", "c-4", long("top"))["pending"], true);
    plant.send("threshold", "t-1", json!({ "camera": "top", "defect_threshold": 0.6 }));
    let error = plant.ack("c-4")["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("the recipe has changed meanwhile, to version 2 of 'cap'"), "{error}");

    // By the end of the service, which says so before it goes.
    plant.line.service.signal("TERM");
    let error = plant.ack("c-3")["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("the service is stopping after "), "{error}");
    plant.reader.until(|message| is_state(message, "offline"));
    assert_eq!(plant.line.service.end().code(), Some(0), "{}", plant.line.service.stderr());
    assert!(!plant.line.folder.path().join("state/calibrations").exists(), "none has come to its end");
}

#[test]
fn a_memory_is_learnt_of_the_next_parts_used_at_once_kept_and_rolled_back() {
    let plant = Plant::start(100);
    assert_eq!((plant.memory(), plant.memories().len()), (Value::Null, 0));
    let learn = |id: &str, parts: u32| {
        let ack = plant.asked("learn", id, json!({ "camera": "top", "parts": parts }));
        assert_eq!((&ack["pending"], &ack["applied"]["activity"]), (&true.into(), &"learn".into()), "{ack}");
    };
    learn("l-1", 3);
    let first = plant.ack("l-1")["applied"].clone();
    assert_eq!((&first["parts"], &first["memory"]["parts"]), (&3.into(), &3.into()), "{first}");
    assert_eq!(plant.memory(), first["memory"]);
    let memory = vcp_line::memory::Memory::read(first["file"].as_str().unwrap().as_ref()).unwrap();
    assert_eq!((memory.about().id.as_str().into(), memory.about().parts), (first["memory"]["id"].clone(), 3));

    // It goes with its product.
    let lid = json!({ "camera": "top", "id": "lid", "defect_threshold": 0.5 });
    assert_eq!(plant.asked("recipe", "r-1", lid)["ok"], true);
    assert_eq!(plant.memory(), Value::Null);
    let ack = plant.asked("rollback", "b-0", json!({ "camera": "top" }));
    assert_eq!(ack["applied"][0]["recipe"], json!({ "id": "cap", "version": 2 }), "{ack}");
    assert_eq!(plant.memory(), first["memory"]);

    // Stopped, it leaves nothing; a calibration is of what the memory says, and ends when that changes.
    learn("l-2", 90);
    let error = plant.refused("calibrate", "c-1", eight(json!({})));
    assert!(error.starts_with("camera 'top' is busy with 'learn' ("), "{error}");
    plant.send("learn", "s-1", json!({ "camera": "top", "stop": true }));
    assert!(plant.ack("l-2")["error"].as_str().unwrap().starts_with("ended by command after "));
    assert_eq!((plant.memory(), plant.memories().len()), (first["memory"].clone(), 1));
    learn("l-3", 2);
    let second = plant.ack("l-3")["applied"].clone();
    assert_eq!(plant.memory(), second["memory"]);
    assert_ne!(second["memory"]["id"], first["memory"]["id"]);
    let calibrate = json!({ "camera": "top", "false_rejects": 0.02 });
    assert_eq!(plant.asked("calibrate", "c-2", calibrate)["pending"], true);
    plant.send("rollback", "b-1", json!({ "camera": "top" }));
    let acks = [plant.reader.until(|message| message.topic == ACK), plant.reader.until(|message| message.topic == ACK)];
    let acks: Vec<Value> = acks.iter().map(|messages| messages.last().unwrap().json()).collect();
    let of = |id: &str| acks.iter().find(|ack| ack["correlation_id"] == id).unwrap_or_else(|| panic!("{acks:?}"));
    assert_eq!(of("b-1")["applied"][0]["memory"], first["memory"]);
    assert_eq!(of("b-1")["applied"][0]["recipe"], json!({ "id": "cap", "version": 2 }), "only the memory was another");
    assert!(of("c-2")["error"].as_str().unwrap().starts_with("the memory has changed meanwhile"), "{acks:?}");

    // The next start goes on with it, and back to none.
    let mut plant = plant.again(100);
    assert_eq!(plant.memory(), first["memory"]);
    let ack = plant.asked("rollback", "b-2", json!({ "camera": "top" }));
    assert_eq!((&ack["ok"], &ack["applied"][0]["memory"]), (&true.into(), &Value::Null), "{ack}");
    assert_eq!(plant.memory(), Value::Null, "before the first was learnt");
    plant.line.service.signal("TERM");
    assert_eq!(plant.line.service.end().code(), Some(0), "{}", plant.line.service.stderr());
    assert!(plant.memories().iter().all(|name| name.starts_with("top-") && name.ends_with(".memory")));
}

#[test]
fn pictures_that_come_again_do_not_count() {
    let plant = Plant::start(6);
    plant.reader.until(is_verdict);
    assert_eq!(plant.asked("calibrate", "c-1", eight(json!({})))["pending"], true);
    let error = plant.ack("c-1")["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("100 pictures in a row were the very ones that had come before"), "{error}");
    assert_eq!(plant.camera()["last_activity"]["parts"], 6);
}
