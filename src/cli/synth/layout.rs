//! Which pictures a synthetic data set holds, and where each layout puts them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::dataset::Layout;
use crate::synth::{self, Class, Defect, DefectKind, FrameSample};

use super::frames::Frames;

/// Layouts that a synthetic data set can have.
pub const WRITTEN: [Layout; 4] = [Layout::Mvtec, Layout::Visa, Layout::Meta, Layout::Folders];

/// Everything that decides about the pictures but their place, and the size of square ones.
pub struct Plan {
    pub classes: Vec<Class>,
    pub kinds: Vec<DefectKind>,
    pub train_good: u32,
    pub good: u32,
    pub defective: u32,
    pub pairs: bool,
    pub difficulty: (f32, f32),
    pub seed: u64,
    /// The parts lie in large frames.
    pub frames: Option<Frames>,
}

/// One picture to make; paths are relative to the root.
pub struct Picture {
    pub class: Class,
    pub split: &'static str,
    pub defect: Option<Defect>,
    /// How large the defect shall be, in large frames.
    pub defect_px: Option<f32>,
    pub seed: u64,
    pub image: String,
    pub mask: Option<String>,
    /// The same product with, or without, its defect.
    pub pair: Option<String>,
}

/// Seeds of one class and data set begin this far apart for its three kinds of pictures.
const APART: u64 = 1_000_000;

/// The golden ratio's fraction: its multiples fill 0 … 1 evenly, however many there are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

impl Plan {
    /// All pictures, class by class.
    pub fn pictures(&self, layout: Layout) -> Vec<Picture> {
        let mut pictures = Vec::new();
        let base = self.seed.wrapping_mul(3 * APART);
        for &class in &self.classes {
            let mut places = Places { layout, class, counts: BTreeMap::new() };
            for index in 0..u64::from(self.train_good) {
                pictures.push(places.picture("train", None, base.wrapping_add(index)));
            }
            if !self.pairs {
                for index in 0..u64::from(self.good) {
                    pictures.push(places.picture("test", None, base.wrapping_add(APART + index)));
                }
            }
            for index in 0..u64::from(self.defective) {
                let seed = base.wrapping_add(2 * APART + index);
                let mut bad = places.picture("test", Some(self.defect(index)), seed);
                bad.defect_px = self.frames.map(|frames| frames.defect_px(index));
                if self.pairs {
                    let mut good = places.picture("test", None, seed);
                    good.pair = Some(bad.image.clone());
                    bad.pair = Some(good.image.clone());
                    pictures.push(good);
                }
                pictures.push(bad);
            }
        }
        pictures
    }

    fn defect(&self, index: u64) -> Defect {
        let (low, high) = self.difficulty;
        let share = (index as f64 * GOLDEN).fract() as f32;
        // Three decimals, so that the number in the captions is the number that was drawn with.
        let difficulty = ((low + (high - low) * share) * 1000.0).round() / 1000.0;
        Defect { kind: self.kinds[index as usize % self.kinds.len()], difficulty }
    }
}

/// Numbers the files of one class, folder by folder.
struct Places {
    layout: Layout,
    class: Class,
    counts: BTreeMap<String, u32>,
}

impl Places {
    fn picture(&mut self, split: &'static str, defect: Option<Defect>, seed: u64) -> Picture {
        let class = self.class.name();
        let kind = defect.map_or("good", |defect| defect.kind.name());
        let folder = match (self.layout, defect) {
            (Layout::Visa, None) => format!("{class}/Data/Images/Normal"),
            (Layout::Visa, Some(_)) => format!("{class}/Data/Images/Anomaly"),
            (Layout::Folders, None) => format!("{class}/good"),
            (Layout::Folders, Some(_)) => format!("{class}/defect/{kind}"),
            _ => format!("{class}/{split}/{kind}"),
        };
        let count = self.counts.entry(folder.clone()).or_default();
        let number = *count;
        *count += 1;
        let mask = defect.map(|_| match self.layout {
            Layout::Visa => format!("{class}/Data/Masks/Anomaly/{number:03}.png"),
            _ => format!("{class}/ground_truth/{kind}/{number:03}_mask.png"),
        });
        let image = format!("{folder}/{number:03}.png");
        Picture { class: self.class, split, defect, defect_px: None, seed, image, mask, pair: None }
    }
}

impl Picture {
    /// Image, and mask if there is one.
    pub fn files(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.image).chain(&self.mask)
    }

    /// Its line of `captions.jsonl`: `caption` names product, state and defect in the same words everywhere,
    /// `good_caption` is true of a part of the picture that leaves the defect out, `description` says more.
    pub fn line(&self, description: &str) -> Value {
        json!({
            "image": self.image,
            "mask": self.mask,
            "class": self.class.name(),
            "split": self.split,
            "defect": self.defect.map(|defect| defect.kind.name()),
            "difficulty": self.defect.map(|defect| defect.difficulty),
            "seed": self.seed,
            "pair": self.pair,
            "caption": synth::plain_caption(self.class, self.defect.map(|defect| defect.kind)),
            "good_caption": synth::plain_caption(self.class, None),
            "description": description,
        })
    }

    /// The same for a large frame, with where its part lies and what its mask holds, in pixels from the upper left corner.
    pub fn frame_line(&self, frame: &FrameSample) -> Value {
        let mut line = self.line(&frame.caption);
        let defect = |spot: &synth::DefectPlace| json!({ "kind": spot.kind.name(), "box": spot.bounds, "area_px": spot.area_px, "size_px": tenths(spot.size_px) });
        line["part"] = json!({
            "centre": frame.part.centre.map(thousandths),
            "shift": frame.part.shift.map(thousandths),
            "turn_degrees": thousandths(frame.part.turn_degrees),
            "box": frame.part.bounds,
        });
        line["defects"] = frame.defects.iter().map(defect).collect();
        line["defect_px"] = json!(self.defect_px.map(tenths));
        line
    }
}

fn tenths(value: f32) -> f64 {
    (f64::from(value) * 10.0).round() / 10.0
}

fn thousandths(value: f32) -> f64 {
    (f64::from(value) * 1000.0).round() / 1000.0
}

/// Name and content of the file that lists the pictures, in layouts that have one.
pub fn list(layout: Layout, pictures: &[Picture]) -> Option<(&'static str, String)> {
    match layout {
        Layout::Mvtec | Layout::Folders | Layout::Auto | Layout::Beside | Layout::RealIad => None,
        Layout::Visa => {
            let line = |picture: &Picture| {
                let label = if picture.defect.is_some() { "anomaly" } else { "normal" };
                let mask = picture.mask.as_deref().unwrap_or_default();
                format!("{},{},{label},{},{mask}\n", picture.class, picture.split, picture.image)
            };
            let lines: String = pictures.iter().map(line).collect();
            Some(("split_csv/1cls.csv", format!("object,split,label,image,mask\n{lines}")))
        }
        Layout::Meta => {
            let mut splits: BTreeMap<&str, BTreeMap<&str, Vec<Value>>> = BTreeMap::new();
            for split in ["train", "test"] {
                let classes = splits.entry(split).or_default();
                for picture in pictures {
                    let entries = classes.entry(picture.class.name()).or_default();
                    if picture.split == split {
                        entries.push(json!({
                            "img_path": picture.image,
                            "mask_path": picture.mask.as_deref().unwrap_or_default(),
                            "cls_name": picture.class.name(),
                            "specie_name": picture.defect.map_or("good", |defect| defect.kind.name()),
                            "anomaly": u8::from(picture.defect.is_some()),
                        }));
                    }
                }
            }
            Some(("meta.json", format!("{:#}\n", json!(splits))))
        }
    }
}
