//! The light of a running line falls by 15 %: alarmed over MQTT within 30 parts, apart from the parts that fail meanwhile, and
//! cleared when it is back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::events::{ALARM, assert_no_gap, events, is_state};
use crate::support::line::{Line, PATIENCE, settings};
use crate::support::mosquitto::{Message, Mosquitto, Rules, Subscriber};
use crate::support::shots::{Product, SAME, Setup};
use vcp_line::dice::Dice;
use vcp_line::drift::{Baseline, Features, GoodPart};
use vcp_line::frame::Image;
use vcp_line::synth::Class;

/// A watched folder; every part fails by its score.
const CAMERA: &str = "[[camera]]\nname = \"top\"\nsource = \"directory\"\npath = \"in\"\nwatch = true\n\
                      [camera.recipe]\nthreshold = 0.0\ncalibration = \"top.json\"\n\
                      [camera.trigger]\nmode = \"hardware\"\n";
const DARK: Setup = Setup { gain: 0.85, ..SAME };

fn calibration(folder: &Path, product: &Product, dice: &mut Dice) {
    let part = |image: &Image| GoodPart { features: Features::of(image), passes: true, statistic: None, score: None };
    let parts: Vec<GoodPart> = (0..40).map(|_| part(&product.shot(SAME, dice))).collect();
    let file = json!({ "schema": 1, "picture": Baseline::of(&parts).unwrap() });
    fs::write(folder.join("top.json"), file.to_string()).unwrap();
}

/// Puts one part after the other into the folder, each when the one before has its event.
struct Conveyor<'a> {
    product: Product,
    dice: Dice,
    inside: PathBuf,
    reader: &'a Subscriber,
    messages: Vec<Message>,
    parts: usize,
}

impl Conveyor<'_> {
    fn part(&mut self, setup: Setup) {
        let image = self.product.shot(setup, &mut self.dice);
        let (hidden, name) = (self.inside.join(".part.png"), self.inside.join(format!("{:05}.png", self.parts)));
        image::GrayImage::from_raw(image.width, image.height, image.data().to_vec()).unwrap().save(&hidden).unwrap();
        fs::rename(hidden, name).unwrap();
        self.parts += 1;
        let began = Instant::now();
        while self.messages.iter().filter(|message| message.topic.ends_with("/verdict")).count() < self.parts {
            assert!(began.elapsed() < PATIENCE, "part {} has no event", self.parts);
            self.messages.extend(self.reader.next(std::time::Duration::from_millis(200)));
        }
    }

    /// Parts until the last alarm message is as wanted; at most so many.
    fn until(&mut self, setup: Setup, most: usize, wanted: fn(&[Value]) -> bool) -> usize {
        for part in 1..=most {
            self.part(setup);
            // The alarm leaves beside the event.
            self.messages.extend(self.reader.next(std::time::Duration::from_millis(30)));
            if wanted(&self.alarms()) {
                return part;
            }
        }
        panic!("after {most} parts the alarms are {:?}", self.alarms());
    }

    fn alarms(&self) -> Vec<Value> {
        match self.messages.iter().rfind(|message| message.topic == ALARM) {
            Some(message) if !message.payload.is_empty() => message.json()["alarms"].as_array().unwrap().clone(),
            _ => Vec::new(),
        }
    }

    /// What the last event says of the picture.
    fn suspect(&self) -> Option<String> {
        let last = events(&self.messages).pop().unwrap();
        assert_eq!(last["verdict"], "fail", "{last}");
        last.get("suspect").map(|suspect| suspect.as_str().unwrap().to_owned())
    }
}

#[test]
fn darker_pictures_are_alarmed_within_thirty_parts_and_cleared_when_the_light_is_back() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let folder = tempfile::tempdir().unwrap();
    let (product, mut dice) = (Product::new(Class::Ring, 96, 77), Dice::new(21, [0, 0, 0]));
    calibration(folder.path(), &product, &mut dice);
    let inside = folder.path().join("in");
    fs::create_dir(&inside).unwrap();
    let mut line = Line::run_in(folder, &settings(broker.port, CAMERA), |_| {});
    let messages = reader.until(|message| is_state(message, "online"));
    let mut conveyor = Conveyor { product, dice, inside, reader: &reader, messages, parts: 0 };

    for _ in 0..20 {
        conveyor.part(SAME);
    }
    assert_eq!((conveyor.alarms(), conveyor.suspect()), (Vec::new(), None));

    let delay = conveyor.until(DARK, 30, |alarms| !alarms.is_empty());
    println!("alarmed after {delay} parts");
    let alarms = conveyor.alarms();
    assert_eq!((alarms.len(), alarms[0]["kind"].as_str()), (1, Some("light")), "{alarms:?}");
    let message = alarms[0]["message"].as_str().unwrap();
    assert!(message.starts_with("the picture changed against the 40 good parts: "), "{message}");
    assert!(message.contains(" % lower") && message.contains("look at the lamp"), "{message}");
    conveyor.part(DARK);
    assert_eq!(conveyor.suspect().as_deref(), Some("light"));

    let back = conveyor.until(SAME, 60, <[Value]>::is_empty);
    println!("cleared after {back} parts");
    conveyor.part(SAME);
    assert_eq!(conveyor.suspect(), None);
    let all = events(&conveyor.messages);
    assert_no_gap(&all);
    assert_eq!(all.len(), conveyor.parts);
    line.service.signal("TERM");
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
}

/// What good parts look like is checked with the other settings.
#[test]
fn a_calibration_file_that_cannot_be_used_is_told_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::write(folder.path().join("top.json"), "{\"picture\": {\"version\": 1}}").unwrap();
    let mut line = Line::run_in(folder, &settings(1, CAMERA), |_| {});
    assert_ne!(line.service.end().code(), Some(0), "it must not start");
    let said = line.service.stderr();
    assert!(said.contains("camera 'top'.recipe.calibration: ") && said.contains("`vcp-line calibrate`"), "{said}");
}
