//! A bundle's network built into a TensorRT plan, ahead of time; with TensorRT-RTX on any machine, also without a GPU.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use trtx::interfaces::MonitorProgress;
use trtx::trtx_sys::Dims;
use trtx::{Builder, OnnxParser, OptProfileSelector};

use super::super::eight_bits::EightBits;
use super::super::onnx::expanded::ExpandError;
use super::super::onnx::typed::{self, TypedError};
use super::super::plan::Arithmetic;
use super::super::plan::{self, PlanError, PlanIdentity};
use super::super::reference::ReferenceEngine;
use super::super::scales::Scales;
use super::super::{EngineChoice, EngineError, EngineSpec, Precision, finish, scratch, self_test};
use super::failure::{ENGINE, forget, logger, runtime};
use super::library::{self, FLAVOUR};
use crate::output;
use crate::weights::bundle::Bundle;

/// Architectures of a plan when none are named: what TensorRT-RTX builds for from Ampere on.
pub const USUAL_SMS: [u32; 4] = [80, 86, 89, 120];
/// The first architecture that multiplies floats of 8 bits: Ada.
const FIRST_WITH_FLOATS: u32 = 89;
/// TensorRT's verbosity from which the parser logs: warnings.
const VERBOSITY: i32 = 2;

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Folder of the model bundle.
    pub bundle: PathBuf,
    /// Architectures, compute capability × 10; none is [`USUAL_SMS`], or the present card with TensorRT enterprise.
    pub sms: Vec<u32>,
    /// Arithmetic.
    pub precision: Precision,
    /// Batches of 1 to this many.
    pub max_batch: usize,
    /// The plan's file; `None` is [`plan::default_path`].
    pub output: Option<PathBuf>,
    /// Scales for 8 bits; `None` is [`super::super::scales::default_path`].
    pub scales: Option<PathBuf>,
}

/// Told the phase, steps done and steps in all.
pub type Progress = Box<dyn FnMut(&str, u64, u64) + Send>;

/// Builds the plan and writes it with its identity; returns both the file and the identity.
pub fn build(request: &BuildRequest, mut progress: Progress) -> Result<(PathBuf, PlanIdentity), EngineError> {
    let request = &match request.precision {
        Precision::Auto => BuildRequest { precision: Precision::Fp16, ..request.clone() },
        _ => request.clone(),
    };
    let version = library::load()?;
    library::load_parser()?;
    let target = Target::choose(&request.sms, request.precision)?;
    let bundle = Bundle::open(&request.bundle)?;
    let scales = scales(&bundle, request.precision, request.scales.as_deref())?;
    let scales_sha256 = scales.as_ref().map(|(_, hash)| hash.clone());
    let arithmetic = Arithmetic { precision: request.precision, scales_sha256: scales_sha256.as_deref() };
    let asked = request.output.clone();
    let output = asked.unwrap_or_else(|| plan::default_path(&request.bundle, FLAVOUR, arithmetic));
    let write = |source| PlanError::Io { action: "write", path: output.clone(), source };
    // Tried before the minutes of work, not after them.
    output::check_file(&output).map_err(write)?;

    progress("writing the graph", 0, 1);
    let constants = finish::text_constants(&bundle)?;
    let files = scratch::folder()?;
    let scales = scales.as_ref().map(|(scales, _)| scales);
    let graph = typed::write(&bundle, &constants, request.precision, scales, files.path());
    let graph = graph.map_err(|error| match error {
        TypedError::Write(ExpandError::Bundle(error)) => EngineError::Bundle(error),
        TypedError::Write(ExpandError::Io { path, source }) => EngineError::Io { path, source },
        error @ TypedError::Range { .. } => {
            EngineError::Runtime { engine: ENGINE, step: "writing the graph", reason: error.to_string() }
        }
    })?;
    progress("asking the reference engine", 0, 1);
    let spec = EngineSpec { engine: EngineChoice::Reference, ..EngineSpec::new(&request.bundle) };
    let self_test = self_test::expect(&mut ReferenceEngine::open(&spec)?)?;

    let plan = compile(&graph, bundle.manifest().architecture.image_size, request.max_batch, &target, progress)?;
    let identity = PlanIdentity {
        format: plan::FORMAT,
        model: bundle.manifest().name.clone(),
        model_sha256: bundle.sha256().to_owned(),
        graph_version: typed::GRAPH_VERSION,
        flavour: FLAVOUR,
        version,
        sms: target.sms,
        driver: target.driver,
        card: target.card,
        precision: request.precision,
        scales_sha256,
        max_batch: request.max_batch,
        plan_bytes: plan.len() as u64,
        plan_sha256: plan::sha256(&plan),
        self_test,
    };
    identity.write(&output, &plan)?;
    Ok((output, identity))
}

/// The scales of a precision of 8 bits, with their hash.
pub(super) fn scales(
    bundle: &Bundle,
    precision: Precision,
    path: Option<&Path>,
) -> Result<Option<(Scales, String)>, EngineError> {
    if EightBits::of(precision).is_none() {
        return Ok(None);
    }
    let scales = Scales::load_for(precision, bundle, path)?;
    let hash = scales.sha256().map_err(|source| EngineError::Io { path: bundle.path().to_owned(), source })?;
    Ok(Some((scales, hash)))
}

/// Parses the graph and builds it for the target; the bytes of the plan.
fn compile(
    graph: &Path,
    side: usize,
    max_batch: usize,
    target: &Target,
    mut progress: Progress,
) -> Result<Vec<u8>, EngineError> {
    forget();
    let mut builder = Builder::new(logger()?).map_err(runtime("starting the builder"))?;
    let network = builder.create_network(0).map_err(runtime("starting a network"))?;
    progress("reading the graph", 0, 1);
    let mut parser = OnnxParser::new(network, logger()?).map_err(runtime("starting the parser"))?;
    parser.parse_from_file(&graph.to_string_lossy(), VERBOSITY).map_err(runtime("reading the graph"))?;

    let mut profile = builder.creata_optimization_profile().map_err(runtime("describing the batches"))?;
    let side = side as i64;
    // The largest batch is what the kernels are tuned for: where frames wait, they come in full batches.
    let batches = [
        (OptProfileSelector::kMIN, 1),
        (OptProfileSelector::kOPT, max_batch as i64),
        (OptProfileSelector::kMAX, max_batch as i64),
    ];
    for (which, batch) in batches {
        let shape = Dims::from_slice(&[batch, 3, side, side]);
        profile.set_dimensions(typed::IMAGE, which, &shape).map_err(runtime("describing the batches"))?;
    }
    let mut config = builder.create_config().map_err(runtime("configuring the builder"))?;
    config.add_optimization_profile(&mut profile).map_err(runtime("describing the batches"))?;
    target.apply(&mut config)?;
    config
        .set_progress_monitor(Box::new(Monitor { phases: Mutex::default(), progress: Mutex::new(progress) }))
        .map_err(runtime("watching the build"))?;
    // trtx lends the network for as long as the parser lives, so this borrow is the last.
    let plan = builder.build_serialized_network(parser.network_mut(), &mut config).map_err(runtime("building"))?;
    Ok(plan.to_vec())
}

/// Whether an architecture multiplies the numbers of a precision.
pub(super) fn multiplies(sm: u32, precision: Precision) -> bool {
    precision != Precision::Fp8 || sm >= FIRST_WITH_FLOATS
}

fn check_precision(sm: u32, precision: Precision) -> Result<(), EngineError> {
    if multiplies(sm, precision) {
        return Ok(());
    }
    let available = "fp32, bf16, fp16 and int8 for cards before SM 8.9";
    Err(EngineError::Precision { engine: ENGINE, precision, available })
}

/// What a plan is built for.
struct Target {
    sms: Vec<u32>,
    driver: Option<String>,
    card: Option<String>,
}

#[cfg(not(feature = "tensorrt-enterprise"))]
impl Target {
    fn choose(sms: &[u32], precision: Precision) -> Result<Self, EngineError> {
        let usual = || USUAL_SMS.into_iter().filter(|&sm| multiplies(sm, precision)).collect();
        let mut sms = if sms.is_empty() { usual() } else { sms.to_vec() };
        sms.sort_unstable();
        sms.dedup();
        for &sm in &sms {
            capability(sm)?;
            check_precision(sm, precision)?;
        }
        Ok(Self { sms, driver: None, card: None })
    }

    fn apply(&self, config: &mut trtx::BuilderConfig<'_>) -> Result<(), EngineError> {
        let step = "choosing the architectures";
        config.set_nb_compute_capabilities(self.sms.len() as i32).map_err(runtime(step))?;
        for (index, &sm) in (0..).zip(&self.sms) {
            config.set_compute_capability(capability(sm)?, index).map_err(runtime(step))?;
        }
        Ok(())
    }
}

/// TensorRT-RTX's word for an architecture.
#[cfg(not(feature = "tensorrt-enterprise"))]
fn capability(sm: u32) -> Result<trtx::ComputeCapability, EngineError> {
    use trtx::ComputeCapability as Capability;
    FLAVOUR.covers(sm)?;
    Ok(match sm {
        80 => Capability::kSM80,
        86 => Capability::kSM86,
        89 => Capability::kSM89,
        120 => Capability::kSM120,
        121 => Capability::kSM121,
        _ => {
            let reason = format!("no name for SM {sm}");
            return Err(EngineError::Runtime { engine: ENGINE, step: "choosing the architectures", reason });
        }
    })
}

#[cfg(feature = "tensorrt-enterprise")]
impl Target {
    /// TensorRT tunes on the card that is there.
    fn choose(sms: &[u32], precision: Precision) -> Result<Self, EngineError> {
        let gpu = super::gpu::open()?;
        let properties = super::gpu::properties(&gpu);
        if let Some(&sm) = sms.iter().find(|&&sm| sm != properties.sm) {
            let hint = format!("it builds for the card that is there, which is SM {}", properties.sm);
            return Err(PlanError::Architecture { flavour: FLAVOUR, sm, hint }.into());
        }
        check_precision(properties.sm, precision)?;
        let driver = Some(super::gpu::driver(&properties));
        Ok(Self { sms: vec![properties.sm], driver, card: Some(properties.name) })
    }

    fn apply(&self, _: &mut trtx::BuilderConfig<'_>) -> Result<(), EngineError> {
        Ok(())
    }
}

/// TensorRT's phases lie within each other; the outermost is what a person follows.
struct Monitor {
    phases: Mutex<HashMap<String, u64>>,
    progress: Mutex<Progress>,
}

impl Monitor {
    fn tell(&self, phase: &str, done: u64, total: u64) {
        (self.progress.lock().unwrap_or_else(PoisonError::into_inner))(phase, done, total);
    }
}

impl MonitorProgress for Monitor {
    fn phase_start(&self, phase: &str, parent: Option<&str>, steps: i32) {
        if parent.is_none() {
            let steps = u64::try_from(steps).unwrap_or(1);
            self.phases.lock().unwrap_or_else(PoisonError::into_inner).insert(phase.to_owned(), steps);
            self.tell(phase, 0, steps);
        }
    }

    fn step_complete(&self, phase: &str, step: i32) -> ControlFlow<()> {
        let total = self.phases.lock().unwrap_or_else(PoisonError::into_inner).get(phase).copied();
        if let Some(total) = total {
            self.tell(phase, u64::try_from(step).unwrap_or(0) + 1, total);
        }
        ControlFlow::Continue(())
    }

    fn phase_finish(&self, phase: &str) {
        let total = self.phases.lock().unwrap_or_else(PoisonError::into_inner).remove(phase);
        if let Some(total) = total {
            self.tell(phase, total, total);
        }
    }
}

/// Progress for work that nobody watches.
pub fn unwatched() -> Progress {
    Box::new(|_, _, _| {})
}
