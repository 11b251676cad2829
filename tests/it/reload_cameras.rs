//! A camera whose view, trigger or queue changes while parts come: it alone goes on in another way, and no part knows half of two.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::reload::{asked, reloaded, write};
use crate::support::commands::ACK;
use crate::support::conveyor::soak;
use crate::support::events::assert_no_gap;
use crate::support::line::{Line, settings};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber};

/// Twenty frames a second from each of two cameras; keys for the first go behind its own.
fn cameras(top: &str) -> String {
    let camera = |name: &str, more: &str| {
        format!(
            "[[camera]]\nname = \"{name}\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 4\n\
             fps = 20.0\n{more}"
        )
    };
    camera("side", "") + &camera("top", top)
}

fn is_part(message: &Message) -> bool {
    message.topic.ends_with("/verdict")
}

/// That there is no verdict because the engine, which others keep waiting on a busy machine, has not looked in time.
fn is_overrun(event: &Value) -> bool {
    event["reason"] == "overrun"
}

/// What the line of both cameras has said when it has ended: the events of the side and of the top, none of them lost.
fn ended(mut line: Line, parts: &Subscriber) -> [Vec<Value>; 2] {
    line.service.signal("TERM");
    assert!(line.service.end().success(), "{}", line.service.stderr());
    let (total, mut taken) = (line.at_the_end("events") as usize, Vec::new());
    while taken.len() < total {
        taken.extend(parts.until(is_part).iter().filter(|message| is_part(message)).map(Message::json));
    }
    ["side", "top"].map(|camera| {
        let of_camera: Vec<Value> = taken.iter().filter(|event| event["camera"] == camera).cloned().collect();
        assert_no_gap(&of_camera);
        of_camera
    })
}

#[test]
fn a_view_changes_between_two_parts_and_no_part_is_lost_or_sees_half_of_two() {
    let broker = Mosquitto::start(Rules::default());
    let parts = Subscriber::start(broker.port, "vcp-line/caps/+/verdict", &[]);
    let reader = Subscriber::start(broker.port, ACK, &[]);
    // Every value of the map is a defect, so that its box is what was looked at; thresholds tell which settings judged.
    let views = [([0, 0, 32, 64], 1e-6), ([32, 0, 32, 64], 2e-6), ([16, 32, 48, 32], 3e-6)];
    let text = |at: usize| {
        let (crop, threshold) = views[at];
        let recipe = format!("[camera.recipe]\ndefect_threshold = {threshold:?}\nmin_area_px = 1\n");
        settings(broker.port, &cameras(&format!("{recipe}[camera.view]\ncrop = {crop:?}\n")))
    };
    let line = Line::run(&text(0));
    line.service.logged("2 cameras, engine");
    let reloads = soak().map_or(30, |_| 600);
    for reload in 1..=reloads {
        write(line.folder.path(), &text(reload % 3));
        let ack = reloaded(broker.port, &reader, &format!("v-{reload}"));
        assert!(ack["applied"]["changed"].to_string().contains("camera 'top'.view.crop"), "{ack}");
        assert_eq!(ack["applied"]["cameras"], json!([]), "no camera was closed: {ack}");
    }
    let [side, top] = ended(line, &parts);
    let mut seen = BTreeMap::new();
    for event in top.iter().filter(|event| !is_overrun(event)) {
        let threshold = event["defect_threshold"].as_f64().unwrap();
        let is = |(_, known): &&([u32; 4], f64)| (known - threshold).abs() < 1e-9;
        let (crop, _) = views.iter().find(is).unwrap_or_else(|| panic!("{event}"));
        let defects = event["defects"].as_array().unwrap();
        assert!(!defects.is_empty() && defects.iter().all(|defect| defect["box"] == json!(crop)), "{event}");
        *seen.entry(*crop).or_insert(0) += 1;
    }
    let (overrun, parts) =
        ([&side, &top].map(|of| of.iter().filter(|event| is_overrun(event)).count()), [side.len(), top.len()]);
    println!("{reloads} reloads, {parts:?} parts, 0 lost, 0 saw half of two views, {overrun:?} overrun");
    assert!(seen.len() == 3 && seen.values().all(|count| *count >= 3), "{seen:?}");
    assert!(side.iter().all(|event| event["defect_threshold"] == 0.5));
    let frames = side.iter().map(|event| event["frame"]["skipped_before"].as_u64().unwrap()).sum::<u64>();
    assert!(frames <= side.len() as u64 / 2, "the other camera went on: {frames} of {} skipped", side.len());
}

#[test]
fn a_trigger_and_a_queue_change_when_what_the_camera_has_in_hand_is_answered() {
    let broker = Mosquitto::start(Rules::default());
    let parts = Subscriber::start(broker.port, "vcp-line/caps/+/verdict", &[]);
    let reader = Subscriber::start(broker.port, ACK, &[]);
    let text = |top: &str| settings(broker.port, &cameras(top));
    let trigger = |mode: &str| format!("queue = 8\n[camera.trigger]\nmode = \"{mode}\"\n");
    let line = Line::run(&text(&trigger("free")));
    line.service.logged("2 cameras, engine");
    let part =
        |id: &str, name: &str| asked(broker.port, &reader, "trigger", id, json!({ "camera": "top", "part_id": name }));
    let refused = part("t-0", "early");
    assert!(refused["error"].as_str().unwrap_or_default().contains("takes no triggers by command"), "{refused}");
    let rounds = soak().map_or(4, |_| 60);
    for round in 0..rounds {
        write(line.folder.path(), &text(&trigger("software")));
        let ack = reloaded(broker.port, &reader, &format!("s-{round}"));
        assert!(ack["applied"]["changed"].to_string().contains("camera 'top'.trigger.mode"), "{ack}");
        for number in 0..3 {
            // It is in use as soon as it is acknowledged.
            let ack = part(&format!("p-{round}-{number}"), &format!("part-{round}-{number}"));
            assert_eq!(ack["ok"], true, "{ack}");
        }
        for mode in ["hardware", "free"] {
            write(line.folder.path(), &text(&trigger(mode)));
            let ack = reloaded(broker.port, &reader, &format!("{mode}-{round}"));
            assert_eq!(ack["ok"], true, "{ack}");
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        assert_eq!(part(&format!("n-{round}"), "none")["ok"], false, "it runs free");
    }
    let [side, top] = ended(line, &parts);
    let (late, undecided): (Vec<_>, Vec<_>) =
        side.iter().filter(|event| !event["reason"].is_null()).partition(|event| is_overrun(event));
    assert!(undecided.is_empty(), "the other camera went on: {undecided:?}");
    assert!(late.len() <= side.len() / 2, "the other camera went on: {} of {} are late", late.len(), side.len());
    let mut ids = BTreeSet::new();
    for event in &top {
        let id =
            event["part"]["id"].as_str().unwrap_or_else(|| panic!("every frame of this source is a part: {event}"));
        assert!(ids.insert(id.to_owned()), "two events of one part: {event}");
    }
    let named = |round: usize| (0..3).map(move |number| format!("part-{round}-{number}"));
    assert!((0..rounds).flat_map(named).all(|named| ids.contains(&named)), "{ids:?}");
    assert!(ids.len() >= 8 * rounds, "every frame is one where nobody names it: {}", ids.len());
    let without = |event: &&Value| event["verdict"] == "no_verdict" && !is_overrun(event);
    let lost: Vec<&Value> = top.iter().filter(without).collect();
    assert!(lost.iter().all(|event| event["reason"] == "camera_lost"), "{lost:?}");
    let (overrun, parts) = (late.len() + top.iter().filter(|event| is_overrun(event)).count(), [side.len(), top.len()]);
    println!("{} reloads, {parts:?} parts, 0 lost, {} camera_lost, {overrun} overrun", 3 * rounds, lost.len());
}
