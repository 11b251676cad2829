//! `vcp-line synth`: a labelled data set of synthetic products, and a contact sheet of what there is.

mod frames;
mod layout;
mod png_file;
mod sheet;

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::cli::failure::wrong_arguments;
use crate::cli::terminal::{self, note, say};
use crate::dataset::Layout;
use crate::output::{self, NewFolder};
use crate::synth::{self, Class, DefectKind, Request, UnknownName};
use frames::{FrameArguments, Frames};
use layout::{Picture, Plan, WRITTEN, list};

#[derive(Args)]
#[command(group = ArgGroup::new("target").args(["out", "sheet"]).multiple(true).required(true))]
pub struct SynthArguments {
    /// Folder to write the data set into; it must be new or empty.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write a contact sheet of the classes and defects, as PNG: a row for each class, good first, then every defect.
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
    /// Products, separated by commas, or all.
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', default_value = "all", value_parser = one_or_all::<Class>)]
    classes: Vec<Pick<Class>>,
    /// Kinds of defects, separated by commas, or all; they take turns.
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', default_value = "all", value_parser = one_or_all::<DefectKind>)]
    defects: Vec<Pick<DefectKind>>,
    /// Good pictures to train on, for each class.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(..=MOST))]
    train_good: u32,
    /// Good pictures to test on, for each class.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=MOST))]
    good: u32,
    /// Defective pictures to test on, for each class.
    #[arg(long, value_name = "N", default_value_t = 18, value_parser = clap::value_parser!(u32).range(..=MOST))]
    defective: u32,
    /// The good test pictures show the very products of the defective ones, one for each, without the defect.
    #[arg(long, conflicts_with = "good")]
    pairs: bool,
    /// Side of the square pictures, pixels.
    #[arg(long, value_name = "PX", default_value_t = 256, value_parser = clap::value_parser!(u32).range(SIDES))]
    size: u32,
    #[command(flatten)]
    frames: FrameArguments,
    /// How hard the defects are to see, 0 obvious to 1 barely visible, spread evenly from LOW to HIGH.
    #[arg(long, value_name = "LOW..HIGH", default_value = "0..0.6", value_parser = range)]
    difficulty: (f32, f32),
    /// Other numbers give other products; the same number gives the same bytes.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// How the files are arranged.
    #[arg(long, value_parser = written(), default_value = "mvtec")]
    layout: Layout,
}

const MOST: i64 = 100_000;
const SIDES: std::ops::RangeInclusive<i64> = *synth::SIDES.start() as i64..=*synth::SIDES.end() as i64;

/// A name, or `all`.
#[derive(Clone, Copy, Debug)]
enum Pick<T> {
    All,
    One(T),
}

fn one_or_all<T: std::str::FromStr<Err = UnknownName>>(name: &str) -> Result<Pick<T>, UnknownName> {
    if name == "all" { Ok(Pick::All) } else { name.parse().map(Pick::One) }
}

/// In the order of the command line, each once.
fn picked<T: Copy + PartialEq>(picks: &[Pick<T>], all: &[T]) -> Vec<T> {
    let mut chosen = Vec::new();
    for pick in picks {
        let these = match pick {
            Pick::All => all,
            Pick::One(one) => std::slice::from_ref(one),
        };
        for &one in these {
            if !chosen.contains(&one) {
                chosen.push(one);
            }
        }
    }
    chosen
}

/// The layouts that can be written.
fn written() -> impl TypedValueParser<Value = Layout> {
    let values = WRITTEN.iter().filter_map(ValueEnum::to_possible_value);
    PossibleValuesParser::new(values).try_map(|word| Layout::from_str(&word, false))
}

fn range(text: &str) -> Result<(f32, f32), String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    match (low.parse::<f32>(), high.parse::<f32>()) {
        (Ok(low), Ok(high)) if 0.0 <= low && low <= high && high <= 1.0 => Ok((low, high)),
        _ => Err("write LOW..HIGH, with 0 ≤ LOW ≤ HIGH ≤ 1".to_owned()),
    }
}

pub fn run(arguments: &SynthArguments) -> anyhow::Result<()> {
    let classes = picked(&arguments.classes, Class::ALL);
    let kinds = picked(&arguments.defects, DefectKind::ALL);
    if arguments.out.is_some() {
        // The sheet is told of before the data set is made.
        terminal::goes_on_without();
    }
    if let Some(file) = &arguments.sheet {
        let difficulty = 0.5 * (arguments.difficulty.0 + arguments.difficulty.1);
        sheet::write(file, &classes, &kinds, arguments.size, difficulty, arguments.seed)?;
        say!("{}: {} rows: {}", file.display(), classes.len(), names(&classes).join(", "));
        say!("columns: good, {}", names(&kinds).join(", "));
    }
    let Some(out) = &arguments.out else { return Ok(()) };
    let frames = arguments.frames.frames(arguments.seed).map_err(wrong_arguments)?;
    let plan = Plan {
        train_good: arguments.train_good,
        good: arguments.good,
        defective: arguments.defective,
        pairs: arguments.pairs,
        difficulty: arguments.difficulty,
        seed: arguments.seed,
        classes,
        kinds,
        frames,
    };
    let pictures = plan.pictures(arguments.layout);
    if pictures.is_empty() {
        return Err(wrong_arguments("no picture was asked for: give --train-good, --good or --defective a number"));
    }
    let mut settings = json!({
        "program": format!("vcp-line {}", env!("CARGO_PKG_VERSION")),
        "settings": {
            "classes": names(&plan.classes),
            "defects": names(&plan.kinds),
            "train_good": plan.train_good,
            "good": if plan.pairs { plan.defective } else { plan.good },
            "defective": plan.defective,
            "pairs": plan.pairs,
            "size": arguments.size,
            "difficulty": [plan.difficulty.0, plan.difficulty.1],
            "seed": plan.seed,
            "layout": arguments.layout.name(),
        },
        "pictures": pictures.len(),
    });
    if let Some(frames) = &plan.frames {
        settings["settings"]["size"] = json!(null);
        settings["settings"]["frames"] = frames.settings();
    }
    let (layout, size) = (arguments.layout, arguments.size);
    let set = Set { pictures: &pictures, layout, size, frames: plan.frames, settings: &settings };
    set.write(out)?;
    say!("{}: {} pictures of {} classes", out.display(), pictures.len(), plan.classes.len());
    Ok(())
}

fn names<T: std::fmt::Display>(of: &[T]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

/// What is to be written.
struct Set<'a> {
    pictures: &'a [Picture],
    layout: Layout,
    size: u32,
    frames: Option<Frames>,
    settings: &'a Value,
}

impl Set<'_> {
    /// Into a folder beside the target, which takes its place when everything is there.
    fn write(&self, target: &Path) -> anyhow::Result<()> {
        let target = output::folder(target).with_context(|| format!("writing to {}", target.display()))?;
        let entries = fs::read_dir(&target);
        match entries.map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => {
                let message = format!("{} is not empty; name a new folder, or empty this one", target.display());
                return Err(wrong_arguments(message));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => bail!("{}: {error}; name a folder that can be written", target.display()),
        }
        let place = || format!("creating a folder for {}", target.display());
        let partial = NewFolder::beside(&target).with_context(place)?;
        self.fill(partial.path())?;
        partial.put().with_context(|| format!("naming the folder {}", target.display()))
    }

    fn fill(&self, folder: &Path) -> anyhow::Result<()> {
        let progress = Progress::new(self.pictures.len() as u64);
        let folders: std::collections::BTreeSet<&Path> =
            self.pictures.iter().flat_map(Picture::files).filter_map(|file| Path::new(file).parent()).collect();
        for inner in folders {
            self.checked(fs::create_dir_all(folder.join(inner)), inner, &progress)?;
        }
        let lines: Vec<String> = self
            .pictures
            .par_iter()
            .map(|picture| {
                let line = match &self.frames {
                    Some(frames) => self.frame(folder, picture, frames, &progress)?,
                    None => self.square(folder, picture, &progress)?,
                };
                progress.step();
                Ok(line.to_string() + "\n")
            })
            .collect::<anyhow::Result<_>>()?;
        progress.end();
        self.save(folder, "captions.jsonl", lines.concat().as_bytes(), &progress)?;
        let settings = serde_json::to_string_pretty(self.settings)? + "\n";
        self.save(folder, "dataset.json", settings.as_bytes(), &progress)?;
        if let Some((name, list)) = list(self.layout, self.pictures) {
            if let Some(inner) = Path::new(name).parent() {
                self.checked(fs::create_dir_all(folder.join(inner)), inner, &progress)?;
            }
            self.save(folder, name, list.as_bytes(), &progress)?;
        }
        Ok(())
    }

    /// Makes and writes a square picture; gives its line of `captions.jsonl`.
    fn square(&self, folder: &Path, picture: &Picture, progress: &Progress) -> anyhow::Result<Value> {
        let request = Request { class: picture.class, size: self.size, defect: picture.defect, seed: picture.seed };
        let sample = synth::render(&request);
        let image = png_file::encode(&sample.rgb, sample.size, png::ColorType::Rgb)?;
        self.save(folder, &picture.image, &image, progress)?;
        if let Some(mask) = &picture.mask {
            let image = png_file::encode(&sample.mask, sample.size, png::ColorType::Grayscale)?;
            self.save(folder, mask, &image, progress)?;
        }
        Ok(picture.line(&sample.caption))
    }

    /// The same for a large frame.
    fn frame(&self, folder: &Path, picture: &Picture, frames: &Frames, progress: &Progress) -> anyhow::Result<Value> {
        let sample =
            synth::render_frame(&frames.request(picture.class, picture.seed, picture.defect.zip(picture.defect_px)));
        let image = png_file::encode_fast(&sample.rgb, sample.width, png::ColorType::Rgb)?;
        self.save(folder, &picture.image, &image, progress)?;
        if let Some(mask) = &picture.mask {
            let image = png_file::encode_fast(&sample.mask, sample.width, png::ColorType::Grayscale)?;
            self.save(folder, mask, &image, progress)?;
        }
        Ok(picture.frame_line(&sample))
    }

    fn save(&self, folder: &Path, name: &str, bytes: &[u8], progress: &Progress) -> anyhow::Result<()> {
        self.checked(fs::write(folder.join(name), bytes), Path::new(name), progress)
    }

    fn checked(&self, result: io::Result<()>, name: &Path, progress: &Progress) -> anyhow::Result<()> {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match result {
            Err(error) if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) => bail!(
                "the disk is full after {} of {} pictures; nothing was kept: free space, or ask for fewer or smaller \
                 pictures",
                progress.done(),
                self.pictures.len()
            ),
            result => result.with_context(|| format!("writing {}", name.display())),
        }
    }
}

/// A bar on a terminal, a plain line for every tenth otherwise.
struct Progress {
    bar: Option<ProgressBar>,
    done: AtomicU64,
    total: u64,
}

impl Progress {
    fn new(total: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("pictures {bar:32} {pos}/{len} {eta}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, done: AtomicU64::new(0), total }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        match &self.bar {
            Some(bar) => bar.set_position(done),
            None if done * 10 / self.total != (done - 1) * 10 / self.total => {
                note!("pictures {done}/{}", self.total);
            }
            None => {}
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
