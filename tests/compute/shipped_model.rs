//! The models of `engines/`, on products that they have never seen: far fewer pictures than their cards have, and floors far enough
//! below the cards' figures that only a broken model or a broken pipeline falls through them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Classes that neither training has seen; the card names them.
const UNSEEN: &str = "leather,tile,marble,pill,gear,connector";
/// Of the repository; its card has the figures of 1200 pictures.
const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/vcp-demo");
/// For tiles of large frames; its card has the figures of 840.
const TILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/vcp-demo-tiles");
/// Bytes that a model may have.
const MOST_BYTES: u64 = 14_000_000;

fn vcp_line(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vcp-line")).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn assert_light(bundle: &str) {
    let weights = Path::new(bundle).join("weights.safetensors").metadata().unwrap().len();
    assert!(weights <= MOST_BYTES, "{weights} bytes");
}

#[test]
fn it_finds_defects_on_products_it_has_never_seen() {
    assert_light(BUNDLE);
    let folder = tempfile::tempdir().unwrap();
    let synth = ["synth", "--out", "data", "--classes", UNSEEN, "--train-good", "0", "--good", "9", "--defective", "9"];
    vcp_line(&[&synth[..], &["--seed", "5"]].concat(), folder.path());
    let eval =
        ["eval", "--model", BUNDLE, "--engine", "reference", "--data", "data", "--layout", "mvtec", "--json", "-"];
    let found: Value = serde_json::from_str(&vcp_line(&eval, folder.path())).unwrap();
    let figure = |kind: &str, figure: &str| found["methods"][0]["mean"]["raw"][kind][figure].as_f64().unwrap();
    for (kind, name, floor) in [("pixel", "auroc", 0.92), ("pixel", "aupro", 0.70), ("image", "auroc", 0.75)] {
        let found = figure(kind, name);
        assert!(found >= floor, "{kind} {name} is {found}, below {floor}");
    }
}

#[test]
fn defects_of_a_few_pixels_stand_out_in_tiles_of_large_frames() {
    assert_light(TILES);
    let folder = tempfile::tempdir().unwrap();
    let synth = ["synth", "--out", "data", "--classes", "gear", "--frame", "2448x2048", "--defect-px", "10..16"];
    let parts = ["--one-product", "--train-good", "0", "--good", "1", "--defective", "2", "--seed", "5"];
    vcp_line(&[&synth[..], &parts].concat(), folder.path());
    let aupro = |bundle: &str| {
        let view = ["--tiles", "128", "--crop", "700,500,1050,1050", "--layout", "mvtec", "--data", "data"];
        let eval = [&["eval", "--model", bundle, "--engine", "reference", "--json", "-"], &view[..]].concat();
        let found: Value = serde_json::from_str(&vcp_line(&eval, folder.path())).unwrap();
        found["methods"][0]["by_size"]["all"][0]["aupro"].as_f64().unwrap()
    };
    let (tiles, demo) = (aupro(TILES), aupro(BUNDLE));
    // 0.998 and 0.920: one has learned what teeth look like in pieces.
    assert!(tiles >= 0.95 && tiles > demo, "{tiles}, that of whole products {demo}");
}
