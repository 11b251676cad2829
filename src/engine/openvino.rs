//! The OpenVINO engine: the network compiled for this CPU from the recorded ONNX graph, the rest as our own code.

use std::path::Path;
use std::time::{Duration, Instant};

use openvino::{
    CompiledModel, Core, DeviceType, InferRequest, Model, PartialShape, PropertyKey, RwPropertyKey, Tensor,
};

use crate::anomaly::{Prediction, StageTimes};
use crate::frame::{Frame, Image};
use crate::tokens::PatchTokens;
use crate::vcp_clip::Architecture;
use crate::vcp_clip::preprocess::Preprocessor;
use crate::weights::bundle::Bundle;

use super::finish::{self, Finish};
use super::onnx::expanded::{ExpandError, Expanded};
use super::onnx::{self, Extras, FEATURE, INLINE_LIMIT, OutputNames, Storage};
use super::openvino_lanes::{Lanes, Streams, runtime, tensor};
use super::scales::{self, Scales, ScalesError, Watched};
use super::{
    Engine, EngineChoice, EngineError, EngineInfo, EngineSpec, Precision, Tiles, prepare, resident, scratch, self_test,
};

/// Runs on the CPU, one frame at a time: a CPU gains nothing from a batch, every frame of one would wait for the last,
/// and one compiled shape is one copy of the weights in memory.
pub struct OpenvinoEngine {
    // Field order is drop order: the request goes before the model it belongs to, the core last.
    lanes: Option<Lanes>,
    request: InferRequest,
    compiled: CompiledModel,
    core: Core,
    input: Tensor,
    names: OutputNames,
    finish: Finish,
    preprocessor: Preprocessor,
    architecture: Architecture,
    info: EngineInfo,
    spec: EngineSpec,
    scales: Option<Scales>,
    hands_out_tokens: bool,
    hands_out_paths: bool,
}

const NEXT_STEP: &str = "run `make setup`, or set LD_LIBRARY_PATH to the folder that holds libopenvino_c.so";

/// How the network is computed.
struct Arithmetic {
    /// What it is called; never `Auto`.
    precision: Precision,
    /// The scales of the layers in 8 bits.
    scales: Option<Scales>,
}

impl Arithmetic {
    /// What was asked for, or with `auto` the fastest that the processor and the bundle have.
    fn choose(spec: &EngineSpec, bundle: &Bundle) -> Result<Self, EngineError> {
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
            precision @ Precision::Fp16 => Err(EngineError::Precision {
                engine: EngineChoice::Openvino,
                precision,
                available: "fp32, int8 with scales and, where the CPU has it, bf16",
            }),
        }
    }

    /// OpenVINO's word for what is not in 8 bits.
    fn hint(&self) -> &'static str {
        match self.precision {
            Precision::Bf16 => "bf16",
            Precision::Int8 if bfloat16() => "bf16",
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
fn core(spec: &EngineSpec, hint: &str) -> Result<Core, EngineError> {
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

impl OpenvinoEngine {
    /// Compiles the network for the CPU. Takes seconds for a ViT-L/14.
    pub fn open(spec: &EngineSpec) -> Result<Self, EngineError> {
        Self::open_with(spec, INLINE_LIMIT)
    }

    fn open_with(spec: &EngineSpec, inline_limit: u64) -> Result<Self, EngineError> {
        let bundle = Bundle::open(&spec.bundle)?;
        let arithmetic = Arithmetic::choose(spec, &bundle)?;
        let mut engine = Self::compute(spec, bundle, arithmetic, inline_limit)?;
        // Products of integers depend on the processor more than others do: some saturate on their way.
        if let Some(expected) = engine.scales.as_ref().map(|scales| scales.expected.clone()) {
            self_test::check(&mut engine, &expected)?;
        }
        Ok(engine)
    }

    /// With scales that are being tried: however far it is from float32.
    pub fn with_scales(spec: &EngineSpec, scales: Scales) -> Result<Self, EngineError> {
        let arithmetic = Arithmetic { precision: Precision::Int8, scales: Some(scales) };
        Self::compute(spec, Bundle::open(&spec.bundle)?, arithmetic, INLINE_LIMIT)
    }

    fn compute(
        spec: &EngineSpec,
        bundle: Bundle,
        arithmetic: Arithmetic,
        inline_limit: u64,
    ) -> Result<Self, EngineError> {
        let mut core = core(spec, arithmetic.hint())?;
        let architecture = bundle.manifest().architecture.clone();
        let size = architecture.image_size as i64;
        let names = OutputNames::new(&architecture.taps);
        let finish = Finish::new(&bundle)?;
        let info = EngineInfo::new(&bundle, EngineChoice::Openvino, arithmetic.precision, 1);
        let preprocessor = prepare::preprocessor(&bundle);

        let shape = [1, 3, size, size];
        let mut compiled = compile(&mut core, bundle, inline_limit, &shape, extras(arithmetic.scales.as_ref()))?;
        let taken = compiled
            .get_property(&PropertyKey::Rw(RwPropertyKey::HintInferencePrecision))
            .map_err(runtime("reading the precision"))?
            .into_owned();
        if taken != arithmetic.hint() {
            return Err(EngineError::Precision {
                engine: EngineChoice::Openvino,
                precision: arithmetic.precision,
                available: "only fp32 on this CPU",
            });
        }
        let request = compiled.create_infer_request().map_err(runtime("creating a request"))?;
        let input = tensor(&shape)?;
        Ok(Self {
            lanes: None,
            request,
            compiled,
            core,
            input,
            names,
            finish,
            preprocessor,
            architecture,
            info,
            spec: spec.clone(),
            scales: arithmetic.scales,
            hands_out_tokens: false,
            hands_out_paths: false,
        })
    }

    fn look(&mut self, image: &Image) -> Result<Prediction, EngineError> {
        let start = Instant::now();
        let data = self.input.get_data_mut::<f32>().map_err(runtime("input tensor"))?;
        self.preprocessor.run(image, data);
        self.request.set_input_tensor(&self.input).map_err(runtime("input tensor"))?;
        let preprocessed = Instant::now();
        self.request.infer().map_err(runtime("inference"))?;
        let inferred = Instant::now();

        let times = StageTimes {
            preprocess: preprocessed - start,
            inference: inferred - preprocessed,
            postprocess: Duration::ZERO,
        };
        self.answer(&self.request, times)
    }

    /// What the outputs of a request that has ended say.
    fn answer(&self, request: &InferRequest, times: StageTimes) -> Result<Prediction, EngineError> {
        let begin = Instant::now();
        let output = |name: &String| request.get_tensor(name).map_err(runtime("reading an output"));
        let tokens = self.names.tokens.iter().map(output).collect::<Result<Vec<_>, _>>()?;
        let raw = self.names.raw.iter().map(output).collect::<Result<Vec<_>, _>>()?;
        let text = output(&self.names.text)?;
        let taps = slices(&tokens)?;
        let fused = self.finish.run(&taps, floats(&text)?, &slices(&raw)?);
        let (grid, width) = (self.architecture.grid(), self.architecture.vision_width);
        let handed_out = || PatchTokens::new(grid, width, taps.iter().map(|tap| tap.to_vec()).collect());
        let tokens = self.hands_out_tokens.then(handed_out);
        let times = StageTimes { postprocess: begin.elapsed(), ..times };
        let score = fused.score;
        Ok(Prediction { map: fused.into_map(&self.architecture, self.hands_out_paths), score, times, tokens })
    }

    /// Requests that run side by side. A small network leaves cores idle when one request has them all, so that it gets a thread
    /// for each; a large one fills them, and has its weights in memory only once.
    fn make_lanes(&mut self) -> Result<Lanes, EngineError> {
        let bundle = Bundle::open(&self.spec.bundle)?;
        let size = self.architecture.image_size as i64;
        let shape = [1, 3, size, size];
        let bytes = bundle.manifest().weights.bytes;
        let streams = Streams::choose(bytes, self.spec.threads);
        if !streams.side_by_side() {
            return Lanes::new(&mut self.compiled, streams, &shape);
        }
        let mut set = |key: RwPropertyKey, value: &str| {
            self.core.set_property(&DeviceType::CPU, &key, value).map_err(runtime("setting a CPU property"))
        };
        set(RwPropertyKey::HintPerformanceMode, "THROUGHPUT")?;
        set(RwPropertyKey::NumStreams, &streams.count().to_string())?;
        let mut own = compile(&mut self.core, bundle, INLINE_LIMIT, &shape, extras(self.scales.as_ref()))?;
        let lanes = Lanes::new(&mut own, streams, &shape)?;
        Ok(lanes.with(own))
    }

    fn run_tiles(&mut self, lanes: &mut Lanes, tiles: &mut dyn Tiles) -> Result<(), EngineError> {
        let (count, mut next) = (tiles.count(), 0);
        loop {
            while next < count && tiles.wanted() {
                let Some(lane) = lanes.free() else { break };
                let begin = Instant::now();
                let frame = tiles.cut(next);
                self.preprocessor.run(&frame.image, lane.input()?);
                lane.start(next, begin.elapsed())?;
                next += 1;
            }
            let Some((at, request, times)) = lanes.oldest()? else { return Ok(()) };
            let wanted = tiles.wanted();
            if wanted {
                let answer = self.answer(request, times)?;
                tiles.take(at, answer);
            }
            lanes.give_back();
        }
    }
}

fn extras(scales: Option<&Scales>) -> Extras<'_> {
    Extras { scales, watched: false }
}

fn floats(tensor: &Tensor) -> Result<&[f32], EngineError> {
    tensor.get_data().map_err(runtime("reading an output"))
}

fn slices(tensors: &[Tensor]) -> Result<Vec<&[f32]>, EngineError> {
    tensors.iter().map(floats).collect()
}

/// Reads and compiles the network. Weights up to `inline_limit` bytes travel inside the graph; larger ones lie beside
/// it in a file that OpenVINO maps, deleted when it has been compiled, and are kept from filling memory meanwhile.
fn compile(
    core: &mut Core,
    bundle: Bundle,
    inline_limit: u64,
    input: &[i64; 4],
    extras: Extras<'_>,
) -> Result<CompiledModel, EngineError> {
    let input = PartialShape::new_static(4, input).map_err(runtime("input shape"))?;
    let fix_and_compile = |core: &mut Core, model: &mut Model| {
        model.reshape_single_input(&input).map_err(runtime("input shape"))?;
        core.compile_model(model, DeviceType::CPU).map_err(runtime("compiling the network"))
    };
    let constants = finish::text_constants(&bundle)?;
    if bundle.manifest().weights.bytes <= inline_limit {
        let graph = onnx::encode(&bundle, &constants, Storage::Inline, extras)?;
        let mut model = core.read_model_from_buffer(&graph, None).map_err(runtime("reading the network"))?;
        return fix_and_compile(core, &mut model);
    }
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| EngineError::Io { path, source }
    };
    let folder = scratch::folder()?;
    let folder_path = folder.path().canonicalize().map_err(io(folder.path()))?;
    let expanded = Expanded::write(&bundle, extras.scales, &folder_path).map_err(|error| match error {
        ExpandError::Bundle(error) => EngineError::Bundle(error),
        ExpandError::Io { path, source } => EngineError::Io { path, source },
    })?;
    let graph = folder_path.join("network.onnx");
    let network = onnx::encode(&bundle, &constants, Storage::Expanded(&expanded), extras)?;
    std::fs::write(&graph, network).map_err(io(&graph))?;
    drop(bundle);
    drop(constants);
    let mut model = None;
    let compiled = resident::kept_small(&folder_path.join(Expanded::FILE), || {
        let read = core.read_model_from_file(&graph.to_string_lossy(), "").map_err(runtime("reading the network"))?;
        fix_and_compile(core, model.insert(read))
    });
    // Only now may OpenVINO unmap the file: see `resident`.
    drop(model);
    compiled
}

/// Looks at `images` through a graph in float32 that watches the layers which may be computed in 8 bits, and hands over what it saw
/// of each layer: name of the weight, largest absolute value of each channel, some rows.
pub fn watch(
    spec: &EngineSpec,
    images: &mut dyn Iterator<Item = Image>,
    seen: &mut dyn FnMut(&str, &[f32], &[f32]),
) -> Result<(), EngineError> {
    let spec = EngineSpec { precision: Precision::Fp32, ..spec.clone() };
    let mut core = core(&spec, "f32")?;
    let bundle = Bundle::open(&spec.bundle)?;
    let arch = bundle.manifest().architecture.clone();
    let mut preprocessor = prepare::preprocessor(&bundle);
    let size = arch.image_size as i64;
    let shape = [1, 3, size, size];
    let extras = Extras { scales: None, watched: true };
    let mut compiled = compile(&mut core, bundle, INLINE_LIMIT, &shape, extras)?;
    let mut request = compiled.create_infer_request().map_err(runtime("creating a request"))?;
    let mut input = tensor(&shape)?;
    for image in images {
        preprocessor.run(&image, input.get_data_mut::<f32>().map_err(runtime("input tensor"))?);
        request.set_input_tensor(&input).map_err(runtime("input tensor"))?;
        request.infer().map_err(runtime("inference"))?;
        for weight in scales::candidates(&arch) {
            let names = Watched::new(&weight);
            let [largest, rows] = [&names.largest, &names.rows].map(|name| request.get_tensor(name));
            let (largest, rows) =
                (largest.map_err(runtime("reading an output"))?, rows.map_err(runtime("reading an output"))?);
            seen(&weight, floats(&largest)?, floats(&rows)?);
        }
    }
    Ok(())
}

/// Median time of what lies behind the vision tower in the network: text tower, class vectors, Pre-VCP logits.
pub fn network_tail(spec: &EngineSpec, rounds: u32) -> Result<Duration, EngineError> {
    let bundle = Bundle::open(&spec.bundle)?;
    let mut core = core(spec, Arithmetic::choose(spec, &bundle)?.hint())?;
    let arch = &bundle.manifest().architecture;
    let graph = onnx::encode_tail(&bundle, &finish::text_constants(&bundle)?)?;
    let mut model = core.read_model_from_buffer(&graph, None).map_err(runtime("reading the network"))?;
    let tokens = [1, arch.patches() as i64, arch.vision_width as i64];
    let feature = [1, 1, arch.text_width as i64];
    let names = OutputNames::new(&arch.taps).tokens;
    let inputs: Vec<(&str, &[i64])> =
        names.iter().map(|n| (n.as_str(), &tokens[..])).chain([(FEATURE, &feature[..])]).collect();
    let shapes = inputs
        .iter()
        .map(|(name, shape)| Ok((*name, PartialShape::new_static(3, shape).map_err(runtime("input shape"))?)))
        .collect::<Result<Vec<_>, EngineError>>()?;
    let pairs: Vec<(&str, &PartialShape)> = shapes.iter().map(|(name, shape)| (*name, shape)).collect();
    model.reshape(&pairs).map_err(runtime("input shape"))?;
    let mut compiled = core.compile_model(&model, DeviceType::CPU).map_err(runtime("compiling the network"))?;
    let mut request = compiled.create_infer_request().map_err(runtime("creating a request"))?;
    for (name, shape) in &inputs {
        let mut input = tensor(shape)?;
        let data = input.get_data_mut::<f32>().map_err(runtime("input tensor"))?;
        data.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 97) as f32 / 97.0 - 0.5);
        request.set_tensor(name, &input).map_err(runtime("input tensor"))?;
    }
    let mut times = (0..=rounds)
        .map(|_| {
            let start = Instant::now();
            request.infer().map_err(runtime("inference"))?;
            Ok(start.elapsed())
        })
        .collect::<Result<Vec<_>, EngineError>>()?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

impl Engine for OpenvinoEngine {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        self.info.check_batch(frames.len())?;
        frames.iter().map(|frame| self.look(&frame.image)).collect()
    }

    fn infer_tiles(&mut self, tiles: &mut dyn Tiles) -> Result<(), EngineError> {
        let mut lanes = match self.lanes.take() {
            Some(lanes) => lanes,
            None => self.make_lanes()?,
        };
        let run = self.run_tiles(&mut lanes, tiles);
        // After an error requests may still be on their way: they go with their lanes, which wait for them.
        if run.is_ok() {
            self.lanes = Some(lanes);
        }
        run
    }

    fn hand_out_paths(&mut self, wanted: bool) {
        self.hands_out_paths = wanted;
    }

    fn hand_out_tokens(&mut self, wanted: bool) {
        self.hands_out_tokens = wanted;
    }

    fn info(&self) -> &EngineInfo {
        &self.info
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::frame::PixelFormat;

    fn small() -> Architecture {
        Architecture {
            image_size: 56,
            patch: 14,
            vision_width: 64,
            vision_layers: 4,
            text_width: 64,
            text_layers: 2,
            context_length: 77,
            class_vectors: 2,
            prompt_tokens: 1,
            deep_prompts: 1,
            taps: vec![1, 2, 3, 4],
            post_heads: 8,
            direct_prompts: false,
        }
    }

    fn frame() -> Frame {
        let data = (0..60 * 40 * 3u32).map(|i| (i * i % 251) as u8).collect();
        Frame::alone("test", SystemClock.now(), Image::new(60, 40, PixelFormat::Rgb8, data).unwrap())
    }

    #[test]
    fn weights_beside_the_graph_give_what_weights_inside_give() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        crate::weights::random(&bundle, &small(), 7).unwrap();
        let engine = EngineChoice::Openvino;
        let spec = EngineSpec { engine, ..EngineSpec::new(bundle) };
        let map = |inline_limit: u64| {
            let mut engine = OpenvinoEngine::open_with(&spec, inline_limit).unwrap();
            engine.infer(&[&frame()]).unwrap().remove(0).map
        };
        let (inside, beside) = (map(u64::MAX), map(0));
        let worst = inside.values().iter().zip(beside.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // The sums are the same; how a constant is stored may change the kernel that adds them.
        assert!(worst <= 1e-5, "off by {worst}");
        let spread = |values: &[f32]| {
            let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
            high - low
        };
        assert!(spread(inside.values()) > 1e-3, "a flat map shows nothing");
    }
}
