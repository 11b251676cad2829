//! The thread for commands that write files: recipes, which are kept before they are used, and pictures; and for those that
//! begin or end what takes many parts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender};
use serde_json::Value;

use super::super::activity::{Activities, ActivityError, PupilError, Pupils};
use super::super::kept::Wish;
use super::super::recipes::{ChangeError, Recipes};
use super::super::snapshot::{SnapshotError, Snapshots};
use super::answers::Answer;
use super::orders::{Counters, Reply, count};
use super::repeats::Repeats;
use crate::clock::Clock;
use crate::command::{Ack, Command, NewRecipe, Request, Threshold};
use crate::error_chain;
use crate::event::RecipeInfo;
use crate::line::control::{Control, ControlError};
use crate::line::recipe::RecipeSpec;
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
    Activity(#[from] ActivityError),
    #[error(transparent)]
    Pupil(#[from] PupilError),
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
    pub reply: Reply,
}

/// Everything the thread owns.
pub struct Slow {
    snapshots: Option<Snapshots>,
    recipes: Arc<Recipes>,
    activities: Arc<Activities>,
    pupils: Pupils,
    clock: Arc<dyn Clock>,
    answers: Sender<Answer>,
    counters: Arc<Counters>,
    /// Those that take many parts end in their own threads.
    repeats: Arc<Mutex<Repeats>>,
}

impl Slow {
    pub fn new(
        snapshots: Option<Snapshots>,
        recipes: Arc<Recipes>,
        activities: Arc<Activities>,
        pupils: Pupils,
        clock: Arc<dyn Clock>,
        answers: Sender<Answer>,
        counters: Arc<Counters>,
    ) -> Self {
        let repeats = Arc::default();
        Self { snapshots, recipes, activities, pupils, clock, answers, counters, repeats }
    }

    /// Returns when nobody can ask any more.
    pub fn run(mut self, tasks: &Receiver<Task>) {
        for Task { control, request, reply } in tasks {
            let known = remembered(&self.repeats).answer(&request, self.clock.now().monotonic);
            let ack = match known {
                Some((ack, _)) => Some(ack),
                None if begins(&request.command) => self.begin(&control, &request, &reply),
                None => Some(self.answer(&control, &request)),
            };
            let Some(ack) = ack else { continue };
            // Behind the answers that wait already; whoever has gone away needs none.
            if self.answers.send(Answer { reply, ack, debt: None }).is_err() {
                return;
            }
        }
    }

    fn answer(&mut self, control: &Control, request: &Request) -> Ack {
        let now = self.clock.now().monotonic;
        let correlation_id = request.correlation_id.clone();
        match self.carry_out(control, &request.command) {
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
        let correlation_id = request.correlation_id.clone();
        let beginning = self.pupils.beginning(control, &self.recipes, &request.command).map_err(CannotDo::from);
        let begun = beginning.and_then(|beginning| Ok(self.activities.begin(control, beginning)?));
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => return Some(refused(correlation_id, &error)),
        };
        tracing::info!(command = request.command.name(), applied = %begun.applied, "begun");
        let ack = Ack::begun(correlation_id.clone(), begun.applied.clone());
        remembered(&self.repeats).begun(request, &ack, self.clock.now().monotonic);
        // Not behind the answers that wait for the disk: the answer of the end must not come before it.
        reply(ack);
        let (reply, counters) = (Arc::clone(reply), Arc::clone(&self.counters));
        let (repeats, clock, request) = (Arc::clone(&self.repeats), Arc::clone(&self.clock), request.clone());
        let told = move |result: Result<Value, String>| {
            let ack = match result {
                Ok(applied) => Ack::done(correlation_id, applied),
                Err(error) => Ack::refused(correlation_id, error),
            };
            count(if ack.ok { &counters.done } else { &counters.refused });
            remembered(&repeats).ended(&request, &ack, clock.now().monotonic);
            reply(ack.clone());
            ack
        };
        self.activities.go_on(begun, control.clone(), Box::new(told));
        None
    }

    fn stop(&self, control: &Control, kind: ActivityKind, camera: Option<&str>) -> Result<Value, CannotDo> {
        let (camera, _) = control.recipe(camera)?;
        Ok(self.activities.stop(kind, camera)?)
    }

    fn carry_out(&mut self, control: &Control, command: &Command) -> Result<Value, CannotDo> {
        match command {
            Command::Threshold(change) => {
                Ok(self.recipes.change(control, change.camera.as_deref(), |used| changed(used, change))?)
            }
            Command::Recipe(recipe) => {
                Ok(self.recipes.change(control, recipe.camera.as_deref(), |_| replaced(recipe))?)
            }
            Command::Snapshot(which) => {
                let snapshots = self.snapshots.as_ref().ok_or(CannotDo::NoFolder)?;
                Ok(snapshots.take(&*control.latest(which.camera.as_deref())?, self.clock.now().wall)?)
            }
            Command::Rollback(which) => Ok(self.recipes.roll_back(control, which.camera.as_deref())?),
            Command::Calibrate(which) if which.stop => self.stop(control, ActivityKind::Calibrate, command.camera()),
            Command::Learn(which) if which.stop => self.stop(control, ActivityKind::Learn, command.camera()),
            Command::Calibrate(_) | Command::Learn(_) => Err(CannotDo::Begins),
            Command::Trigger(_) | Command::Pause(_) | Command::Resume(_) | Command::Keep(_) => Err(CannotDo::Quick),
        }
    }
}

/// Whether it takes many parts, and answers twice.
fn begins(command: &Command) -> bool {
    match command {
        Command::Calibrate(calibrate) => !calibrate.stop,
        Command::Learn(learn) => !learn.stop,
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

fn replaced(recipe: &NewRecipe) -> Wish {
    let version = recipe.version;
    let spec = RecipeSpec {
        info: RecipeInfo { id: recipe.id.clone(), version: version.unwrap_or_default() },
        threshold: recipe.threshold,
        defect_threshold: recipe.defect_threshold,
        min_area_px: recipe.min_area_px.unwrap_or(MIN_AREA_PX),
        regions: recipe.regions.clone(),
    };
    Wish { recipe: spec, version: version.is_some(), by_hand: true, without_memory: recipe.memory == Some(false) }
}
