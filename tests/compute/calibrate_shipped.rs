//! The shipped model calibrated on a product that it has never seen: what it promises is kept on parts that come later.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/vcp-demo");

fn vcp_line(arguments: &[&str], folder: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vcp-line"));
    command.args(arguments).current_dir(folder).env("STATE_DIRECTORY", folder.join("state"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn good_parts_that_come_later_pass_as_promised_and_half_of_the_defects_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let synth =
        ["synth", "--out", "data", "--classes", "tile", "--train-good", "60", "--good", "30", "--defective", "12"];
    vcp_line(&[&synth[..], &["--difficulty", "0..0.3", "--seed", "9"]].concat(), folder);
    fs::write(
        folder.join("line.toml"),
        format!(
            "line = \"tiles\"\n[model]\nbundle = \"{BUNDLE}\"\nengine = \"reference\"\n\
             [recipe]\nid = \"tile\"\ndefect_threshold = 0.9\n[mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n\
             [[camera]]\nname = \"top\"\nsource = \"directory\"\npath = \"data\"\n"
        ),
    )
    .unwrap();
    let good = ["calibrate", "line.toml", "--good", "data/tile/train/good", "--json", "--bad"];
    let defects: Vec<String> = fs::read_dir(folder.join("data/tile/test"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "good"))
        .map(|path| path.to_str().unwrap().to_owned())
        .collect();
    let defects: Vec<&str> = defects.iter().map(String::as_str).collect();
    let record: Value = serde_json::from_str(&vcp_line(&[&good[..], &defects, &["--apply"]].concat(), folder)).unwrap();
    let decided = &record["decided"];
    assert_eq!((&decided["good"]["parts"], &decided["good"]["failed_after"]), (&60.into(), &0.into()));
    assert!(decided["bad"]["failed_after"].as_u64().unwrap() >= 6, "{decided}");
    // Good parts of the same product that come later: 30 with at most 5 % rejected, 6 of them with a chance below 1 %.
    let text = fs::read_to_string(folder.join("line.toml")).unwrap();
    let threshold = record["after"]["defect_threshold"].as_f64().unwrap();
    fs::write(folder.join("after.toml"), text.replace("0.9", &threshold.to_string())).unwrap();
    let later = vcp_line(&["inspect", "--recipe", "after.toml", "--json", "data/tile/test/good"], folder);
    let failed = later.lines().filter(|line| line.contains("\"verdict\":\"fail\"")).count();
    assert!(later.lines().count() == 30 && failed < 6, "{failed} of 30 fail");
}
