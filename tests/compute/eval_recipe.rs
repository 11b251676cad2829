//! `vcp-line eval --recipe`: escapes and false rejects of a recipe are those that `inspect --recipe` finds picture by picture.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use super::eval_binary::{CLASSES, mvtec, text};
use crate::support::line::{finished, settings};

fn line(folder: &Path, threshold: f64) -> String {
    let recipe = format!("[camera.recipe]\ndefect_threshold = {threshold:?}\nmin_area_px = 1\n");
    let camera = |name: &str, view: &str| {
        format!("[[camera]]\nname = \"{name}\"\nsource = \"directory\"\npath = \"data\"\n{recipe}{view}")
    };
    let cameras = camera("top", "[camera.view]\ncrop = [4, 4, 40, 40]\n") + &camera("side", "");
    let file = folder.join("line.toml");
    fs::write(&file, settings(1, &cameras)).unwrap();
    file.to_str().unwrap().to_owned()
}

fn eval(folder: &Path, line: &str, more: &[&str]) -> Output {
    let data = folder.join("data");
    let start = ["eval", "--recipe", line, "--data", data.to_str().unwrap(), "--layout", "mvtec"];
    finished(&[&start[..], more].concat())
}

/// What `inspect` says of every picture, by its path.
fn inspected(folder: &Path, line: &str) -> BTreeMap<String, Value> {
    let data = folder.join("data");
    let mut said = BTreeMap::new();
    for class in CLASSES {
        let pictures = data.join(class).join("test");
        let output = finished(&["inspect", "--recipe", line, "--camera", "top", "--json", pictures.to_str().unwrap()]);
        for line in text(&output.stdout).lines() {
            let found: Value = serde_json::from_str(line).unwrap();
            said.insert(found["image"].as_str().unwrap().to_owned(), found);
        }
    }
    said
}

#[test]
fn escapes_and_false_rejects_are_those_that_inspect_finds() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    mvtec(&folder.join("data"));
    let peaks = inspected(folder, &line(folder, 0.5));
    let mut peaks: Vec<f64> = peaks.values().map(|found| found["peak"].as_f64().unwrap()).collect();
    peaks.sort_by(f64::total_cmp);
    let line = line(folder, f64::midpoint(peaks[peaks.len() / 2 - 1], peaks[peaks.len() / 2]));
    let said = inspected(folder, &line);
    let count = |class: &str, kind: &str, verdict: &str| {
        let of = |(image, found): &(&String, &Value)| {
            image.contains(&format!("{class}/test/{kind}/")) && found["verdict"] == verdict
        };
        said.iter().filter(of).count()
    };
    assert_eq!(said.len(), 14);

    let output = eval(folder, &line, &["--camera", "top", "--json", "-"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (mut rejected, mut escaped) = (0, 0);
    for (class, name) in found["classes"].as_array().unwrap().iter().zip(CLASSES) {
        assert_eq!((&class["class"], &class["good"], &class["bad"]), (&json!(name), &json!(4), &json!(3)));
        let (good, bad) = (count(name, "good", "fail"), count(name, "spot", "pass"));
        assert_eq!((&class["false_rejects"]["count"], &class["escapes"]["count"]), (&json!(good), &json!(bad)));
        rejected += good;
        escaped += bad;
    }
    let all = &found["all"];
    assert_eq!((&all["false_rejects"]["count"], &all["escapes"]["count"]), (&json!(rejected), &json!(escaped)));
    // As many fail as pass, and three of seven are bad.
    assert_eq!(escaped + 7, rejected + 6, "{all}");
    assert!(escaped > 0 && rejected > 0, "{all}");
    let wrong = found["wrong"].as_array().unwrap();
    assert_eq!(wrong.len(), rejected + escaped);
    let same = |wrong: &Value| said[wrong["image"].as_str().unwrap()]["verdict"] == wrong["verdict"];
    assert!(wrong.iter().all(same), "{wrong:?}");
    assert_eq!((&found["camera"], &found["view"]["crop"]), (&json!("top"), &json!([4, 4, 40, 40])));

    let output = eval(folder, &line, &["--camera", "top"]);
    let printed = text(&output.stdout);
    assert!(output.status.success() && printed.starts_with("recipe cap version 1 of camera top: map "), "{printed}");
    assert!(printed.contains("  FAIL\n") && printed.contains("\nFAIL: bad parts pass\n"), "{printed}");
    assert!(printed.lines().take(7).all(|line| line.chars().count() <= 80), "{printed}");
    assert!(printed.contains("escaped: ") && printed.contains("rejected: "), "{printed}");
}

#[test]
fn which_camera_is_meant_is_asked_and_what_measures_the_model_does_not_go_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    mvtec(&folder.join("data"));
    let line = line(folder, 0.5);
    for (more, reason) in [
        (&[][..], "has several cameras; name one with --camera: top, side"),
        (&["--camera", "left"][..], "has the cameras top, side"),
        (&["--camera", "top", "--good", "2"][..], "cannot be used with"),
        (&["--camera", "top", "--tiles", "64"][..], "cannot be used with"),
    ] {
        let output = eval(folder, &line, more);
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
    let output = finished(&["eval", "--camera", "top", "--model", "x", "--data", "y"]);
    assert_eq!(output.status.code(), Some(2), "no settings, no camera");
}
