//! The entry points of fuzz/, fed with changed good inputs: a few seconds of what a fuzzer does for hours, on stable Rust
//! and the same on every machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::entries;

/// A changed input takes as long as a good one, give or take a busy machine.
const LONGEST: Duration = Duration::from_secs(10);

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Good inputs: those that lie in fuzz/corpus, and further files.
fn good(entry: &str, more: &[PathBuf]) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<PathBuf> = fs::read_dir(root.join("fuzz/corpus").join(entry))
        .map(|entries| entries.map(|entry| entry.expect("readable").path()).collect())
        .unwrap_or_default();
    files.extend(more.iter().map(|file| root.join(file)));
    files.sort();
    let inputs: Vec<_> = files.iter().map(|file| fs::read(file).expect("readable")).collect();
    assert!(!inputs.is_empty(), "no good input for {entry}");
    inputs
}

/// One to four changes: bits, bytes, numbers with a meaning, pieces cut, doubled or taken from another input.
fn changed(dice: &mut Dice, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = inputs[dice.below(inputs.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        let length = dice.below(64).min(bytes.len() - at.min(bytes.len()));
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = dice.next() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let other = &inputs[dice.below(inputs.len())];
                let from = dice.below(other.len());
                let piece = other[from..(from + dice.below(64)).min(other.len())].to_vec();
                bytes.splice(at..at + length, piece);
            }
            _ => {
                let number = [0, 1, 127, 128, 255, 1 << 31, u64::from(u32::MAX), u64::MAX, 1 << 63][dice.below(9)];
                let width = [1, 2, 4, 8][dice.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
            }
        }
    }
    bytes
}

/// Feeds the good inputs, then `count` changed ones. A panic fails the test and prints the seed of its input.
#[allow(clippy::print_stdout, reason = "the seed of a failing input belongs to the test's output")]
fn feed(entry: &str, run: fn(&[u8]), more: &[&str], count: u64) {
    let inputs = good(entry, &more.iter().map(PathBuf::from).collect::<Vec<_>>());
    inputs.iter().for_each(|input| run(input));
    for seed in 0..count {
        let input = changed(&mut Dice(seed), &inputs);
        let start = Instant::now();
        if let Err(panic) = std::panic::catch_unwind(|| run(&input)) {
            println!("{entry}: seed {seed}, {} bytes: {:?}", input.len(), &input[..input.len().min(400)]);
            std::panic::resume_unwind(panic);
        }
        assert!(start.elapsed() < LONGEST, "{entry}: seed {seed} takes {:?}", start.elapsed());
    }
}

#[test]
fn settings() {
    let lines = ["reference", "directory", "gige", "synthetic", "rtsp"].map(|name| format!("pipelines/{name}.toml"));
    feed("settings", entries::settings, &lines.each_ref().map(String::as_str), 4000);
}

#[test]
fn messages() {
    feed("message", entries::message, &[], 20_000);
}

#[test]
fn commands() {
    feed("command", entries::command, &[], 50_000);
}

#[test]
fn memories() {
    feed("memory", entries::memory, &[], 20_000);
}

#[test]
fn calibrations() {
    feed("calibration", entries::calibration, &[], 20_000);
}

#[test]
fn births() {
    feed("births", entries::births, &[], 50_000);
}

#[test]
fn pickles() {
    feed("pickle", entries::pickle, &[], 50_000);
}

const PICTURES: &str = "tests/fixtures/images";

/// The pictures of these endings, from the fixtures.
fn pictures(endings: &[&str]) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(PICTURES);
    let names = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").file_name());
    let names = names.map(|name| name.into_string().expect("UTF-8"));
    let names = names.filter(|name| endings.iter().any(|ending| name.ends_with(ending)));
    names.map(|name| format!("{PICTURES}/{name}")).collect()
}

#[test]
fn images() {
    let names = pictures(&[".png", ".jpg", ".bmp", ".webp"]);
    feed("image", entries::image, &names.iter().map(String::as_str).collect::<Vec<_>>(), 20_000);
}

#[test]
fn tiffs() {
    let names = pictures(&[".tif"]);
    feed("tiff", entries::tiff, &names.iter().map(String::as_str).collect::<Vec<_>>(), 20_000);
}

#[test]
fn jpegs() {
    let names = pictures(&[".jpg"]);
    feed("jpeg", entries::jpeg, &names.iter().map(String::as_str).collect::<Vec<_>>(), 20_000);
}

#[test]
fn weights() {
    feed("weights", entries::weights, &["tests/fixtures/oracle/tiny/vcp.pth"], 2000);
}

#[test]
fn indices() {
    feed("index", entries::index, &[], 2000);
}

#[test]
fn checkpoints() {
    feed("checkpoint", entries::checkpoint, &[], 4000);
}

#[test]
fn outbox_segments() {
    feed("outbox", entries::outbox, &[], 4000);
}
