//! `vcp-line train clip` as it is run: from a synthetic data set to a CLIP file, killed and gone on with.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use vcp_line::weights::clip_sizes;

fn vcp_line(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vcp-line"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

const TRAIN: [&str; 26] = [
    "train",
    "clip",
    "--data",
    "pairs",
    "--steps",
    "40",
    "--batch",
    "12",
    "--image-size",
    "16",
    "--patch",
    "8",
    "--vision-width",
    "64",
    "--vision-layers",
    "2",
    "--text-width",
    "64",
    "--text-layers",
    "1",
    "--working-size",
    "32",
    "--smallest-window",
    "16",
    "--checkpoint-every",
    "1",
];

fn train(folder: &Path, more: &[&str]) -> Command {
    let mut command = vcp_line(&TRAIN, folder);
    command.args(more);
    command
}

fn pairs(folder: &Path) {
    let synth = ["synth", "--out", "pairs", "--classes", "ring,tile", "--train-good", "4", "--good", "0"];
    let made = vcp_line(&synth, folder).args(["--defective", "9", "--size", "64"]).output().expect("the program runs");
    assert!(made.status.success(), "{}", text(&made));
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_killed_training_ends_with_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pairs(folder);
    let whole = train(folder, &["-o", "whole.safetensors"]).output().unwrap();
    assert!(whole.status.success(), "{}", text(&whole));

    let mut kills = 0;
    for attempt in 1.. {
        assert!(attempt < 200, "it never comes to its end");
        let more = ["-o", "killed.safetensors", "--checkpoint", "run", "--resume"];
        let mut child = train(folder, &more).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        // Later and later, so that some moment of everything is hit and the end is reached.
        std::thread::sleep(Duration::from_millis(60 + 35 * attempt));
        match child.try_wait().unwrap() {
            Some(status) => {
                assert!(status.success());
                break;
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
            }
        }
    }
    assert!(kills > 0, "it was over before it could be killed");
    let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert!(bytes("whole.safetensors") == bytes("killed.safetensors"), "after {kills} kills the weights differ");

    let sizes = clip_sizes(&folder.join("whole.safetensors")).unwrap();
    assert_eq!((sizes.vision_width, sizes.vision_layers, sizes.text_layers), (64, 2, 1));

    let other = train(folder, &["-o", "other.safetensors", "--checkpoint", "run", "--resume", "--seed", "2"]);
    let refused = { other }.output().unwrap();
    assert!(!refused.status.success() && text(&refused).contains("seed"), "{}", text(&refused));
    assert!(!folder.join("other.safetensors").exists());
}

#[test]
fn what_cannot_be_learned_from_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = |more: &[&str]| {
        let output = train(folder, more).args(["-o", "clip.safetensors"]).output().unwrap();
        assert!(!output.status.success());
        text(&output)
    };
    assert!(run(&[]).contains("pairs/captions.jsonl"), "{}", run(&[]));
    pairs(folder);
    assert!(run(&["--classes", "coin"]).contains("the list has ring, tile"), "{}", run(&["--classes", "coin"]));
    let list = folder.join("pairs/captions.jsonl");
    let lines = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, format!("{lines}{{\"image\": 7}}\n")).unwrap();
    assert!(run(&[]).contains("line 27"), "{}", run(&[]));
}
