//! A training killed again and again ends with the same weights, to the bit, as one that was left alone.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::support::tiny;

/// Kills of a training of eight steps: each comes a little later after a checkpoint than the one before.
const KILLS: u32 = 6;
/// Between one kill's delay and the next.
const DELAY: Duration = Duration::from_millis(3);

/// Two computations of the same maps in float32, whose figures count ranks: a few may change places.
const SAME_FIGURE: f64 = 1e-3;

/// Eight small pictures of one class, half of them with a defect; a quarter is held out.
fn data(root: &Path) {
    let write = |path: &Path, level: &dyn Fn(u32, u32) -> u8| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_fn(40, 30, |x, y| image::Luma([level(x, y)])).save(path).unwrap();
    };
    for at in 0..4_u32 {
        let texture = move |x: u32, y: u32| ((x * 7 + y * 13 + at * 31) % 97) as u8 + 80;
        let defect = move |x: u32, y: u32| (8 + at..20).contains(&x) && (5..15).contains(&y);
        write(&root.join(format!("bolt/good/{at}.png")), &texture);
        write(&root.join(format!("bolt/defect/{at}.png")), &|x, y| if defect(x, y) { 255 } else { texture(x, y) });
        write(&root.join(format!("bolt/ground_truth/{at}.png")), &|x, y| if defect(x, y) { 255 } else { 0 });
    }
}

/// A training in `folder` that keeps its run there.
fn train(folder: &Path, data: &Path, extra: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vcp-line"));
    command.args(["train", "vcp", "--layout", "folders", "--image-size", "98", "--taps", "3,6,9,12"]);
    command.args(["--batch", "3", "--warm-up", "3", "--schedule", "cosine"]);
    command.args(["--resume", "--force"]).args(extra);
    if !extra.contains(&"--epochs") {
        command.args(["--epochs", "4"]);
    }
    if !extra.contains(&"--checkpoint-every") {
        command.args(["--checkpoint-every", "1"]);
    }
    if !extra.contains(&"--hold-out") && !extra.contains(&"--validate") {
        command.args(["--hold-out", "0.25"]);
    }
    command.arg("--clip").arg(tiny::fixture("clip.pt")).arg("--data").arg(data);
    command.arg("--checkpoint").arg(folder.join("run")).arg("--log-file").arg(folder.join("log"));
    command.arg("--pth-names").arg(folder.join("vcp.safetensors")).arg("-o").arg(folder.join("bundle"));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn finish(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    text
}

/// The epochs' losses, without the times.
fn losses(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("log")).unwrap();
    let keep = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{} {} {}", line["epoch"], line["loss"], line["validation"])
    };
    text.lines().map(keep).collect()
}

/// Tells one checkpoint from the next.
fn checkpoint(folder: &Path) -> Option<u64> {
    std::fs::metadata(folder.join("run/checkpoint.safetensors")).ok().map(|file| file.ino())
}

fn same_after_kills(extra: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    data(&root);
    let (alone, killed) = (folder.path().join("alone"), folder.path().join("killed"));
    std::fs::create_dir_all(&alone).unwrap();
    std::fs::create_dir_all(&killed).unwrap();
    finish(train(&alone, &root, extra).spawn().unwrap());

    let mut kills = 0;
    for kill in 0..KILLS {
        let before = checkpoint(&killed);
        let mut child = train(&killed, &root, extra).spawn().unwrap();
        while checkpoint(&killed) == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(DELAY * kill);
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    assert!(kills > 0, "no run lived long enough to be killed");
    finish(train(&killed, &root, extra).spawn().unwrap());
    let weights = |folder: &Path| std::fs::read(folder.join("vcp.safetensors")).unwrap();
    assert!(weights(&alone) == weights(&killed), "the weights differ after {kills} kills");
    assert_eq!(losses(&alone), losses(&killed));
    assert_eq!(losses(&alone).len(), 4);

    let kept = std::fs::read_dir(killed.join("run")).unwrap().map(|entry| entry.unwrap().file_name());
    let kept: Vec<_> = kept.filter(|name| name.to_string_lossy().starts_with(".work")).collect();
    assert!(kept.is_empty(), "killed runs left {kept:?} behind");

    // Another setting is another run.
    let refused = train(&killed, &root, &[extra, &["--rate", "1e-3"]].concat()).output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && text.contains("settings.rate was 0.00004, is 0.001"), "{text}");
    let other = ["--beta1", "0.9", "--focal-gamma", "3", "--focal-alpha", "0.75", "--dice-smooth", "0.5"];
    let refused = train(&killed, &root, &[extra, &other].concat()).output().unwrap();
    let text = String::from_utf8(refused.stderr).unwrap();
    let differences = "settings.adam.beta1 was 0.5, is 0.9, settings.loss.dice_smooth was 1.0, is 0.5, \
                       settings.loss.focal_alpha was null, is 0.75, settings.loss.focal_gamma was 2.0, is 3.0";
    assert!(!refused.status.success() && text.contains(differences), "{text}");
}

#[test]
fn with_pictures_changed_every_time() {
    same_after_kills(&[]);
}

#[test]
fn with_kept_copies_in_a_file() {
    same_after_kills(&["--cache-copies", "2", "--cache-memory", "0", "--mosaic", "0.5"]);
}

/// Starts a training, sends it a signal when it says `word`, and returns how it ended and what it said.
fn interrupted(mut command: Command, word: &str) -> (ExitStatus, String) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(word) {
        assert!(lines.read_line(&mut said).unwrap() > 0, "it never says '{word}': {said}");
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    lines.read_to_string(&mut said).unwrap();
    (child.wait().unwrap(), said)
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn an_interrupted_training_is_kept_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    data(&root);
    let (alone, stopped) = (folder.path().join("alone"), folder.path().join("stopped"));
    std::fs::create_dir_all(&alone).unwrap();
    std::fs::create_dir_all(&stopped).unwrap();
    let command = |folder: &Path| {
        let mut command = train(folder, &root, &["--epochs", "12", "--checkpoint-every", "1000"]);
        command.env("TMPDIR", &stopped);
        command
    };
    finish(command(&alone).spawn().unwrap());

    let (status, said) = interrupted(command(&stopped), "epoch 2:");
    assert_eq!(status.signal(), Some(2), "{said}");
    assert!(said.contains("vcp-line: ends as soon as the run is kept; a second signal ends it at once"), "{said}");
    let advice = format!(
        "vcp-line: stopped on request; the run is kept in {}: go on with the same command and --resume",
        stopped.join("run").display()
    );
    assert!(said.contains(&advice), "{said}");
    assert_eq!(names(&stopped), ["log", "run"]);
    assert_eq!(names(&stopped.join("run")), ["checkpoint.lock", "checkpoint.safetensors"]);

    let text = finish(command(&stopped).spawn().unwrap());
    assert!(text.contains("goes on in epoch"), "{text}");
    let weights = |folder: &Path| std::fs::read(folder.join("vcp.safetensors")).unwrap();
    assert!(weights(&alone) == weights(&stopped), "the weights differ");
    assert_eq!(losses(&alone), losses(&stopped));
}

#[test]
fn an_interrupted_training_that_is_kept_nowhere_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    data(&root);
    let out = folder.path().join("out");
    std::fs::create_dir_all(&out).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vcp-line"));
    command.args(["train", "vcp", "--layout", "folders", "--image-size", "98", "--epochs", "100"]);
    command.arg("--clip").arg(tiny::fixture("clip.pt")).arg("--data").arg(&root);
    command.arg("-o").arg(out.join("bundle")).env("TMPDIR", &out).stderr(Stdio::piped());
    let (status, said) = interrupted(command, "epoch 1:");
    assert_eq!(status.signal(), Some(2), "{said}");
    assert!(said.contains("vcp-line: interrupted; nothing half made is left"), "{said}");
    assert!(names(&out).is_empty(), "{:?}", names(&out));
}

#[test]
fn weights_of_an_earlier_training_are_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    data(&root);
    let start = tiny::fixture("vcp.pth");
    // Nothing moves, so the start comes out again.
    let still = ["--start", start.to_str().unwrap(), "--rate", "0", "--temperature-rate", "0", "--epochs", "1"];
    let validate = ["--validate", root.to_str().unwrap(), "--hold-out", "0"];
    let mut command = train(folder.path(), &root, &still);
    let text = finish(command.spawn().unwrap());
    assert!(text.contains("validation") && text.contains("image AUROC"), "{text}");
    let (_folder, bundle) = tiny::bundle();
    let values = |bundle: &Path| {
        let bundle = vcp_line::weights::Bundle::open(bundle).unwrap();
        let names: Vec<String> = bundle.names().map(str::to_owned).collect();
        names.into_iter().map(|name| (bundle.f32(&name).unwrap(), name)).collect::<Vec<_>>()
    };
    assert!(values(&folder.path().join("bundle")) == values(&bundle));

    // What the training says after an epoch is what `eval` finds.
    let whole = folder.path().join("whole");
    std::fs::create_dir_all(&whole).unwrap();
    let all = [&still[..], &["--validate", root.to_str().unwrap()]].concat();
    finish(train(&whole, &root, &all).spawn().unwrap());
    let log = std::fs::read_to_string(whole.join("log")).unwrap();
    let log: serde_json::Value = serde_json::from_str(log.trim()).unwrap();
    let said = &log["validation"]["figures"];
    let mut eval = Command::new(env!("CARGO_BIN_EXE_vcp-line"));
    eval.args(["eval", "--engine", "reference", "--layout", "folders", "--json", "-", "--model"]);
    let output = eval.arg(whole.join("bundle")).arg("--data").arg(&root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = &found["methods"][0]["mean"]["raw"];
    for (key, [kind, figure]) in [
        ("pixel_auroc", ["pixel", "auroc"]),
        ("pixel_aupro", ["pixel", "aupro"]),
        ("pixel_ap", ["pixel", "ap"]),
        ("image_auroc", ["image", "auroc"]),
        ("image_ap", ["image", "ap"]),
    ] {
        let (said, found) = (said[key].as_f64().unwrap(), found[kind][figure].as_f64().unwrap());
        assert!((said - found).abs() < SAME_FIGURE, "{key}: {said} during the training, {found} by eval");
    }

    let other = folder.path().join("other");
    std::fs::create_dir_all(&other).unwrap();
    let output = train(&other, &root, &[&still[..], &validate].concat()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--validate") && text.contains("--hold-out"), "the two exclude each other: {text}");
}

/// In tiles of 20 pixels, three across and two down, the four on the left show the defect, and all of those of a good picture are good.
#[test]
fn tiles_are_learned_from_in_place_of_pictures_and_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("data");
    data(&pictures);
    let tiles = ["--tiles", "20", "--good-tiles", "1", "--epochs", "1", "--hold-out", "0"];
    let said = finish(train(folder.path(), &pictures, &tiles).spawn().unwrap());
    assert!(said.contains("\n24 pictures, 16 of them anomalous\n"), "{said}");
    let learned = std::fs::read(folder.path().join("vcp.safetensors")).unwrap();

    let whole = pictures.to_str().unwrap();
    let other = train(folder.path(), &pictures, &[&tiles[..], &["--whole-data", whole]].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("data"), "a run of other pictures went on: {said}");

    let beside = folder.path().join("beside");
    std::fs::create_dir(&beside).unwrap();
    let said = finish(train(&beside, &pictures, &[&tiles[..], &["--whole-data", whole]].concat()).spawn().unwrap());
    assert!(said.contains("\n32 pictures, 20 of them anomalous\n"), "{said}");
    assert_ne!(std::fs::read(beside.join("vcp.safetensors")).unwrap(), learned);

    let error = train(&beside, &pictures, &["--tiles", "4"]).output().unwrap();
    let said = String::from_utf8_lossy(&error.stderr);
    assert!(!error.status.success() && said.contains("--tiles, ") && said.contains("16 pixels"), "{said}");
}

#[test]
fn values_that_run_away_end_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    data(&root);
    let output = train(folder.path(), &root, &["--rate", "1e38"]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(text.contains("the values have run away"), "{text}");
    assert!(text.contains("start again with a lower --rate or --temperature-rate"), "{text}");
    assert!(!folder.path().join("bundle").exists() && !folder.path().join("vcp.safetensors").exists());
}

#[test]
fn what_cannot_be_learned_from_is_said_before_anything_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    data(&root);
    let said = |extra: &[&str]| {
        let output = train(folder.path(), &root, extra).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let text = said(&["--classes", "nut"]);
    assert!(text.contains("nut") && text.contains("bolt"), "{text}");
    let text = said(&["--hold-out", "0.999"]);
    assert!(text.contains("the hold-out leaves no picture to learn from"), "{text}");
    let text = said(&["--noise", "2"]);
    assert!(text.contains("--noise 2: give a probability, 0 to 1"), "{text}");
    let text = said(&["--beta2", "1"]);
    assert!(text.contains("--beta2 1: give a number from 0, less than 1"), "{text}");
    let text = said(&["--device", "cuda"]);
    assert!(text.contains("rebuild with `cargo build --release --features train-cuda`"), "{text}");
    std::fs::remove_dir_all(root.join("bolt/ground_truth")).unwrap();
    let text = said(&[]);
    assert!(
        text.contains("4 of 8 pictures are left out, more than a tenth: 4 defective pictures of 'bolt' have no mask")
    );
    assert!(text.contains("by --allow-missing"), "{text}");
    let text = said(&["--allow-missing"]);
    assert!(
        text.contains("bolt: 4 good, 4 defective (0 with mask), 0 left out") && text.contains("cannot be learned from")
    );
    assert!(text.contains("has no anomalous picture to learn from"), "{text}");
    std::fs::remove_dir_all(root.join("bolt/defect")).unwrap();
    let text = said(&[]);
    assert!(text.contains("has no anomalous picture to learn from"), "{text}");
}
