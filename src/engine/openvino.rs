//! The OpenVINO engine: the network compiled for this CPU from the recorded ONNX graph, the rest as our own code.

use std::time::{Duration, Instant};

use openvino::{CompiledModel, Core, DeviceType, InferRequest, PropertyKey, RwPropertyKey, Tensor};

use crate::anomaly::{Prediction, StageTimes};
use crate::frame::{Frame, Image};
use crate::tokens::PatchTokens;
use crate::vcp_clip::Architecture;
use crate::vcp_clip::preprocess::Preprocessor;
use crate::weights::bundle::Bundle;

use super::finish::Finish;
use super::onnx::OutputNames;
use super::openvino_compile::{Arithmetic, Delivery, compile, core, extras, floats, slices};
use super::openvino_lanes::{Lanes, Streams, runtime, tensor};
use super::scales::Scales;
use super::{Engine, EngineChoice, EngineError, EngineInfo, EngineSpec, Precision, Tiles, prepare, self_test};

pub use super::openvino_compile::usual_precision;
pub use super::openvino_probe::{network_tail, watch};

/// Runs on the CPU. A frame alone has every core; frames that wait together, and tiles, go side by side where the network is so
/// small that one of them leaves cores idle. A large one takes one frame at a time: a CPU gains nothing from its batch, every frame
/// of one would wait for the last, and one compiled shape is one copy of the weights in memory.
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

impl OpenvinoEngine {
    /// Compiles the network for the CPU. Takes seconds for a ViT-L/14.
    pub fn open(spec: &EngineSpec) -> Result<Self, EngineError> {
        Self::open_with(spec, &Delivery::usual())
    }

    fn open_with(spec: &EngineSpec, delivery: &Delivery) -> Result<Self, EngineError> {
        let bundle = Bundle::open(&spec.bundle)?;
        let arithmetic = Arithmetic::choose(spec, &bundle)?;
        let mut engine = Self::compute(spec, bundle, arithmetic, delivery)?;
        // Products of integers depend on the processor more than others do: some saturate on their way.
        if let Some(expected) = engine.scales.as_ref().map(|scales| scales.expected.clone()) {
            self_test::check(&mut engine, &expected)?;
        }
        Ok(engine)
    }

    /// With scales that are being tried: however far it is from float32. In int8 unless `spec` says fp8, in which only the rounding
    /// is that of floats of 8 bits and nothing is faster.
    pub fn with_scales(spec: &EngineSpec, scales: Scales) -> Result<Self, EngineError> {
        let precision = if spec.precision == Precision::Fp8 { Precision::Fp8 } else { Precision::Int8 };
        let arithmetic = Arithmetic { precision, scales: Some(scales) };
        Self::compute(spec, Bundle::open(&spec.bundle)?, arithmetic, &Delivery::usual())
    }

    fn compute(
        spec: &EngineSpec,
        bundle: Bundle,
        arithmetic: Arithmetic,
        delivery: &Delivery,
    ) -> Result<Self, EngineError> {
        let mut core = core(spec, arithmetic.hint())?;
        let architecture = bundle.manifest().architecture.clone();
        let size = architecture.image_size as i64;
        let names = OutputNames::new(&architecture.taps);
        let finish = Finish::new(&bundle)?;
        let info = EngineInfo::new(
            &bundle,
            EngineChoice::Openvino,
            arithmetic.precision,
            Streams::choose(bundle.manifest().weights.bytes, spec.threads).count().min(spec.max_batch),
        );
        let preprocessor = prepare::preprocessor(&bundle);

        let shape = [1, 3, size, size];
        let mut compiled =
            compile(&mut core, bundle, delivery, &shape, extras(arithmetic.scales.as_ref(), arithmetic.precision))?;
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
        let mut own = compile(
            &mut self.core,
            bundle,
            &Delivery::usual(),
            &shape,
            extras(self.scales.as_ref(), self.info.precision),
        )?;
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

/// Frames as if they were tiles of one.
struct SideBySide<'a> {
    frames: &'a [&'a Frame],
    answers: Vec<Option<Prediction>>,
}

impl Tiles for SideBySide<'_> {
    fn count(&self) -> usize {
        self.frames.len()
    }

    fn cut(&mut self, at: usize) -> Frame {
        self.frames[at].clone()
    }

    fn take(&mut self, at: usize, answer: Prediction) {
        self.answers[at] = Some(answer);
    }
}

impl Engine for OpenvinoEngine {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        self.info.check_batch(frames.len())?;
        if let [frame] = frames {
            return Ok(vec![self.look(&frame.image)?]);
        }
        let mut side_by_side = SideBySide { frames, answers: frames.iter().map(|_| None).collect() };
        self.infer_tiles(&mut side_by_side)?;
        side_by_side.answers.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| EngineError::Runtime {
            engine: EngineChoice::Openvino,
            step: "inference",
            reason: "a frame was not answered".into(),
        })
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
    use std::path::PathBuf;

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::frame::PixelFormat;

    fn small() -> Architecture {
        Architecture { vision_layers: 4, taps: vec![1, 2, 3, 4], ..Architecture::smallest() }
    }

    fn frame() -> Frame {
        let data = (0..60 * 40 * 3u32).map(|i| (i * i % 251) as u8).collect();
        Frame::alone("test", SystemClock.now(), Image::new(60, 40, PixelFormat::Rgb8, data).unwrap())
    }

    #[test]
    fn frames_side_by_side_get_the_answers_that_each_gets_alone() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        crate::weights::random(&bundle, &small(), 7).unwrap();
        let engine = EngineChoice::Openvino;
        let spec = EngineSpec { engine, max_batch: 4, threads: Some(2), ..EngineSpec::new(bundle) };
        let mut engine = OpenvinoEngine::open(&spec).unwrap();
        assert_eq!(engine.info().max_batch, 2, "one for each thread");
        let other =
            Frame { image: Image::new(3, 2, PixelFormat::Gray8, vec![9, 0, 255, 3, 70, 1]).unwrap(), ..frame() };
        let both = engine.infer(&[&frame(), &other]).unwrap();
        for (together, frame) in both.iter().zip([&frame(), &other]) {
            let alone = engine.infer(&[frame]).unwrap().remove(0);
            let off = together.map.values().iter().zip(alone.map.values()).map(|(a, b)| (a - b).abs());
            assert!(off.fold(0.0, f32::max) < 1e-5 && (together.score - alone.score).abs() < 1e-5);
        }
        assert!(both[0].map.values() != both[1].map.values());
    }

    #[test]
    fn weights_beside_the_graph_give_what_weights_inside_give() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        crate::weights::random(&bundle, &small(), 7).unwrap();
        let engine = EngineChoice::Openvino;
        let spec = EngineSpec { engine, ..EngineSpec::new(bundle) };
        let map = |inline_limit: u64, cache: Option<PathBuf>| {
            let mut engine = OpenvinoEngine::open_with(&spec, &Delivery { inline_limit, cache }).unwrap();
            engine.infer(&[&frame()]).unwrap().remove(0).map
        };
        let (inside, beside) = (map(u64::MAX, None), map(0, None));
        let worst = inside.values().iter().zip(beside.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // The sums are the same; how a constant is stored may change the kernel that adds them.
        assert!(worst <= 1e-5, "off by {worst}");
        let spread = |values: &[f32]| {
            let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
            high - low
        };
        assert!(spread(inside.values()) > 1e-3, "a flat map shows nothing");
        // And what an earlier start has left gives the same to the bit.
        let cache = || Some(folder.path().join("cache"));
        let (first, second) = (map(0, cache()), map(0, cache()));
        assert_eq!((first.values(), second.values()), (beside.values(), beside.values()));
    }
}
