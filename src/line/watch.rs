//! Whether a camera's pictures still look like those of the good parts: looked at after the verdict, in a thread of its own.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};

use super::camera::Never;
use super::event_writer::LineContext;
use super::judge::judged_by;
use super::recipe::{Recipe, RecipeSpec};
use super::station::Station;
use crate::anomaly::Prediction;
use crate::drift::{Baseline, Change, Features, Seen, Watch};
use crate::event::ModelInfo;
use crate::frame::Image;
use crate::memory::Memory;
use crate::verdict::{Suspect, Verdict};

/// Pictures that may wait to be looked at, of the whole line; those that find no room are not looked at.
const WAITING: usize = 4;

/// A picture that has its verdict.
struct Look {
    camera: usize,
    image: Image,
    passes: bool,
    score: f32,
    /// Only where its map is here: none is fetched from a card for this.
    prediction: Option<Prediction>,
    recipe: Arc<RecipeSpec>,
    memory: Option<Arc<Memory>>,
}

/// Pictures on their way to the thread that looks at them.
pub(super) struct Looks(Sender<Look>);

impl Looks {
    /// Offers a picture that has its verdict, where the camera has good parts to compare with; never waits.
    pub fn offer(
        &self,
        (camera, station): (usize, &Station),
        image: &Image,
        prediction: &Prediction,
        verdict: Verdict,
        (recipe, memory): (&Arc<RecipeSpec>, &Option<Arc<Memory>>),
    ) {
        // One more look ends the alarms of a baseline that is gone.
        if self.0.is_full() || (station.settings.baseline().is_none() && !station.writer().is_suspected()) {
            return;
        }
        // Tokens are large, and nothing here asks for them.
        let kept = || Prediction { map: prediction.map.clone(), tokens: None, ..*prediction };
        let look = Look {
            camera,
            image: image.clone(),
            passes: verdict == Verdict::Pass,
            score: prediction.score,
            prediction: prediction.map.is_here().then(kept),
            recipe: Arc::clone(recipe),
            memory: memory.clone(),
        };
        if let Err(TrySendError::Full(_)) = self.0.try_send(look) {
            tracing::trace!(camera = %station.camera(), "a picture is not compared with the good parts: there is no time");
        }
    }
}

/// Everything the thread owns.
pub(super) struct WatchThread {
    looks: Receiver<Look>,
    stop: Receiver<Never>,
    stations: Vec<Arc<Station>>,
    context: Arc<LineContext>,
    cameras: Vec<Option<Camera>>,
}

/// One camera that is watched.
struct Camera {
    watch: Watch,
    recipe: Recipe,
    /// What judges.
    by: (Arc<RecipeSpec>, Option<Arc<Memory>>),
    /// Whether statistics and scores are those that the good parts were judged by.
    comparable: Comparable,
}

#[derive(Clone, Copy)]
struct Comparable {
    statistic: bool,
    score: bool,
}

impl Camera {
    fn new(baseline: Arc<Baseline>, look: &Look, model: &ModelInfo) -> Self {
        if baseline.judge().is_none() {
            tracing::warn!(
                "nobody knows who has judged the good parts: what the model says is not compared; calibrate"
            );
        }
        let by = (Arc::clone(&look.recipe), look.memory.clone());
        let recipe = Recipe::new(RecipeSpec::clone(&look.recipe));
        let comparable = Comparable::of(&baseline, look, model);
        Self { watch: Watch::new(baseline), recipe, by, comparable }
    }

    /// Parts are judged by this from now on.
    fn judged(&mut self, look: &Look, model: &ModelInfo) {
        let same = Arc::ptr_eq(&self.by.0, &look.recipe)
            && self.by.1.as_ref().map(Arc::as_ptr) == look.memory.as_ref().map(Arc::as_ptr);
        if !same {
            self.by = (Arc::clone(&look.recipe), look.memory.clone());
            self.recipe = Recipe::new(RecipeSpec::clone(&look.recipe));
            self.comparable = Comparable::of(self.watch.baseline(), look, model);
        }
    }
}

impl Comparable {
    fn of(baseline: &Baseline, look: &Look, model: &ModelInfo) -> Self {
        let memory = look.memory.as_ref().map(|memory| memory.info());
        let now = judged_by(&look.recipe, &ModelInfo { memory, ..model.clone() });
        let then = baseline.judge();
        Self {
            statistic: then.is_some_and(|then| then.judges_as(&now)),
            score: then.is_some_and(|then| then.scores_as(&now)),
        }
    }
}

impl WatchThread {
    /// The thread and the way to it. It ends when the line stops or nobody is left who could offer pictures.
    pub fn new(stations: Vec<Arc<Station>>, context: Arc<LineContext>, stop: Receiver<Never>) -> (Self, Looks) {
        let (offer, looks) = bounded(WAITING);
        let cameras = stations.iter().map(|_| None).collect();
        (Self { looks, stop, stations, context, cameras }, Looks(offer))
    }

    pub fn run(mut self) {
        loop {
            select! {
                recv(self.looks) -> look => match look {
                    Ok(look) => self.look(look),
                    Err(_) => return,
                },
                recv(self.stop) -> _ => return,
            }
        }
    }

    fn look(&mut self, look: Look) {
        let station = Arc::clone(&self.stations[look.camera]);
        let baseline = station.settings.baseline();
        let before = self.cameras[look.camera].as_ref().map(|camera| camera.watch.baseline());
        if !same(before, baseline.as_ref()) {
            self.begin_anew(baseline, &look);
        }
        let Some(camera) = &mut self.cameras[look.camera] else { return };
        camera.judged(&look, &self.context.model);
        // The statistic of another memory, other regions, another engine is another one.
        let comparable = camera.comparable;
        let (width, height) = (look.image.width, look.image.height);
        let prediction = look.prediction.as_ref().filter(|_| comparable.statistic && look.passes);
        let statistic = prediction.and_then(|seen| camera.recipe.statistics(seen, width, height).ok());
        let seen = Seen {
            passes: look.passes,
            statistic: statistic.map(|statistics| statistics.defect),
            score: comparable.score.then_some(look.score),
        };
        let changes = camera.watch.look(&Features::of(&look.image), seen);
        self.tell(look.camera, changes);
    }

    /// Other good parts: alarms that compared with those before are over.
    fn begin_anew(&mut self, baseline: Option<Arc<Baseline>>, look: &Look) {
        let at = look.camera;
        let stood = |suspect: &Suspect| self.cameras[at].as_ref().is_some_and(|camera| camera.watch.stands(*suspect));
        let over = |suspect| Change { suspect, message: None };
        let changes = Suspect::ALL.into_iter().filter(stood).map(over).collect();
        self.cameras[at] = baseline.map(|baseline| Camera::new(baseline, look, &self.context.model));
        self.tell(at, changes);
    }

    fn tell(&self, at: usize, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let station = &self.stations[at];
        let stands = |suspect: &Suspect| self.cameras[at].as_ref().is_some_and(|camera| camera.watch.stands(*suspect));
        station.writer().suspect(Suspect::ALL.into_iter().find(stands));
        for Change { suspect, message } in changes {
            self.context.sink.picture(station.camera(), suspect, message.as_deref());
        }
    }
}

fn same(a: Option<&Arc<Baseline>>, b: Option<&Arc<Baseline>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}
