//! `vcp-line eval` as a user runs it: a small model of random weights, data sets in every layout, tables, JSON and report.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;

use crate::support::line::{Running, finished, model, program};
use crate::support::schema::{self, assert_valid};
use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::{Value, json};

/// Side of the maps of [`model`], pixels.
const SIZE: u64 = 56;
pub(super) const CLASSES: [&str; 2] = ["cap", "ring <b>&amp;"];
/// Pictures of each class.
const GOOD: u32 = 4;
const BAD: u32 = 3;

/// A grey part; an anomalous one has a dark square of which the mask knows.
fn part(class: usize, number: u32, anomalous: bool) -> (RgbImage, GrayImage) {
    let (width, height) = [(64, 48), (50, 70)][class];
    let spot = (10 + number * 6, 12 + number * 5);
    let inside =
        move |x: u32, y: u32| anomalous && (spot.0..spot.0 + 9).contains(&x) && (spot.1..spot.1 + 7).contains(&y);
    let shade = |x: u32, y: u32| (120 + (x * 3 + y * 2 + number * 7) % 23 + class as u32 * 40) as u8;
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let grey = if inside(x, y) { 30 } else { shade(x, y) };
        Rgb([grey, grey, grey.saturating_add(5)])
    });
    (picture, GrayImage::from_fn(width, height, |x, y| Luma([if inside(x, y) { 255 } else { 0 }])))
}

/// Writes every part where `place` says: class, number, anomalous → picture and mask below the root.
fn write(root: &Path, place: impl Fn(&str, u32, bool) -> (String, String)) {
    for (index, class) in CLASSES.into_iter().enumerate() {
        for (count, anomalous) in [(GOOD, false), (BAD, true)] {
            for number in 0..count {
                let (picture, mask) = part(index, number, anomalous);
                let (picture_path, mask_path) = place(class, number, anomalous);
                save(&root.join(picture_path), |path| picture.save(path));
                if anomalous {
                    save(&root.join(mask_path), |path| mask.save(path));
                }
            }
        }
    }
}

fn save(path: &Path, write: impl Fn(&Path) -> image::ImageResult<()>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(path).unwrap();
}

pub(super) fn mvtec(root: &Path) {
    write(root, |class, number, anomalous| {
        let kind = if anomalous { "spot" } else { "good" };
        (format!("{class}/test/{kind}/{number:03}.png"), format!("{class}/ground_truth/{kind}/{number:03}_mask.png"))
    });
}

fn folders(root: &Path) {
    write(root, |class, number, anomalous| {
        let kind = if anomalous { "defect" } else { "good" };
        (format!("{class}/{kind}/{number}.png"), format!("{class}/ground_truth/{number}.png"))
    });
}

fn listed(class: &str, number: u32, anomalous: bool) -> (String, String) {
    let kind = if anomalous { "Anomaly" } else { "Normal" };
    (format!("{class}/Data/{kind}/{number}.png"), format!("{class}/Masks/{number}.png"))
}

fn visa(root: &Path) {
    write(root, listed);
    let mut list = "object,split,label,image,mask\n".to_owned();
    each(|class, number, anomalous| {
        let (picture, mask) = listed(class, number, anomalous);
        let (label, mask) = if anomalous { ("anomaly", mask) } else { ("normal", String::new()) };
        list.push_str(&format!("{class},test,{label},{picture},{mask}\n"));
    });
    fs::create_dir(root.join("split_csv")).unwrap();
    fs::write(root.join("split_csv/1cls.csv"), list).unwrap();
}

fn meta(root: &Path) {
    write(root, listed);
    let mut test = json!({});
    each(|class, number, anomalous| {
        let (picture, mask) = listed(class, number, anomalous);
        if test[class].is_null() {
            test[class] = json!([]);
        }
        let entry = json!({
            "img_path": picture, "mask_path": if anomalous { mask.as_str() } else { "" }, "cls_name": class,
            "specie_name": "x", "dataset_name": "d", "anomaly": u8::from(anomalous),
        });
        test[class].as_array_mut().unwrap().push(entry);
    });
    fs::write(root.join("meta_parts.json"), json!({"train": {}, "test": test}).to_string()).unwrap();
}

fn each(mut visit: impl FnMut(&str, u32, bool)) {
    for class in CLASSES {
        (0..GOOD).for_each(|number| visit(class, number, false));
        (0..BAD).for_each(|number| visit(class, number, true));
    }
}

/// Runs `eval` on `root` with the reference engine.
fn eval(root: &Path, layout: &str, more: &[&str]) -> Output {
    let start = ["eval", "--model", model().to_str().unwrap(), "--engine", "reference", "--threads", "1"];
    let data = ["--data", root.to_str().unwrap(), "--layout", layout];
    finished(&[&start[..], &data[..], more].concat())
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value = serde_json::from_slice(&output.stdout).unwrap();
    assert_valid(&schema::eval(), &value);
    value
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_layout_gives_the_same_figures() {
    type Layout = (&'static str, fn(&Path));
    let layouts: [Layout; 4] = [("mvtec", mvtec), ("folders", folders), ("visa", visa), ("meta", meta)];
    let figures = layouts.map(|(layout, make)| {
        let root = tempfile::tempdir().unwrap();
        make(root.path());
        let found = json_of(&eval(root.path(), layout, &["--json", "-"]));
        assert_eq!((&found["layout"], &found["split"]), (&json!(layout), &json!("test")));
        assert_eq!(found["image_size"], SIZE);
        assert_eq!(found["pictures"], json!({"looked_at": 14, "left_out": []}));
        assert_eq!((found["methods"].as_array().unwrap().len(), &found["baseline"]), (1, &Value::Null));
        found["methods"][0].clone()
    });
    let model = &figures[0];
    assert_eq!(model["method"], "model");
    for (class, name) in model["classes"].as_array().unwrap().iter().zip(CLASSES) {
        assert_eq!((&class["class"], &class["good"], &class["anomalous"]), (&json!(name), &json!(GOOD), &json!(BAD)));
        let figure = |column: &str, name: &str| class[column]["pixel"][name].as_f64().unwrap();
        for name in ["auroc", "aupro", "ap", "f1", "iou"] {
            let (raw, normalised) = (figure("raw", name), figure("normalised", name));
            // A pixel may lie on a threshold, of which AUPRO has 200, and leave one of them out on one of the two scales.
            let allowed = if name == "aupro" { 1.0 / 200.0 } else { 1e-4 };
            assert!((raw - normalised).abs() < allowed, "{name}: {raw} raw, {normalised} normalised");
        }
        assert!(class["shared"]["pixel_f1"].as_f64().unwrap() <= figure("raw", "f1") + 1e-4);
        assert!((0.0..=1.0).contains(&figure("normalised", "threshold")));
    }
    // Order of pictures does not matter, up to the rounding of sums.
    for other in &figures[1..] {
        for (path, value) in numbers(model) {
            let found = other.pointer(&path).and_then(Value::as_f64).unwrap();
            assert!((found - value).abs() < 1e-9, "{path}: {found} and {value}");
        }
    }
}

/// Every number below a value, with its path.
fn numbers(value: &Value) -> Vec<(String, f64)> {
    let below = |key: String, value: &Value| {
        let prefixed = move |(path, number): (String, f64)| (format!("/{key}{path}"), number);
        numbers(value).into_iter().map(prefixed).collect::<Vec<_>>()
    };
    match value {
        Value::Number(number) => vec![(String::new(), number.as_f64().unwrap())],
        Value::Array(values) => values.iter().enumerate().flat_map(|(i, value)| below(i.to_string(), value)).collect(),
        Value::Object(fields) => fields.iter().flat_map(|(key, value)| below(key.clone(), value)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn tables_are_aligned_and_classes_can_be_chosen() {
    let root = tempfile::tempdir().unwrap();
    folders(root.path());
    let file = root.path().join("figures.json");
    let output = eval(root.path(), "folders", &["--classes", "cap", "--json", file.to_str().unwrap()]);
    let out = text(&output.stdout);
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("as published (percent"), "{out}");
    let header = "pixels AUROC AUPRO AP F1-max IoU threshold";
    let names = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(names(lines[1]), header);
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{out}");
    for line in lines.iter().filter(|line| ["pixels ", "pictures ", "one "].iter().any(|first| line.starts_with(first)))
    {
        let mut columns: Vec<&str> = line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect();
        let count = columns.len();
        columns.sort_unstable();
        columns.dedup();
        assert_eq!(columns.len(), count, "two columns of one name: {line}");
    }
    let columns = |line: &str| line.chars().count();
    assert!(lines[1..=5].iter().all(|line| columns(line) == columns(lines[1])), "{out}");
    assert!(lines[3].starts_with("cap ") && lines[5].starts_with("mean "), "{out}");
    assert!(
        out.contains("\npictures ") && out.contains("raw (percent; no normalisation") && out.contains("\npooled "),
        "{out}"
    );
    let written: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_valid(&schema::eval(), &written);
    assert_eq!(written["methods"][0]["classes"].as_array().unwrap().len(), 1);
    assert!(text(&output.stderr).contains("7 of 7: cap"), "{}", text(&output.stderr));

    let output = eval(root.path(), "folders", &["--classes", "cup"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no class 'cup' in this split; there are: cap, ring"));
}

#[test]
fn unreadable_pictures_are_named_counted_and_left_out() {
    let root = tempfile::tempdir().unwrap();
    mvtec(root.path());
    fs::write(root.path().join("cap/test/good/001.png"), "damaged").unwrap();
    let small = GrayImage::from_pixel(3, 3, Luma([255]));
    small.save(root.path().join("cap/ground_truth/spot/002_mask.png")).unwrap();
    let output = eval(root.path(), "mvtec", &["--json", "-"]);
    assert_eq!(output.status.code(), Some(1), "more than a tenth");
    let error = text(&output.stderr);
    assert!(error.contains("2 of 14 pictures are left out, more than a tenth: ") && error.contains("--allow-missing"));
    assert!(output.stdout.is_empty());
    let output = eval(root.path(), "mvtec", &["--json", "-", "--allow-missing"]);
    let found = json_of(&output);
    assert_eq!(found["pictures"]["looked_at"], 12);
    let left_out = found["pictures"]["left_out"].as_array().unwrap();
    assert_eq!(left_out.len(), 2);
    let errors = text(&output.stderr);
    for (missing, name) in left_out.iter().zip(["good/001.png", "spot/002.png"]) {
        assert!(missing["image"].as_str().unwrap().ends_with(name), "{missing}");
        assert!(errors.contains(&format!("{}; left out", missing["reason"].as_str().unwrap())), "{errors}");
    }
    assert!(left_out[1]["reason"].as_str().unwrap().contains("3x3 pixels"), "{left_out:?}");
    assert!(errors.contains("2 of 14 pictures could not be read and count nowhere"), "{errors}");
    assert_eq!(found["methods"][0]["classes"][0]["good"], GOOD - 1);

    let output = eval(root.path(), "mvtec", &["--strict"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("good/001.png") && output.stdout.is_empty(), "{}", text(&output.stderr));

    each(|class, number, anomalous| {
        let kind = if anomalous { "spot" } else { "good" };
        fs::write(root.path().join(format!("{class}/test/{kind}/{number:03}.png")), "damaged").unwrap();
    });
    let output = eval(root.path(), "mvtec", &["--allow-missing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("none of the 14 pictures could be read; the first: image "));
}

#[test]
fn good_parts_alone_have_no_figures() {
    let root = tempfile::tempdir().unwrap();
    mvtec(root.path());
    for class in CLASSES {
        let (from, to) = (root.path().join(class).join("test/good"), root.path().join(class).join("train"));
        fs::create_dir(&to).unwrap();
        fs::rename(from, to.join("good")).unwrap();
    }
    let report = root.path().join("report");
    let more = ["--split", "train", "--json", "-", "--report", report.to_str().unwrap()];
    let found = json_of(&eval(root.path(), "mvtec", &more));
    let mean = &found["methods"][0]["mean"];
    assert_eq!((&mean["good"], &mean["anomalous"]), (&json!(2 * GOOD), &json!(0)));
    assert!(numbers(&mean["normalised"]).is_empty() && numbers(&found["methods"][0]["pooled"]).is_empty(), "{mean}");
    assert!(report.join("index.html").is_file());
}

#[test]
fn the_report_is_whole_and_speaks_to_nobody() {
    let root = tempfile::tempdir().unwrap();
    mvtec(root.path());
    fs::write(root.path().join("cap/test/good/003.png"), "damaged").unwrap();
    let folder = root.path().join("reports/first");
    let arguments = ["--report", folder.to_str().unwrap(), "--baseline", "--baseline-window", "15"];
    for round in 0..2 {
        let output = eval(root.path(), "mvtec", &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("first/index.html"));
        let beside: Vec<_> =
            fs::read_dir(root.path().join("reports")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(beside, ["first"], "round {round} leaves nothing beside");
        if round == 0 {
            fs::write(folder.join("stale"), "").unwrap();
        }
    }
    assert!(!folder.join("stale").exists(), "an older report is replaced as a whole");
    let page = fs::read_to_string(folder.join("index.html")).unwrap();
    let own = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!own.contains("http:") && !own.contains("https:") && !own.contains("@import") && !own.contains("<script"));
    assert!(page.contains("ring &lt;b&gt;&amp;amp;") && !page.contains("ring <b>"));
    assert!(page.contains("<meta name=\"viewport\"") && page.contains("prefers-color-scheme: dark"));
    // Of all and of each class: three curves and two of operating points; of each class two distributions.
    assert_eq!(page.matches("<svg ").count(), 5 + 2 * 7);
    assert_eq!(page.matches("false rejects").count(), 2 * 3);
    assert!(page.contains("1 of 14 pictures could not be read") && page.contains("good/003.png"));
    let mut pictures = 0;
    for (at, _) in page.match_indices(" src=\"") {
        let path = page[at + 6..].split('"').next().unwrap();
        let picture = image::open(folder.join(path)).unwrap();
        assert!(picture.width().max(picture.height()) <= 440);
        pictures += 1;
    }
    // Per class three anomalous ones with four panels, and two good ones with three.
    assert_eq!(pictures, 2 * (3 * 4 + 2 * 3));

    let occupied = root.path().join("cap");
    let output = eval(root.path(), "mvtec", &["--report", occupied.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("exists and is no report of an evaluation"));
    assert!(occupied.join("test").is_dir());
}

#[test]
fn the_baseline_is_tuned_on_other_classes() {
    let root = tempfile::tempdir().unwrap();
    folders(root.path());
    let arguments = ["--classes", CLASSES[1], "--tune-baseline", "cap", "--json", "-"];
    let output = eval(root.path(), "folders", &arguments);
    let found = json_of(&output);
    let tuned = &found["tuned"];
    assert_eq!((&tuned["classes"], &tuned["pictures"]), (&json!(["cap"]), &json!(7)));
    assert_eq!(tuned["baseline"], found["baseline"]);
    let tried = tuned["tried"].as_array().unwrap();
    let best = tried.iter().filter_map(|trial| trial["aupro"].as_f64()).fold(0.0, f64::max);
    assert_eq!(tuned["aupro"].as_f64(), Some(best));
    assert_eq!(found["methods"][1]["method"], "baseline");
    // A dark square on a grey part is what the baseline is for.
    let figures = &found["methods"][1]["mean"]["normalised"];
    assert!(figures["pixel"]["auroc"].as_f64().unwrap() > 0.9, "{figures}");
    assert_eq!(figures["image"]["auroc"].as_f64(), Some(1.0));
    assert!(!text(&output.stderr).contains("flatter"));

    let output = eval(root.path(), "folders", &["--classes", "cap", "--tune-baseline", "cap"]);
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("tuned on classes that are evaluated as well (cap)"));
    let out = text(&output.stdout);
    assert!(
        out.contains("baseline: as published") && out.contains("baseline tuned on cap (7 pictures): window"),
        "{out}"
    );

    let output = eval(root.path(), "folders", &["--baseline-window", "8"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("must be odd, 3 to 1023"));
}

#[test]
fn an_interrupted_evaluation_leaves_nothing_behind_and_the_old_report_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    folders(&root);
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let (page, json) = (out.join("report"), out.join("figures.json"));
    let arguments = |root: &Path| {
        let start = ["eval", "--model", model().to_str().unwrap(), "--engine", "reference", "--layout", "folders"];
        let out = ["--report", page.to_str().unwrap(), "--json", json.to_str().unwrap()];
        [&start[..], &out, &["--data", root.to_str().unwrap()]].concat().iter().map(ToString::to_string).collect()
    };
    let program = |arguments: Vec<String>| program(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let mut whole = Running::start(program(arguments(&root)));
    assert!(whole.end().success(), "{}", whole.stderr());
    let before = fs::read(page.join("index.html")).unwrap();

    // Large, and so many that it does not come to its end by itself.
    let many = folder.path().join("many");
    let photo = many.join("cap/good/0.png");
    save(&photo, |path| RgbImage::from_fn(1200, 900, |x, y| Rgb([x as u8, y as u8, 90])).save(path));
    (1..400).for_each(|number| fs::hard_link(&photo, photo.with_file_name(format!("{number}.png"))).unwrap());
    for (signal, number) in [("INT", 2), ("TERM", 15)] {
        let mut interrupted = Running::start(program(arguments(&many)));
        interrupted.logged("1 of 400: cap");
        interrupted.signal(signal);
        let status = interrupted.end();
        assert_eq!(status.signal(), Some(number), "it ends by the signal, which a shell shows as {}", 128 + number);
        assert!(interrupted.stderr().contains("vcp-line: interrupted; nothing half made is left"));
        assert_eq!(interrupted.stdout(), "");
        let mut left: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["figures.json", "report"]);
        assert!(fs::read(page.join("index.html")).unwrap() == before);
    }
}

#[test]
fn defects_are_told_apart_by_their_size_in_pixels_of_the_picture() {
    let root = tempfile::tempdir().unwrap();
    mvtec(root.path());
    // Every defect has 9 × 7 pixels, as many as a circle of 8.96 across. The line of one pixel in the second class goes
    // missing in the mask at the model's size and counts all the same.
    let [cap, ring] = CLASSES;
    save(&root.path().join(format!("{ring}/test/line/000.png")), |path| part(1, 0, false).0.save(path));
    let line = GrayImage::from_fn(50, 70, |x, y| Luma([if x == 25 && y < 8 { 255 } else { 0 }]));
    save(&root.path().join(format!("{ring}/ground_truth/line/000_mask.png")), |path| line.save(path));

    let more = ["--json", "-", "--baseline", "--size-bins", "8.5,5,40", "--fail-good", "25"];
    let found = json_of(&eval(root.path(), "mvtec", &more));
    let by_size = &found["methods"][1]["by_size"];
    assert_eq!((&by_size["edges_px"], &by_size["good_failing"]), (&json!([5.0, 8.5, 40.0]), &json!(0.25)));
    let first = &by_size["classes"][0];
    assert_eq!((&first["class"], &first["good"], &first["good_failing"]), (&json!(cap), &json!(4), &json!(1)));
    let counted = |bins: &Value| -> Vec<[Value; 4]> {
        let keys = ["from_px", "below_px", "parts", "defects"];
        bins.as_array().unwrap().iter().map(|bin| keys.map(|key| bin[key].clone())).collect()
    };
    let row = |from: f64, below: f64, count: u64| [json!(from), json!(below), json!(count), json!(count)];
    assert_eq!(counted(&first["bins"]), [row(8.5, 40.0, 3)]);
    assert_eq!(counted(&by_size["all"]), [row(0.0, 5.0, 1), row(8.5, 40.0, 6)]);
    // The dark squares stand out of their surroundings; the line is only in the mask.
    assert_eq!(by_size["all"][1]["recall_on_map"], 1.0, "{by_size:#}");
    assert_eq!(by_size["all"][0]["recall_on_map"], 0.0, "{by_size:#}");
    assert!(by_size["all"][1]["aupro"].as_f64().unwrap() > 0.5, "{by_size:#}");

    let report = root.path().join("report");
    let output = eval(root.path(), "mvtec", &["--report", report.to_str().unwrap()]);
    let tables = text(&output.stdout);
    assert!(tables.contains("by size of the defect") && tables.contains("< 20"), "{tables}");
    assert!(!tables.contains("20–40"), "a bin without defects: {tables}");
    let page = fs::read_to_string(report.join("index.html")).unwrap();
    assert!(page.contains("By size of the defect") && page.contains("&lt; 20"));
    for wrong in [["--size-bins", "0"], ["--fail-good", "101"]] {
        assert_eq!(eval(root.path(), "mvtec", &wrong).status.code(), Some(2));
    }
}
