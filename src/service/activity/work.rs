//! The thread of an activity: takes parts until there are enough, then takes what was learnt into use.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::super::recipes::{Begun, ChangeError, Recipes};
use super::job::{Claim, Job};
use super::pupil::{Outcome, Pupil, Unfit};
use crate::error_chain;
use crate::line::Way;
use crate::line::control::{Control, PartStream};
use crate::line::recipe::RecipeSpec;
use crate::memory::Memory;

/// How soon it notices that it was ended, that the recipe has changed, that the camera is paused.
const LOOK: Duration = Duration::from_millis(100);

/// Ends the job when its thread does, whatever ends that.
struct Alive<'a>(&'a Job);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        if self.0.goes_on() {
            // A claim that nobody keeps tells that the thread broke off.
            drop(self.0.claim());
        }
    }
}

/// Returns when the job has ended.
pub fn run(
    job: &Job,
    pupil: Box<dyn Pupil>,
    parts: PartStream,
    begun: &Arc<RecipeSpec>,
    control: &Control,
    recipes: &Recipes,
) {
    let _alive = Alive(job);
    let (memory, way) = (parts.memory(), parts.way());
    match learn(job, pupil, parts, begun, (memory.as_ref(), &way)) {
        Ok(Some(outcome)) => {
            // From here on nobody else can end it: what is told is what is in use.
            if let Some(claim) = job.claim() {
                let begun = Begun { recipe: begun, memory, way };
                let done = put(&claim, outcome, &job.camera, &begun, control, recipes);
                claim.end(done);
            }
        }
        Ok(None) => {}
        Err(reason) => {
            job.end(Err(&reason));
        }
    }
}

/// What was learnt, `None` when somebody has ended it.
fn learn(
    job: &Job,
    mut pupil: Box<dyn Pupil>,
    parts: PartStream,
    begun: &Arc<RecipeSpec>,
    (known, looked): (Option<&Arc<Memory>>, &Arc<Way>),
) -> Result<Option<Outcome>, Unfit> {
    loop {
        if !job.goes_on() {
            return Ok(None);
        }
        job.pause(parts.is_paused());
        let part = parts.next(LOOK);
        let (now, memory, way) = match &part {
            Some(part) => (Arc::clone(&part.recipe), part.memory.clone(), Arc::clone(&part.way)),
            None => (parts.recipe(), parts.memory(), parts.way()),
        };
        if way != *looked {
            return Err(Unfit("the camera looks in another way now; nothing was changed, begin again".into()));
        }
        if pupil.minds_changes() && known.map(Arc::as_ptr) != memory.as_ref().map(Arc::as_ptr) {
            return Err(Unfit("the memory has changed meanwhile; nothing was changed, begin again".into()));
        }
        if now.info.id != begun.info.id {
            return Err(Unfit(format!(
                "the camera looks at another product now, '{}'; nothing was changed, begin again",
                now.info.id
            )));
        }
        if pupil.minds_changes() && !Arc::ptr_eq(&now, begun) && now != *begun {
            let (id, version) = (&now.info.id, now.info.version);
            return Err(Unfit(format!(
                "the recipe has changed meanwhile, to version {version} of '{id}'; nothing was changed, begin again"
            )));
        }
        let Some(part) = part else { continue };
        if pupil.take(&part)? && job.count() {
            // No more are handed over while it computes.
            drop(parts);
            return pupil.finish().map(Some);
        }
    }
}

/// What was learnt is taken into use, as the last step of all: until then the end of the service may end it.
fn put(
    claim: &Claim<'_>,
    outcome: Outcome,
    camera: &Arc<str>,
    begun: &Begun<'_>,
    control: &Control,
    recipes: &Recipes,
) -> Result<Value, String> {
    let Outcome { mut applied, calibrated, memory } = outcome;
    let commits = || claim.commits();
    let said = |error: ChangeError| error_chain::one_line(&error);
    if let Some(found) = calibrated {
        let (files, recipe) = recipes.calibrated(control, camera, begun, found, &commits).map_err(said)?;
        if !files.is_empty() {
            applied["files"] = files.iter().map(|file| file.to_string_lossy().into_owned()).collect();
        }
        if let Some(recipe) = recipe {
            applied["recipe"] = recipe["recipe"].clone();
        }
    }
    if let Some(memory) = memory {
        let file = recipes.remember(control, camera, begun, memory, &commits).map_err(said)?;
        applied["file"] = file.to_string_lossy().into();
        applied["next"] =
            "its thresholds and what pictures are compared with were found without this memory: calibrate".into();
    }
    Ok(applied)
}
