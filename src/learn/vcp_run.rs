//! From a CLIP file and a data set to a bundle: the whole training, resumable at any moment.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::augment;
use super::checkpoint::{self, CheckpointRequest};
use super::device::DeviceChoice;
use super::event::{Epoch, Event};
use super::features::Sample;
use super::initial::initial;
use super::pictures::Pictures;
use super::samples::Samples;
use super::vcp_settings::VcpSettings;
use super::vcp_training::{Losses, VcpTraining};
use super::{LearnError, io_error, vcp_file};
use crate::dataset::{Layout, Split};
use crate::dice::Dice;
use crate::output::{self, Temporary};
use crate::weights::{Bundle, ImportRequest, check_target, clip_sizes, import_with};

/// What the dice of a seed are for.
const ORDER: u64 = u64::from_le_bytes(*b"order   ");
const DROPOUT: u64 = u64::from_le_bytes(*b"dropout ");

/// Which pictures are learned from.
#[derive(Clone, Debug)]
pub struct DataRequest {
    /// Root of the data set.
    pub root: PathBuf,
    /// How it is arranged.
    pub layout: Layout,
    /// Which parts of it.
    pub splits: Vec<Split>,
    /// Which classes; none named: all.
    pub classes: Vec<String>,
    /// More than a tenth of the pictures may be left out.
    pub allow_missing: bool,
}

impl DataRequest {
    fn open(&self) -> Result<Pictures, LearnError> {
        Pictures::open(&self.root, self.layout, &self.splits, &self.classes, self.allow_missing)
    }
}

/// Everything about a training.
#[derive(Clone, Debug)]
pub struct VcpRequest {
    /// The frozen CLIP.
    pub clip: PathBuf,
    /// VCP weights to start from; drawn at random when not given.
    pub start: Option<PathBuf>,
    /// Pictures to learn from.
    pub data: DataRequest,
    /// With [`VcpSettings::tiles`]: pictures to learn from whole, beside the tiles of the others.
    pub whole: Option<DataRequest>,
    /// Pictures to validate with after every epoch, instead of a share of those to learn from.
    pub validate: Option<DataRequest>,
    /// What decides the result.
    pub settings: VcpSettings,
    /// What computes.
    pub device: DeviceChoice,
    /// Where the run is kept, if anywhere.
    pub checkpoint: Option<CheckpointRequest>,
    /// Bytes of memory that copies' features may take; more of them go into a file.
    pub most_memory: u64,
    /// The bundle's folder.
    pub out: PathBuf,
    /// What people call the model; the name of the bundle's folder when not given.
    pub name: Option<String>,
    /// May a bundle that is there be replaced?
    pub force: bool,
    /// Where the VCP weights are kept as a file of their own, if anywhere.
    pub vcp_file: Option<PathBuf>,
}

/// Where a run stands; with the parameters, all that a checkpoint holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Position {
    /// From 0.
    epoch: usize,
    /// Steps of the epoch taken.
    step: usize,
    /// Steps taken in all.
    total: u64,
    /// Sums over the epoch's steps.
    losses: Losses,
}

impl Position {
    fn to_json(self) -> Value {
        // Sums as bits: they come back exactly.
        let sums = [self.losses.raw.to_bits(), self.losses.new.to_bits()];
        json!({"epoch": self.epoch, "step": self.step, "total": self.total, "loss_bits": sums})
    }

    fn of_json(value: &Value) -> Option<Self> {
        let number = |key: &str| value.get(key)?.as_u64();
        let sum = |at: usize| Some(f64::from_bits(value.get("loss_bits")?.get(at)?.as_u64()?));
        Some(Self {
            epoch: number("epoch")? as usize,
            step: number("step")? as usize,
            total: number("total")?,
            losses: Losses { raw: sum(0)?, new: sum(1)? },
        })
    }
}

/// Trains and writes the bundle. `report` hears what happens.
///
/// On an error nothing is left at [`VcpRequest::out`], and the last checkpoint is whole.
pub fn run(request: &VcpRequest, report: &mut dyn FnMut(Event<'_>)) -> Result<Bundle, LearnError> {
    let settings = &request.settings;
    settings.check()?;
    let device = request.device.open()?;
    // Found now rather than after hours.
    check_target(&request.out, request.force)?;
    if let Some(path) = &request.vcp_file {
        output::check_file(path).map_err(|source| io_error("write VCP weights to", path, source))?;
    }
    let _lock = request.checkpoint.as_ref().map(|kept| checkpoint::lock(&kept.folder)).transpose()?;

    let (pictures, validation, data) = pictures(request, report)?;
    if pictures.is_empty() {
        return Err(LearnError::Settings(
            "the hold-out leaves no picture to learn from: give a smaller share".to_owned(),
        ));
    }
    if pictures.anomalous() == 0 {
        return Err(LearnError::Settings(format!(
            "{} has no anomalous picture to learn from in this part: choose another with --split or --classes",
            request.data.root.display()
        )));
    }
    report(Event::Data { pictures: pictures.len(), anomalous: pictures.anomalous(), validation: validation.len() });

    let temporary = work_folder(request.checkpoint.as_ref())?;
    let bundle = starting_model(request, temporary.path(), report)?;
    let apart = request.device == DeviceChoice::Cpu;
    let mut training = VcpTraining::new(&bundle, &device, settings.adam, settings.loss, apart)?;

    let identity = identity(request, &bundle, &data);
    let mut position = Position::default();
    if let Some(kept) = &request.checkpoint
        && let Some((state, tensors)) = checkpoint::load(&kept.folder, &identity)?
    {
        if !kept.resume {
            return Err(LearnError::Settings(format!(
                "{} holds a training already: go on with it with --resume, or name another folder",
                kept.folder.display()
            )));
        }
        let damaged =
            |reason: String| checkpoint::CheckpointError::Damaged { path: kept.folder.join(checkpoint::FILE), reason };
        position = Position::of_json(&state).ok_or_else(|| damaged("its state is incomplete".to_owned()))?;
        let missing = |name: String| damaged(format!("tensor '{name}' is missing or has another shape"));
        training.restore(position.total, &tensors).map_err(missing)?;
        report(Event::Resumed { epoch: position.epoch + 1, step: position.step });
    }

    if position.epoch < settings.epochs {
        let folder = request.checkpoint.as_ref().map_or(temporary.path(), |kept| &kept.folder);
        let mut samples = Samples::new(
            &bundle,
            pictures,
            validation,
            settings,
            &device,
            apart,
            (request.most_memory, folder),
            report,
        )?;
        let mut run = Run { request, identity, training: &mut training, samples: &mut samples, position };
        run.epochs(report)?;
    }
    finish(request, &training, &bundle, temporary.path(), report)
}

/// What is learned from, what is kept for validation, and SHA-256 over all that is learned from or kept from it.
fn pictures(
    request: &VcpRequest,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<(Pictures, Pictures, String), LearnError> {
    let settings = &request.settings;
    let mut open = |data: &DataRequest| {
        let pictures = data.open()?;
        pictures.found().iter().for_each(|line| report(Event::Found(line)));
        let identity = pictures.identity(&data.root);
        Ok::<_, LearnError>((pictures, identity))
    };
    let (all, mut data) = open(&request.data)?;
    // Before they are cut: no tile for validation is of a picture that is learned from.
    let (mut pictures, mut validation) = all.hold_out(settings.hold_out, settings.seed);
    if let Some(other) = &request.validate {
        (validation, _) = open(other)?;
    }
    if let Some(plan) = &settings.tiles {
        let tiled = |pictures: Pictures| pictures.tiled(plan, settings.image_size, settings.seed);
        (pictures, validation) = (tiled(pictures)?, tiled(validation)?);
    }
    if let Some(whole) = &request.whole {
        let (all, identity) = open(whole)?;
        let (left, taken) = all.hold_out(settings.hold_out, settings.seed);
        pictures = pictures.with(left);
        validation = validation.with(taken);
        data = format!("{data}+{identity}");
    }
    Ok((pictures, validation, data))
}

/// The loop over epochs and steps.
struct Run<'a> {
    request: &'a VcpRequest,
    identity: Value,
    training: &'a mut VcpTraining,
    samples: &'a mut Samples,
    position: Position,
}

impl Run<'_> {
    fn epochs(&mut self, report: &mut dyn FnMut(Event<'_>)) -> Result<(), LearnError> {
        let settings = &self.request.settings;
        let count = self.samples.count();
        let steps = count.div_ceil(settings.batch);
        while self.position.epoch < settings.epochs {
            let epoch = self.position.epoch;
            let start = Instant::now();
            let mut pictures = 0;
            let order = augment::order(count, &mut Dice::new(settings.seed, [ORDER, epoch as u64, 0]));
            while self.position.step < steps {
                let from = self.position.step * settings.batch;
                let batch = &order[from..count.min(from + settings.batch)];
                let losses = self.step(epoch, batch, (steps * settings.epochs) as u64)?;
                pictures += batch.len();
                let step = self.position.step;
                report(Event::Step { epoch: epoch + 1, step, steps, losses });
                let Some(kept) = &self.request.checkpoint else { continue };
                let due = step < steps && self.position.total.is_multiple_of(kept.every.max(1));
                if due || kept.stop.is_cancelled() {
                    self.save()?;
                    kept.go_on()?;
                }
            }
            let mean = |sum: f64| sum / steps as f64;
            let losses = Losses { raw: mean(self.position.losses.raw), new: mean(self.position.losses.new) };
            let time = start.elapsed();
            self.check_finite()?;
            let validation = self.samples.validate(self.training)?;
            report(Event::Epoch(&Epoch { epoch: epoch + 1, losses, validation, time, pictures }));
            self.position = Position { epoch: epoch + 1, total: self.position.total, ..Position::default() };
            self.save()?;
            // After the last epoch only the bundle is left to write.
            if self.position.epoch < settings.epochs {
                self.request.checkpoint.as_ref().map_or(Ok(()), CheckpointRequest::go_on)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, epoch: usize, batch: &[usize], steps: u64) -> Result<Losses, LearnError> {
        let settings = &self.request.settings;
        let samples: Vec<Sample> = self.samples.batch(epoch, batch)?;
        let dropout = (settings.prompt_dropout > 0.0).then(|| {
            let dice = |&at: &usize| Dice::new(settings.seed, [DROPOUT, epoch as u64, at as u64]);
            (settings.prompt_dropout, batch.iter().map(dice).collect())
        });
        let (losses, gradients) = self.training.differentiate(&samples, dropout);
        let position = &mut self.position;
        if !losses.total().is_finite() {
            return Err(run_away(position.total + 1));
        }
        self.training.step(gradients, settings.rates(position.total, steps));
        position.step += 1;
        position.total += 1;
        position.losses.raw += losses.raw;
        position.losses.new += losses.new;
        Ok(losses)
    }

    fn check_finite(&self) -> Result<(), LearnError> {
        if self.training.parameters().finite() { Ok(()) } else { Err(run_away(self.position.total)) }
    }

    /// Writes a checkpoint, unless a parameter has run away: then the last one stays.
    fn save(&self) -> Result<(), LearnError> {
        let Some(kept) = &self.request.checkpoint else { return Ok(()) };
        self.check_finite()?;
        let tensors = self.training.parameters().snapshot();
        Ok(checkpoint::save(&kept.folder, &self.identity, &self.position.to_json(), &tensors)?)
    }
}

fn run_away(step: u64) -> LearnError {
    LearnError::NotFinite { step, rates: "--rate or --temperature-rate" }
}

/// A folder for what is needed until the end: the starting model has the size of the CLIP. What a killed run has left
/// behind in its checkpoint's folder goes first.
fn work_folder(kept: Option<&CheckpointRequest>) -> Result<Temporary, LearnError> {
    const PREFIX: &str = ".work.";
    let parent = kept.map_or_else(std::env::temp_dir, |kept| kept.folder.clone());
    let make = || {
        if kept.is_some() {
            for entry in std::fs::read_dir(&parent)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                    std::fs::remove_dir_all(entry.path())?;
                }
            }
        }
        Temporary::new(&parent, PREFIX, "")
    };
    make().map_err(|source| io_error("work in", &parent, source))
}

/// What must be the same for a run to go on.
fn identity(request: &VcpRequest, bundle: &Bundle, data: &str) -> Value {
    let hash = |role: &str| {
        let of_role = bundle.manifest().sources.iter().filter(|source| source.role == role);
        of_role.map(|source| source.sha256.as_str()).collect::<Vec<_>>().join("+")
    };
    json!({
        "what": "vcp",
        "settings": request.settings,
        "device": format!("{:?}", request.device),
        "data": {"sha256": data},
        "clip": {"sha256": hash("clip")},
        "start": {"sha256": hash("vcp")},
    })
}

/// The CLIP and the first values of the modules as a bundle, which checks both.
fn starting_model(
    request: &VcpRequest,
    folder: &Path,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<Bundle, LearnError> {
    let settings = &request.settings;
    let sizes = settings.sizes(&clip_sizes(&request.clip)?)?;
    let vcp = match &request.start {
        Some(path) => path.clone(),
        None => {
            let path = folder.join("first.safetensors");
            let first = initial(&sizes, settings.seed);
            vcp_file::write(&path, &first).map_err(|source| io_error("write", &path, source))?;
            path
        }
    };
    let start = bundle(request, &vcp, sizes.taps, folder.join("start"), report)?;
    if start.manifest().architecture.direct_prompts {
        return Err(LearnError::Settings(format!(
            "{} is of VCP-CLIP+, which can be run and not trained here; start from a file of VCP-CLIP",
            vcp.display()
        )));
    }
    Ok(start)
}

/// Writes what was learned: the file of its own if asked for, and the bundle.
fn finish(
    request: &VcpRequest,
    training: &VcpTraining,
    start: &Bundle,
    folder: &Path,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<Bundle, LearnError> {
    let path = request.vcp_file.clone().unwrap_or_else(|| folder.join("vcp.safetensors"));
    vcp_file::write(&path, &training.file(start)?).map_err(|source| io_error("write", &path, source))?;
    let taps = start.manifest().architecture.taps.clone();
    bundle(request, &path, taps, request.out.clone(), report)
}

fn bundle(
    request: &VcpRequest,
    vcp: &Path,
    taps: Vec<usize>,
    out: PathBuf,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<Bundle, LearnError> {
    let settings = &request.settings;
    let import = ImportRequest {
        clip: request.clip.clone(),
        second_tower: None,
        vcp: vcp.to_owned(),
        image_size: settings.image_size,
        taps: Some(taps),
        post_heads: settings.post_heads,
        name: request.name.clone(),
        out,
        force: request.force,
    };
    let mut progress = |stage: &str, done, total| report(Event::Preparing { stage, done, total });
    Ok(import_with(&import, settings.constants.clone(), &mut progress)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_exactly() {
        let losses = Losses { raw: 0.1 + 0.2, new: 1.0 / 3.0 };
        let position = Position { epoch: 3, step: 7, total: 1234, losses };
        let text = position.to_json().to_string();
        assert_eq!(Position::of_json(&serde_json::from_str(&text).unwrap()), Some(position));
        assert_eq!(Position::of_json(&json!({"epoch": 1})), None);
    }
}
