//! How the network is computed with OpenVINO, and its graph compiled for this CPU.

use std::path::{Path, PathBuf};

use bytemuck::Pod;
use half::f16;
use openvino::prepostprocess::Pipeline;
use openvino::{
    CompiledModel, Core, DeviceType, ElementType, InferenceError, Model, PartialShape, RwPropertyKey, Tensor,
};

use super::eight_bits::EightBits;
use super::finish;
use super::kept_network::NetworkFiles;
use super::onnx::{self, Extras, INLINE_LIMIT, Storage};
use super::openvino_lanes::runtime;
use super::scales::{Scales, ScalesError};
use super::{EngineChoice, EngineError, EngineSpec, Precision, resident, scratch};
use crate::weights::bundle::Bundle;

const NEXT_STEP: &str = "run `make setup`, or set LD_LIBRARY_PATH to the folder that holds libopenvino_c.so";

/// How the network is computed.
pub(super) struct Arithmetic {
    /// What it is called; never `Auto`.
    pub precision: Precision,
    /// The scales of the layers in 8 bits.
    pub scales: Option<Scales>,
}

impl Arithmetic {
    /// What was asked for, or with `auto` the fastest that the processor and the bundle have.
    pub fn choose(spec: &EngineSpec, bundle: &Bundle) -> Result<Self, EngineError> {
        let exact = |precision| Ok(Self { precision, scales: None });
        match spec.precision {
            Precision::Fp32 | Precision::Bf16 => exact(spec.precision),
            Precision::Int8 => {
                let scales = Some(Scales::load(bundle, spec.scales.as_deref())?);
                Ok(Self { precision: Precision::Int8, scales })
            }
            Precision::Auto => {
                if eight_bits() {
                    match Scales::load(bundle, spec.scales.as_deref()) {
                        Ok(scales) => return Ok(Self { precision: Precision::Int8, scales: Some(scales) }),
                        Err(ScalesError::Absent { .. }) if spec.scales.is_none() => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                exact(usual_precision())
            }
            precision @ (Precision::Fp16 | Precision::Fp8) => Err(EngineError::Precision {
                engine: EngineChoice::Openvino,
                precision,
                available: "fp32, int8 with scales and, where the CPU has it, bf16",
            }),
        }
    }

    /// OpenVINO's word for what is not in 8 bits.
    pub fn hint(&self) -> &'static str {
        match self.precision {
            Precision::Bf16 => "bf16",
            Precision::Int8 if bfloat16() => "bf16",
            // Fp8 is tried for TensorRT, which computes the rest in float16: float32 is nearer to that.
            _ => "f32",
        }
    }
}

/// Whether the processor multiplies bfloat16 itself. OpenVINO also offers it where it is emulated, more slowly than float32.
fn bfloat16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// What `auto` takes on this processor where a bundle has no scales.
pub fn usual_precision() -> Precision {
    if bfloat16() { Precision::Bf16 } else { Precision::Fp32 }
}

/// Whether the processor sums products of 8-bit numbers itself.
fn eight_bits() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512vnni") || std::arch::is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The runtime with the CPU set as asked.
pub(super) fn core(spec: &EngineSpec, hint: &str) -> Result<Core, EngineError> {
    let mut core = Core::new().map_err(|error| EngineError::Library {
        engine: EngineChoice::Openvino,
        library: "libopenvino_c.so",
        reason: error.to_string(),
        next_step: NEXT_STEP,
    })?;
    let mut set = |key: RwPropertyKey, value: &str| {
        core.set_property(&DeviceType::CPU, &key, value).map_err(runtime("setting a CPU property"))
    };
    set(RwPropertyKey::HintInferencePrecision, hint)?;
    set(RwPropertyKey::HintPerformanceMode, "LATENCY")?;
    if let Some(threads) = spec.threads {
        set(RwPropertyKey::InferenceNumThreads, &threads.to_string())?;
    }
    Ok(core)
}

/// How the network gets to OpenVINO.
#[derive(Clone)]
pub(super) struct Delivery {
    /// Weights up to so many bytes travel inside the graph.
    pub inline_limit: u64,
    /// Folder in which graphs with their weights beside them stay for the next start; `None`: they are deleted when they have been
    /// compiled.
    pub cache: Option<PathBuf>,
}

impl Delivery {
    pub fn usual() -> Self {
        Self { inline_limit: INLINE_LIMIT, cache: scratch::cache().map(|cache| cache.join("openvino")) }
    }
}

/// A network that is ready for requests.
pub(super) struct Compiled {
    pub network: CompiledModel,
    /// Where it stays for the next start.
    pub stays_in: Option<PathBuf>,
}

/// Reads and compiles the network. Large weights lie beside the graph in a file that OpenVINO maps, and are kept from filling
/// memory meanwhile. Outputs in `narrow` are handed out in float16.
pub(super) fn compile(
    core: &mut Core,
    bundle: Bundle,
    delivery: &Delivery,
    input: &[i64; 4],
    extras: Extras<'_>,
    narrow: &[String],
) -> Result<Compiled, EngineError> {
    let input = PartialShape::new_static(4, input).map_err(runtime("input shape"))?;
    let fix_and_compile = |core: &mut Core, model: &mut Model| {
        model.reshape_single_input(&input).map_err(runtime("input shape"))?;
        let narrowed = narrowed(model, narrow).map_err(runtime("setting the type of an output"))?;
        let model = narrowed.as_ref().unwrap_or(model);
        core.compile_model(model, DeviceType::CPU).map_err(runtime("compiling the network"))
    };
    if bundle.manifest().weights.bytes <= delivery.inline_limit {
        let constants = finish::text_constants(&bundle)?;
        let graph = onnx::encode(&bundle, &constants, Storage::Inline, extras)?;
        let mut model = core.read_model_from_buffer(&graph, None).map_err(runtime("reading the network"))?;
        return Ok(Compiled { network: fix_and_compile(core, &mut model)?, stays_in: None });
    }
    let files = NetworkFiles::of(&bundle, extras, delivery.cache.clone())?;
    let compiled = match compile_files(core, &files, &fix_and_compile) {
        Err(error) if files.are_gone() => {
            tracing::debug!("{error}: they are written once more");
            compile_files(core, &NetworkFiles::of(&bundle, extras, None)?, &fix_and_compile)
        }
        compiled => compiled,
    };
    let compiled = Compiled { network: compiled?, stays_in: files.stay_in().map(Path::to_owned) };
    resident::give_back_freed();
    Ok(compiled)
}

/// The model with these outputs in float16, if there are any. Not in bfloat16, though that is what a network may compute in: OpenVINO
/// (2026.4.1) then also adds up in it what leads to such an output, where it otherwise keeps float32.
fn narrowed(model: &Model, outputs: &[String]) -> Result<Option<Model>, InferenceError> {
    if outputs.is_empty() {
        return Ok(None);
    }
    let pipeline = Pipeline::new(model)?;
    for name in outputs {
        pipeline.get_output_info_by_name(name)?.get_tensor_info()?.set_element_type(ElementType::F16)?;
    }
    pipeline.build_new_model().map(Some)
}

fn compile_files(
    core: &mut Core,
    files: &NetworkFiles,
    fix_and_compile: &dyn Fn(&mut Core, &mut Model) -> Result<CompiledModel, EngineError>,
) -> Result<CompiledModel, EngineError> {
    let weights = files.weights();
    let weights = weights.canonicalize().map_err(|source| EngineError::Io { path: weights, source })?;
    let graph = files.graph();
    let mut model = None;
    let compiled = resident::kept_small(&weights, || {
        let read = core.read_model_from_file(&graph.to_string_lossy(), "").map_err(runtime("reading the network"))?;
        fix_and_compile(core, model.insert(read))
    });
    // Only now may OpenVINO unmap the file: see `resident`.
    drop(model);
    compiled
}

/// A graph with these scales, if any, in the 8 bits of this precision.
pub(super) fn extras(scales: Option<&Scales>, precision: Precision) -> Extras<'_> {
    Extras { scales, eight_bits: EightBits::of(precision).unwrap_or_default(), watched: false }
}

/// The values of an output.
pub(super) fn floats(tensor: &Tensor) -> Result<&[f32], EngineError> {
    tensor.get_data().map_err(runtime("reading an output"))
}

/// The values of several outputs, which are of this type.
pub(super) fn slices<T: OutputValue>(tensors: &[Tensor]) -> Result<Vec<&[T]>, EngineError> {
    let is_right = |tensor: &Tensor| {
        let found = tensor.get_element_type().map_err(runtime("reading an output"))?;
        if found != T::KIND {
            let reason = format!("its values are {found:?}, not {:?}", T::KIND);
            return Err(EngineError::Runtime { engine: EngineChoice::Openvino, step: "reading an output", reason });
        }
        Ok(())
    };
    tensors.iter().try_for_each(is_right)?;
    tensors.iter().map(|tensor| tensor.get_data().map_err(runtime("reading an output"))).collect()
}

/// What an output's values may be.
pub(super) trait OutputValue: Pod {
    const KIND: ElementType;
}

impl OutputValue for f32 {
    const KIND: ElementType = ElementType::F32;
}

impl OutputValue for f16 {
    const KIND: ElementType = ElementType::F16;
}
