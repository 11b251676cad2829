//! Pictures that come as files are looked at as the line looks: the part is found first, and what is not found counts nowhere.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::locating::{BELT, frame, save, stage, table};
use crate::support::events::{assert_no_gap, events, is_state};
use crate::support::line::{FOLDER, Line, Running, model, program, settings};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber};
use vcp_line::synth::Class;

fn finished(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = program(&["--log", "error"]);
    command.args(arguments).current_dir(folder).env("STATE_DIRECTORY", folder.join("state"));
    let mut running = Running::start(command);
    let code = running.end().code().unwrap();
    (code, running.stdout(), running.stderr())
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn files_get_the_lines_verdicts_statistics_and_places() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let (place, [taught, ..]) = stage();
    let [x, y, width, height] = taught.part.bounds;
    // A region over half of the part as it was taught moves with it.
    let corners = [[x, y], [x + width / 2, y], [x + width / 2, y + height], [x, y + height]];
    let recipe = format!("[camera.recipe]\ndefect_threshold = 0.3\nmin_area_px = 4\nregions = [{corners:?}]\n");
    let text = settings(broker.port, &format!("{FOLDER}{}{recipe}", table(&taught, "")));
    fs::write(place.path().join("line.toml"), &text).unwrap();

    let folder = place.path();
    let (code, said, error) = finished(folder, &["inspect", "--recipe", "line.toml", "--json", "parts"]);
    assert_eq!(code, 0, "{error}");
    let inspected = lines(&said);
    let promise = ["--false-rejects", "0.5", "--confidence", "0.5"];
    let calibrate = ["calibrate", "line.toml", "--json", "--good", "parts"];
    let (code, said, error) = finished(folder, &[&calibrate[..], &promise].concat());
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("parts/2.png: the part is not found"), "{error}");
    let record: Value = serde_json::from_str(&said).unwrap();

    // A memory of moved parts is one of parts that lie as they were taught.
    let bundle = model().to_str().unwrap();
    let learn = ["learn", "--engine", "reference", "--model", bundle, "--view", "line.toml", "-o", "parts.memory"];
    let (code, said, error) = finished(folder, &[&learn[..], &["--good", "parts"]].concat());
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("of 2 good pictures"), "{said}");
    assert!(error.contains("1 good pictures are left out because their part was not found"), "{error}");

    let mut line = Line::run_in(place, &text, |_| {});
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let messages = reader.until(|message| is_state(message, "offline") && !message.json()["model"].is_null());
    let told = events(&messages);
    assert_no_gap(&told);
    assert_eq!((told.len(), inspected.len(), record["good"].as_array().unwrap().len()), (3, 3, 2));
    for (event, said) in told.iter().zip(&inspected) {
        for key in ["verdict", "reason", "score", "defects", "location"] {
            assert_eq!(event[key], said[key], "{key}");
        }
    }
    for (event, part) in told.iter().zip(record["good"].as_array().unwrap()) {
        assert_eq!(event["score"], part["score"]);
    }
    assert_eq!((&inspected[2]["reason"], &inspected[2]["score"]), (&"part_not_found".into(), &Value::Null));
}

#[test]
fn an_evaluation_finds_the_parts_of_its_pictures() {
    let (place, [taught, ..]) = stage();
    let folder = place.path();
    fs::write(folder.join("line.toml"), settings(1, &format!("{FOLDER}{}", table(&taught, "")))).unwrap();
    let data = folder.join("data/keycap");
    for below in ["test/good", "test/scratch", "ground_truth/scratch"] {
        fs::create_dir_all(data.join(below)).unwrap();
    }
    for part in 0..24 {
        save(&frame(Class::Keycap, 20 + part, BELT), &data.join(format!("test/good/{part:03}.png")));
    }
    save(&frame(Class::Ring, 4, BELT), &data.join("test/good/024.png"));
    save(&frame(Class::Keycap, 2, BELT), &data.join("test/scratch/000.png"));
    let mask = image::GrayImage::from_fn(320, 256, |x, y| image::Luma([255 * u8::from(x / 32 == 5 && y / 32 == 4)]));
    mask.save(data.join("ground_truth/scratch/000_mask.png")).unwrap();
    let bundle = model().to_str().unwrap();
    let eval = ["eval", "--model", bundle, "--engine", "reference", "--data", "data", "--json", "-"];
    let (code, said, error) = finished(folder, &[&eval[..], &["--view", "line.toml"]].concat());
    assert_eq!(code, 0, "{error}");
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(found["locate"]["rectangle"], serde_json::json!(taught.part.bounds));
    let left = found["pictures"]["left_out"].as_array().unwrap();
    assert_eq!((&found["pictures"]["looked_at"], left.len()), (&25.into(), 1), "{found}");
    assert!(left[0]["reason"].as_str().unwrap().ends_with("good/024.png: the part is not found"), "{left:?}");
    let (code, _, error) = finished(folder, &[&eval[..], &["--view", "line.toml", "--tiles", "64"]].concat());
    assert!(code == 2 && error.contains("cannot be used with"), "{error}");
}

/// `check` says what is looked for, and where the part of the first picture lies.
#[test]
fn a_check_says_what_is_looked_for_and_where_it_lies() {
    let (place, [taught, ..]) = stage();
    let folder = place.path();
    let check = |more: &str| {
        fs::write(folder.join("line.toml"), settings(1, &format!("{FOLDER}{}", table(&taught, more)))).unwrap();
        let (_, said, _) = finished(folder, &["check", "line.toml", "--json"]);
        let found: Value = serde_json::from_str(&said).unwrap();
        let checks = found["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == "camera top").unwrap().clone()
    };
    let fine = check("");
    let [_, _, width, height] = taught.part.bounds;
    let looks = format!("; looks for a part of {width}x{height} pixels within 30 px and 5 degrees, else no_verdict");
    let detail = fine["detail"].as_str().unwrap();
    assert!(fine["ok"] == true && detail.contains(&looks) && detail.contains("; here it is "), "{detail}");
    fs::remove_file(folder.join("parts/0.png")).unwrap();
    fs::remove_file(folder.join("parts/1.png")).unwrap();
    let other = check("missing = \"fail\"\n");
    let detail = other["detail"].as_str().unwrap();
    assert!(detail.ends_with("else fail; this frame does not show it"), "{detail}");
    // Of another size nothing can be found.
    image::RgbImage::new(300, 256).save(folder.join("parts/0.png")).unwrap();
    let refused = check("");
    let detail = refused["detail"].as_str().unwrap();
    assert!(refused["ok"] == false && detail.contains("the taught picture 320x256; teach it again"), "{detail}");
}
