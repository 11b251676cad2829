//! The thread of an activity: takes parts until there are enough, then takes what was learnt into use.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::super::recipes::Recipes;
use super::job::Job;
use super::pupil::{Outcome, Pupil, Unfit};
use crate::error_chain;
use crate::line::control::{Control, PartStream};
use crate::line::recipe::RecipeSpec;
use crate::output;

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
    match learn(job, pupil, parts, begun) {
        Ok(Some(outcome)) => {
            // From here on nobody else can end it: what is told is what is in use.
            if let Some(claim) = job.claim() {
                claim.end(put(job, outcome, begun, control, recipes));
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
) -> Result<Option<Outcome>, Unfit> {
    let known = parts.memory();
    loop {
        if !job.goes_on() {
            return Ok(None);
        }
        job.pause(parts.is_paused());
        let part = parts.next(LOOK);
        let (now, memory) = match &part {
            Some(part) => (Arc::clone(&part.recipe), part.memory.clone()),
            None => (parts.recipe(), parts.memory()),
        };
        if pupil.minds_changes() && known.as_ref().map(Arc::as_ptr) != memory.as_ref().map(Arc::as_ptr) {
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

/// Files first: what is in use never refers to one that is not there.
fn put(job: &Job, outcome: Outcome, begun: &RecipeSpec, control: &Control, recipes: &Recipes) -> Result<Value, String> {
    let Outcome { mut applied, files, recipe, baseline, memory } = outcome;
    for (path, contents) in &files {
        let folder = path.parent().unwrap_or(path);
        let written = fs::create_dir_all(folder).and_then(|()| output::write(path, contents));
        written.map_err(|error| format!("writing {}: {error}; nothing was changed", path.display()))?;
    }
    if let Some(recipe) = recipe {
        let changed = recipes.replace(control, &job.camera, begun, recipe);
        let changed = changed.map_err(|error| error_chain::one_line(&error))?;
        applied["recipe"] = changed[0]["recipe"].clone();
        let compared = control.compare_with(Some(&job.camera), baseline.map(Arc::new));
        compared.map_err(|error| error_chain::one_line(&error))?;
    }
    if let Some(memory) = memory {
        let file = recipes.remember(control, &job.camera, &begun.info.id, memory);
        applied["file"] = file.map_err(|error| error_chain::one_line(&error))?.to_string_lossy().into();
        applied["next"] =
            "its thresholds and what pictures are compared with were found without this memory: calibrate".into();
    }
    Ok(applied)
}
