//! The thread for commands that write files: recipes, which are kept before they are used, and pictures; and for those that
//! begin or end what takes many parts.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use serde_json::Value;

use super::super::activity::{Activities, ActivityError, PupilError, Pupils};
use super::super::kept::{Prepared, Via, Who, Wish};
use super::super::recipes::{ChangeError, Recipes};
use super::super::reread::{Reread, RereadError};
use super::super::self_test::{SelfTestError, SelfTests};
use super::super::snapshot::{SnapshotError, Snapshots};
use super::answers::Answer;
use super::orders::{Counters, Reply, count};
use super::repeats::Repeats;
use crate::clock::Clock;
use crate::command::{Ack, Command, NewRecipe, Request, Threshold};
use crate::config::{self, ConfigError};
use crate::error_chain;
use crate::event::RecipeInfo;
use crate::line::control::{Control, ControlError};
use crate::line::recipe::{RecipeError, RecipeSpec};
use crate::memory::MemoryError;
use crate::publish::ActivityKind;

/// Smallest defect of a recipe that does not say.
const MIN_AREA_PX: u32 = 25;

/// A command cannot be carried out.
#[derive(Debug, thiserror::Error)]
enum CannotDo {
    /// The line says so.
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Reread(#[from] RereadError),
    #[error(transparent)]
    Activity(#[from] ActivityError),
    #[error(transparent)]
    Pupil(#[from] PupilError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("{source}")]
    Name { source: RecipeError },
    #[error("this line has no folder of recipes; send defect_threshold with the recipe")]
    NoLibrary,
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
    #[error("no folder for pictures; set snapshots in [commands]")]
    NoFolder,
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("this command begins something and is carried out elsewhere; please report this")]
    Begins,
    #[error("this command needs no disk and is carried out elsewhere; please report this")]
    Quick,
}

/// A command that writes files, once the line is there.
pub struct Task {
    pub control: Control,
    pub request: Request,
    pub via: Via,
    pub reply: Reply,
}

/// What commands may use besides the line.
pub struct Means {
    pub snapshots: Option<Snapshots>,
    pub pupils: Pupils,
    pub reread: Option<Box<dyn Reread>>,
    /// Folder of recipes that are prepared.
    pub library: Option<PathBuf>,
}

/// Everything the thread owns.
pub struct Slow {
    means: Means,
    recipes: Arc<Recipes>,
    activities: Arc<Activities>,
    self_tests: Arc<SelfTests>,
    clock: Arc<dyn Clock>,
    answers: Sender<Answer>,
    counters: Arc<Counters>,
    /// Those that take many parts end in their own threads.
    repeats: Arc<Mutex<Repeats>>,
}

impl Slow {
    pub fn new(
        means: Means,
        recipes: Arc<Recipes>,
        (activities, self_tests): (Arc<Activities>, Arc<SelfTests>),
        clock: Arc<dyn Clock>,
        answers: Sender<Answer>,
        counters: Arc<Counters>,
    ) -> Self {
        let repeats = Arc::default();
        Self { means, recipes, activities, self_tests, clock, answers, counters, repeats }
    }

    /// Returns when nobody can ask any more.
    pub fn run(mut self, tasks: &Receiver<Task>) {
        for Task { control, request, via, reply } in tasks {
            let known = remembered(&self.repeats).answer(&request, self.clock.now().monotonic);
            let ack = match known {
                Some((ack, _)) => Some(ack),
                None if begins(&request.command) => self.begin(&control, &request, &reply),
                None => Some(self.answer(&control, &request, via)),
            };
            let Some(ack) = ack else { continue };
            // Behind the answers that wait already; whoever has gone away needs none.
            if self.answers.send(Answer { reply, ack, debt: None }).is_err() {
                return;
            }
        }
    }

    fn answer(&mut self, control: &Control, request: &Request, via: Via) -> Ack {
        let now = self.clock.now().monotonic;
        let correlation_id = request.correlation_id.clone();
        let who = Who { via, command: correlation_id.clone(), user: None };
        match self.carry_out(control, &request.command, &who) {
            Ok(applied) => {
                tracing::info!(command = request.command.name(), %applied, "command carried out");
                let ack = Ack::done(correlation_id, applied);
                remembered(&self.repeats).remember(request, &ack, None, now);
                ack
            }
            Err(error) => refused(correlation_id, &error),
        }
    }

    /// Answers at once that it has begun, and at its end what has come of it. The answer when it has not begun.
    fn begin(&mut self, control: &Control, request: &Request, reply: &Reply) -> Option<Ack> {
        if let Command::SelfTest(test) = &request.command {
            return self.begin_self_test(control, test.camera.as_deref(), request, reply);
        }
        let correlation_id = request.correlation_id.clone();
        let beginning = self.means.pupils.beginning(control, &self.recipes, &request.command).map_err(CannotDo::from);
        let begun = beginning.and_then(|beginning| Ok(self.activities.begin(control, beginning)?));
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => return Some(refused(correlation_id, &error)),
        };
        self.say_begun(request, &begun.applied, reply);
        let told = self.at_its_end(request, reply);
        self.activities.go_on(begun, control.clone(), Box::new(told));
        None
    }

    /// The same for golden parts.
    fn begin_self_test(
        &self,
        control: &Control,
        camera: Option<&str>,
        request: &Request,
        reply: &Reply,
    ) -> Option<Ack> {
        let told = self.at_its_end(request, reply);
        // Held back until whoever asked knows that it has begun.
        let (begun, wait) = crossbeam_channel::bounded::<()>(1);
        let heard = move |result| {
            if wait.recv().is_ok() {
                told(result);
            }
        };
        match self.self_tests.begin(control, camera, Box::new(heard)) {
            Ok(applied) => {
                self.say_begun(request, &applied, reply);
                if begun.send(()).is_err() {
                    tracing::debug!("the golden parts were not begun");
                }
                None
            }
            Err(error) => Some(refused(request.correlation_id.clone(), &error.into())),
        }
    }

    /// Not behind the answers that wait for the disk: the answer of the end must not come before it.
    fn say_begun(&self, request: &Request, applied: &Value, reply: &Reply) {
        tracing::info!(command = request.command.name(), %applied, "begun");
        let ack = Ack::begun(request.correlation_id.clone(), applied.clone());
        remembered(&self.repeats).begun(request, &ack, self.clock.now().monotonic);
        reply(ack);
    }

    /// Answers once more, with what has come of it.
    fn at_its_end(&self, request: &Request, reply: &Reply) -> impl FnOnce(Result<Value, String>) -> Ack + Send + use<> {
        let (reply, counters) = (Arc::clone(reply), Arc::clone(&self.counters));
        let (repeats, clock, request) = (Arc::clone(&self.repeats), Arc::clone(&self.clock), request.clone());
        move |result| {
            let correlation_id = request.correlation_id.clone();
            let ack = match result {
                Ok(applied) => Ack::done(correlation_id, applied),
                Err(error) => Ack::refused(correlation_id, error),
            };
            count(if ack.ok { &counters.done } else { &counters.refused });
            remembered(&repeats).ended(&request, &ack, clock.now().monotonic);
            reply(ack.clone());
            ack
        }
    }

    fn stop(&self, control: &Control, kind: ActivityKind, camera: Option<&str>) -> Result<Value, CannotDo> {
        let (camera, _) = control.recipe(camera)?;
        Ok(self.activities.stop(kind, camera)?)
    }

    /// To a recipe that is prepared, with all that belongs to it.
    fn change_over(&self, control: &Control, recipe: &NewRecipe, who: &Who) -> Result<Value, CannotDo> {
        let folder = self.means.library.as_ref().ok_or(CannotDo::NoLibrary)?;
        // What goes into a path is a name, and no way out of the folder.
        RecipeSpec::check_id(&recipe.id).map_err(|source| CannotDo::Name { source })?;
        let file = config::read_recipe(folder, &recipe.id)?;
        Ok(self.recipes.change_over(control, recipe.camera.as_deref(), &Prepared::read(file)?, who)?)
    }

    fn carry_out(&mut self, control: &Control, command: &Command, who: &Who) -> Result<Value, CannotDo> {
        match command {
            Command::Threshold(change) => {
                Ok(self.recipes.change(control, change.camera.as_deref(), who, |used| changed(used, change))?)
            }
            Command::Recipe(recipe) => match recipe.defect_threshold {
                Some(threshold) => {
                    Ok(self.recipes.change(control, recipe.camera.as_deref(), who, |_| replaced(recipe, threshold))?)
                }
                None => Ok(self.change_over(control, recipe, who)?),
            },
            Command::Snapshot(which) => {
                let snapshots = self.means.snapshots.as_ref().ok_or(CannotDo::NoFolder)?;
                Ok(snapshots.take(&*control.latest(which.camera.as_deref())?, self.clock.now().wall)?)
            }
            Command::Reload(_) => {
                let reread = self.means.reread.as_mut().ok_or(RereadError::NoFile)?;
                Ok(reread.read_again(control, &self.recipes, who)?)
            }
            Command::Rollback(which) => Ok(self.recipes.roll_back(control, which.camera.as_deref(), who)?),
            Command::Calibrate(which) if which.stop => self.stop(control, ActivityKind::Calibrate, command.camera()),
            Command::Learn(which) if which.stop => self.stop(control, ActivityKind::Learn, command.camera()),
            Command::Calibrate(_) | Command::Learn(_) | Command::SelfTest(_) => Err(CannotDo::Begins),
            Command::Trigger(_) | Command::Pause(_) | Command::Resume(_) | Command::Keep(_) => Err(CannotDo::Quick),
        }
    }
}

/// Whether it takes many parts, and answers twice.
fn begins(command: &Command) -> bool {
    match command {
        Command::Calibrate(calibrate) => !calibrate.stop,
        Command::Learn(learn) => !learn.stop,
        Command::SelfTest(_) => true,
        _ => false,
    }
}

fn remembered(repeats: &Mutex<Repeats>) -> MutexGuard<'_, Repeats> {
    repeats.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(correlation_id: Option<String>, error: &CannotDo) -> Ack {
    let error = error_chain::one_line(error);
    tracing::warn!(correlation_id, "command refused: {error}");
    Ack::refused(correlation_id, error)
}

fn changed(used: &RecipeSpec, change: &Threshold) -> Wish {
    let recipe = RecipeSpec {
        threshold: change.threshold.unwrap_or(used.threshold),
        defect_threshold: change.defect_threshold.unwrap_or(used.defect_threshold),
        ..used.clone()
    };
    // One that stays is as it was found.
    let by_hand = change.defect_threshold.is_some() && (change.threshold.is_some() || used.threshold.is_none());
    Wish { recipe, version: false, by_hand, without_memory: false }
}

fn replaced(recipe: &NewRecipe, defect_threshold: f32) -> Wish {
    let version = recipe.version;
    let spec = RecipeSpec {
        info: RecipeInfo { id: recipe.id.clone(), version: version.unwrap_or_default() },
        threshold: recipe.threshold,
        defect_threshold,
        min_area_px: recipe.min_area_px.unwrap_or(MIN_AREA_PX),
        regions: recipe.regions.clone(),
    };
    Wish { recipe: spec, version: version.is_some(), by_hand: true, without_memory: recipe.memory == Some(false) }
}
