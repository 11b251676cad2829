//! `vcp-line eval`: a labelled data set through the model, and what its answers are worth.

mod display;
mod recipe;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use display::{Display, found};

use super::engine_arguments::EngineArguments;
use super::failure;
use super::inspect::judge;
use super::json_file;
use super::rectangle;
use super::terminal::{self, note};
use crate::clock::{Clock, SystemClock};
use crate::dataset::{ClassItems, Dataset, Layout, LeftOut, Split};
use crate::engine::{self, EngineInfo};
use crate::eval::baseline::Baseline;
use crate::eval::few_shot::FewShot;
use crate::eval::report::{Report, Subject};
use crate::eval::sizes::SizeBins;
use crate::eval::tune::{Tuned, tune};
use crate::eval::{self, Evaluation, Options, Progress};
use crate::line::locating::LocatePlan;
use crate::memory;
use crate::output;
use crate::view::{self, TileSpec, ViewSpec};

/// Version of the JSON; a field that is added does not change it.
const SCHEMA: u32 = 1;
/// Digits of the hash that a person compares.
const HASH_DIGITS: usize = 12;

#[derive(Args)]
#[command(group = clap::ArgGroup::new("of_line").args(["view", "recipe"]))]
pub struct EvalArguments {
    /// Model bundle [default: that of --recipe, with its engine and precision]
    #[arg(long, value_name = "BUNDLE", required_unless_present = "recipe")]
    model: Option<PathBuf>,
    /// Count what this line's recipe lets escape and rejects, judged as its camera judges frames: its thresholds, smallest defect,
    /// regions, view, memory, parts found. A recipe that came to the line by command is not in its settings.
    #[arg(long, value_name = "LINE.toml", conflicts_with_all = NOT_BY_RECIPES)]
    recipe: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArguments,
    /// Root of the data set; with `--layout meta` also the JSON file itself.
    #[arg(long, value_name = "ROOT")]
    data: PathBuf,
    /// How the files lie below the root.
    #[arg(long, value_enum, default_value_t = Layout::Auto)]
    layout: Layout,
    /// Which part of the data set.
    #[arg(long, value_enum, default_value_t)]
    split: Split,
    /// Classes to look at [default: all]
    #[arg(long, value_name = "CLASS,…", value_delimiter = ',')]
    classes: Vec<String>,
    /// Write everything as JSON into this file; `-` prints it in place of the tables.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with curves, distributions, best and worst pictures into this folder; an older report there is replaced.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Stop at a picture or mask that cannot be read, instead of naming it and going on.
    #[arg(long)]
    strict: bool,
    /// Go on when more than a tenth of the pictures cannot be used.
    #[arg(long)]
    allow_missing: bool,
    /// Measure the model with a memory of this many good training pictures of each class as well (few-shot).
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=1000))]
    good: Option<u16>,
    /// Draws the good pictures; another seed draws others.
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "good")]
    good_seed: u64,
    /// Tokens that a memory keeps of each tapped layer, as multiples of one picture's.
    #[arg(long, value_name = "PICTURES", default_value_t = memory::PICTURES_OF_TOKENS, requires = "good", value_parser = clap::value_parser!(u16).range(1..=1000))]
    memory_size: u16,
    /// Sizes of defects in pixels of the picture at which the next row of the table by size begins; a defect's size is the
    /// diameter of the circle with as many pixels as its mask.
    #[arg(long, value_name = "PX,…", value_delimiter = ',', default_values = ["20", "40", "60"], value_parser = size)]
    size_bins: Vec<f32>,
    /// Percent of each class's good pictures that may fail at the thresholds of the table by size.
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = percent)]
    fail_good: f64,
    /// Look at overlapping tiles of this side, pixels of the picture, as `tiles` in [camera.view] does; maps are measured on a square
    /// of four times the model's side.
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u32).range(16..), conflicts_with_all = NOT_IN_VIEWS)]
    tiles: Option<u32>,
    /// Least share of a tile that it has in common with the next one.
    #[arg(long, value_name = "SHARE", default_value_t = view::USUAL_OVERLAP, requires = "tiles")]
    overlap: f32,
    /// Look at this rectangle of every picture alone, as `crop` in [camera.view] does.
    #[arg(long, value_name = "X,Y,W,H", value_parser = rectangle::parse, conflicts_with_all = NOT_IN_VIEWS)]
    crop: Option<[u32; 4]>,
    /// Look as a camera in this line's settings does: at its part as it was taught ([camera.locate]), through its view, in its tiles.
    /// Pictures whose part is not found are left out.
    #[arg(long, value_name = "LINE.toml", conflicts_with_all = NOT_IN_VIEWS, conflicts_with_all = ["tiles", "crop"])]
    view: Option<PathBuf>,
    /// Whose view or recipe, when the line has several cameras.
    #[arg(long, value_name = "NAME", requires = "of_line")]
    camera: Option<String>,
    /// Measure a classical baseline on the same pictures: distance from the local median, smoothed.
    #[arg(long)]
    baseline: bool,
    /// Side of the baseline's median window, an odd number of pixels of the model's input; implies --baseline [default: 41]
    #[arg(long, value_name = "PIXELS", value_parser = odd)]
    baseline_window: Option<usize>,
    /// Standard deviation of the baseline's Gaussian, pixels of the model's input; implies --baseline [default: 4]
    #[arg(long, value_name = "PIXELS", value_parser = sigma)]
    baseline_sigma: Option<f32>,
    /// Choose window and Gaussian on these classes by AUPRO over a small grid, at most 40 pictures of each; implies
    /// --baseline. Use classes that are not evaluated.
    #[arg(long, value_name = "CLASS,…", value_delimiter = ',', conflicts_with_all = ["baseline_window", "baseline_sigma"])]
    tune_baseline: Vec<String>,
    /// Root of the data set with the classes of --tune-baseline, same layout and split [default: that of --data]
    #[arg(long, value_name = "ROOT", requires = "tune_baseline")]
    tune_data: Option<PathBuf>,
}

/// What knows pictures as the model sees whole ones alone.
const NOT_IN_VIEWS: [&str; 6] = ["good", "report", "baseline", "baseline_window", "baseline_sigma", "tune_baseline"];

/// What measures the model, whatever a recipe makes of it.
const NOT_BY_RECIPES: [&str; 12] = [
    "good",
    "report",
    "baseline",
    "baseline_window",
    "baseline_sigma",
    "tune_baseline",
    "size_bins",
    "fail_good",
    "tiles",
    "crop",
    "view",
    "tune_data",
];

fn odd(text: &str) -> Result<usize, String> {
    let window: usize = text.parse().map_err(|_| "not a whole number".to_owned())?;
    if window % 2 == 1 && (3..=1023).contains(&window) { Ok(window) } else { Err("must be odd, 3 to 1023".to_owned()) }
}

fn sigma(text: &str) -> Result<f32, String> {
    let sigma: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=128.0).contains(&sigma) { Ok(sigma) } else { Err("must be 0 to 128".to_owned()) }
}

fn size(text: &str) -> Result<f32, String> {
    let size: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1.0..=100_000.0).contains(&size) { Ok(size) } else { Err("must be 1 to 100000 pixels".to_owned()) }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&percent) { Ok(percent) } else { Err("must be 0 to 100 percent".to_owned()) }
}

pub fn run(arguments: &EvalArguments) -> anyhow::Result<()> {
    if let Some(file) = &arguments.recipe {
        let data = recipe::Labelled {
            root: &arguments.data,
            layout: arguments.layout,
            split: arguments.split,
            classes: &arguments.classes,
            strict: arguments.strict,
            allow_missing: arguments.allow_missing,
        };
        let (model, camera, json) =
            (arguments.model.as_deref(), arguments.camera.as_deref(), arguments.json.as_deref());
        return recipe::run(&data, file, camera, (model, &arguments.engine), json);
    }
    let Some(model) = &arguments.model else { bail!("no model; name one with --model") };
    failure::bundle_there(model)?;
    failure::there("--data", &arguments.data)?;
    if let Some(root) = &arguments.tune_data {
        failure::there("--tune-data", root)?;
    }
    let dataset = Dataset::open(&arguments.data, arguments.layout, arguments.split)?.only(&arguments.classes)?;
    found(&dataset, arguments.allow_missing)?;
    let few_shot = arguments.few_shot()?;
    let tuning = match arguments.tune_baseline.as_slice() {
        [] => None,
        classes => {
            let root = arguments.tune_data.as_ref().unwrap_or(&arguments.data);
            let data = Dataset::open(root, arguments.layout, arguments.split)?.only(classes)?;
            if !arguments.allow_missing {
                data.check_left_out()?;
            }
            Some(data)
        }
    };
    if let Some(path) = arguments.json.as_deref().filter(|path| *path != Path::new("-")) {
        output::check_file(path).with_context(|| format!("writing {}", path.display()))?;
    }
    let mut report = arguments.report.as_deref().map(Report::begin).transpose()?;
    let mut engine = engine::open(&arguments.engine.spec(model, 1))?;
    let tuned = tuning.map(|data| tuned(&data, &dataset, engine.info().image_size, arguments.strict)).transpose()?;
    let baseline = arguments.baseline(tuned.as_ref());
    let (view, locate) = arguments.view()?;
    let options = Options {
        baseline,
        strict: arguments.strict,
        allow_missing: arguments.allow_missing,
        few_shot: few_shot.as_ref(),
        sizes: arguments.sizes(),
        view: view.clone(),
        locator: locate.as_ref().map(|plan| Arc::clone(&plan.locator)),
    };

    let mut display = Display::new();
    let watch = &mut |progress: Progress<'_>| display.show(progress);
    let evaluation = eval::run(&dataset, engine.as_mut(), options, report.as_mut(), watch)?;
    display.finish();

    // Files first: whoever reads standard output may go away.
    let looked = (&view, locate.as_ref());
    let json = arguments.json(&dataset, engine.info(), &evaluation, looked, baseline, tuned.as_ref());
    let to_stdout = arguments.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = arguments.json.as_deref().filter(|_| !to_stdout) {
        json_file::write(path, &json)?;
    }
    let mut text = table::tables(&evaluation);
    if let Some(tuned) = &tuned {
        text.push_str(&table::tuned(tuned));
    }
    if let Some(report) = report {
        let page = report.finish(&arguments.subject(&dataset, engine.info(), baseline, tuned), &evaluation)?;
        note!("report: {}", page.display());
    }
    if to_stdout {
        terminal::json(&json, true)?;
    } else {
        terminal::lines(&text);
    }
    for warning in &evaluation.warnings {
        note!("vcp-line: {warning}");
    }
    if !evaluation.left_out.is_empty() {
        let (left_out, all) = (evaluation.left_out.len(), dataset.len());
        note!("vcp-line: {left_out} of {all} pictures could not be read and count nowhere; they are named above");
    }
    Ok(())
}

fn tuned(data: &Dataset, evaluated: &Dataset, size: usize, strict: bool) -> anyhow::Result<Tuned> {
    let is_evaluated = |name: &str| data.root == evaluated.root && evaluated.classes.iter().any(|c| c.name == name);
    let overlap: Vec<&str> =
        data.classes.iter().map(|class| class.name.as_str()).filter(|name| is_evaluated(name)).collect();
    if !overlap.is_empty() {
        note!(
            "vcp-line: the baseline is tuned on classes that are evaluated as well ({}): its figures there flatter it",
            overlap.join(", ")
        );
    }
    let mut display = Display::new();
    let tuned = tune(data, size, strict, &mut |progress| display.show(progress))?;
    display.finish();
    Ok(tuned)
}

impl EvalArguments {
    /// What of the pictures is looked at, and how their parts are found.
    fn view(&self) -> anyhow::Result<(ViewSpec, Option<LocatePlan>)> {
        if let Some(file) = &self.view {
            let (_, judge) = judge::open(file, self.camera.as_deref())?;
            if judge.view.undistort.is_some() {
                let message = "--view: masks are as the pictures are; leave [camera.view] undistort out for this";
                return Err(failure::wrong_arguments(message));
            }
            return Ok((judge.view, judge.locate));
        }
        let tiles = self.tiles.map(|size_px| TileSpec::Size { size_px, overlap: self.overlap });
        let view = ViewSpec { crop: self.crop, tiles, ..ViewSpec::default() };
        view.check().map_err(|error| failure::wrong_arguments(error.to_string()))?;
        Ok((view, None))
    }

    fn few_shot(&self) -> anyhow::Result<Option<FewShot>> {
        let Some(good) = self.good else { return Ok(None) };
        let training = Dataset::open(&self.data, self.layout, Split::Train)
            .context("--good takes good pictures from the training split")?;
        let (good, pictures_of_tokens) = (usize::from(good), usize::from(self.memory_size));
        Ok(Some(FewShot { training, good, seed: self.good_seed, pictures_of_tokens }))
    }

    fn sizes(&self) -> SizeBins {
        let mut edges_px = self.size_bins.clone();
        edges_px.sort_by(f32::total_cmp);
        edges_px.dedup();
        SizeBins { edges_px, good_failing: self.fail_good / 100.0 }
    }

    fn baseline(&self, tuned: Option<&Tuned>) -> Option<Baseline> {
        let default = Baseline::default();
        let given = Baseline {
            window: self.baseline_window.unwrap_or(default.window),
            sigma: self.baseline_sigma.unwrap_or(default.sigma),
        };
        let wanted = self.baseline || self.baseline_window.is_some() || self.baseline_sigma.is_some();
        tuned.map(|tuned| tuned.baseline).or(wanted.then_some(given))
    }

    fn json(
        &self,
        dataset: &Dataset,
        info: &EngineInfo,
        evaluation: &Evaluation,
        (view, locate): (&ViewSpec, Option<&LocatePlan>),
        baseline: Option<Baseline>,
        tuned: Option<&Tuned>,
    ) -> serde_json::Value {
        json!({
            "schema": SCHEMA,
            "data": self.data.display().to_string(),
            "layout": dataset.layout.name(),
            "split": self.split.name(),
            "model": {
                "name": info.model, "sha256": info.sha256,
                "engine": info.engine.to_string(), "precision": info.precision.to_string(),
            },
            "image_size": info.image_size,
            "view": (!view.is_whole()).then_some(view),
            "locate": locate.map(|plan| json!({ "rectangle": plan.locator.rectangle() })),
            "pictures": { "looked_at": evaluation.looked_at, "left_out": evaluation.left_out },
            "found": dataset.classes.iter().map(class_found).collect::<Vec<_>>(),
            "warnings": evaluation.warnings,
            "memory": self.good.map(|good| json!({ "good": good, "seed": self.good_seed, "size": self.memory_size })),
            "baseline": baseline,
            "tuned": tuned,
            "methods": evaluation.methods.iter().map(|method| &method.figures).collect::<Vec<_>>(),
        })
    }

    fn subject(
        &self,
        dataset: &Dataset,
        info: &EngineInfo,
        baseline: Option<Baseline>,
        tuned: Option<Tuned>,
    ) -> Subject {
        Subject {
            model: info.model.clone(),
            sha256: info.sha256.chars().take(HASH_DIGITS).collect(),
            engine: format!("{} {}", info.engine, info.precision),
            data: self.data.display().to_string(),
            layout: format!("{}, {}", dataset.layout.name(), self.split.name()),
            date: SystemClock.now().wall.strftime("%Y-%m-%d").to_string(),
            tuned,
            baseline,
        }
    }
}

/// What was found of a class before looking at it.
fn class_found(class: &ClassItems) -> serde_json::Value {
    let left_out = |left: &LeftOut| json!({ "path": left.path.display().to_string(), "pictures": left.pictures, "reason": left.reason });
    json!({
        "class": class.name,
        "good": class.good(),
        "anomalous": class.defective(),
        "with_mask": class.with_mask(),
        "left_out": class.left_out.iter().map(left_out).collect::<Vec<_>>(),
        "remarks": class.remarks,
    })
}
