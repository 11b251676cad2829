//! The model that ships, on products that it has never seen: far fewer pictures than its card has, and floors far enough
//! below the card's figures that only a broken model or a broken pipeline falls through them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Classes that neither training has seen; the card names them.
const UNSEEN: &str = "leather,tile,marble,pill,gear,connector";
/// Of the repository; `engines/vcp-demo/README.md` has the figures of 1200 pictures.
const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/vcp-demo");
/// Bytes that the model may have.
const MOST_BYTES: u64 = 14_000_000;

fn vcp_line(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vcp-line")).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_finds_defects_on_products_it_has_never_seen() {
    let weights = Path::new(BUNDLE).join("weights.safetensors").metadata().unwrap().len();
    assert!(weights <= MOST_BYTES, "{weights} bytes");

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
