//! The real program with a folder of images and a real broker, read by an independent client.
// Clippy knows only functions marked as tests for tests, not what they share.
#![allow(clippy::unwrap_used)]

#[path = "support/line.rs"]
mod line;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/schema.rs"]
mod schema;

use std::path::Path;

use image::{DynamicImage, GrayImage, RgbImage};
use line::{Line, settings};
use mosquitto::{Message, Mosquitto, Rules, Subscriber};
use serde_json::Value;

/// Twelve pictures of different sizes, grey and colour, in every second file.
fn pictures(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for i in 0..12u32 {
        let (width, height) = (40 + 37 * i, 300 - 21 * i);
        let picture = if i % 2 == 0 {
            let grey = |x, y| image::Luma([(x * 3 + y * 5 + i) as u8]);
            DynamicImage::from(GrayImage::from_fn(width, height, grey))
        } else {
            let colour = |x, y| image::Rgb([x as u8, (y * 2) as u8, (x * y + i) as u8]);
            DynamicImage::from(RgbImage::from_fn(width, height, colour))
        };
        picture.save(folder.join(format!("{i:02}.{}", ["png", "bmp", "jpg"][i as usize % 3]))).unwrap();
    }
}

fn is_state(message: &Message, state: &str) -> bool {
    message.topic == "vcp-line/caps/state" && message.json()["state"] == state
}

fn verdicts(messages: &[Message]) -> Vec<Value> {
    messages.iter().filter(|message| message.topic == "vcp-line/caps/top/verdict").map(Message::json).collect()
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[test]
fn a_folder_of_twelve_images_gives_twelve_events_and_the_line_ends_by_itself() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    let camera = "[[camera]]\nname = \"top\"\nsource = \"directory\"\npath = \"parts\"\n";
    let mut line = Line::run_in(folder, &settings(broker.port, camera), |_| {});
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let messages = reader.until(|message| is_state(message, "offline") && !message.json()["model"].is_null());

    let events = verdicts(&messages);
    assert_eq!(numbers(&events), (1..=12).collect::<Vec<_>>());
    let judge = schema::verdict();
    for (i, event) in events.iter().enumerate() {
        schema::assert_valid(&judge, event);
        let size = [&event["frame"]["width"], &event["frame"]["height"]].map(|side| side.as_u64().unwrap() as usize);
        assert_eq!(size, [40 + 37 * i, 300 - 21 * i]);
        assert_ne!(event["verdict"], "no_verdict", "{event}");
    }
    let states: Vec<Value> =
        messages.iter().filter(|message| message.topic.ends_with("/state")).map(Message::json).collect();
    let words: Vec<&str> = states.iter().map(|state| state["state"].as_str().unwrap()).collect();
    let online = words.iter().position(|&word| word == "online").expect("online");
    assert!(words[..online].iter().all(|&word| word == "offline"), "{words:?}");
    assert!(words[online..words.len() - 1].iter().all(|&word| word == "online"), "{words:?}");
    states.iter().for_each(|state| schema::assert_valid(&schema::state(), state));
    assert_eq!([line.at_the_end("events"), line.at_the_end("acked"), line.at_the_end("unsent")], [12, 12, 0]);
}
