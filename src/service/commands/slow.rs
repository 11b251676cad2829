//! The thread for commands that write files: recipes, which are kept before they are used, and pictures.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use serde_json::{Value, json};

use super::super::kept::{KeptError, KeptRecipes};
use super::super::snapshot::{SnapshotError, Snapshots};
use super::answers::Answer;
use super::orders::Reply;
use super::repeats::Repeats;
use crate::clock::Clock;
use crate::command::{Ack, Command, NewRecipe, Request, Threshold};
use crate::error_chain;
use crate::event::RecipeInfo;
use crate::line::control::{Control, ControlError, RecipeChange};
use crate::line::recipe::RecipeSpec;

/// Smallest defect of a recipe that does not say.
const MIN_AREA_PX: u32 = 25;

/// A command cannot be carried out.
#[derive(Debug, thiserror::Error)]
enum CannotDo {
    /// The line says so.
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Keep(#[from] KeptError),
    #[error("no folder for pictures; set snapshots in [commands]")]
    NoFolder,
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
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
    kept: KeptRecipes,
    clock: Arc<dyn Clock>,
    answers: Sender<Answer>,
    repeats: Repeats,
}

impl Slow {
    pub fn new(
        snapshots: Option<Snapshots>,
        kept: KeptRecipes,
        clock: Arc<dyn Clock>,
        answers: Sender<Answer>,
    ) -> Self {
        Self { snapshots, kept, clock, answers, repeats: Repeats::default() }
    }

    /// Returns when nobody can ask any more.
    pub fn run(mut self, tasks: &Receiver<Task>) {
        for Task { control, request, reply } in tasks {
            let ack = self.answer(&control, &request);
            // Behind the answers that wait already; whoever has gone away needs none.
            if self.answers.send(Answer { reply, ack, debt: None }).is_err() {
                return;
            }
        }
    }

    fn answer(&mut self, control: &Control, request: &Request) -> Ack {
        let now = self.clock.now().monotonic;
        if let Some((ack, _)) = self.repeats.answer(request, now) {
            return ack;
        }
        let correlation_id = request.correlation_id.clone();
        match self.carry_out(control, &request.command) {
            Ok(applied) => {
                tracing::info!(command = request.command.name(), %applied, "command carried out");
                let ack = Ack::done(correlation_id, applied);
                self.repeats.remember(request, &ack, None, now);
                ack
            }
            Err(error) => {
                let error = error_chain::one_line(&error);
                tracing::warn!(correlation_id, "command refused: {error}");
                Ack::refused(correlation_id, error)
            }
        }
    }

    fn carry_out(&mut self, control: &Control, command: &Command) -> Result<Value, CannotDo> {
        match command {
            Command::Threshold(change) => {
                let changes = control.change_recipes(change.camera.as_deref(), |used| changed(used, change))?;
                self.apply(changes)
            }
            Command::Recipe(recipe) => {
                let changes = control.change_recipes(recipe.camera.as_deref(), |used| replaced(used, recipe))?;
                self.apply(changes)
            }
            Command::Snapshot(which) => {
                let snapshots = self.snapshots.as_ref().ok_or(CannotDo::NoFolder)?;
                Ok(snapshots.take(&*control.latest(which.camera.as_deref())?, self.clock.now().wall)?)
            }
            Command::Trigger(_) | Command::Pause(_) | Command::Resume(_) => Err(CannotDo::Quick),
        }
    }

    /// On disk first: what is in use is also what the next start uses.
    fn apply(&mut self, changes: Vec<RecipeChange>) -> Result<Value, CannotDo> {
        self.kept.keep(changes.iter().map(|change| (&**change.camera(), &change.recipe)))?;
        let apply = |change: RecipeChange| {
            let camera = Arc::clone(change.camera());
            let RecipeInfo { id, version } = change.apply();
            json!({ "camera": camera, "recipe": { "id": id, "version": version } })
        };
        Ok(Value::Array(changes.into_iter().map(apply).collect()))
    }
}

fn changed(used: &RecipeSpec, change: &Threshold) -> RecipeSpec {
    RecipeSpec {
        threshold: change.threshold.unwrap_or(used.threshold),
        defect_threshold: change.defect_threshold.unwrap_or(used.defect_threshold),
        ..used.clone()
    }
}

fn replaced(used: &RecipeSpec, recipe: &NewRecipe) -> RecipeSpec {
    let first = if recipe.id == used.info.id { used.info.version.saturating_add(1) } else { 1 };
    RecipeSpec {
        info: RecipeInfo { id: recipe.id.clone(), version: recipe.version.unwrap_or(first) },
        threshold: recipe.threshold,
        defect_threshold: recipe.defect_threshold,
        min_area_px: recipe.min_area_px.unwrap_or(MIN_AREA_PX),
        regions: recipe.regions.clone(),
    }
}
