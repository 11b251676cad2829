//! The inference thread: takes what waits, asks the engine, lets the recipes judge, writes the events.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::camera::AGAIN;
use super::camera_settings::Judge;
use super::deadlines::LastBell;
use super::error::LineError;
use super::event_writer::LineContext;
use super::handover::Handed;
use super::judged::Judged;
use super::last_picture::Inspected;
use super::locating::{NotPlaced, Placed};
use super::plan::EngineOpener;
use super::queue::{Batch, Collector};
use super::recipe::{Recipe, RecipeSpec};
use super::sink::Heartbeat;
use super::station::Station;
use super::watch::Looks;
use super::way::Way;
use crate::anomaly::Prediction;
use crate::clock::Clock;
use crate::engine::{Coming, Engine, EngineError, EngineInfo, nothing_comes};
use crate::frame::{Frame, Image, PixelFormat};
use crate::look::{Asked, Looker};
use crate::verdict::{Inspection, NoVerdictReason, Verdict};

/// How often an idle engine shows that it is alive.
const IDLE: Duration = Duration::from_millis(500);

/// What the inference thread gets once the engine is known.
pub(super) struct Post {
    pub context: Arc<LineContext>,
    pub stations: Vec<Arc<Station>>,
    /// Where pictures are compared with those of good parts.
    pub looks: Looks,
    /// Tells the deadline thread when this one has ended.
    pub _last_bell: LastBell,
}

/// Everything the inference thread owns.
pub(super) struct InferenceThread {
    pub open: EngineOpener,
    pub collector: Collector,
    pub clock: Arc<dyn Clock>,
    pub heartbeat: Arc<dyn Heartbeat>,
    pub ready: Sender<Result<EngineInfo, LineError>>,
    pub post: Receiver<Post>,
    /// Set when the line stops: from then on what waits gets events without a verdict, because a slow engine would not
    /// be done with it in time.
    pub give_up_at: Arc<OnceLock<Instant>>,
}

impl InferenceThread {
    /// Returns when every camera has closed its lane and everything was judged, or when the engine does not open.
    pub fn run(self) {
        let opened = (self.open)().map_err(LineError::Engine).and_then(|mut engine| {
            warm_up(engine.as_mut(), self.clock.as_ref())?;
            Ok(engine)
        });
        let (mut engine, answer) = match opened {
            Ok(engine) => {
                let info = engine.info().clone();
                (Some(engine), Ok(info))
            }
            Err(error) => (None, Err(error)),
        };
        if self.ready.send(answer).is_err() {
            tracing::info!("the line was given up before the engine was ready");
            return;
        }
        if let (Some(engine), Ok(post)) = (&mut engine, self.post.recv()) {
            let (clock, heartbeat, give_up_at) = (self.clock, self.heartbeat, self.give_up_at);
            let recipes = post.stations.iter().map(|station| InUse::new(station.recipe())).collect();
            let looker = |station: &Arc<Station>| Looker::new(station.settings.way().view.clone());
            let lookers = post.stations.iter().map(looker).collect();
            Inspector {
                engine: engine.as_mut(),
                post,
                recipes,
                lookers,
                clock,
                heartbeat,
                give_up_at,
                failing: false,
                tokens: false,
            }
            .run(&self.collector);
        }
    }
}

/// A camera's recipe as its last frame was judged by it.
struct InUse {
    spec: Arc<RecipeSpec>,
    recipe: Recipe,
    /// Why the last frame was not judged.
    unjudged: Option<String>,
}

impl InUse {
    fn new(spec: Arc<RecipeSpec>) -> Self {
        Self { recipe: Recipe::new(RecipeSpec::clone(&spec)), spec, unjudged: None }
    }
}

/// A frame on its way through the engine.
pub(super) struct Taken {
    pub camera: usize,
    pub placed: Placed,
    /// What it is looked at and judged by: settled before the engine looks, the same for all of a camera in one batch.
    pub judge: Judge,
    /// Why nobody can look at it.
    pub lost: Option<NoVerdictReason>,
}

impl Taken {
    /// Whether the engine is to see it.
    pub fn is_seen(&self) -> bool {
        self.lost.is_none() && !self.placed.frame.image.damaged
    }
}

pub(super) struct Inspector<'a> {
    pub(super) engine: &'a mut dyn Engine,
    pub(super) post: Post,
    recipes: Vec<InUse>,
    /// What of each camera's frames is looked at.
    pub(super) lookers: Vec<Looker>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) heartbeat: Arc<dyn Heartbeat>,
    pub(super) give_up_at: Arc<OnceLock<Instant>>,
    failing: bool,
    /// The engine was asked for its tokens.
    tokens: bool,
}

impl Inspector<'_> {
    fn run(mut self, collector: &Collector) {
        let max_batch = self.engine.info().max_batch;
        let stations = self.post.stations.clone();
        let give_up_at = Arc::clone(&self.give_up_at);
        // What is cut or found first is no picture that the engine can look at before.
        let is_seen = |station: &Arc<Station>| {
            let way = station.settings.judge().way;
            way.locate.is_none() && way.view.is_whole()
        };
        let coming = |most: usize| {
            if give_up_at.get().is_some() {
                return Vec::new();
            }
            collector.coming(most, &stations.iter().map(is_seen).collect::<Vec<_>>())
        };
        loop {
            match collector.take_batch(max_batch, IDLE) {
                Batch::Frames(frames) if self.too_late() => {
                    frames.iter().for_each(|(camera, frame)| self.give_up(*camera, frame, NoVerdictReason::Deadline));
                }
                Batch::Frames(frames) => self.inspect(frames, &coming),
                Batch::Idle => {}
                Batch::Closed => break,
            }
            self.heartbeat.step();
            self.look_again();
            self.judge_golden(&|| collector.is_waiting());
        }
        // Every camera has ended: what the sink had no room for keeps nobody waiting but the end.
        while !self.too_late() && !self.all_said() {
            std::thread::sleep(AGAIN);
            self.heartbeat.step();
        }
    }

    fn all_said(&self) -> bool {
        self.post.stations.iter().all(|station| station.writer().offer_again())
    }

    pub(super) fn too_late(&self) -> bool {
        self.give_up_at.get().is_some_and(|&at| Instant::now() >= at)
    }

    fn give_up(&self, camera: usize, frame: &Frame, reason: NoVerdictReason) {
        let reason = if frame.image.damaged { NoVerdictReason::FrameDamaged } else { reason };
        self.post.stations[camera].failed(frame, reason);
        self.heartbeat.step();
    }

    pub(super) fn give_up_taken(&self, taken: &Taken, reason: NoVerdictReason) {
        self.give_up(taken.camera, &taken.placed.frame, taken.lost.unwrap_or(reason));
    }

    /// What the frames of this camera are looked at and judged by that the engine takes now.
    pub(super) fn settle(&mut self, camera: usize) -> Judge {
        let judge = self.post.stations[camera].settings.judge();
        if *self.lookers[camera].spec() != judge.way.view {
            self.lookers[camera] = Looker::new(judge.way.view.clone());
        }
        judge
    }

    /// Looks for the parts of cameras where they do not lie still. Frames where that fails stay, so that all are told in their order.
    fn take(&mut self, batch: Vec<(usize, Frame)>) -> Vec<Taken> {
        let mut settled: Vec<Option<Judge>> = vec![None; self.post.stations.len()];
        let take = |(camera, frame): (usize, Frame)| {
            let judge = settled[camera].get_or_insert_with(|| self.settle(camera)).clone();
            match Placed::new(&frame, judge.way.locate.as_ref()) {
                Ok(placed) => Taken { camera, placed, judge, lost: None },
                Err(error) => {
                    match &error {
                        NotPlaced::Missing => tracing::debug!(camera = %frame.camera, frame = frame.seq, "{error}"),
                        NotPlaced::Failed(_) => tracing::error!(camera = %frame.camera, frame = frame.seq, "{error}"),
                    }
                    Taken { camera, placed: Placed::as_captured(frame), judge, lost: Some(error.reason()) }
                }
            }
        };
        batch.into_iter().map(take).collect()
    }

    fn inspect(&mut self, mut batch: Vec<(usize, Frame)>, coming: &Coming<'_>) {
        // Parts that were given up while their frames waited cost the engine nothing.
        batch.retain(|(camera, frame)| self.post.stations[*camera].wants(frame));
        let batch = self.take(batch);
        let mut batch = self.inspect_tiles(batch);
        if batch.is_empty() {
            return;
        }
        let is_whole = |way: &Way| way.locate.is_none() && way.view.is_captured();
        let whole = batch.iter().all(|taken| is_whole(&taken.judge.way));
        let views: Vec<Frame> = match whole {
            true => Vec::new(),
            false => batch.iter_mut().filter_map(|taken| self.view(taken)).collect(),
        };
        let captured = batch.iter().filter(|taken| taken.is_seen()).map(|taken| &taken.placed.frame);
        let frames: Vec<&Frame> = if whole { captured.collect() } else { views.iter().collect() };
        if frames.is_empty() {
            return batch.iter().for_each(|taken| self.give_up_taken(taken, NoVerdictReason::FrameDamaged));
        }
        self.let_go();
        let learnt = batch.iter().any(|taken| self.post.stations[taken.camera].hand_over.wants_tokens());
        self.ask_for_tokens(learnt || batch.iter().any(|taken| taken.judge.memory.is_some()));
        let begun = self.clock.now().monotonic;
        let due_of = |taken: &Taken| until(&self.post.stations[taken.camera], &taken.placed.frame);
        let due: Vec<_> = batch.iter().filter(|taken| taken.is_seen()).map(due_of).collect();
        let answer = infer(self.engine, &frames, &due, if whole { coming } else { &nothing_comes });
        self.count_batch(answer.as_ref().map_or(true, |answers| answers.iter().any(Result::is_err)));
        match answer {
            Ok(predictions) => {
                let mut predictions = predictions.into_iter();
                let mut trouble = None;
                for taken in batch {
                    let prediction = if taken.is_seen() { predictions.next() } else { None };
                    let prediction = prediction
                        .and_then(|answer| answer.inspect_err(|error| trouble = Some(error.to_string())).ok());
                    let Some(prediction) = prediction else {
                        self.give_up_taken(&taken, NoVerdictReason::EngineError);
                        continue;
                    };
                    let waited = begun.saturating_duration_since(taken.placed.frame.captured.monotonic);
                    self.judge(taken, prediction, waited);
                    self.heartbeat.step();
                }
                self.trouble(trouble.as_deref());
            }
            Err(error) => {
                batch.iter().for_each(|taken| self.give_up_taken(taken, NoVerdictReason::EngineError));
                self.trouble(Some(&error.to_string()));
            }
        }
    }

    /// What of a frame the engine is to see, where frames of a batch go together; nothing of a damaged one.
    fn view(&mut self, taken: &mut Taken) -> Option<Frame> {
        if !taken.is_seen() {
            return None;
        }
        match self.lookers[taken.camera].cut(taken.placed.seen()) {
            Ok(view) => Some(view),
            Err(error) => {
                tracing::error!(camera = %taken.placed.frame.camera, frame = taken.placed.frame.seq, "{error}");
                taken.placed.frame.image.damaged = true;
                None
            }
        }
    }

    pub(super) fn count_batch(&self, failed: bool) {
        let mut stats = self.post.context.stats();
        stats.batches += 1;
        stats.failed_batches += u64::from(failed);
    }

    /// Somebody wants a map that was not kept.
    fn look_again(&mut self) {
        for at in 0..self.post.stations.len() {
            let Some((frame, defect_threshold)) = self.post.stations[at].picture.wanted() else { continue };
            self.let_go();
            let Ok(placed) = Placed::new(&frame, self.settle(at).way.locate.as_ref()) else {
                self.post.stations[at].picture.not_shown();
                continue;
            };
            match self.lookers[at].look(self.engine, placed.seen(), Asked::default(), None) {
                Ok(prediction) => {
                    let map = placed.map(&prediction.map);
                    let inspected = Inspected { frame: placed.frame, map, defect_threshold };
                    self.post.stations[at].picture.keep(inspected);
                }
                Err(error) => {
                    tracing::warn!(camera = %placed.frame.camera, "the last picture cannot be shown: {error}");
                    self.post.stations[at].picture.not_shown();
                }
            }
            self.heartbeat.step();
        }
    }

    pub(super) fn let_go(&self) {
        self.post.stations.iter().for_each(|station| station.picture.let_go());
    }

    pub(super) fn ask_for_tokens(&mut self, wanted: bool) {
        if std::mem::replace(&mut self.tokens, wanted) != wanted {
            self.engine.hand_out_tokens(wanted);
        }
    }

    fn judge(&mut self, taken: Taken, prediction: Prediction, waited: Duration) {
        let camera = taken.camera;
        let Judge { recipe: newest, memory, way } = taken.judge.clone();
        let own = (self.tokens && self.post.stations[camera].hand_over.wants_tokens()).then(|| prediction.clone());
        let size = (taken.placed.frame.image.width, taken.placed.frame.image.height);
        let prediction = match &memory {
            None => prediction,
            // Thresholds that were made with a memory mean nothing without it: no verdict, never a pass.
            Some(memory) => match memory
                .fits(&self.post.context.model)
                .and_then(|()| memory.about().fits_view(&way.view))
                .and_then(|()| memory.look(prediction, size))
            {
                Ok(joined) => joined,
                Err(error) => {
                    self.not_judged((camera, &taken.placed.frame), error.to_string());
                    // What the engine alone has said is as good as ever to whoever learns, which may be the way out.
                    let verdict = Verdict::NoVerdict(NoVerdictReason::EngineError);
                    let captured = taken.placed.frame.captured.monotonic;
                    if let Some(own) = own {
                        let frame = taken.placed.seen().clone();
                        let (prediction, own, memory) = (own.clone(), Some(own), Some(Arc::clone(memory)));
                        let part = || Handed { frame, prediction, own, verdict, recipe: newest, memory, way };
                        self.post.stations[camera].hand_over.offer(part, captured);
                    }
                    return;
                }
            },
        };
        match self.lookers[camera].back(prediction, size) {
            Ok(prediction) => self.conclude(taken, (prediction, own), waited),
            Err(error) => {
                tracing::error!(camera = %taken.placed.frame.camera, frame = taken.placed.frame.seq, "{error}");
                self.post.stations[camera].failed(&taken.placed.frame, NoVerdictReason::EngineError);
            }
        }
    }

    /// The recipe's word on what engine and memory have said, laid over the frame that was looked at; `own` is what the engine alone said.
    pub(super) fn conclude(
        &mut self,
        taken: Taken,
        (prediction, own): (Prediction, Option<Prediction>),
        waited: Duration,
    ) {
        let camera = taken.camera;
        let Judge { recipe: newest, memory, way } = taken.judge;
        let station = &self.post.stations[camera];
        let in_use = &mut self.recipes[camera];
        if !Arc::ptr_eq(&newest, &in_use.spec) {
            *in_use = InUse::new(newest);
        }
        let begin = self.clock.now().monotonic;
        let judged =
            in_use.recipe.inspect(&prediction, taken.placed.frame.image.width, taken.placed.frame.image.height);
        let mut times = prediction.times;
        times.postprocess += self.clock.now().monotonic.saturating_duration_since(begin);
        match judged {
            Ok(inspection) => {
                let tiles = self.lookers[camera].tile_count();
                let inspection = Inspection { tiles, ..taken.placed.inspection(inspection) };
                let map = taken.placed.map(&prediction.map);
                let frame = &taken.placed.frame;
                let recipe = Arc::clone(&in_use.spec);
                let verdict = inspection.verdict;
                let helped = memory.clone();
                let kept = station.writer().look(verdict, Some((&frame.image, Some(&map))));
                if station.judged(frame, Judged { inspection, waited, times, recipe, memory: memory.clone(), kept }) {
                    let recipe = Arc::clone(&in_use.spec);
                    // Whoever learns from parts, or compares pictures, sees them as they were taught.
                    let seen = || (taken.placed.seen().clone(), prediction.clone());
                    let part = || {
                        let (frame, prediction) = seen();
                        Handed { frame, prediction, own, verdict, recipe, memory, way }
                    };
                    station.hand_over.offer(part, frame.captured.monotonic);
                }
                let seen = &taken.placed.seen().image;
                self.post.looks.offer((camera, station), seen, &prediction, verdict, (&in_use.spec, &helped));
                in_use.unjudged = None;
                let defect_threshold = in_use.spec.defect_threshold;
                station.picture.keep(Inspected { frame: taken.placed.frame, map, defect_threshold });
            }
            Err(error) => self.not_judged((camera, &taken.placed.frame), error.to_string()),
        }
    }

    /// Said when it begins, not with every frame.
    fn not_judged(&mut self, (camera, frame): (usize, &Frame), why: String) {
        let in_use = &mut self.recipes[camera];
        if in_use.unjudged.as_ref() == Some(&why) {
            tracing::debug!(camera = %frame.camera, frame = frame.seq, "{why}");
        } else {
            tracing::error!(camera = %frame.camera, frame = frame.seq, "{why}");
        }
        in_use.unjudged = Some(why);
        self.post.stations[camera].failed(frame, NoVerdictReason::EngineError);
    }

    /// Told when it changes, not with every batch.
    pub(super) fn trouble(&mut self, error: Option<&str>) {
        if self.failing != error.is_some() {
            self.failing = error.is_some();
            match error {
                Some(error) => tracing::error!("the engine fails, frames get no verdict: {error}"),
                None => tracing::info!("the engine works again"),
            }
            self.post.context.sink.engine(error);
        }
    }
}

/// When the part of a frame is given up at the latest: a trigger may have been before its frame, and then it is sooner.
pub(super) fn until(station: &Station, frame: &Frame) -> Option<Instant> {
    frame.captured.monotonic.checked_add(station.plan().deadline?)
}

/// The first inference allocates and compiles; no part waits for it.
fn warm_up(engine: &mut dyn Engine, clock: &dyn Clock) -> Result<(), LineError> {
    let side = engine.info().image_size;
    let pixels = u32::try_from(side).map_err(|_| LineError::WarmUp { side })?;
    let image = Image::new(pixels, pixels, PixelFormat::Gray8, vec![128; side * side])
        .map_err(|_| LineError::WarmUp { side })?;
    let frame = Frame::alone("warm-up", clock.now(), image);
    let answers = infer(engine, &[&frame], &[None], &nothing_comes).map_err(LineError::Engine)?;
    answers.into_iter().try_for_each(|answer| answer.map(|_| ())).map_err(LineError::Engine)
}

/// An engine that answers for another number of frames has failed: nobody knows whose answers they are.
fn infer(
    engine: &mut dyn Engine,
    frames: &[&Frame],
    due: &[Option<Instant>],
    coming: &Coming<'_>,
) -> Result<Vec<Result<Prediction, EngineError>>, EngineError> {
    let predictions = engine.infer_until(frames, due, coming)?;
    if predictions.len() != frames.len() {
        return Err(EngineError::Runtime {
            engine: engine.info().engine,
            step: "inference",
            reason: format!("{} predictions for {} frames", predictions.len(), frames.len()),
        });
    }
    Ok(predictions)
}
