//! Parts that do not lie still: found in each frame by the real program, judged as they were taught, told where they were captured.

use std::fs;
use std::path::Path;

use super::reload::{reloaded, write};
use crate::support::events::{assert_no_gap, events, is_state, is_verdict};
use crate::support::line::{FOLDER, Line, finished, settings};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber};
use serde_json::Value;
use vcp_line::synth::{Class, FrameRequest, FrameSample, Motion, render_frame};

const STILL: Motion = Motion { shift_px: 0.0, turn_degrees: 0.0 };
pub(super) const BELT: Motion = Motion { shift_px: 24.0, turn_degrees: 5.0 };

pub(super) fn frame(class: Class, part: u64, motion: Motion) -> FrameSample {
    render_frame(&FrameRequest { class, width: 320, height: 256, product: 9, part, defect: None, motion })
}

pub(super) fn save(frame: &FrameSample, path: &Path) {
    image::save_buffer(path, &frame.rgb, frame.width, frame.height, image::ColorType::Rgb8).unwrap();
}

/// A folder with the taught picture, and below `parts` two parts that have moved and one that is another product.
pub(super) fn stage() -> (tempfile::TempDir, [FrameSample; 3]) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("parts")).unwrap();
    let taught = frame(Class::Keycap, 1, STILL);
    let moved = [frame(Class::Keycap, 2, BELT), frame(Class::Keycap, 3, BELT)];
    save(&taught, &folder.path().join("good.png"));
    save(&moved[0], &folder.path().join("parts/0.png"));
    save(&moved[1], &folder.path().join("parts/1.png"));
    save(&frame(Class::Ring, 4, BELT), &folder.path().join("parts/2.png"));
    let [first, second] = moved;
    (folder, [taught, first, second])
}

pub(super) fn table(taught: &FrameSample, more: &str) -> String {
    format!("[camera.locate]\npicture = \"good.png\"\nrectangle = {:?}\nshift_px = 30\n{more}", taught.part.bounds)
}

fn run(folder: tempfile::TempDir, camera: &str) -> Vec<Value> {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut line = Line::run_in(folder, &settings(broker.port, camera), |_| {});
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let messages = reader.until(|message| is_state(message, "offline") && !message.json()["model"].is_null());
    let events = events(&messages);
    assert_no_gap(&events);
    events
}

#[test]
fn events_say_how_the_part_lies_and_one_that_is_not_there_has_no_verdict() {
    let (folder, [taught, first, second]) = stage();
    // Every map value is a defect: what the event tells of it lies in the captured frame.
    let events = run(folder, &format!("{FOLDER}{}[camera.recipe]\ndefect_threshold = 0.0\n", table(&taught, "")));
    assert_eq!(events.len(), 3);
    for (event, made) in events.iter().zip([&first, &second]) {
        let location = &event["location"];
        assert_eq!((&event["verdict"], &location["found"]), (&"fail".into(), &true.into()), "{event}");
        let number = |key: &str| location[key].as_f64().unwrap();
        let turn = f64::from(made.part.turn_degrees);
        assert!((number("turn_degrees") - turn).abs() < 0.3, "{location} {:?}", made.part);
        // The middle of the rectangle is the middle of the part's box; it turns about the part's origin, a few pixels away.
        let [x, y, width, height] = taught.part.bounds.map(f64::from);
        let (u, v) = (x + 0.5 * width - 160.0, y + 0.5 * height - 128.0);
        let (sin, cos) = turn.to_radians().sin_cos();
        let [sx, sy] = made.part.shift.map(f64::from);
        let (dx, dy) = (sx + cos * u - sin * v - u, sy + sin * u + cos * v - v);
        assert!((number("dx_px") - dx).abs() < 1.0 && (number("dy_px") - dy).abs() < 1.0, "{location} {dx} {dy}");
        assert!(number("score") > 0.9, "{location}");
        let [left, top, across, down] = [0, 1, 2, 3].map(|side| event["defects"][0]["box"][side].as_f64().unwrap());
        assert!(left + across <= 320.0 && top + down <= 256.0 && across * down > 200.0 * 150.0, "{event}");
    }
    let missing = &events[2];
    assert_eq!(
        (&missing["verdict"], &missing["reason"]),
        (&"no_verdict".into(), &"part_not_found".into()),
        "{missing}"
    );
    assert!(missing.get("location").is_none(), "{missing}");
}

#[test]
fn a_part_that_is_not_there_fails_when_the_settings_say_so() {
    let (folder, [taught, ..]) = stage();
    let locate = table(&taught, "missing = \"fail\"\n");
    let events = run(folder, &format!("{FOLDER}{locate}[camera.recipe]\ndefect_threshold = 1.0\n"));
    let verdicts: Vec<&Value> = events.iter().map(|event| &event["verdict"]).collect();
    assert_eq!(verdicts, ["pass", "pass", "fail"]);
    assert_eq!(events[2]["location"], serde_json::json!({ "found": false }));
    assert!(events[2]["score"].as_f64().is_some() && events[2]["reason"].is_null());
}

/// The view moves with the part: it is cut out of, and turned in, the frame as it was taught.
#[test]
fn what_a_view_shows_of_a_moved_part_is_told_where_it_was_captured() {
    let tiles = "tiles = { grid = [2, 2], overlap = 0.25 }\n";
    for more in ["", tiles] {
        let (folder, [taught, ..]) = stage();
        let [x, y, width, height] = taught.part.bounds;
        // A part of the part, off its middle and of other sides.
        let crop = [x + 10, y + 4, width / 2, height / 3];
        let view = format!("[camera.view]\ncrop = {crop:?}\nrotate = 90\nflip = \"horizontal\"\n{more}");
        let camera = format!("{FOLDER}{}{view}[camera.recipe]\ndefect_threshold = 0.0\n", table(&taught, ""));
        let events = run(folder, &camera);
        assert_eq!(events.len(), 3);
        for event in &events[..2] {
            let number = |key: &str| event["location"][key].as_f64().unwrap();
            let (sin, cos) = number("turn_degrees").to_radians().sin_cos();
            let middle = [f64::from(x) + 0.5 * f64::from(width), f64::from(y) + 0.5 * f64::from(height)];
            let [left, top, across, down] = crop.map(f64::from);
            let corners = [[left, top], [left + across, top], [left, top + down], [left + across, top + down]];
            let moved = corners.map(|[x, y]| {
                let (u, v) = (x - middle[0], y - middle[1]);
                [middle[0] + number("dx_px") + cos * u - sin * v, middle[1] + number("dy_px") + sin * u + cos * v]
            });
            let span = |axis: usize| {
                let of = moved.map(|corner| corner[axis]);
                (of.into_iter().fold(f64::MAX, f64::min), of.into_iter().fold(0.0, f64::max))
            };
            let ((x0, x1), (y0, y1)) = (span(0), span(1));
            let found = [0, 1, 2, 3].map(|side| event["defects"][0]["box"][side].as_f64().unwrap());
            let ends = [found[0], found[1], found[0] + found[2], found[1] + found[3]];
            for (found, expected) in ends.into_iter().zip([x0, y0, x1, y1]) {
                assert!((found - expected).abs() < 2.5, "{ends:?} {expected} {event}");
            }
            let area = event["defects"][0]["area_px"].as_f64().unwrap();
            assert_eq!(area, across * down, "{event}");
        }
        assert_eq!(events[2]["reason"], "part_not_found", "{more}");
        assert_eq!(events[0]["tiles"]["of"].as_u64(), (!more.is_empty()).then_some(4), "{}", events[0]);
    }
}

#[test]
fn looking_for_parts_is_switched_on_while_the_line_runs() {
    let (folder, [taught, ..]) = stage();
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let carousel = format!("{FOLDER}loop = true\nfps = 20.0\n");
    let text = |locate: &str| settings(broker.port, &format!("{carousel}{locate}"));
    let mut line = Line::run_in(folder, &text(""), |_| {});
    line.service.logged("commands can come in");
    let first = reader.until(is_verdict).last().unwrap().json();
    assert!(first["location"].is_null(), "{first}");
    let folder = line.folder.path().to_owned();
    save(&frame(Class::Keycap, 1, STILL), &folder.join("small.png"));
    image::open(folder.join("small.png")).unwrap().crop_imm(0, 0, 200, 200).save(folder.join("small.png")).unwrap();
    let small = table(&taught, "")
        .replace("good.png", "small.png")
        .replace(&format!("{:?}", taught.part.bounds), "[40, 40, 120, 120]");
    write(&folder, &text(&small));
    let ack = reloaded(broker.port, &reader, "l-1");
    assert!(ack["error"].as_str().unwrap_or_default().contains("camera 'top': [camera.locate]"), "{ack}");
    write(&folder, &text(&table(&taught, "")));
    let ack = reloaded(broker.port, &reader, "l-2");
    assert_eq!((&ack["ok"], &ack["applied"]["cameras"]), (&true.into(), &serde_json::json!([])), "{ack}");
    let found = |message: &Message| is_verdict(message) && message.json()["location"]["found"] == true;
    let missing = |message: &Message| is_verdict(message) && message.json()["reason"] == "part_not_found";
    reader.until(found);
    reader.until(missing);
    line.service.signal("TERM");
    assert!(line.service.end().success());
}

#[test]
fn what_cannot_be_found_by_is_said_with_its_line_before_the_line_starts() {
    let (folder, [taught, ..]) = stage();
    let refused = |locate: &str| {
        let file = folder.path().join("line.toml");
        fs::write(&file, settings(1, &format!("{FOLDER}[camera.locate]\n{locate}"))).unwrap();
        let output = finished(&["run", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(78), "{locate}");
        String::from_utf8(output.stderr).unwrap()
    };
    let outside = refused("picture = \"good.png\"\nrectangle = [300, 0, 100, 100]\n");
    assert!(
        outside.contains(
            "camera 'top'.locate.rectangle: rectangle [300, 0, 100, 100] lies outside; the taught picture has 320x256"
        ),
        "{outside}"
    );
    let gone = refused("picture = \"away.png\"\nrectangle = [0, 0, 100, 100]\n");
    assert!(gone.contains("camera 'top'.locate.picture") && gone.contains("away.png"), "{gone}");
    assert!(refused("rectangle = [0, 0, 100, 100]\n").contains("locate.picture: missing; write picture = "));
    assert!(
        refused("picture = \"good.png\"\nrectangle = [0, 0, 100, 100]\nturn_degrees = 45.0\n")
            .contains("allowed: 0 to 30 degrees")
    );
    assert!(
        refused("picture = \"good.png\"\nrectangle = [0, 0, 9, 9]\n").contains("both sides have at least 24 pixels")
    );
    assert!(refused("picture = \"good.png\"\nrectangel = 1\n").contains("did you mean 'rectangle'?"));

    // Teaching: the table to write, and where parts lie.
    let file = folder.path().join("line.toml");
    fs::write(&file, settings(1, FOLDER)).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let rectangle = taught.part.bounds.map(|side| side.to_string()).join(",");
    let start = ["locate", file.to_str().unwrap()];
    let output = finished(&[&start[..], &[&path("parts/0.png")]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("teach it with --picture FILE --rectangle X,Y,W,H"));
    let (good, first, other) = (path("good.png"), path("parts/0.png"), path("parts/2.png"));
    let taught_arguments = ["--picture", &good, "--rectangle", &rectangle, &first, &other];
    let output = finished(&[&start[..], &taught_arguments].concat());
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("dx +0.00 px") && told.contains("parts/2.png  not found"), "{told}");
    let table = &told[told.find("[camera.locate]").expect("a table")..];
    assert!(table.contains("picture = \"good.png\"\n"), "{table}");
    fs::write(&file, settings(1, &format!("{FOLDER}{table}"))).unwrap();
    let output = finished(&[&start[..], &["--json", &first]].concat());
    let lines = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(last["found"] == true && last["score"].as_f64().unwrap() > 0.9, "{lines}");
}
