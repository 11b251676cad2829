//! `vcp-line learn`, `inspect --memory`, `eval --good` and a line with `[recipe] memory`, as a user meets them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::support::line::{Running, model, program, settings};

/// A grey part with its own grain; a bad one has a bright square.
fn picture(path: &Path, number: u32, bad: bool) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let grain = move |x: u32, y: u32| ((x * 7 + y * 13 + number * 31) % 17) as u8;
    let spot = move |x: u32, y: u32| bad && (20..32).contains(&x) && (16..28).contains(&y);
    let image = RgbImage::from_fn(64, 48, |x, y| Rgb([if spot(x, y) { 250 } else { 100 + grain(x, y) }; 3]));
    image.save(path).unwrap();
}

/// Exit code, standard output and standard error.
fn run(arguments: &[&str], paths: &[&Path]) -> (i32, String, String) {
    let mut command = program(&["--log", "off"]);
    command.args(arguments).args(paths);
    let mut running = Running::start(command);
    let code = running.end().code().unwrap();
    (code, running.stdout(), running.stderr())
}

const REFERENCE: [&str; 4] = ["--engine", "reference", "--threads", "1"];

fn learn(good: &Path, output: &Path) -> (i32, String, String) {
    let model = model();
    let arguments = ["learn", "--model", model.to_str().unwrap(), "-o", output.to_str().unwrap(), "--good"];
    run(&[&["learn"], &REFERENCE[..], &arguments[1..]].concat(), &[good])
}

fn good_parts(root: &Path, count: u32) -> PathBuf {
    let folder = root.join("good");
    (0..count).for_each(|number| picture(&folder.join(format!("{number:02}.png")), number, false));
    folder
}

#[test]
fn a_memory_is_learnt_and_changes_what_is_seen() {
    let root = tempfile::tempdir().unwrap();
    let good = good_parts(root.path(), 5);
    fs::copy(good.join("00.png"), good.join("copy.png")).unwrap();
    let memory = root.path().join("parts.memory");
    let (code, said, error) = learn(&good, &memory);
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("of 5 good pictures (64x48)"), "{said}");
    assert!(error.contains("copy.png shows the same as") && error.contains("it is taken once"), "{error}");

    let bad = root.path().join("bad.png");
    picture(&bad, 77, true);
    let model = model();
    let plain = ["inspect", "--json", "--model", model.to_str().unwrap()];
    let with = [&plain[..], &["--memory", memory.to_str().unwrap()]].concat();
    let peak = |arguments: &[&str]| {
        let (code, said, error) = run(&[arguments, &REFERENCE].concat(), &[&bad]);
        assert_eq!(code, 0, "{error}");
        serde_json::from_str::<Value>(said.trim()).unwrap()["peak"].as_f64().unwrap()
    };
    assert!(peak(&with) > peak(&plain), "the bright square is in no good part");

    let turned = root.path().join("turned.png");
    RgbImage::new(48, 64).save(&turned).unwrap();
    let (code, _, error) = run(&[&with[..], &REFERENCE].concat(), &[&turned]);
    assert_eq!(code, 1);
    assert!(error.contains("pictures of 64x48, here it is 48x64; make a new one with `vcp-line learn`"), "{error}");
}

#[test]
fn what_makes_no_memory_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let good = good_parts(root.path(), 2);
    let memory = root.path().join("out").join("parts.memory");
    let (code, _, error) = learn(&good, &memory);
    assert_ne!(code, 0, "there is no such folder");
    assert!(error.contains("out"), "{error}");
    fs::create_dir(root.path().join("out")).unwrap();
    fs::write(good.join("zz.png"), "no picture").unwrap();
    let (code, _, error) = learn(&good, &memory);
    assert_eq!(code, 1);
    assert!(error.contains("zz.png"), "{error}");
    assert_eq!(fs::read_dir(root.path().join("out")).unwrap().count(), 0);
}

#[test]
fn pictures_of_another_shape_are_left_out_and_counted() {
    let root = tempfile::tempdir().unwrap();
    let good = good_parts(root.path(), 3);
    RgbImage::new(48, 64).save(good.join("01b.png")).unwrap();
    let (code, said, error) = learn(&good, &root.path().join("parts.memory"));
    assert_eq!(code, 0, "{error}");
    assert!(said.contains("of 3 good pictures (64x48)"), "{said}");
    assert!(error.contains("01b.png has 48x64 pixels, another shape; it is left out"), "{error}");
    assert!(error.contains("1 good pictures have another shape than 64x48, that of the first"), "{error}");
}

#[test]
fn a_file_that_is_no_memory_is_refused_before_anything_is_looked_at() {
    let root = tempfile::tempdir().unwrap();
    let (file, part) = (root.path().join("a.memory"), root.path().join("a.png"));
    picture(&part, 1, false);
    fs::write(&file, "{}").unwrap();
    let model = model();
    let arguments = ["inspect", "--model", model.to_str().unwrap(), "--memory", file.to_str().unwrap()];
    let (code, said, error) = run(&[&arguments[..], &REFERENCE].concat(), &[&part]);
    assert_eq!((code, said.as_str()), (1, ""));
    assert!(error.contains("a.memory is no memory, or damaged"), "{error}");
}

#[test]
fn few_shot_figures_stand_beside_those_of_the_model_alone() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..4 {
        picture(&root.path().join(format!("cap/train/good/{number}.png")), number, false);
        picture(&root.path().join(format!("cap/test/good/{number}.png")), 10 + number, false);
        picture(&root.path().join(format!("cap/test/spot/{number}.png")), 20 + number, true);
        let mask = image::GrayImage::from_fn(64, 48, |x, y| {
            image::Luma([if (20..32).contains(&x) && (16..28).contains(&y) { 255 } else { 0 }])
        });
        let place = root.path().join(format!("cap/ground_truth/spot/{number}_mask.png"));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        mask.save(place).unwrap();
    }
    let model = model();
    let data = root.path().to_str().unwrap();
    let eval = |good: &str| {
        let arguments = ["eval", "--model", model.to_str().unwrap(), "--data", data, "--json", "-", "--good", good];
        run(&[&arguments[..], &REFERENCE].concat(), &[])
    };
    let (code, said, error) = eval("3");
    assert_eq!(code, 0, "{error}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["memory"], serde_json::json!({ "good": 3, "seed": 0, "size": 4 }));
    let names: Vec<&str> = said["methods"].as_array().unwrap().iter().map(|m| m["method"].as_str().unwrap()).collect();
    assert_eq!(names, ["model", "with memory"]);
    // Data sets mix shapes, and a column of figures is for all of their pictures.
    for place in ["cap/train/good/3.png", "cap/test/good/3.png"] {
        RgbImage::from_pixel(64, 70, Rgb([110; 3])).save(root.path().join(place)).unwrap();
    }
    let (code, said, error) = eval("4");
    assert_eq!(code, 0, "{error}");
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["methods"][1]["method"], &said["pictures"]["looked_at"]), (&"with memory".into(), &8.into()));
    let (code, _, error) = eval("5");
    assert_eq!(code, 1);
    assert!(error.contains("class cap has 4 good training pictures, --good asks for 5"), "{error}");
}

#[test]
fn cameras_that_name_one_file_share_what_was_read() {
    let root = tempfile::tempdir().unwrap();
    let good = good_parts(root.path(), 3);
    let (code, _, error) = learn(&good, &root.path().join("parts.memory"));
    assert_eq!(code, 0, "{error}");
    let camera = |name: &str| format!("[[camera]]\nname = \"{name}\"\nsource = \"directory\"\npath = \"good\"\n");
    let text =
        settings(1883, &(camera("a") + &camera("b"))).replace("[recipe]\n", "[recipe]\nmemory = \"parts.memory\"\n");
    let file = root.path().join("line.toml");
    fs::write(&file, text).unwrap();
    let config = vcp_line::config::load(&file).unwrap();
    let [a, b] = [0, 1].map(|camera: usize| config.cameras[camera].plan.memory.clone().unwrap());
    assert!(Arc::ptr_eq(&a, &b), "one copy in memory");
    assert_eq!(a.about().parts, 3);
}
