//! Golden parts of a running line: judged as its frames are, unasked and on request, with an alarm while one is judged wrong.

use std::fs;
use std::path::Path;

use crate::support::commands::{ACK, http, publish};
use crate::support::line::{Line, PATIENCE, settings, write_token};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber, free_port};
use serde_json::{Value, json};
use vcp_line::synth::{Class, Request, render};

const TOKEN: &str = "correct-horse-battery";

/// Pictures as the camera takes them, where an export would have put them.
fn golden(folder: &Path, good: u64, bad: u64) {
    for (name, seeds) in [("good", 0..good), ("bad", 100..100 + bad)] {
        let place = folder.join("golden/top/test").join(name);
        fs::create_dir_all(&place).unwrap();
        for seed in seeds {
            let sample = render(&Request { class: Class::Pill, size: 64, defect: None, seed });
            image::RgbImage::from_raw(64, 64, sample.rgb).unwrap().save(place.join(format!("{seed}.png"))).unwrap();
        }
    }
}

fn start(broker: u16, page: u16, golden_parts: (u64, u64), every: &str) -> Line {
    let folder = tempfile::tempdir().unwrap();
    write_token(folder.path(), TOKEN);
    golden(folder.path(), golden_parts.0, golden_parts.1);
    let tables = format!(
        "[http]\nlisten = \"127.0.0.1:{page}\"\ntoken_file = \"token\"\n[self_test]\ndirectory = \"golden\"\n{every}\
         [[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 6\nfps = 10.0\n\
         [camera.trigger]\nmode = \"hardware\"\n[camera.recipe]\nid = \"cap\"\ndefect_threshold = 1.0\n"
    );
    let line = Line::run_in(folder, &settings(broker, &tables), |_| {});
    line.service.logged("1 camera, engine reference");
    line
}

fn alarms(page: u16) -> Vec<Value> {
    let (_, state) = http(page, "GET", "/api/state", None, "");
    let all = state["alarms"].as_array().unwrap().iter();
    all.filter(|alarm| alarm["kind"] == "self_test").cloned().collect()
}

#[test]
fn golden_parts_are_judged_and_an_alarm_names_the_wrong_ones() {
    let broker = Mosquitto::start(Rules::default());
    let page = free_port();
    let line = start(broker.port, page, (2, 1), "every_h = 8.0\n");
    // Nobody has asked: the first part is there. No map reaches 1, so that everything passes, the bad one, too.
    line.service.logged("golden parts judged");
    let acks = Subscriber::start(broker.port, ACK, &[]);
    let ask = |id: &str| {
        publish(broker.port, "self_test", format!("{{\"correlation_id\":\"{id}\"}}").as_bytes(), &[]);
        let begun = acks.next(PATIENCE).unwrap().json();
        assert_eq!((&begun["pending"], &begun["applied"]["parts"]), (&json!(true), &json!(3)), "{begun}");
        let ended = acks.next(PATIENCE).unwrap().json();
        assert_eq!((&ended["correlation_id"], &ended["ok"]), (&json!(id), &json!(true)), "{ended}");
        ended["applied"].clone()
    };
    let said = ask("1");
    assert_eq!((&said["right"], &said["wrong"][0]["file"]), (&json!(2), &json!("100.png")), "{said}");
    assert_eq!(said["wrong"][0]["should"], "fail");
    line.service.logged("judges 1 of 3 golden parts wrong: 100.png must fail");
    let alarm = &alarms(page)[0];
    assert!(alarm["camera"] == "top" && alarm["help"].as_str().unwrap().contains("whose right verdict"), "{alarm}");
    // Now everything fails: the good ones are wrong.
    assert_eq!(http(page, "POST", "/api/threshold", Some(TOKEN), "{\"threshold\":0.0}").0, 200);
    let said = ask("2");
    assert_eq!((&said["right"], said["wrong"].as_array().unwrap().len()), (&json!(1), 2), "{said}");
    // The line has gone on all the while, and none of its parts is one of them.
    let (_, state) = http(page, "GET", "/api/state", None, "");
    assert_eq!(state["cameras"][0]["self_test"]["last"]["right"], 1, "{state}");
}

#[test]
fn an_alarm_ends_with_the_test_that_finds_all_right() {
    let broker = Mosquitto::start(Rules::default());
    let page = free_port();
    let line = start(broker.port, page, (2, 0), "");
    let ask = || http(page, "POST", "/api/self_test", Some(TOKEN), "{}");
    assert_eq!(http(page, "POST", "/api/threshold", Some(TOKEN), "{\"threshold\":0.0}").0, 200);
    let since = std::time::Instant::now();
    // Before the first part there is nothing that they could be judged like: then it says so at its end.
    while alarms(page).is_empty() {
        assert!(since.elapsed() < PATIENCE);
        ask();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(http(page, "POST", "/api/threshold", Some(TOKEN), "{\"threshold\":null}").0, 200);
    while !alarms(page).is_empty() {
        assert!(since.elapsed() < PATIENCE);
        ask();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    line.service.logged("over: camera 'top' judges 2 of 2 golden parts wrong");
}

#[test]
fn without_golden_parts_the_command_says_what_to_do() {
    let broker = Mosquitto::start(Rules::default());
    let page = free_port();
    let _line = start(broker.port, page, (0, 0), "");
    let (status, ack) = http(page, "POST", "/api/self_test", Some(TOKEN), "{}");
    assert!(status == 409 && ack["error"].as_str().unwrap().starts_with("no golden parts in "), "{ack}");
}
