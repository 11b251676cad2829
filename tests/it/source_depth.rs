//! The depth of a picture changes nothing: the real program gives a 16-bit copy the same score, and refuses what is unclear
//! until it is told what the values mean.

use image::{GrayImage, ImageBuffer, Luma};
use serde_json::Value;

use crate::support::line::{finished, model};

#[test]
fn a_part_scores_the_same_in_8_and_16_bits_and_12_in_16_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let level = |x: u32, y: u32| if (30..40).contains(&x) && (20..24).contains(&y) { 250 } else { 40 + (x + y) as u8 };
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (shallow, deep, unclear) = (place("8.png"), place("16.png"), place("12.png"));
    GrayImage::from_fn(80, 60, |x, y| Luma([level(x, y)])).save(&shallow).unwrap();
    ImageBuffer::from_fn(80, 60, |x, y| Luma([u16::from(level(x, y)) * 257])).save(&deep).unwrap();
    ImageBuffer::from_fn(80, 60, |x, y| Luma([u16::from(level(x, y)) * 16])).save(&unclear).unwrap();
    let bundle = model().to_str().unwrap();
    let inspect = ["inspect", "--json", "--engine", "reference", "--model", bundle, &shallow, &deep, &unclear];
    let done = finished(&inspect);
    let said = String::from_utf8(done.stdout).unwrap();
    let scores: Vec<Value> =
        said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["score"].clone()).collect();
    assert!(scores.len() == 2 && scores[0] == scores[1] && scores[0].is_number(), "{said}");
    let refused = String::from_utf8(done.stderr).unwrap();
    assert!(
        refused.contains("12.png: has 16 bits a channel, and no value above 4000: looks like 12 bits in 16"),
        "{refused}"
    );
    assert_eq!(done.status.code(), Some(1));
    let told = finished(&[&inspect[..6], &["--levels", "0,4080", &unclear]].concat());
    let said: Value = serde_json::from_slice(&told.stdout).unwrap();
    let (score, expected) = (said["score"].as_f64().unwrap(), scores[0].as_f64().unwrap());
    // Not rounded to 8 bits between the passes of the resize.
    assert!((score - expected).abs() < 2e-3 && told.status.success(), "{score} for {expected}");
}
