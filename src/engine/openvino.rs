//! The OpenVINO engine: the network compiled for this CPU from the recorded ONNX graph, the rest as our own code.

use std::time::Instant;

use openvino::{
    CompiledModel, Core, DeviceType, ElementType, InferRequest, PartialShape, PropertyKey, RwPropertyKey, Shape, Tensor,
};

use crate::anomaly::{Prediction, StageTimes};
use crate::frame::{Frame, Image};
use crate::vcp_clip::preprocess::Preprocessor;
use crate::weights::bundle::Bundle;

use super::finish::{self, Finish};
use super::onnx::{self, OutputNames, Storage};
use super::{Engine, EngineChoice, EngineError, EngineInfo, EngineSpec, Precision};

/// Runs on the CPU; frames of a batch go through one after the other, which costs a CPU nothing and keeps one
/// compiled shape (and so one copy of the weights) in memory.
pub struct OpenvinoEngine {
    // Field order is drop order: the request goes before the model it belongs to, the core last.
    request: InferRequest,
    _compiled: CompiledModel,
    _core: Core,
    input: Tensor,
    names: OutputNames,
    finish: Finish,
    preprocessor: Preprocessor,
    bundle: Bundle,
    info: EngineInfo,
}

const NEXT_STEP: &str = "run `make setup`, or set LD_LIBRARY_PATH to the folder that holds libopenvino_c.so";

fn runtime(step: &'static str) -> impl Fn(openvino::InferenceError) -> EngineError {
    move |error| EngineError::Runtime { engine: EngineChoice::Openvino, step, reason: error.to_string() }
}

impl OpenvinoEngine {
    /// Compiles the network for the CPU. Takes seconds for a ViT-L/14.
    pub fn open(spec: &EngineSpec) -> Result<Self, EngineError> {
        let hint = match spec.precision {
            Precision::Fp32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Fp16 => {
                return Err(EngineError::Precision {
                    engine: EngineChoice::Openvino,
                    precision: spec.precision,
                    available: "fp32 and, where the CPU has it, bf16",
                });
            }
        };
        let mut core = Core::new().map_err(|error| EngineError::Library {
            engine: EngineChoice::Openvino,
            library: "libopenvino_c.so",
            reason: error.to_string(),
            next_step: NEXT_STEP,
        })?;
        let bundle = Bundle::open(&spec.bundle)?;
        let manifest = bundle.manifest();
        let size = manifest.architecture.image_size;
        let names = OutputNames::new(&manifest.architecture.taps);
        let finish = Finish::new(&bundle)?;

        let mut set = |key: RwPropertyKey, value: &str| {
            core.set_property(&DeviceType::CPU, &key, value).map_err(runtime("setting a CPU property"))
        };
        set(RwPropertyKey::HintInferencePrecision, hint)?;
        set(RwPropertyKey::HintPerformanceMode, "LATENCY")?;
        if let Some(threads) = spec.threads {
            set(RwPropertyKey::InferenceNumThreads, &threads.to_string())?;
        }

        let rss = |w: &str| tracing::info!("{w} {}", std::fs::read_to_string("/proc/self/status").unwrap_or_default().lines().filter(|l|l.starts_with("VmHWM")||l.starts_with("RssAnon")||l.starts_with("RssFile")).collect::<Vec<_>>().join(" "));
        rss("before");
        let mut model = Self::read(&mut core, &bundle)?;
        rss("read");
        let shape = PartialShape::new_static(4, &[1, 3, size as i64, size as i64]).map_err(runtime("input shape"))?;
        model.reshape_single_input(&shape).map_err(runtime("input shape"))?;
        let done = std::sync::atomic::AtomicBool::new(false);
        let mut compiled = std::thread::scope(|s| { s.spawn(|| while !done.load(std::sync::atomic::Ordering::Relaxed) { bundle.page_out(); std::thread::sleep(std::time::Duration::from_millis(50)); });
        let r = core.compile_model(&model, DeviceType::CPU).map_err(runtime("compiling the network")); done.store(true, std::sync::atomic::Ordering::Relaxed); r })?;
        rss("compiled");
        // The graph's constants live on in the compiled model.
        drop(model);rss("dropped");
        let taken = compiled
            .get_property(&PropertyKey::Rw(RwPropertyKey::HintInferencePrecision))
            .map_err(runtime("reading the precision"))?
            .into_owned();
        if taken != hint {
            return Err(EngineError::Precision {
                engine: EngineChoice::Openvino,
                precision: spec.precision,
                available: "only fp32 on this CPU",
            });
        }
        let request = compiled.create_infer_request().map_err(runtime("creating a request"))?;
        let shape = Shape::new(&[1, 3, size as i64, size as i64]).map_err(runtime("input shape"))?;
        let input = Tensor::new(ElementType::F32, &shape).map_err(runtime("input tensor"))?;
        let info = EngineInfo::new(&bundle, EngineChoice::Openvino, spec.precision, spec.max_batch);
        let preprocessor = Preprocessor::for_bundle(&bundle);
        Ok(Self { request, _compiled: compiled, _core: core, input, names, finish, preprocessor, bundle, info })
    }

    /// The weights stay where they are: the graph says at which addresses of the mapped bundle they lie.
    fn read(core: &mut Core, bundle: &Bundle) -> Result<openvino::Model, EngineError> {
        let constants = finish::text_constants(bundle)?;
        let graph = onnx::encode(bundle, &constants, Storage::InMemory);
        core.read_model_from_buffer(&graph, None).map_err(runtime("reading the network"))
    }

    fn look(&mut self, image: &Image) -> Result<Prediction, EngineError> {
        let start = Instant::now();
        let data = self.input.get_data_mut::<f32>().map_err(runtime("input tensor"))?;
        self.preprocessor.run(image, data);
        self.request.set_input_tensor(&self.input).map_err(runtime("input tensor"))?;
        let preprocessed = Instant::now();
        self.request.infer().map_err(runtime("inference"))?;
        let inferred = Instant::now();

        let output = |name: &String| self.request.get_tensor(name).map_err(runtime("reading an output"));
        let tokens = self.names.tokens.iter().map(output).collect::<Result<Vec<_>, _>>()?;
        let raw = self.names.raw.iter().map(output).collect::<Result<Vec<_>, _>>()?;
        let text = output(&self.names.text)?;
        let values = |t: &'_ Tensor| t.get_data::<f32>().map(<[f32]>::to_vec).map_err(runtime("reading an output"));
        let text = values(&text)?;
        let token_values: Vec<&[f32]> =
            tokens.iter().map(|t| t.get_data().map_err(runtime("reading an output"))).collect::<Result<_, _>>()?;
        let raw_values: Vec<&[f32]> =
            raw.iter().map(|t| t.get_data().map_err(runtime("reading an output"))).collect::<Result<_, _>>()?;
        let fused = self.finish.run(&token_values, &text, &raw_values);
        let times = StageTimes {
            preprocess: preprocessed - start,
            inference: inferred - preprocessed,
            postprocess: inferred.elapsed(),
        };
        let score = fused.score;
        Ok(Prediction { map: fused.into_map(&self.bundle.manifest().architecture), score, times })
    }
}

impl Engine for OpenvinoEngine {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        self.info.check_batch(frames.len())?;
        frames.iter().map(|frame| self.look(&frame.image)).collect()
    }

    fn info(&self) -> &EngineInfo {
        &self.info
    }
}
