//! The TensorRT engine: the network as a TensorRT plan, our own kernels before and behind it, nothing copied to the host
//! but the answer. A passing part costs a summary of less than a KiB, with a memory of good parts two; a map is fetched when
//! somebody asks for it, and so are tokens, which a learner does.
//!
//! Plans are made by [`build`] (`vcp-line model build`), also on a machine without a GPU.

// TensorRT and the driver know no borrow checker; each block says who keeps the promise.
#![allow(unsafe_code)]

mod ahead;
mod answers;
mod build;
#[cfg(not(feature = "tensorrt-enterprise"))]
mod cache;
mod failure;
mod gpu;
mod library;
mod memories;
mod network;
mod pipeline;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

pub use build::{BuildRequest, Progress, USUAL_SMS, build, unwatched};
pub use library::FLAVOUR;
pub use pipeline::GpuTimes;

use super::eight_bits::EightBits;
use super::plan::{self, Arithmetic, Card, PlanError, PlanIdentity, Wanted};
use super::scales::ScalesError;
use super::{Coming, Engine, EngineError, EngineInfo, EngineSpec, Precision, nothing_comes, scratch, self_test};
use crate::anomaly::{AnomalyMap, Prediction, StageTimes};
use crate::engine::onnx::typed;
use crate::frame::{Frame, Image};
use crate::tokens::PatchTokens;
use crate::weights::bundle::Bundle;
use answers::{MapOnCard, tokens_on_card};
use failure::ENGINE;
use network::Network;
use pipeline::Pipeline;

/// Runs a TensorRT plan on one NVIDIA GPU.
pub struct TensorrtEngine {
    pipeline: Pipeline,
    info: EngineInfo,
    /// Maps of the last batch. Those that somebody still holds are fetched before the next batch overwrites them.
    handed_out: Vec<AnomalyMap>,
    /// The same of tokens.
    tokens_handed_out: Vec<PatchTokens>,
    hands_out_tokens: bool,
}

impl TensorrtEngine {
    /// Finds the card, checks the plan against it (building it if the line says so), loads it and passes the self-test.
    /// `tell` hears of a build.
    pub fn open(spec: &EngineSpec, tell: &dyn Fn(&str)) -> Result<Self, EngineError> {
        let gpu = gpu::open()?;
        let properties = gpu::properties(&gpu);
        // Before a command is named that could not succeed.
        FLAVOUR.covers(properties.sm)?;
        let version = library::load()?;
        let bundle = Bundle::open(&spec.bundle)?;
        let driver = gpu::driver(&properties);
        let card = Card { name: &properties.name, sm: properties.sm, driver: &driver };
        let wanted = wanted(&bundle, &version, card);
        let (precision, scales_sha256) = choose(spec, &bundle, &wanted)?;
        let arithmetic = Arithmetic { precision, scales_sha256: scales_sha256.as_deref() };
        let wanted = Wanted { arithmetic, ..wanted };
        let spec = &EngineSpec { precision, ..spec.clone() };
        let places = plan_places(spec, arithmetic);
        let (identity, plan) = match (first_fitting(spec, &places, &wanted), places.last()) {
            (
                Err(error @ (PlanError::Absent { .. } | PlanError::Damaged { .. } | PlanError::Misfit { .. })),
                Some(place),
            ) if spec.plan.rebuild => {
                tracing::warn!(%error, "the TensorRT plan is built anew, which takes minutes for a large model");
                tell("building engine");
                rebuild(spec, place, properties.sm)?;
                tell("");
                first_fitting(spec, std::slice::from_ref(place), &wanted)?
            }
            (other, _) => other?,
        };
        let max_batch = spec.max_batch.clamp(1, identity.max_batch);
        if max_batch < spec.max_batch {
            tracing::warn!(wanted = spec.max_batch, max_batch, "the plan was built for smaller batches");
        }
        let cache = cache_file(&identity.plan_sha256, properties.sm, &driver);
        let arch = &bundle.manifest().architecture;
        let machine = gpu.machine();
        let network = Network::load(&machine, &plan, arch, spec.precision, max_batch, cache)?;
        drop(plan);
        let pipeline = Pipeline::new(&gpu, &bundle, network, max_batch)?;
        let info = EngineInfo::new(&bundle, ENGINE, spec.precision, max_batch);
        let (handed_out, tokens_handed_out) = (Vec::new(), Vec::new());
        let mut engine = Self { pipeline, info, handed_out, tokens_handed_out, hands_out_tokens: false };
        let deviation = self_test::check(&mut engine, &identity.self_test)?;
        tracing::info!(
            card = %properties.name, sm = properties.sm, driver = %driver, tensorrt = %version,
            map = deviation.map, score = deviation.score, "self-test passed: deviations from the reference engine"
        );
        engine.pipeline.save_compiled();
        Ok(engine)
    }

    /// Time that the card spent on the last batch, without uploads.
    pub fn gpu_times(&self) -> Result<GpuTimes, EngineError> {
        self.pipeline.times()
    }

    /// How often a map, or the tokens of a picture, have been brought over the bus so far; goes on counting.
    pub fn fetches(&self) -> Arc<AtomicU64> {
        self.pipeline.answers().fetches()
    }

    /// Whether batches run as captured graphs.
    pub fn has_graphs(&self) -> bool {
        self.pipeline.has_graphs()
    }
}

/// What a plan must fit; its arithmetic is still to be chosen.
fn wanted<'a>(bundle: &'a Bundle, version: &'a str, card: Card<'a>) -> Wanted<'a> {
    let arithmetic = Arithmetic { precision: Precision::Fp16, scales_sha256: None };
    let (model_sha256, graph_version) = (bundle.sha256(), typed::GRAPH_VERSION);
    Wanted { model_sha256, graph_version, flavour: FLAVOUR, version, card, arithmetic }
}

/// What was asked for, and the hash of its scales where it is one of 8 bits; with `auto` that of the first plan that fits, the
/// fastest first, else of the first that is there, else what plans are built in unless asked otherwise.
fn choose(spec: &EngineSpec, bundle: &Bundle, wanted: &Wanted<'_>) -> Result<(Precision, Option<String>), EngineError> {
    let hash = |precision| -> Result<Option<String>, EngineError> {
        Ok(build::scales(bundle, precision, spec.scales.as_deref())?.map(|(_, hash)| hash))
    };
    if spec.precision != Precision::Auto {
        return Ok((spec.precision, hash(spec.precision)?));
    }
    // As every engine: scales that are there and cannot be used are no reason to compute otherwise in silence.
    let (scales, floats) = match build::scales(bundle, Precision::Int8, spec.scales.as_deref()) {
        Err(EngineError::Scales(ScalesError::Absent { .. })) if spec.scales.is_none() => (None, false),
        found => found?.map_or((None, false), |(scales, hash)| (Some(hash), scales.floats_hold())),
    };
    let int8 = scales.is_some().then_some(Precision::Int8);
    let floats = floats && build::multiplies(wanted.card.sm, Precision::Fp8);
    let eight_bits = int8.into_iter().chain(floats.then_some(Precision::Fp8));
    let fastest_first = eight_bits.chain([Precision::Fp16, Precision::Bf16, Precision::Fp32]);
    let arithmetic = |precision| {
        let scales_sha256 = EightBits::of(precision).and(scales.as_deref());
        Arithmetic { precision, scales_sha256 }
    };
    let identities = |precision| {
        let places = plan_places(spec, arithmetic(precision));
        places.into_iter().filter_map(|place| PlanIdentity::read(&place, "").ok())
    };
    let found: Vec<PlanIdentity> = fastest_first.flat_map(identities).collect();
    let fits = |identity: &&PlanIdentity| {
        let wanted = Wanted { arithmetic: arithmetic(identity.precision), ..*wanted };
        identity.misfit(&wanted).is_none()
    };
    let best = found.iter().find(fits).or(found.first());
    let precision = best.map_or(Precision::Fp16, |identity| identity.precision);
    if scales.is_some() && EightBits::of(precision).is_none() && spec.plan.file.is_none() {
        let places = plan_places(spec, arithmetic(Precision::Int8));
        let place = places.last().map_or(Path::new("PLAN"), PathBuf::as_path);
        let build =
            plan::build_command(&spec.bundle, place, Precision::Int8, Some(wanted.card.sm), spec.scales.as_deref());
        tracing::info!(%precision, "the bundle has scales for 8 bits and no plan of them for this card; to build one: {build}");
    }
    Ok((precision, hash(precision)?))
}

/// Where the plan may be; systemd's state folder is the service's own.
fn plan_places(spec: &EngineSpec, arithmetic: Arithmetic<'_>) -> Vec<PathBuf> {
    let state = std::env::var_os("STATE_DIRECTORY").filter(|folders| !folders.is_empty());
    let state = state.and_then(|folders| std::env::split_paths(&folders).next());
    plan::places(spec.plan.file.as_deref(), &spec.bundle, FLAVOUR, arithmetic, state.as_deref())
}

/// Reads the first plan that fits; else the error says what is wrong with one that is there.
fn first_fitting(
    spec: &EngineSpec,
    places: &[PathBuf],
    wanted: &Wanted<'_>,
) -> Result<(PlanIdentity, Vec<u8>), PlanError> {
    let mut wrong = None;
    for place in places {
        let (precision, sm) = (wanted.arithmetic.precision, Some(wanted.card.sm));
        let build = plan::build_command(&spec.bundle, place, precision, sm, spec.scales.as_deref());
        match fitting_plan(place, &build, wanted) {
            Err(error) => {
                let absent = |error: &PlanError| matches!(error, PlanError::Absent { .. });
                if wrong.is_none() || (wrong.as_ref().is_some_and(absent) && !absent(&error)) {
                    wrong = Some(error);
                }
            }
            Ok(fitting) => return Ok(fitting),
        }
    }
    Err(wrong.unwrap_or_else(|| PlanError::Absent { path: spec.bundle.clone(), build: String::new() }))
}

/// Reads a plan after its identity has been found to fit.
fn fitting_plan(path: &Path, build: &str, wanted: &Wanted<'_>) -> Result<(PlanIdentity, Vec<u8>), PlanError> {
    let identity = PlanIdentity::read(path, build)?;
    if let Some(reason) = identity.misfit(wanted) {
        return Err(PlanError::Misfit { path: path.to_owned(), reason, build: build.to_owned() });
    }
    let plan = identity.read_plan(path, build)?;
    Ok((identity, plan))
}

fn rebuild(spec: &EngineSpec, path: &Path, sm: u32) -> Result<(), EngineError> {
    let request = BuildRequest {
        bundle: spec.bundle.clone(),
        sms: vec![sm],
        precision: spec.precision,
        max_batch: spec.max_batch.max(1),
        output: Some(path.to_owned()),
        scales: spec.scales.clone(),
    };
    if let Some(folder) = path.parent() {
        let write = |source| PlanError::Io { action: "make", path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(write)?;
    }
    let start = Instant::now();
    let mut last = String::new();
    let progress = move |phase: &str, _, _| {
        if last != phase {
            tracing::info!(phase, "building the TensorRT plan");
            phase.clone_into(&mut last);
        }
    };
    build(&request, Box::new(progress))?;
    tracing::info!(seconds = start.elapsed().as_secs(), plan = %path.display(), "TensorRT plan built");
    Ok(())
}

/// Checks the plan that `spec` names against this program and `card`, which need not be there; what tests ask.
pub fn check_plan(spec: &EngineSpec, card: Card<'_>) -> Result<PlanIdentity, EngineError> {
    FLAVOUR.covers(card.sm)?;
    let version = library::load()?;
    let bundle = Bundle::open(&spec.bundle)?;
    let wanted = wanted(&bundle, &version, card);
    let (precision, scales_sha256) = choose(spec, &bundle, &wanted)?;
    let arithmetic = Arithmetic { precision, scales_sha256: scales_sha256.as_deref() };
    let wanted = Wanted { arithmetic, ..wanted };
    Ok(first_fitting(spec, &plan_places(spec, arithmetic), &wanted)?.0)
}

/// Where compiled kernels of this plan on this card are kept.
fn cache_file(plan_sha256: &str, sm: u32, driver: &str) -> Option<PathBuf> {
    let short = plan_sha256.get(..16).unwrap_or(plan_sha256);
    Some(scratch::cache()?.join(format!("tensorrt/{short}-sm{sm}-cuda{driver}.cache")))
}

impl Engine for TensorrtEngine {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        self.infer_looking_ahead(frames, &nothing_comes)
    }

    fn infer_looking_ahead(&mut self, frames: &[&Frame], coming: &Coming<'_>) -> Result<Vec<Prediction>, EngineError> {
        self.info.check_batch(frames.len())?;
        let start = Instant::now();
        let answers = Arc::clone(self.pipeline.answers());
        // From here on nobody joins what the last batch left; what is still wanted of it is fetched.
        let mut turn = answers.begin();
        for map in self.handed_out.drain(..).filter(AnomalyMap::is_held_elsewhere) {
            map.values();
        }
        for tokens in self.tokens_handed_out.drain(..).filter(PatchTokens::is_held_elsewhere) {
            tokens.taps();
        }
        let images: Vec<&Image> = frames.iter().map(|frame| &frame.image).collect();
        let summaries = self.pipeline.run(&mut turn, &images, coming)?;
        let gpu = Duration::from_secs_f32(self.pipeline.times()?.total / 1e3);
        let count = frames.len() as u32;
        // The card does not tell its stages apart: what is not its time went into staging and upload.
        let staging = start.elapsed().saturating_sub(gpu);
        let times = StageTimes { preprocess: staging / count, inference: gpu / count, postprocess: Duration::ZERO };
        let size = self.info.image_size;
        let predictions: Vec<Prediction> = summaries
            .iter()
            .enumerate()
            .map(|(slot, summary)| {
                let map = MapOnCard::new(&answers, &turn, slot);
                let map = AnomalyMap::elsewhere(size, summary.peak, Box::new(map));
                let tokens = self.hands_out_tokens.then(|| tokens_on_card(&answers, slot));
                Prediction { map, score: summary.score, times, tokens }
            })
            .collect();
        self.tokens_handed_out = predictions.iter().filter_map(|prediction| prediction.tokens.clone()).collect();
        self.handed_out = predictions.iter().map(|prediction| prediction.map.clone()).collect();
        Ok(predictions)
    }

    fn hand_out_tokens(&mut self, wanted: bool) {
        self.hands_out_tokens = wanted;
    }

    fn info(&self) -> &EngineInfo {
        &self.info
    }
}
