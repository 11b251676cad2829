//! `vcp-line train clip` as it is run: from a synthetic data set to a CLIP file, killed and gone on with.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use half::f16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
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
    "2",
    "--working-size",
    "32",
    "--smallest-window",
    "16",
    "--checkpoint-every",
    "1",
];

/// More than one step at a rate of 1e-12 moves a value, far less than values differ by.
const MOVED: f32 = 1e-9;

/// A bundle around `first.safetensors`, whose VCP modules have learned next to nothing, at the image size of CLIP.
const BUNDLE: [&str; 28] = [
    "train",
    "vcp",
    "--clip",
    "first.safetensors",
    "--data",
    "pairs",
    "--layout",
    "mvtec",
    "--image-size",
    "16",
    "--taps",
    "1,2",
    "--post-heads",
    "1",
    "--epochs",
    "1",
    "--batch",
    "18",
    "--augment",
    "none",
    "--cache-copies",
    "1",
    "--prompt-dropout",
    "0",
    "--sigma",
    "1",
    "-o",
    "bundle",
];

fn train(folder: &Path, more: &[&str]) -> Command {
    // Arguments that are given again are replaced.
    let kept: Vec<&str> = TRAIN[..2]
        .iter()
        .chain(TRAIN[2..].chunks(2).filter(|pair| !more.contains(&pair[0])).flatten())
        .copied()
        .collect();
    let mut command = vcp_line(&kept, folder);
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
    assert_eq!((sizes.vision_width, sizes.vision_layers, sizes.text_layers), (64, 2, 2));

    let other = train(folder, &["-o", "other.safetensors", "--checkpoint", "run", "--resume", "--seed", "2"]);
    let refused = { other }.output().unwrap();
    assert!(!refused.status.success() && text(&refused).contains("seed"), "{}", text(&refused));
    assert!(!folder.join("other.safetensors").exists());
    let other = train(folder, &["-o", "other.safetensors", "--checkpoint", "run", "--resume", "--beta2", "0.99"]);
    let refused = { other }.output().unwrap();
    assert!(text(&refused).contains("settings.adam.beta2 was 0.98, is 0.99"), "{}", text(&refused));
}

#[test]
fn an_interrupted_training_is_kept_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pairs(folder);
    let whole = train(folder, &["-o", "whole.safetensors"]).output().unwrap();
    assert!(whole.status.success(), "{}", text(&whole));
    // Nothing but the interruption keeps it.
    let more = ["-o", "stopped.safetensors", "--checkpoint", "run", "--resume", "--checkpoint-every", "1000"];
    let mut child = train(folder, &[&more[..], &["--log-every", "1"]].concat()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("step 3 ") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    lines.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(15), "{said}");
    assert!(
        said.contains("stopped on request; the run is kept in run: go on with the same command and --resume"),
        "{said}"
    );
    let left: BTreeSet<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, BTreeSet::from(["pairs", "run", "whole.safetensors"].map(Into::into)));

    let rest = train(folder, &more).output().unwrap();
    assert!(rest.status.success() && text(&rest).contains("goes on after step"), "{}", text(&rest));
    let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert!(bytes("whole.safetensors") == bytes("stopped.safetensors"), "the weights differ");
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
    assert!(run(&[]).contains("--data pairs: No such file"), "{}", run(&[]));
    pairs(folder);
    assert!(run(&["--classes", "coin"]).contains("the list has ring, tile"), "{}", run(&["--classes", "coin"]));
    assert!(run(&["--text-layers", "1"]).contains("--text-layers: at least 2"), "{}", run(&["--text-layers", "1"]));
    let nowhere = train(folder, &["-o", "missing/clip.safetensors"]).output().unwrap();
    assert!(text(&nowhere).contains("cannot write missing/clip.safetensors"), "{}", text(&nowhere));

    let list = folder.join("pairs/captions.jsonl");
    let lines = std::fs::read_to_string(&list).unwrap();
    let caption = |words: &str| {
        let (first, rest) = lines.split_once('\n').unwrap();
        let mut line: serde_json::Value = serde_json::from_str(first).unwrap();
        line["caption"] = words.into();
        std::fs::write(&list, format!("{line}\n{rest}")).unwrap();
        run(&[])
    };
    let long = caption(&"word ".repeat(76));
    assert!(long.contains("it has 78 tokens, at most 77 fit"), "{long}");
    let reserved = caption("a photo of a <|class|>");
    assert!(reserved.contains("'<|class|>' stands for learned vectors"), "{reserved}");
    std::fs::write(&list, format!("{lines}{{\"image\": 7}}\n")).unwrap();
    assert!(run(&[]).contains("line 27"), "{}", run(&[]));
}

#[test]
fn the_clip_of_a_bundle_is_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pairs(folder);
    let learned = train(folder, &["-o", "first.safetensors"]).output().unwrap();
    assert!(learned.status.success(), "{}", text(&learned));
    let bundled = vcp_line(&BUNDLE, folder).output().unwrap();
    assert!(bundled.status.success(), "{}", text(&bundled));

    // So small a step that the values stay where they start.
    let still = ["--start", "bundle", "--steps", "1", "--warm-up", "0", "--rate", "1e-12", "--decay", "0"];
    let run = |more: &[&str]| train(folder, more).output().unwrap();
    let started = run(&[&still[..], &["-o", "second.safetensors"]].concat());
    assert!(started.status.success(), "{}", text(&started));
    let read = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let values = |view: TensorView<'_>| match view.dtype() {
            Dtype::F16 => view.data().chunks(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect::<Vec<_>>(),
            _ => view.data().chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        };
        file.iter().map(|(name, view)| (name.to_owned(), values(view))).collect::<BTreeMap<_, _>>()
    };
    let (first, second) = (read("first.safetensors"), read("second.safetensors"));
    // A bundle keeps neither the temperature nor the words that its prompts do not use.
    let kept = |name: &str| !["logit_scale", "token_embedding.weight"].contains(&name);
    for (name, values) in first.iter().filter(|(name, _)| kept(name)) {
        let same = values.iter().zip(&second[name]).all(|(a, b)| (a - b).abs() < MOVED);
        assert!(same, "'{name}' is another");
    }
    assert!(first["token_embedding.weight"] != second["token_embedding.weight"]);

    // Between where it began and where it came to, which is hundredths away; a file holds halves.
    let learn = ["--start", "bundle", "--steps", "5", "--warm-up", "0", "--rate", "1e-2", "--checkpoint", "run"];
    let written = |more: &[&str], out: &str| {
        let learned = run(&[&learn[..], more, &["-o", out]].concat());
        assert!(learned.status.success(), "{}", text(&learned));
        read(out)
    };
    let moved = written(&[], "moved.safetensors");
    let between = written(&["--resume", "--keep-start", "0.25"], "between.safetensors");
    for (name, values) in &between {
        let ends = second[name].iter().zip(&moved[name]);
        let right = values.iter().zip(ends).all(|(value, (from, to))| (value - (0.25 * from + 0.75 * to)).abs() < 3e-3);
        assert!(right && second[name] != moved[name], "'{name}' is not between");
    }
    let range = "a number from 0 to less than 1";
    for (refused, why) in [
        (&["--start", "bundle", "--keep-start=1"][..], range),
        (&["--start", "bundle", "--keep-start=-0.1"], range),
        (&["--start", "bundle", "--keep-start=nan"], range),
        (&["--keep-start=0.5"], "--start <BUNDLE>"),
    ] {
        let output = run(&[refused, &["-o", "no.safetensors"]].concat());
        assert!(!output.status.success() && text(&output).contains(why), "{refused:?}: {}", text(&output));
    }

    let wide = run(&[&still[..], &["--vision-width", "128", "-o", "third.safetensors"]].concat());
    assert!(text(&wide).contains("--vision-width is 128, the CLIP of --start has 64"), "{}", text(&wide));
}

fn frames(folder: &Path, out: &str, more: &[&str]) {
    let sizes = ["synth", "--frame", "320x256", "--shift", "20", "--defect-px", "12..25", "--difficulty", "0..0"];
    let made = vcp_line(&[&sizes[..], &["--train-good", "0", "--out", out], more].concat(), folder).output().unwrap();
    assert!(made.status.success(), "{}", text(&made));
}

/// What the training says of patches on its last line.
fn patches_told_right(said: &str) -> f32 {
    let (_, rest) = said.rsplit_once("patches told right ").unwrap_or_else(|| panic!("{said}"));
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn pieces_of_frames_and_their_patches_are_learned_from() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pairs(folder);
    frames(
        folder,
        "frames",
        &["--classes", "ring,tile", "--defects", "stain,dent", "--good", "2", "--defective", "12"],
    );

    let pieces = ["--data", "frames", "--tiles", "64,96", "--good-tiles", "2", "--whole-data", "pairs"];
    let run = |out: &str, more: &[&str]| {
        let learned = train(folder, &[&pieces[..], more, &["-o", out]].concat()).output().unwrap();
        assert!(learned.status.success(), "{}", text(&learned));
        text(&learned)
    };
    let long = ["--steps", "150", "--log-every", "50", "--rate", "3e-3", "--image-size", "32", "--batch", "16"];
    let long = [&long[..], &["--working-size", "64", "--smallest-window", "32"]].concat();
    let patches = ["--patch-weight", "5", "--patch-taps", "1,2"];
    let said = run("patches.safetensors", &[&long[..], &patches].concat());
    let right = patches_told_right(&said);
    assert!(right > 0.6, "guessing tells half of them right: {said}");
    // 26 whole pictures, and of each of 28 frames two good tiles at least.
    let (count, _) = said.split_once(" pictures").unwrap_or_else(|| panic!("{said}"));
    assert!(count.parse::<usize>().unwrap() > 26 + 2 * 28, "{said}");

    // The same again is the same; patches make another CLIP of it.
    let few = ["--steps", "5"];
    let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();
    run("first.safetensors", &[&few[..], &patches].concat());
    run("second.safetensors", &[&few[..], &patches].concat());
    assert!(!run("without.safetensors", &few).contains("patches"));
    assert!(bytes("first.safetensors") == bytes("second.safetensors"));
    assert!(bytes("first.safetensors") != bytes("without.safetensors"));

    let refused = |more: &[&str]| {
        let output = train(folder, &[&["-o", "no.safetensors"], more].concat()).output().unwrap();
        assert!(!output.status.success());
        text(&output)
    };
    for weight in ["--patch-weight=-1", "--patch-weight=nan"] {
        let said = refused(&[weight]);
        assert!(said.contains("--patch-weight ") && said.contains("a number from 0"), "{said}");
    }
    for taps in ["3", "2,1"] {
        let said = refused(&["--patch-weight", "1", "--patch-taps", taps]);
        assert!(said.contains("--patch-taps [") && said.contains("from 1 to 2"), "{said}");
    }
    let said = refused(&["--patch-taps", "1"]);
    assert!(said.contains("--patch-weight"), "{said}");
    let said = refused(&["--tiles", "4"]);
    assert!(said.contains("--tiles, ") && said.contains('4'), "{said}");
    frames(folder, "good", &["--classes", "ring", "--good", "2", "--defective", "0"]);
    let said = refused(&["--data", "good", "--tiles", "64", "--good-tiles", "0"]);
    assert!(said.contains("leaves nothing to learn from"), "{said}");
    let said = refused(&["--data", "good", "--classes", "tile"]);
    assert!(said.contains("good/captions.jsonl") && said.contains("the list has ring"), "{said}");
    let said = refused(&["--tiles", "64", "--whole-data", "nowhere"]);
    assert!(said.contains("--whole-data nowhere"), "{said}");
}
