//! `vcp-line calibrate`: thresholds from good pictures, applied for the next start, seen in the line's events, and taken back.

use std::fs;
use std::path::Path;

use image::GrayImage;
use serde_json::Value;

use crate::support::events::{events, is_verdict};
use crate::support::line::{CAROUSEL, FOLDER, Line, Running, model, program, settings};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber, free_port};

/// Pictures of parts that differ.
fn good(folder: &Path, count: u32) {
    fs::create_dir_all(folder).unwrap();
    for number in 0..count {
        let mut state = u64::from(number) + 1;
        let picture = GrayImage::from_fn(64, 48, |x, y| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            image::Luma([(x * 2 + y) as u8 / 2 + (state >> 58) as u8 + (number * 7 % 50) as u8])
        });
        picture.save(folder.join(format!("{number:03}.png"))).unwrap();
    }
}

/// Exit code, standard output and standard error, with the state folder beside the settings.
fn calibrate(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let file = folder.join("line.toml");
    let mut command = program(&["--log", "error", "calibrate", file.to_str().unwrap()]);
    command.args(arguments).current_dir(folder).env("STATE_DIRECTORY", folder.join("state"));
    let mut running = Running::start(command);
    let code = running.end().code().unwrap();
    (code, running.stdout(), running.stderr())
}

#[test]
fn thresholds_hold_on_the_line_that_takes_them_and_can_be_taken_back() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    good(&folder.join("parts"), 59);
    let text =
        settings(broker.port, FOLDER).replace("defect_threshold = 0.5", "defect_threshold = 0.0\nmin_area_px = 9");
    fs::write(folder.join("line.toml"), &text).unwrap();

    let (code, said, error) = calibrate(folder, &["--good", "parts"]);
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("59 parts promise 4.96 %") && said.contains("59 of 59 failed before, 0 after"), "{said}");
    assert!(said.contains("at most 2 % needs 90 more good parts") && said.contains("no; --apply"), "{said}");
    assert!(!folder.join("state/recipes.json").exists() && !folder.join("state/calibrations").exists());

    let (code, said, error) = calibrate(folder, &["--good", "parts", "--apply", "--json"]);
    assert_eq!(code, 0, "{error}");
    let record: Value = serde_json::from_str(&said).unwrap();
    let file = folder.join("state/calibrations/top/cap/v2.json");
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(file).unwrap()).unwrap(), record);
    let picture = fs::read_to_string(folder.join("state/calibrations/top/cap/v2.svg")).unwrap();
    assert!(picture.starts_with("<?xml") && picture.contains("caps, top, recipe cap version 2"), "{picture}");
    assert_eq!((&record["schema"], &record["line"], &record["camera"]), (&1.into(), &"caps".into(), &"top".into()));
    assert_eq!((&record["after"]["recipe"]["version"], &record["promise"]["over"]), (&2.into(), &0.into()));
    assert_eq!((record["good"].as_array().unwrap().len(), &record["model"]["engine"]), (59, &"reference".into()));
    assert_eq!(record["picture"]["parts"], 59, "what later pictures are compared with");
    let threshold = record["after"]["defect_threshold"].as_f64().unwrap() as f32;
    let largest = record["good"].as_array().unwrap().iter().map(|part| part["defect"].as_f64().unwrap() as f32);
    assert_eq!(threshold, largest.fold(0.0, f32::max).next_up());

    // The same pictures through the line: the largest statistic passes by one float.
    let mut line = Line::run_in(place, &text, |_| {});
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    assert!(line.service.stderr().contains("pictures are compared with good parts"), "{}", line.service.stderr());
    let mut verdicts = 0;
    let messages = reader.until(|message| {
        verdicts += usize::from(is_verdict(message));
        verdicts == 59
    });
    for event in events(&messages) {
        assert_eq!((&event["verdict"], &event["recipe"]["version"]), (&"pass".into(), &2.into()), "{event}");
        assert_eq!(event["defect_threshold"].as_f64().unwrap() as f32, threshold);
    }

    let folder = line.folder.path();
    let (code, said, error) = calibrate(folder, &["--rollback"]);
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("cap version 2 → cap version 3") && said.contains(&format!("{threshold} → 0")), "{said}");
    let (code, _, error) = calibrate(folder, &["--rollback"]);
    assert!(code == 1 && error.contains("version 3 is in use, and none was before it"), "{error}");
    let (code, said, error) = calibrate(folder, &["--good", "parts"]);
    assert!(code == 0 && said.contains("version 3 → 4") && said.contains("59 of 59 failed before"), "{said}{error}");
}

#[test]
fn a_line_with_a_memory_is_calibrated_with_it() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    good(&folder.join("parts"), 69);
    fs::create_dir(folder.join("learnt")).unwrap();
    for number in 59..69 {
        let name = format!("{number:03}.png");
        fs::rename(folder.join("parts").join(&name), folder.join("learnt").join(&name)).unwrap();
    }
    let model = model();
    let mut learn =
        program(&["--log", "error", "learn", "--engine", "reference", "-o", "parts.memory", "--good", "learnt"]);
    learn.args(["--model".as_ref(), model.as_os_str()]).current_dir(folder);
    let mut learn = Running::start(learn);
    assert_eq!(learn.end().code(), Some(0), "{}", learn.stderr());
    let alone = settings(broker.port, FOLDER);
    let with = alone.replace("[recipe]", "[recipe]\nmemory = \"parts.memory\"");
    let threshold = |text: &str| {
        fs::write(folder.join("line.toml"), text).unwrap();
        let (code, said, error) = calibrate(folder, &["--good", "parts", "--json"]);
        assert_eq!(code, 0, "{error}");
        let record: Value = serde_json::from_str(&said).unwrap();
        record["after"]["defect_threshold"].as_f64().unwrap() as f32
    };
    let (without, found) = (threshold(&alone), threshold(&with));
    assert_ne!(without, found, "the memory has its word");
    let (code, _, error) = calibrate(folder, &["--good", "parts", "--apply"]);
    assert!(code == 0 && error.contains("none of its 10 good parts is among those given here"), "{error}");

    let mut line = Line::run_in(place, &with, |_| {});
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let mut verdicts = 0;
    let messages = reader.until(|message| {
        verdicts += usize::from(is_verdict(message));
        verdicts == 59
    });
    for event in events(&messages) {
        assert_eq!((&event["verdict"], &event["model"]["memory"]["parts"]), (&"pass".into(), &10.into()), "{event}");
        assert_eq!(event["defect_threshold"].as_f64().unwrap() as f32, found);
    }
}

#[test]
fn the_same_pictures_make_a_memory_and_its_thresholds() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    good(&folder.join("parts"), 65);
    let text = settings(broker.port, FOLDER);
    fs::write(folder.join("line.toml"), &text).unwrap();
    let refused = |arguments: &[&str], told: &str| {
        let (code, said, error) = calibrate(folder, arguments);
        assert!(code != 0 && error.contains(told) && said.is_empty(), "{code} {said}{error}");
        assert!(!folder.join("new.memory").exists() && !folder.join("state/recipes.json").exists());
    };
    let learn = ["--good", "parts", "--learn", "new.memory"];
    refused(&["--good", "parts", "--folds", "5"], "--learn");
    refused(&[&learn[..], &["--folds", "66"]].concat(), "66 folds of 65 good parts: 2 to 65 are possible");
    refused(&[&learn[..], &["--score"]].concat(), "97 are needed, 32 more (4 make the memory, 93 the thresholds)");
    refused(&["--good", "parts", "--learn", "gone/new.memory"], "gone");

    let record = |arguments: &[&str]| -> Value {
        let (code, said, error) = calibrate(folder, &[arguments, &["--json"]].concat());
        assert_eq!(code, 0, "{error}");
        serde_json::from_str(&said).unwrap()
    };
    let folds = record(&[&learn[..], &["--folds", "3"]].concat());
    assert_eq!((&folds["promise"]["kind"], &folds["promise"]["parts"]), (&"approximate".into(), &65.into()));
    let memory = &folds["model"]["memory"];
    assert_eq!((&memory["parts"], &folds["fitted"]), (&65.into(), &serde_json::json!({ "folds": { "folds": 3 } })));

    let split = record(&[&learn[..], &["--apply"]].concat());
    assert_eq!((&split["promise"]["kind"], &split["promise"]["parts"]), (&"exact".into(), &59.into()));
    let memory = &split["model"]["memory"];
    assert_eq!((&memory["parts"], &split["fitted"]), (&6.into(), &serde_json::json!({ "split": { "memory": 6 } })));
    assert!(folder.join("new.memory").exists() && folder.join("state/memories").exists());

    // The pictures that have made the memory count no more, and it is said what to do.
    let (code, said, error) = calibrate(folder, &["--good", "parts"]);
    assert_eq!(code, 0, "{error}");
    let told = format!("6 good pictures have made the memory {}", memory["id"].as_str().unwrap());
    assert!(error.contains(&told) && said.contains(&told) && said.contains("--learn FILE.memory"), "{said}{error}");
    assert!(said.contains("59 parts promise") && said.contains("of 6 other good pictures"), "{said}");

    // Both are in use together at the next start, and one step leads back.
    let mut line = Line::run_in(place, &text, |_| {});
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let mut verdicts = 0;
    let messages = reader.until(|message| {
        verdicts += usize::from(is_verdict(message));
        verdicts == 65
    });
    for event in events(&messages) {
        assert_eq!(
            (&event["model"]["memory"]["id"], &event["recipe"]["version"]),
            (&memory["id"], &2.into()),
            "{event}"
        );
        assert_eq!(event["defect_threshold"], split["after"]["defect_threshold"]);
    }
    let folder = line.folder.path();
    let (code, _, error) = calibrate(folder, &["--rollback"]);
    assert_eq!(code, 0, "{error}");
    let (code, said, error) = calibrate(folder, &["--good", "parts"]);
    assert!(code == 0 && !said.contains("memory") && error.is_empty(), "{said}{error}");
}

#[test]
fn each_camera_has_its_own() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    good(&folder.join("parts"), 59);
    let side = FOLDER.replace("top", "side");
    fs::write(folder.join("line.toml"), settings(free_port(), &format!("{FOLDER}{side}"))).unwrap();
    for (camera, versions) in [("top", "1 → 2"), ("side", "1 → 2"), ("top", "2 → 3"), ("side", "2 → 3")] {
        let (code, said, error) = calibrate(folder, &["--good", "parts", "--camera", camera, "--apply", "-o", "."]);
        assert!(code == 0 && said.contains(&format!("{camera}, recipe cap version {versions}")), "{said}{error}");
        assert!(folder.join(format!("{camera}-cap.svg")).exists());
    }
    let (code, said, error) = calibrate(folder, &["--rollback", "--camera", "side"]);
    assert!(code == 0 && said.contains("cap version 3 → cap version 4"), "{said}{error}");
}

#[test]
fn what_cannot_be_promised_or_applied_is_refused_and_nothing_is_written() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    good(&folder.join("parts"), 60);
    let text = settings(free_port(), CAROUSEL);
    fs::write(folder.join("line.toml"), &text).unwrap();
    let refused = |arguments: &[&str], code: i32, told: &str| {
        let (found, said, error) = calibrate(folder, arguments);
        assert!(found == code && error.contains(told) && said.is_empty(), "{found} {said}{error}");
        assert!(!folder.join("state/recipes.json").exists() && !folder.join("out").exists());
    };
    refused(&["--good", "parts", "--false-rejects", "0.01", "-o", "out"], 1, "299 are needed, 239 more; these promise");
    refused(&["--good", "parts", "--score", "--apply"], 1, "93 are needed, 33 more");
    refused(&["--good", "gone"], 2, "--good gone: No such file");
    refused(&["--good", "parts", "--false-rejects", "0"], 2, "false-reject rate 0 is out of range");
    refused(&["--good", "parts", "--camera", "side"], 2, "has the cameras top");
    refused(&[], 2, "--good");
    // The same picture in the place of two others leaves 58.
    fs::copy(folder.join("parts/003.png"), folder.join("parts/004.png")).unwrap();
    fs::copy(folder.join("parts/003.png"), folder.join("parts/005.png")).unwrap();
    refused(&["--good", "parts", "--apply"], 1, "58 good parts cannot promise at most 5 %");
    fs::write(folder.join("state"), "").unwrap();
    good(&folder.join("parts"), 60);
    refused(&["--good", "parts", "--apply"], 1, "state");
    fs::remove_file(folder.join("state")).unwrap();

    let mut line = Line::run_in(place, &text, |_| {});
    line.service.logged("1 camera, engine reference");
    let folder = line.folder.path();
    for arguments in [&["--good", "parts", "--apply"][..], &["--rollback"]] {
        let (code, _, error) = calibrate(folder, arguments);
        assert!(code == 1 && error.contains("line 'caps' is running, and would not see the recipe"), "{code} {error}");
    }
    let (code, said, error) = calibrate(folder, &["--good", "parts", "--bad", "parts/000.png", "-o", "out"]);
    assert!(code == 0 && said.contains("defective parts: "), "{said}{error}");
    assert!(folder.join("out/top-cap.json").exists() && !folder.join("state/recipes.json").exists());
    line.service.signal("TERM");
    line.service.end();
}
