//! Synthetic products through the real program: a verdict for every part, by its id, and a truth to compare with.

use std::collections::BTreeSet;
use std::fs;

use crate::support::events::{assert_no_gap, assert_plausible_latency, events, is_state};
use crate::support::line::{Line, finished, settings};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber};
use serde_json::Value;
use vcp_line::source::synthetic::{Conveyor, DefectKind, SyntheticFormat, SyntheticSpec, part_id, truth};
use vcp_line::synth::Class;

const CAMERA: &str = "[[camera]]\nname = \"top\"\nsource = \"synthetic\"\nclasses = [\"pill\", \"weave\"]\n\
                      size = 64\nfps = 20.0\ncount = 30\npool = 10\ndefective = 0.3\nseed = 4\n\
                      truth_file = \"truth.jsonl\"\n";

/// The same settings for this process.
fn spec() -> SyntheticSpec {
    SyntheticSpec {
        conveyor: Conveyor {
            frames: None,
            classes: vec![Class::Pill, Class::Weave],
            kinds: DefectKind::ALL.to_vec(),
            defective: 0.3,
            difficulty: (0.0, 0.6),
            size: 64,
            pool: 10,
            seed: 4,
        },
        fps: 20.0,
        count: Some(30),
        first: 1,
        pixel_format: SyntheticFormat::default(),
        truth_file: None,
    }
}

fn truths(line: &Line) -> Vec<Value> {
    let text = fs::read_to_string(line.folder.path().join("truth.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_part_gets_its_verdict_in_order_and_its_truth_is_known() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let mut line = Line::run(&settings(broker.port, CAMERA));
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let messages = reader.until(|message| is_state(message, "offline") && !message.json()["model"].is_null());
    let events = events(&messages);
    assert_no_gap(&events);
    assert_plausible_latency(&events);
    assert_eq!(events.len(), 30);

    let ids: BTreeSet<String> = events.iter().map(|event| event["part"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (1..=30).map(part_id).collect());
    // A part that the engine was too slow for has its event at once, before those that wait.
    let judged: Vec<u64> = events
        .iter()
        .filter(|event| event["verdict"] != "no_verdict")
        .map(|event| event["part"]["trigger"].as_u64().unwrap())
        .collect();
    assert!(!judged.is_empty() && judged.is_sorted(), "{judged:?}");
    for event in &events {
        assert_eq!(event["part"]["trigger"].as_u64(), event["frame"]["seq"].as_u64().map(|seq| seq + 1), "{event}");
        assert_eq!((&event["frame"]["width"], &event["frame"]["height"]), (&64.into(), &64.into()));
    }

    let truths = truths(&line);
    assert_eq!(truths.len(), 30);
    let mut defective = 0;
    for (told, trigger) in truths.iter().zip(1..) {
        let known = truth(&spec(), trigger);
        assert_eq!(told["part"], part_id(trigger));
        assert_eq!(told["class"], if trigger % 2 == 1 { "pill" } else { "weave" });
        assert_eq!(told["defect"].as_str(), known.map(|defect| defect.kind.name()), "{told}");
        assert_eq!(told["seq"], trigger - 1);
        defective += u64::from(known.is_some());
    }
    assert_eq!(defective, 9);
}

#[test]
fn the_same_settings_bring_the_same_parts() {
    let broker = Mosquitto::start(Rules::default());
    let table = CAMERA.replace("count = 30", "count = 6");
    let told: Vec<Vec<Value>> = (0..2)
        .map(|_| {
            let mut line = Line::run(&settings(broker.port, &table));
            assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
            truths(&line)
        })
        .collect();
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].len(), 6);
}

#[test]
fn check_says_what_comes_and_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("line.toml");
    let said = |table: &str| {
        fs::write(&file, settings(1, table)).unwrap();
        let output = finished(&["check", file.to_str().unwrap()]);
        String::from_utf8(output.stdout).unwrap()
    };
    let fine = said(CAMERA);
    assert!(fine.contains("ok    camera top   synthetic: 64x64 rgb8, 2 kinds of products"), "{fine}");
    let wrong = said(&CAMERA.replace("truth.jsonl", "away/truth.jsonl"));
    let expected = format!(
        "FAIL  camera top   camera 'top': {}/away/truth.jsonl: No such file or directory (os error 2); name a truth_file that \
         can be written",
        folder.path().display()
    );
    assert!(wrong.contains(&expected), "{wrong}");
}
