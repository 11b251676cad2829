//! `vcp-line eval` on data sets as users have them: what is said of them, which figures exist, and when it refuses.

use std::fs;
use std::path::Path;
use std::process::Output;

use image::{GrayImage, Luma};
use serde_json::{Value, json};

use crate::support::line::{finished, model};
use crate::support::schema::{self, assert_valid};

/// Writes a grey part of 48×32 pixels, with a dark square where `spot` says so, or the mask of that square.
fn picture(root: &Path, file: &str, spot: bool, mask: bool) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let inside = |x: u32, y: u32| spot && (12..22).contains(&x) && (10..18).contains(&y);
    let part = |x, y| if inside(x, y) { 30 } else { (120 + (x * 3 + y * 2) % 23) as u8 };
    let truth = |x, y| if inside(x, y) { 255 } else { 0 };
    let level = |x, y| Luma([if mask { truth(x, y) } else { part(x, y) }]);
    let ending = path.extension().unwrap().to_str().unwrap().to_ascii_lowercase();
    let format = image::ImageFormat::from_extension(ending).unwrap();
    GrayImage::from_fn(48, 32, level).save_with_format(path, format).unwrap();
}

/// Three of each kind of picture; masks where there is a place for them.
fn set(good: &str, bad: &str, mask: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for number in ["000", "001", "002"] {
        for (place, spot, is_mask) in [(good, false, false), (bad, true, false), (mask, true, true)] {
            if !place.is_empty() {
                picture(root.path(), &place.replace("NAME", number), spot, is_mask);
            }
        }
    }
    root
}

fn eval(root: &Path, more: &[&str]) -> Output {
    let start = ["eval", "--model", model().to_str().unwrap(), "--engine", "reference", "--threads", "1"];
    finished(&[&start[..], &["--data", root.to_str().unwrap(), "--json", "-"], more].concat())
}

/// The JSON and what was said.
fn found(root: &Path, more: &[&str]) -> (Value, String) {
    let output = eval(root, more);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let value = serde_json::from_slice(&output.stdout).unwrap();
    assert_valid(&schema::eval(), &value);
    (value, said)
}

fn figure(found: &Value, column: &str, kind: &str, name: &str) -> Option<f64> {
    found["methods"][0][column]["normalised"][kind][name].as_f64()
}

#[test]
fn words_and_capitals_give_the_figures_of_good_and_bad() {
    let usual = set("caps/test/good/NAME.png", "caps/test/scratch/NAME.png", "caps/ground_truth/scratch/NAME_mask.png");
    let (expected, said) = found(usual.path(), &[]);
    assert!(said.contains("layout 'mvtec'"), "{said}");
    assert!(said.contains("caps: 3 good, 3 defective (3 with mask), 0 left out; kinds of defects: scratch"), "{said}");
    assert_eq!((&expected["layout"], &expected["warnings"]), (&json!("mvtec"), &json!([])));
    assert!(
        figure(&expected, "mean", "pixel", "aupro").is_some() && figure(&expected, "mean", "image", "auroc").is_some()
    );
    for (good, bad, mask, layout) in [
        ("caps/test/ok/NAME.png", "caps/test/ko/NAME.png", "caps/ground_truth/ko/NAME.png", "mvtec"),
        ("caps/test/good/NAME.PNG", "caps/test/cut/NAME.PNG", "caps/ground_truth/cut/NAME_mask.PNG", "mvtec"),
        ("caps/test/good/NAME.png", "caps/test/a/NAME.png", "caps/ground_truth/a/NAME/000.png", "mvtec"),
        ("caps/OK/NAME.png", "caps/NG/NAME.png", "caps/ground_truth/NG/NAME_mask.png", "folders"),
        ("test/1NAME.png", "test/2NAME.png", "test/2NAME_GT.png", "beside"),
    ] {
        let root = set(good, bad, mask);
        let (found, _) = found(root.path(), &[]);
        assert_eq!(found["layout"], layout);
        let class = &found["methods"][0]["classes"][0];
        assert_eq!((&class["good"], &class["anomalous"], &class["without_mask"]), (&json!(3), &json!(3), &json!(0)));
        assert_eq!(found["methods"][0]["mean"], expected["methods"][0]["mean"], "{good}");
    }
}

#[test]
fn labels_without_masks_give_the_figures_of_whole_pictures() {
    let root = set("caps/test/good/NAME.png", "caps/test/scratch/NAME.png", "");
    for layout in ["mvtec", "auto"] {
        let (found, said) = found(root.path(), &["--layout", layout]);
        assert!(
            said.contains("caps: 3 of 3 defective pictures have no mask: they count for the figures of whole pictures")
        );
        assert_eq!(found["pictures"], json!({"looked_at": 6, "left_out": []}));
        assert_eq!(found["methods"][0]["classes"][0]["without_mask"], 3);
        assert!(figure(&found, "mean", "image", "auroc").is_some() && figure(&found, "mean", "image", "f1").is_some());
        for name in ["auroc", "aupro", "ap", "f1", "iou"] {
            assert_eq!(figure(&found, "mean", "pixel", name), None, "{name}");
        }
    }
    // One mask of three: the figures of pixels come from that picture and the good ones.
    picture(root.path(), "caps/ground_truth/scratch/001_mask.png", true, true);
    let report = root.path().join("report");
    let (found, said) = found(root.path(), &["--report", report.to_str().unwrap()]);
    assert!(said.contains("(1 with mask)") && said.contains("2 of 3 defective pictures have no mask"), "{said}");
    assert!(figure(&found, "mean", "pixel", "aupro").is_some());
    let page = fs::read_to_string(report.join("index.html")).unwrap();
    assert!(page.contains("caps: 2 of 3 defective pictures have no mask"));
}

#[test]
fn one_kind_alone_has_no_figures_of_whole_pictures() {
    let root = set("", "caps/test/scratch/NAME.png", "caps/ground_truth/scratch/NAME_mask.png");
    let (only_bad, said) = found(root.path(), &["--layout", "mvtec"]);
    assert!(said.contains("caps: no good picture: the figures of whole pictures do not exist"), "{said}");
    for name in ["auroc", "ap", "f1", "threshold"] {
        assert_eq!(figure(&only_bad, "mean", "image", name), None, "{name}");
    }
    assert!(figure(&only_bad, "mean", "pixel", "aupro").is_some());
    assert_eq!(only_bad["methods"][0]["mean"]["shared"]["image_f1"], Value::Null);
    // Such a class is not in the mean.
    for number in ["000", "001"] {
        picture(root.path(), &format!("nuts/test/good/{number}.png"), false, false);
        picture(root.path(), &format!("nuts/test/cut/{number}.png"), true, false);
        picture(root.path(), &format!("nuts/ground_truth/cut/{number}.png"), true, true);
    }
    let (both, _) = found(root.path(), &["--layout", "mvtec"]);
    let own = both["methods"][0]["classes"][1]["normalised"]["image"]["f1"].clone();
    assert_eq!(both["methods"][0]["mean"]["normalised"]["image"]["f1"], own);

    let root = set("caps/test/good/NAME.png", "", "");
    let (_, said) = found(root.path(), &["--layout", "mvtec"]);
    assert!(said.contains("caps: no defective picture: no figures exist"), "{said}");
}

#[test]
fn masks_as_jpeg_are_cut_at_half_and_told() {
    let usual = set("caps/test/good/NAME.png", "caps/test/cut/NAME.png", "caps/ground_truth/cut/NAME_mask.png");
    let lossy = set("caps/test/good/NAME.png", "caps/test/cut/NAME.png", "caps/ground_truth/cut/NAME_mask.jpg");
    let (expected, _) = found(usual.path(), &[]);
    let (found, said) = found(lossy.path(), &[]);
    assert!(said.contains("caps: 3 masks are JPEG or lossy WebP: pixels of at least half"), "{said}");
    for name in ["auroc", "aupro", "ap", "f1", "iou"] {
        let (expected, found) = (figure(&expected, "mean", "pixel", name), figure(&found, "mean", "pixel", name));
        assert!((expected.unwrap() - found.unwrap()).abs() < 0.02, "{name}: {expected:?} and {found:?}");
    }
}

#[test]
fn more_than_a_tenth_left_out_is_an_error() {
    let root = set("caps/test/good/NAME.png", "caps/test/cut/NAME.png", "caps/ground_truth/cut/NAME_mask.png");
    picture(root.path(), "caps/test/unsorted/000.png", true, false);
    let output = eval(root.path(), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 left out; kinds of defects: cut; left out: "), "{said}");
    assert!(
        said.contains("1 of 7 pictures are left out, more than a tenth") && said.contains("--allow-missing"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
    let (found, _) = found(root.path(), &["--allow-missing"]);
    assert_eq!(found["found"][0]["left_out"][0]["pictures"], 1);
    assert_eq!(found["pictures"]["looked_at"], 6);
}
