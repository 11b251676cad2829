//! A line that looks at its frames through a view and in tiles: defects are told where they were captured.

use std::fs;
use std::path::Path;

use image::RgbImage;
use serde_json::{Value, json};
use vcp_line::synth::{Class, Defect, DefectKind, FrameRequest, Motion, SizedDefect, render_frame};

use crate::support::commands::{ACK, publish};
use crate::support::events::{events, is_verdict};
use crate::support::line::{FOLDER, Line, finished, settings};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber, free_port};

/// The model that ships: one of random weights finds nothing.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/vcp-demo");
const WIDTH: u32 = 512;
const HEIGHT: u32 = 400;
/// `[x, y, width, height]`; the part lies in the middle of the frame.
const CROP: [u32; 4] = [60, 8, 392, 384];

/// Frames of dented gears, and where the defects are: `[x, y, width, height]`.
fn parts(folder: &Path) -> Vec<[u32; 4]> {
    fs::create_dir(folder).unwrap();
    (0..3u64)
        .map(|part| {
            let defect = Defect { kind: DefectKind::ALL[0], difficulty: 0.0 };
            let sample = render_frame(&FrameRequest {
                class: "gear".parse::<Class>().unwrap(),
                width: WIDTH,
                height: HEIGHT,
                product: 3,
                part,
                defect: Some(SizedDefect { defect, size_px: 36.0 }),
                motion: Motion { shift_px: 10.0, turn_degrees: 5.0 },
            });
            let marked = |i: &usize| sample.mask[*i] > 0;
            let places: Vec<(u32, u32)> = (0..sample.mask.len())
                .filter(marked)
                .map(|i| (i as u32 % sample.width, i as u32 / sample.width))
                .collect();
            let span = |axis: fn(&(u32, u32)) -> u32| {
                let values = places.iter().map(axis);
                (values.clone().min().unwrap(), values.max().unwrap() + 1)
            };
            let ((x0, x1), (y0, y1)) = (span(|place| place.0), span(|place| place.1));
            let picture = RgbImage::from_raw(sample.width, sample.height, sample.rgb).unwrap();
            picture.save(folder.join(format!("{part}.png"))).unwrap();
            [x0, y0, x1 - x0, y1 - y0]
        })
        .collect()
}

fn with_view(port: u16, view: &str) -> String {
    let [x, y, width, height] = CROP;
    let (right, bottom) = (x + width, y + height);
    let regions = format!("regions = [[[{x}, {y}], [{right}, {y}], [{right}, {bottom}], [{x}, {bottom}]]]");
    let table = format!("{FOLDER}frame_size = [{WIDTH}, {HEIGHT}]\n[camera.view]\ncrop = {CROP:?}\n{view}");
    let bundle = format!("bundle = \"{}\"", crate::support::line::model().display());
    settings(port, &table)
        .replace(&bundle, &format!("bundle = \"{SHIPPED}\""))
        .replace("defect_threshold = 0.5", &format!("defect_threshold = 0.3\n{regions}"))
}

/// The defect with the largest peak comes first, and lies where the part is damaged; all of them lie inside the crop.
fn assert_found(event: &Value, [x, y, width, height]: [u32; 4], view: &str) {
    const NEAR: f64 = 12.0;
    let defects = event["defects"].as_array().unwrap();
    let first = defects.first().unwrap_or_else(|| panic!("{view}: nothing found: {event}"));
    let [cx, cy] = [0, 1].map(|axis| first["centroid"][axis].as_f64().unwrap());
    let inside =
        |at: f64, from: u32, length: u32| (f64::from(from) - NEAR..f64::from(from + length) + NEAR).contains(&at);
    assert!(inside(cx, x, width) && inside(cy, y, height), "{view}: {cx} {cy} is not in {x} {y} {width} {height}");
    for corner in defects.iter().flat_map(|defect| defect["polygon"].as_array().unwrap()) {
        let [x, y] = [0, 1].map(|axis| corner[axis].as_u64().unwrap() as u32);
        let [left, top, width, height] = CROP;
        assert!((left..left + width).contains(&x) && (top..top + height).contains(&y), "{view}: {corner}");
    }
}

#[test]
fn defects_are_told_where_they_were_captured_whatever_the_view() {
    let broker = Mosquitto::start(Rules::default());
    let views = [
        "tiles = { size_px = 256, overlap = 0.25 }\n",
        "rotate = 90\nflip = \"horizontal\"\ntiles = { grid = [2, 2] }\n",
        "rotate = 180\n",
    ];
    for view in views {
        let folder = tempfile::tempdir().unwrap();
        let truth = parts(&folder.path().join("parts"));
        let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
        let mut line = Line::run_in(folder, &with_view(broker.port, view), |_| {});
        assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
        let mut seen = 0;
        let messages = reader.until(|message| {
            seen += usize::from(is_verdict(message));
            seen == truth.len()
        });
        let told = events(&messages);
        for (event, &place) in told.iter().zip(&truth) {
            assert_eq!((&event["frame"]["width"], &event["frame"]["height"]), (&WIDTH.into(), &HEIGHT.into()));
            assert_found(event, place, view);
        }
        // The same through `inspect --recipe`.
        let file = line.folder.path().join("line.toml");
        let parts = line.folder.path().join("parts");
        let said = finished(&["inspect", "--json", "--recipe", file.to_str().unwrap(), parts.to_str().unwrap()]);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let said: Vec<Value> =
            String::from_utf8(said.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (said, event) in said.iter().zip(&told) {
            assert_eq!((&said["defects"], &said["score"]), (&event["defects"], &event["score"]), "{view}");
        }
    }
}

/// The clock decides: a deadline that tiles cannot meet is `overrun` as soon as it is known, and never a pass.
#[test]
fn what_tiles_cannot_do_in_time_is_overrun() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let folder = tempfile::tempdir().unwrap();
    parts(&folder.path().join("parts"));
    let view = "tiles = { size_px = 64, overlap = 0.5 }\n[camera.trigger]\nmode = \"hardware\"\ndeadline_ms = 300\n";
    let mut line = Line::run_in(folder, &with_view(broker.port, view), |_| {});
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let mut seen = 0;
    let messages = reader.until(|message| {
        seen += usize::from(is_verdict(message));
        seen == 3
    });
    for event in events(&messages) {
        let reason = event["reason"].as_str().unwrap_or_default();
        assert!(event["verdict"] == "no_verdict" && ["overrun", "deadline"].contains(&reason), "{event}");
    }
}

/// It would wait for tokens that never come.
#[test]
fn a_memory_of_tiles_is_not_learnt_on_the_line_and_the_refusal_says_how() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let camera = "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\nfps = 5.0\n[camera.view]\ntiles = { grid = [2, 1] }\n";
    let mut line = Line::run(&settings(broker.port, camera));
    reader.until(is_verdict);
    let command = json!({ "camera": "top", "parts": 3, "correlation_id": "l-1" });
    publish(broker.port, "learn", command.to_string().as_bytes(), &[]);
    let ack = reader.until(|message| message.topic == ACK).last().unwrap().json();
    let error = ack["error"].as_str().unwrap_or_default();
    assert!(ack["ok"] == false && error.starts_with("camera 'top' looks in tiles"), "{ack}");
    assert!(error.contains("`vcp-line learn --view LINE.toml`"), "{ack}");
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
}

#[test]
fn a_view_that_cannot_be_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let check = |view: &str| {
        let file = folder.path().join("line.toml");
        fs::write(&file, with_view(free_port(), view)).unwrap();
        let said = finished(&["check", "--before-start", file.to_str().unwrap()]);
        assert_eq!(said.status.code(), Some(78));
        String::from_utf8(said.stderr).unwrap()
    };
    fs::create_dir(folder.path().join("parts")).unwrap();
    let said = check("rotate = 45\ntiles = { size_px = 518, grid = [3, 2] }\nundistort = \"absent.yml\"\n");
    for expected in [
        "camera 'top'.view.rotate: 45 is out of range; allowed: 0, 90, 180, 270 degrees",
        "camera 'top'.view.tiles: write either size_px = PIXELS or grid = [COLUMNS, ROWS]",
        "camera 'top'.view.undistort: ",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    let said = check("tiles = { size_px = 518, overlap = 0.9 }\n");
    assert!(said.contains("tiles: overlap 0.9 is out of range; allowed: 0 to 0.5"), "{said}");
    let said = check("crop_ = [0, 0, 1, 1]\n");
    assert!(said.contains("crop_: unknown key; did you mean 'crop'?"), "{said}");
}

#[test]
fn a_check_says_beforehand_that_tiles_take_longer_than_the_deadline() {
    let broker = Mosquitto::start(Rules::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("line.toml");
    let told = |deadline: u32| {
        let table = format!(
            "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 400\npool = 2\nfps = 1.0\n\
             [camera.view]\ntiles = {{ size_px = 64, overlap = 0.25 }}\n[camera.trigger]\nmode = \"hardware\"\ndeadline_ms = {deadline}\n"
        );
        fs::write(&file, settings(broker.port, &table)).unwrap();
        let done = finished(&["check", file.to_str().unwrap()]);
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (code, said) = told(60_000);
    assert_eq!(code, Some(0), "{said}");
    let line = said.lines().find(|line| line.contains("time top")).unwrap();
    assert!(
        line.starts_with("ok") && line.contains("64 of 64 tiles, ") && line.ends_with(", deadline 60000 ms"),
        "{line}"
    );
    let (code, said) = told(30);
    assert_eq!(code, Some(1), "{said}");
    let line = said.lines().find(|line| line.contains("time top")).unwrap();
    assert!(line.starts_with("FAIL") && line.contains("parts get no verdict (overrun); choose larger tiles"), "{line}");
}
