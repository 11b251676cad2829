//! Synthetic data sets as the real program writes them: the same bytes twice, true masks, complete layouts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::line::{Running, finished, program};
use serde_json::Value;

/// Runs `vcp-line synth` with pictures of the smallest size.
fn synth(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = finished(&[&["synth", "--size", "64"], arguments].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs it into a new folder.
fn set(arguments: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    let (code, stdout, stderr) = synth(&[&["--out", out.to_str().unwrap()], arguments].concat());
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    (folder, out)
}

/// Every file below a folder by its relative path.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

fn names(root: &Path) -> Vec<String> {
    files(root).into_keys().collect()
}

fn captions(root: &Path) -> Vec<Value> {
    let text = fs::read_to_string(root.join("captions.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn rgb(path: &Path) -> image::RgbImage {
    image::open(path).unwrap().into_rgb8()
}

const SMALL: [&str; 8] =
    ["--classes", "leather,gear", "--train-good", "2", "--good", "1", "--defects", "scratch,missing-piece"];

#[test]
fn the_same_settings_write_the_same_bytes_in_the_layout_of_mvtec() {
    let arguments = [&SMALL[..], &["--defective", "3", "--seed", "5"]].concat();
    let ((_keep, first), (_too, second)) = (set(&arguments), set(&arguments));
    assert_eq!(files(&first), files(&second));
    let (_other, third) = set(&[&SMALL[..], &["--defective", "3", "--seed", "6"]].concat());
    let (a, b) = (files(&first), files(&third));
    assert!(a.keys().eq(b.keys()) && a["gear/train/good/001.png"] != b["gear/train/good/001.png"]);

    let class = |class: &str| {
        [
            "ground_truth/missing-piece/000_mask.png",
            "ground_truth/scratch/000_mask.png",
            "ground_truth/scratch/001_mask.png",
            "test/good/000.png",
            "test/missing-piece/000.png",
            "test/scratch/000.png",
            "test/scratch/001.png",
            "train/good/000.png",
            "train/good/001.png",
        ]
        .map(|file| format!("{class}/{file}"))
    };
    let mut expected =
        [&["captions.jsonl".into(), "dataset.json".into()], &class("gear")[..], &class("leather")].concat();
    expected.sort();
    assert_eq!(names(&first), expected);

    let settings: Value = serde_json::from_slice(&files(&first)["dataset.json"]).unwrap();
    assert_eq!(settings["pictures"], 12);
    assert_eq!(settings["program"], concat!("vcp-line ", env!("CARGO_PKG_VERSION")));
    assert_eq!(settings["settings"]["classes"], serde_json::json!(["leather", "gear"]));
    assert_eq!(settings["settings"]["seed"], 5);
}

#[test]
fn pairs_differ_inside_their_masks_alone() {
    let classes = "weave,mosaic,coin,chip-package";
    let arguments = ["--classes", classes, "--train-good", "0", "--defective", "4", "--pairs", "--difficulty", "0.2"];
    let (_keep, out) = set(&arguments);
    let captions = captions(&out);
    assert_eq!(captions.len(), 32);
    let mut seen = BTreeSet::new();
    for line in &captions {
        let path = |key: &str| out.join(line[key].as_str().unwrap());
        assert!(seen.insert(line["image"].to_string()), "{line}");
        let pair = captions.iter().find(|other| other["image"] == line["pair"]).expect("its pair");
        assert_eq!((&pair["pair"], &pair["seed"], &pair["class"]), (&line["image"], &line["seed"], &line["class"]));
        let caption = line["caption"].as_str().unwrap();
        if line["defect"].is_null() {
            assert!(caption.contains("good") && line["mask"].is_null() && line["difficulty"].is_null(), "{line}");
            continue;
        }
        assert!(caption.contains("damaged") && line["difficulty"].as_f64().is_some(), "{line}");
        let mask = image::open(path("mask")).unwrap().into_luma8();
        let (good, bad) = (rgb(&path("pair")), rgb(&path("image")));
        let (mut inside, mut changed) = (0, 0);
        for (x, y, level) in mask.enumerate_pixels() {
            let change = (0..3).map(|c| good.get_pixel(x, y)[c].abs_diff(bad.get_pixel(x, y)[c])).max().unwrap();
            match level.0[0] {
                0 => assert!(change <= 9, "{line}: {change} at {x}, {y}"),
                255 => {
                    inside += 1;
                    changed += usize::from(change > 2);
                }
                other => panic!("{line}: mask of {other}"),
            }
        }
        assert!(inside > 8 && changed * 10 > inside * 7, "{line}: {changed} of {inside}");
    }
}

#[test]
fn visa_and_the_released_code_get_their_lists() {
    let (_keep, visa) = set(&[&SMALL[..], &["--defective", "1", "--layout", "visa"]].concat());
    let list = fs::read_to_string(visa.join("split_csv/1cls.csv")).unwrap();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines[0], "object,split,label,image,mask");
    assert_eq!(lines[1], "leather,train,normal,leather/Data/Images/Normal/000.png,");
    assert_eq!(lines[3], "leather,test,normal,leather/Data/Images/Normal/002.png,");
    let anomaly = "gear,test,anomaly,gear/Data/Images/Anomaly/000.png,gear/Data/Masks/Anomaly/000.png";
    assert_eq!((lines[8], lines.len()), (anomaly, 9));
    for line in &lines[1..] {
        for file in line.split(',').skip(3).filter(|file| !file.is_empty()) {
            assert!(visa.join(file).is_file(), "{file}");
        }
    }

    let (_keep, meta) = set(&[&SMALL[..], &["--defective", "2", "--layout", "meta"]].concat());
    let list: Value = serde_json::from_slice(&files(&meta)["meta.json"]).unwrap();
    assert_eq!(list["train"]["gear"].as_array().unwrap().len(), 2);
    let expected = serde_json::json!({
        "img_path": "gear/test/missing-piece/000.png",
        "mask_path": "gear/ground_truth/missing-piece/000_mask.png",
        "cls_name": "gear", "specie_name": "missing-piece", "anomaly": 1,
    });
    assert_eq!(list["test"]["gear"][2], expected);
    assert_eq!(list["test"]["gear"][0]["mask_path"], "");
    assert!(meta.join("gear/ground_truth/missing-piece/000_mask.png").is_file());
}

#[test]
fn plain_folders_hold_good_defect_and_ground_truth() {
    let (_keep, out) =
        set(&["--classes", "pill", "--train-good", "0", "--good", "1", "--defective", "1", "--layout", "folders"]);
    let expected = [
        "captions.jsonl",
        "dataset.json",
        "pill/defect/scratch/000.png",
        "pill/good/000.png",
        "pill/ground_truth/scratch/000_mask.png",
    ];
    assert_eq!(names(&out), expected);
}

#[test]
fn a_contact_sheet_shows_every_class_and_defect() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sheet.png");
    let (code, stdout, stderr) =
        synth(&["--sheet", file.to_str().unwrap(), "--classes", "mesh,nut", "--defects", "all"]);
    // A name that is none names those that are.
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("'nut' is no class of products; there are brushed-metal, wood-grain, "), "{stderr}");
    let (code, stdout, _) = synth(&["--sheet", file.to_str().unwrap(), "--classes", "mesh,hex-nut"]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("2 rows: mesh, hex-nut\ncolumns: good, scratch, dent, "), "{stdout}");
    let sheet = rgb(&file);
    // Each picture has its name above it.
    assert_eq!(sheet.dimensions(), (10 * 68 + 4, 2 * (68 + 10) + 4));
    let named = |x: u32, y: u32| (x..x + 64).any(|x| (y..y + 8).any(|y| sheet.get_pixel(x, y).0 == [0; 3]));
    assert!((0..10).all(|column| [4, 82].into_iter().all(|y| named(4 + 68 * column, y))));
}

#[test]
fn mistakes_are_named_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine.txt"), "precious").unwrap();
    let name = out.to_str().unwrap();
    let refused = format!("vcp-line: {name} is not empty; name a new folder, or empty this one\n");
    assert_eq!(synth(&["--out", name, "--classes", "ring"]), (Some(2), String::new(), refused));
    assert_eq!(names(folder.path()), ["set/mine.txt"]);
    fs::remove_file(out.join("mine.txt")).unwrap();
    let few = ["--classes", "ring", "--train-good", "1", "--good", "0", "--defective", "0"];
    let (code, stdout, stderr) = synth(&[&["--out", name][..], &few].concat());
    assert_eq!((code, stdout), (Some(0), format!("{name}: 1 pictures of 1 classes\n")), "{stderr}");
    assert_eq!(names(folder.path()).len(), 3);

    let wrong = |arguments: &[&str]| {
        let (code, _, stderr) = synth(arguments);
        assert_eq!(code, Some(2), "{stderr}");
        stderr
    };
    let stderr = wrong(&["--out", "x", "--difficulty", "0.7..0.2"]);
    assert!(stderr.contains("write LOW..HIGH, with 0 ≤ LOW ≤ HIGH ≤ 1"), "{stderr}");
    let stderr = wrong(&["--out", "x", "--defects", "dint"]);
    assert!(stderr.contains("'dint' is no kind of defect; there are scratch, dent, "), "{stderr}");
    let stderr = wrong(&["--out", "x", "--pairs", "--good", "3"]);
    assert!(stderr.contains("'--pairs' cannot be used with '--good <N>'"), "{stderr}");
    assert!(wrong(&["--classes", "ring"]).contains("--out <DIR>"));
}

/// A file system of one mebibyte, where the test has the right to mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).status();
        status.is_ok_and(|status| status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let Some(disk) = SmallDisk::mount() else {
        assert!(std::env::var_os("CI").is_none(), "under CI this test needs the right to mount a tmpfs (root)");
        eprintln!("not tested: mounting a small tmpfs needs root");
        return;
    };
    let out = disk.0.path().join("set");
    let (code, stdout, stderr) = synth(&["--out", out.to_str().unwrap(), "--classes", "weave", "--train-good", "200"]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with("vcp-line: the disk is full after ") && last.contains(" of 228 pictures; "), "{stderr}");
    assert!(fs::read_dir(disk.0.path()).unwrap().next().is_none());
}

#[test]
fn an_interrupted_one_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    let many =
        ["synth", "--size", "256", "--classes", "leather,gear", "--good", "2000", "--out", out.to_str().unwrap()];
    let mut interrupted = Running::start(program(&many));
    // Pictures are being written.
    while !fs::read_dir(folder.path()).unwrap().any(|entry| files(&entry.unwrap().path()).len() > 3) {
        assert!(interrupted.is_running(), "{}", interrupted.stderr());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    interrupted.signal("INT");
    assert_eq!(interrupted.end().signal(), Some(2));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{}", interrupted.stderr());
    assert!(interrupted.stderr().contains("vcp-line: interrupted; nothing half made is left"));
}

/// Runs it for large frames, which have no side.
fn frames(arguments: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    let output = finished(&[&["synth", "--frame", "512x400", "--out", out.to_str().unwrap()], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    (folder, out)
}

#[test]
fn large_frames_say_where_part_and_defect_lie() {
    let arguments =
        ["--classes", "leather,gear", "--train-good", "1", "--defective", "3", "--pairs", "--defect-px", "8..24"];
    let (_keep, out) = frames(&arguments);
    let (_too, again) = frames(&arguments);
    assert_eq!(files(&out), files(&again));
    let settings: Value = serde_json::from_slice(&files(&out)["dataset.json"]).unwrap();
    assert_eq!(settings["settings"]["frames"]["frame"], serde_json::json!([512, 400]));
    assert_eq!(settings["settings"]["frames"]["defect_px"], serde_json::json!([8.0, 24.0]));
    let captions = captions(&out);
    assert_eq!(captions.len(), 14);
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{value}"));
    for line in &captions {
        let picture = rgb(&out.join(line["image"].as_str().unwrap()));
        assert_eq!(picture.dimensions(), (512, 400));
        let shift = line["part"]["shift"].as_array().unwrap();
        assert!(
            shift.iter().all(|shift| number(shift).abs() <= 40.0) && number(&line["part"]["turn_degrees"]).abs() <= 5.0
        );
        assert!((number(&line["part"]["centre"][0]) - 256.0 - number(&shift[0])).abs() < 0.002);
        let inside = |inner: &Value, outer: [f64; 4]| {
            let [x, y, width, height] = [0, 1, 2, 3].map(|side| number(&inner[side]));
            x >= outer[0] && y >= outer[1] && x + width <= outer[0] + outer[2] && y + height <= outer[1] + outer[3]
        };
        assert!(inside(&line["part"]["box"], [0.0, 0.0, 512.0, 400.0]), "{line}");
        let defects = line["defects"].as_array().unwrap();
        if line["defect"].is_null() {
            assert!(defects.is_empty() && line["defect_px"].is_null(), "{line}");
            let pair = captions.iter().find(|other| other["pair"] == line["image"]);
            assert!(line["split"] == "train" || pair.is_some_and(|bad| bad["part"] == line["part"]), "{line}");
            continue;
        }
        let ratio = number(&defects[0]["size_px"]) / number(&line["defect_px"]);
        assert!((0.6..1.6).contains(&ratio), "{line}");
        let mask = image::open(out.join(line["mask"].as_str().unwrap())).unwrap().into_luma8();
        let held = |x: u32, y: u32| {
            defects.iter().any(|spot| {
                let [left, top, across, down] = [0, 1, 2, 3].map(|side| number(&spot["box"][side]) as u32);
                (left..left + across).contains(&x) && (top..top + down).contains(&y)
            })
        };
        let set: Vec<_> = mask.enumerate_pixels().filter(|(_, _, level)| level.0[0] == 255).collect();
        assert!(set.iter().all(|&(x, y, _)| held(x, y)), "{line}");
        let area: f64 = defects.iter().map(|spot| number(&spot["area_px"])).sum();
        assert_eq!(set.len() as f64, area);
    }
    let (_other, one) =
        frames(&["--classes", "gear", "--train-good", "2", "--good", "0", "--defective", "0", "--one-product"]);
    assert_eq!(files(&one).len(), 4);
}

#[test]
fn frames_that_cannot_be_are_refused_with_what_can() {
    let refused = |arguments: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("set");
        let output = finished(&[&["synth", "--out", out.to_str().unwrap()], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--frame", "2448"]).contains("write WIDTHxHEIGHT, for example 2448x2048"));
    assert!(refused(&["--frame", "512x400", "--size", "64"]).contains("cannot be used with"));
    assert!(
        refused(&["--frame", "512x400", "--shift", "60"])
            .contains("--shift 60 could move parts out of a frame of 512x400")
    );
    assert!(refused(&["--frame", "512x400", "--defect-px", "60..8"]).contains("write LOW..HIGH in pixels"));
    assert!(refused(&["--defect-px", "8..60"]).contains("--frame"));
}
