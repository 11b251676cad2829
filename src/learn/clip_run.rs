//! From pictures with captions to a CLIP file: the whole training, resumable at any moment.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::checkpoint::{self, CheckpointError, CheckpointRequest};
use super::clip::{ClipSettings, ClipTraining, Step};
use super::clip_pairs::{PairSource, Pairs};
use super::{LearnError, io_error, vcp_file};
use crate::output;
use crate::weights::bundle::Bundle;

/// Everything about a training.
#[derive(Clone, Debug)]
pub struct ClipRequest {
    /// Folders with pictures and their captions.
    pub data: Vec<PairSource>,
    /// Which classes; none named: all.
    pub classes: Vec<String>,
    /// Side to which whole pictures and tiles are brought before views are cut, pixels.
    pub working_size: usize,
    /// A bundle whose CLIP gives the first values.
    pub start: Option<PathBuf>,
    /// Share of the first values in what is written, 0 to less than 1: linear interpolation of weights keeps more of what the start knew
    /// than it gives up of what was learned (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903, whose α is one less this share). Where the
    /// start keeps no value (temperature, words outside its prompts), the first one is that drawn by the seed. Not part of a run's
    /// identity: a run that has come to its end can be written again with another share.
    pub keep_start: f32,
    /// What decides the result.
    pub settings: ClipSettings,
    /// Where the run is kept, if anywhere.
    pub checkpoint: Option<CheckpointRequest>,
    /// The file to write.
    pub out: PathBuf,
}

/// What happens during a training.
#[derive(Clone, Copy, Debug)]
pub enum ClipEvent {
    /// What is learned from.
    Data {
        /// Pictures.
        pictures: usize,
        /// Different captions.
        captions: usize,
    },
    /// An earlier run goes on after this many steps.
    Resumed(u64),
    /// After a step.
    Step {
        /// Steps taken.
        step: u64,
        /// What the step saw.
        seen: Step,
    },
}

/// Trains and writes the file. On an error the file is as it was, and the last checkpoint is whole.
pub fn run(request: &ClipRequest, report: &mut dyn FnMut(ClipEvent)) -> Result<(), LearnError> {
    request.settings.check(request.working_size).map_err(LearnError::Settings)?;
    if !(0.0..1.0).contains(&request.keep_start) {
        return Err(LearnError::Settings(format!(
            "--keep-start {}: a number from 0 to less than 1",
            request.keep_start
        )));
    }
    for plan in request.data.iter().filter_map(|source| source.tiles.as_ref()) {
        plan.check()?;
    }
    output::check_file(&request.out).map_err(|source| io_error("write", &request.out, source))?;
    let start = request.start.as_deref().map(Bundle::open).transpose()?;
    if let Some(bundle) = &start {
        request.settings.fits(&bundle.manifest().architecture).map_err(LearnError::Settings)?;
    }
    let _lock = request.checkpoint.as_ref().map(|kept| checkpoint::lock(&kept.folder)).transpose()?;
    let pairs = Pairs::open(&request.data, &request.classes, request.working_size, request.settings.seed)?;
    report(ClipEvent::Data { pictures: pairs.len(), captions: pairs.captions().len() });
    let mut data = json!({"sha256": pairs.identity()});
    if request.data.iter().any(|source| source.tiles.is_some()) {
        data["sources"] = json!(request.data);
    }
    let identity = json!({
        "what": "clip",
        "start": start.as_ref().map(Bundle::sha256),
        "settings": request.settings,
        "working_size": request.working_size,
        "data": data,
    });
    let mut training = ClipTraining::new(request.settings.clone(), pairs, start.as_ref())?;
    let first = (request.keep_start > 0.0).then(|| training.parameters().values());
    if let Some(kept) = &request.checkpoint {
        resume(kept, &identity, &mut training, report)?;
    }
    while training.steps() < request.settings.steps {
        let views = training.next_views();
        let seen = training.step(&views);
        let step = training.steps();
        if !seen.loss.is_finite() {
            return Err(run_away(step));
        }
        report(ClipEvent::Step { step, seen });
        if let Some(kept) = &request.checkpoint
            && (step.is_multiple_of(kept.every.max(1)) || step == request.settings.steps || kept.stop.is_cancelled())
        {
            if !training.parameters().finite() {
                return Err(run_away(step));
            }
            let tensors = training.parameters().snapshot();
            checkpoint::save(&kept.folder, &identity, &json!({ "step": step }), &tensors)?;
            if step < request.settings.steps {
                kept.go_on()?;
            }
        }
    }
    if !training.parameters().finite() {
        return Err(run_away(training.steps()));
    }
    if let Some(first) = first {
        training.parameters().interpolate(&first, request.keep_start);
    }
    vcp_file::write_halves(&request.out, &training.file()).map_err(|source| io_error("write", &request.out, source))
}

fn run_away(step: u64) -> LearnError {
    LearnError::NotFinite { step, rates: "--rate" }
}

fn resume(
    kept: &CheckpointRequest,
    identity: &Value,
    training: &mut ClipTraining,
    report: &mut dyn FnMut(ClipEvent),
) -> Result<(), LearnError> {
    let Some((state, tensors)) = checkpoint::load(&kept.folder, identity)? else { return Ok(()) };
    if !kept.resume {
        return Err(LearnError::Settings(format!(
            "{} holds a training already: go on with it with --resume, or name another folder",
            kept.folder.display()
        )));
    }
    let damaged = |reason: String| CheckpointError::Damaged { path: kept.folder.join(checkpoint::FILE), reason };
    let step = state.get("step").and_then(Value::as_u64);
    let step = step.ok_or_else(|| damaged("its state is incomplete".to_owned()))?;
    let missing = |name: String| damaged(format!("tensor '{name}' is missing or has another shape"));
    training.parameters().restore(step, &tensors).map_err(missing)?;
    report(ClipEvent::Resumed(step));
    Ok(())
}
