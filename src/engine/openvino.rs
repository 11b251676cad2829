//! The OpenVINO engine: the network compiled for this CPU from the recorded ONNX graph, the rest as our own code.

use std::path::PathBuf;
use std::time::Instant;

use half::f16;
use openvino::{Core, PropertyKey, RwPropertyKey};

use crate::anomaly::{Prediction, StageTimes};
use crate::frame::{Frame, Image};
use crate::tokens::PatchTokens;
use crate::vcp_clip::Architecture;
use crate::vcp_clip::cores;
use crate::vcp_clip::post_vcp::TokenValue;
use crate::vcp_clip::preprocess::Preprocessor;
use crate::weights::bundle::Bundle;

use super::finish::Finish;
use super::onnx::OutputNames;
use super::openvino_apart::{Apart, Recipe};
use super::openvino_compile::{Arithmetic, Compiled, Delivery, OutputValue, compile, core, extras, floats, slices};
use super::openvino_lanes::{About, Ended, Lanes, Streams, runtime};
use super::scales::Scales;
use super::tested::Tested;
use super::{
    Coming, Engine, EngineChoice, EngineError, EngineInfo, EngineSpec, Precision, Tiles, nothing_comes, prepare,
    self_test,
};

pub use super::openvino_compile::usual_precision;
pub use super::openvino_probe::{network_tail, watch};

/// Runs on the CPU. A frame alone has every core; frames that wait together, and tiles, go side by side where the network is so
/// small that one of them leaves cores idle. A large one takes one frame at a time: a CPU gains nothing from its batch, every frame
/// of one would wait for the last, and one compiled shape is one copy of the weights in memory. What comes next begins as soon as
/// the network has room for it, while answers are still being made of what it has said.
pub struct OpenvinoEngine {
    // Field order is drop order: requests and what they belong to go before the core.
    apart: Apart,
    alone: Lanes,
    #[allow(dead_code, reason = "outlives what it has compiled")]
    core: Core,
    ends: Ends,
    streams: Streams,
    info: EngineInfo,
    /// It has looked at something since it was opened.
    warm: bool,
}

/// What lies before and behind the network.
struct Ends {
    preprocessor: Preprocessor,
    names: OutputNames,
    finish: Finish,
    architecture: Architecture,
    /// Tokens come in float16.
    tokens_are_narrow: bool,
    hands_out_tokens: bool,
    hands_out_paths: bool,
}

impl OpenvinoEngine {
    /// Compiles the network for the CPU. Takes seconds for a ViT-L/14.
    pub fn open(spec: &EngineSpec) -> Result<Self, EngineError> {
        Self::open_with(spec, Delivery::usual())
    }

    fn open_with(spec: &EngineSpec, delivery: Delivery) -> Result<Self, EngineError> {
        let bundle = Bundle::open(&spec.bundle)?;
        let arithmetic = Arithmetic::choose(spec, &bundle)?;
        let expected = arithmetic.scales.as_ref().map(|scales| scales.expected.clone());
        let (mut engine, stays_in) = Self::compute(spec, bundle, arithmetic, delivery)?;
        // Products of integers depend on the processor more than others do: some saturate on their way.
        if let Some(expected) = expected {
            let runtime = format!("{} {:?}", openvino::version().build_number, spec.threads);
            let tested = stays_in.and_then(|folder| Tested::of(&folder, &runtime));
            if !tested.as_ref().is_some_and(Tested::was_right) {
                self_test::check(&mut engine, &expected)?;
                tested.iter().for_each(Tested::is_right);
            }
        }
        engine.warm = false;
        Ok(engine)
    }

    /// With scales that are being tried: however far it is from float32. In int8 unless `spec` says fp8, in which only the rounding
    /// is that of floats of 8 bits and nothing is faster.
    pub fn with_scales(spec: &EngineSpec, scales: Scales) -> Result<Self, EngineError> {
        let precision = if spec.precision == Precision::Fp8 { Precision::Fp8 } else { Precision::Int8 };
        let arithmetic = Arithmetic { precision, scales: Some(scales) };
        Ok(Self::compute(spec, Bundle::open(&spec.bundle)?, arithmetic, Delivery::usual())?.0)
    }

    /// Also where the network stays for the next start.
    fn compute(
        spec: &EngineSpec,
        bundle: Bundle,
        arithmetic: Arithmetic,
        delivery: Delivery,
    ) -> Result<(Self, Option<PathBuf>), EngineError> {
        let mut core = core(spec, arithmetic.hint())?;
        let architecture = bundle.manifest().architecture.clone();
        let size = architecture.image_size as i64;
        let streams = Streams::choose(bundle.manifest().weights.bytes, spec.threads);
        let most = streams.count().min(spec.max_batch);
        let info = EngineInfo::new(&bundle, EngineChoice::Openvino, arithmetic.precision, most);
        let ends = Ends {
            preprocessor: prepare::preprocessor(&bundle),
            names: OutputNames::new(&architecture.taps),
            finish: Finish::new(&bundle)?,
            architecture,
            // Such a network has no more digits than float16 to hand out, and half of the memory is enough.
            tokens_are_narrow: arithmetic.hint() == "bf16",
            hands_out_tokens: false,
            hands_out_paths: false,
        };

        let shape = [1, 3, size, size];
        let extras = extras(arithmetic.scales.as_ref(), arithmetic.precision);
        let narrow = if ends.tokens_are_narrow { ends.names.tokens.clone() } else { Vec::new() };
        let Compiled { network, stays_in } = compile(&mut core, bundle, &delivery, &shape, extras, &narrow)?;
        let taken = network
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
        let alone = Lanes::new(network, 1, shape);
        let (spec, precision, hint) = (spec.clone(), arithmetic.precision, arithmetic.hint());
        let recipe = Recipe { spec, precision, hint, scales: arithmetic.scales, narrow, shape };
        let apart = if streams.side_by_side() { Apart::Unasked(Box::new(recipe)) } else { Apart::Absent };
        Ok((Self { apart, alone, core, ends, streams, info, warm: false }, stays_in))
    }

    /// With the requests that go side by side, if they are there and meant, or with those that have every core. A small network
    /// leaves cores idle when one request has them all, so that it gets a thread for each; a large one fills them, and has its
    /// weights in memory only once.
    fn work<R>(
        &mut self,
        meant: Meant,
        work: impl FnOnce(&mut Ends, &mut Lanes) -> Result<R, EngineError>,
    ) -> Result<R, EngineError> {
        let ends = &mut self.ends;
        let apart = match meant {
            Meant::Alone => None,
            Meant::SideBySide { waits } => self.apart.lanes(self.streams, waits),
        };
        let Some(lanes) = apart else {
            let lanes = &mut self.alone;
            return work(ends, lanes).inspect_err(|_| lanes.clear());
        };
        let done =
            if self.streams.keep_few_cores_busy() { cores::alone(|| work(ends, lanes)) } else { work(ends, lanes) };
        done.inspect_err(|_| lanes.clear())
    }
}

/// Which requests.
enum Meant {
    Alone,
    SideBySide {
        /// Also where the network for them is not compiled yet.
        waits: bool,
    },
}

impl Ends {
    /// Begins to look at `frames` and, when all are on their way, at what is coming; answers about the frames as they end.
    fn look(
        &mut self,
        lanes: &mut Lanes,
        frames: &[&Frame],
        coming: &Coming<'_>,
    ) -> Result<Vec<Prediction>, EngineError> {
        let called = Instant::now();
        let mut answers: Vec<Option<Prediction>> = frames.iter().map(|_| None).collect();
        let mut to_begin = 0;
        while answers.iter().any(Option::is_none) {
            self.begin(lanes, frames, &mut to_begin, coming)?;
            if !lanes.wait()? {
                break;
            }
            // While this answer is made, the network has something to do.
            self.begin(lanes, frames, &mut to_begin, coming)?;
            let Some(ended) = lanes.ended(called) else { break };
            if let About::Picture(image) = ended.about {
                let mut wanted =
                    frames.iter().zip(&mut answers).filter(|(frame, _)| frame.image.is_same(image)).map(|(_, at)| at);
                if let Some(first) = wanted.next() {
                    let answer = first.insert(self.answer(&ended)?);
                    wanted.for_each(|other| *other = Some(answer.clone()));
                }
            }
            lanes.give_back();
        }
        answers.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| EngineError::Runtime {
            engine: EngineChoice::Openvino,
            step: "inference",
            reason: "a frame was not answered".into(),
        })
    }

    /// Sends pictures on their way that are not yet, for as long as the network has room: those of `frames` from `to_begin` on, then
    /// what is coming.
    fn begin(
        &mut self,
        lanes: &mut Lanes,
        frames: &[&Frame],
        to_begin: &mut usize,
        coming: &Coming<'_>,
    ) -> Result<(), EngineError> {
        while lanes.has_room() {
            let Some((at, frame)) = frames.iter().enumerate().nth(*to_begin) else {
                let next = coming(lanes.ahead_of(frames)).into_iter().find(|image| !lanes.looks_at(image));
                let Some(next) = next else { break };
                if let Err(error) = self.start(lanes, &next) {
                    // It is none of the frames that are answered now.
                    tracing::debug!(%error, "a picture that comes later is not looked at before");
                    break;
                }
                continue;
            };
            let is_known = frames[..at].iter().any(|earlier| earlier.image.is_same(&frame.image));
            if !is_known && !lanes.looks_at(&frame.image) {
                self.start(lanes, &frame.image)?;
            }
            *to_begin += 1;
        }
        Ok(())
    }

    fn start(&mut self, lanes: &mut Lanes, image: &Image) -> Result<(), EngineError> {
        lanes.start(About::Picture(image.clone()), |input| self.preprocessor.run(image, input))
    }

    fn look_at_tiles(&mut self, lanes: &mut Lanes, tiles: &mut dyn Tiles) -> Result<(), EngineError> {
        let called = Instant::now();
        let (count, mut next) = (tiles.count(), 0);
        loop {
            while next < count && lanes.has_room_for_tile() && tiles.wanted() {
                lanes.start(About::Tile(next), |input| self.preprocessor.run(&tiles.cut(next).image, input))?;
                next += 1;
            }
            if !lanes.wait()? {
                return Ok(());
            }
            if let Some(ended) = lanes.ended(called)
                && let &About::Tile(at) = ended.about
                && tiles.wanted()
            {
                tiles.take(at, self.answer(&ended)?);
            }
            lanes.give_back();
        }
    }

    /// What the outputs of a request say that has ended.
    fn answer(&self, ended: &Ended<'_>) -> Result<Prediction, EngineError> {
        if self.tokens_are_narrow { self.answer_of::<f16>(ended) } else { self.answer_of::<f32>(ended) }
    }

    /// The same, with tokens of this type.
    fn answer_of<T: TokenValue + OutputValue>(&self, ended: &Ended<'_>) -> Result<Prediction, EngineError> {
        let begin = Instant::now();
        let Ended { request, times, .. } = *ended;
        let output = |name: &String| request.get_tensor(name).map_err(runtime("reading an output"));
        let tokens = self.names.tokens.iter().map(output).collect::<Result<Vec<_>, _>>()?;
        let raw = self.names.raw.iter().map(output).collect::<Result<Vec<_>, _>>()?;
        let text = output(&self.names.text)?;
        let taps = slices::<T>(&tokens)?;
        let fused = self.finish.run(&taps, floats(&text)?, &slices(&raw)?);
        let (grid, width) = (self.architecture.grid(), self.architecture.vision_width);
        let handed_out = || PatchTokens::new(grid, width, taps.iter().map(|tap| T::floats(tap).into_owned()).collect());
        let tokens = self.hands_out_tokens.then(handed_out);
        let times = StageTimes { postprocess: begin.elapsed(), ..times };
        let score = fused.score;
        Ok(Prediction { map: fused.into_map(&self.architecture, self.hands_out_paths), score, times, tokens })
    }
}

impl Engine for OpenvinoEngine {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        self.infer_looking_ahead(frames, &nothing_comes)
    }

    fn infer_looking_ahead(&mut self, frames: &[&Frame], coming: &Coming<'_>) -> Result<Vec<Prediction>, EngineError> {
        self.info.check_batch(frames.len())?;
        // Not at the start, which would take longer, and not when frames wait already: with the first frame after the line's own.
        if self.info.max_batch > 1 && std::mem::replace(&mut self.warm, true) {
            self.apart.ask(self.streams);
        }
        // A frame alone has every core, unless it is being looked at already.
        let begun = |lanes: &mut Lanes| frames.iter().any(|frame| lanes.looks_at(&frame.image));
        let apart = frames.len() > 1 || self.apart.lanes(self.streams, false).is_some_and(begun);
        let meant = if apart { Meant::SideBySide { waits: false } } else { Meant::Alone };
        // Frames that come while one has every core go side by side after it.
        let coming: &Coming<'_> = if apart || !self.streams.side_by_side() { coming } else { &nothing_comes };
        self.work(meant, |ends, lanes| ends.look(lanes, frames, coming))
    }

    fn infer_tiles(&mut self, tiles: &mut dyn Tiles) -> Result<(), EngineError> {
        self.apart.ask(self.streams);
        self.work(Meant::SideBySide { waits: true }, |ends, lanes| ends.look_at_tiles(lanes, tiles))
    }

    fn hand_out_paths(&mut self, wanted: bool) {
        self.ends.hands_out_paths = wanted;
    }

    fn hand_out_tokens(&mut self, wanted: bool) {
        self.ends.hands_out_tokens = wanted;
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
        engine.apart.ask(engine.streams);
        engine.apart.lanes(engine.streams, true);
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
    fn pictures_that_came_before_they_were_asked_for_get_the_same_answers() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        crate::weights::random(&bundle, &small(), 7).unwrap();
        let engine = EngineChoice::Openvino;
        let picture = |seed: u32| {
            let data = (0..60 * 40 * 3).map(|i: u32| (i * i % (200 + seed)) as u8).collect();
            Frame { image: Image::new(60, 40, PixelFormat::Rgb8, data).unwrap(), ..frame() }
        };
        let frames: Vec<Frame> = (0..9).map(picture).collect();
        for threads in [1, 2] {
            let spec = EngineSpec { engine, max_batch: 2, threads: Some(threads), ..EngineSpec::new(bundle.clone()) };
            let mut engine = OpenvinoEngine::open(&spec).unwrap();
            engine.apart.ask(engine.streams);
            engine.apart.lanes(engine.streams, true);
            let alone: Vec<Prediction> = frames.iter().map(|frame| engine.infer(&[frame]).unwrap().remove(0)).collect();
            let same = |found: &Prediction, at: usize| {
                let off = found.map.values().iter().zip(alone[at].map.values()).map(|(a, b)| (a - b).abs());
                off.fold((found.score - alone[at].score).abs(), f32::max) < 1e-5
            };
            let most = engine.info().max_batch;
            let told = std::cell::Cell::new(0);
            let mut at = 0;
            while at < frames.len() {
                // The fifth is not asked for, as a part that nobody waits for any longer, and the sixth comes twice.
                let batch = if at == 4 { 5..6 } else { at..(at + most).min(frames.len()) };
                let mut asked: Vec<&Frame> = frames[batch.clone()].iter().collect();
                if at == 4 && most > 1 {
                    asked.push(&frames[5]);
                }
                let coming = |max: usize| {
                    let begin = told.get().max(batch.end);
                    let images: Vec<Image> =
                        frames[begin..].iter().take(max).map(|frame| frame.image.clone()).collect();
                    told.set(begin + images.len());
                    images
                };
                let answers = engine.infer_looking_ahead(&asked, &coming).unwrap();
                assert_eq!(answers.len(), asked.len());
                for (which, answer) in answers.iter().enumerate() {
                    assert!(same(answer, batch.start + which.min(batch.len() - 1)), "{threads} threads, {batch:?}");
                }
                at = batch.end;
            }
            assert_eq!(told.get(), frames.len(), "what comes is begun with");
            // One that was begun with does not get in the way of others.
            let ahead = frames[1].image.clone();
            engine.infer_looking_ahead(&[&frames[0]], &|_| vec![ahead.clone()]).unwrap();
            let mut tiles = SideBySide { frames: &frames, answers: frames.iter().map(|_| None).collect() };
            engine.infer_tiles(&mut tiles).unwrap();
            assert!(tiles.answers.iter().enumerate().all(|(at, answer)| same(answer.as_ref().unwrap(), at)));
        }
    }

    /// Frames as if they were tiles of one.
    struct SideBySide<'a> {
        frames: &'a [Frame],
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

    #[test]
    fn weights_beside_the_graph_give_what_weights_inside_give() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        crate::weights::random(&bundle, &small(), 7).unwrap();
        let engine = EngineChoice::Openvino;
        let spec = EngineSpec { engine, ..EngineSpec::new(bundle) };
        let map = |inline_limit: u64, cache: Option<PathBuf>| {
            let mut engine = OpenvinoEngine::open_with(&spec, Delivery { inline_limit, cache }).unwrap();
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
