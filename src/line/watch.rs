//! Whether a camera's pictures still look like those of the good parts: looked at after the verdict, in a thread of its own.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};

use super::camera::Never;
use super::event_writer::LineContext;
use super::recipe::{Recipe, RecipeSpec};
use super::station::Station;
use crate::anomaly::Prediction;
use crate::drift::{Baseline, Change, Features, Seen, Watch};
use crate::frame::Image;
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
        recipe: &Arc<RecipeSpec>,
    ) {
        // One more look ends the alarms of a baseline that is gone.
        if self.0.is_full() || (station.baseline().is_none() && !station.writer().is_suspected()) {
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
        let configured = station.configured();
        let baseline = station.baseline();
        let before = self.cameras[look.camera].as_ref().map(|camera| camera.watch.baseline());
        if !same(before, baseline.as_ref()) {
            self.begin_anew(look.camera, baseline, &look.recipe);
        }
        let Some(camera) = &mut self.cameras[look.camera] else { return };
        // The statistic of other regions is another one.
        let alike = |a: &RecipeSpec, b: &RecipeSpec| a.regions == b.regions && a.min_area_px == b.min_area_px;
        let comparable = alike(&look.recipe, &configured) && look.passes;
        if camera.recipe.spec() != &*look.recipe {
            camera.recipe = Recipe::new(RecipeSpec::clone(&look.recipe));
        }
        let (width, height) = (look.image.width, look.image.height);
        let prediction = look.prediction.as_ref().filter(|_| comparable);
        let statistic = prediction.and_then(|seen| camera.recipe.statistics(seen, width, height).ok());
        let seen = Seen {
            passes: look.passes,
            statistic: statistic.map(|statistics| statistics.defect),
            score: Some(look.score),
        };
        let changes = camera.watch.look(&Features::of(&look.image), seen);
        self.tell(look.camera, changes);
    }

    /// Other good parts: alarms that compared with those before are over.
    fn begin_anew(&mut self, at: usize, baseline: Option<Arc<Baseline>>, recipe: &RecipeSpec) {
        let stood = |suspect: &Suspect| self.cameras[at].as_ref().is_some_and(|camera| camera.watch.stands(*suspect));
        let over = |suspect| Change { suspect, message: None };
        let changes = Suspect::ALL.into_iter().filter(stood).map(over).collect();
        let camera = |baseline| Camera { watch: Watch::new(baseline), recipe: Recipe::new(recipe.clone()) };
        self.cameras[at] = baseline.map(camera);
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
