//! Frames that are cut into tiles: each is looked at alone, until it is done or nobody waits any more.

use std::sync::Arc;
use std::time::Instant;

use super::camera_settings::Judge;
use super::inspect::{Inspector, Taken, until};
use crate::look::{Asked, LookError};
use crate::verdict::NoVerdictReason;

impl Inspector<'_> {
    /// Inspects the frames of cameras with tiles, and hands back the others. A damaged one is among those: nobody looks at it.
    pub(super) fn inspect_tiles(&mut self, batch: Vec<Taken>) -> Vec<Taken> {
        let is_tiled =
            |taken: &Taken| self.lookers[taken.camera].spec().tiles.is_some() && !taken.placed.frame.image.damaged;
        let (tiled, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_tiled);
        for taken in tiled {
            if taken.lost.is_some() {
                self.give_up_taken(&taken, NoVerdictReason::EngineError);
                continue;
            }
            self.inspect_tiled(taken);
            self.heartbeat.step();
        }
        others
    }

    fn inspect_tiled(&mut self, taken: Taken) {
        let (camera, frame) = (taken.camera, &taken.placed.frame);
        let station = Arc::clone(&self.post.stations[camera]);
        // Those before it may have taken its time.
        if self.too_late() || !station.wants(frame) {
            return station.failed(frame, NoVerdictReason::Deadline);
        }
        self.let_go();
        let Judge { recipe, memory, .. } = taken.judge.clone();
        if let Some(Err(error)) = memory.as_ref().map(|memory| memory.fits(&self.post.context.model)) {
            tracing::error!(camera = %frame.camera, frame = frame.seq, "{error}");
            return station.failed(frame, NoVerdictReason::EngineError);
        }
        self.ask_for_tokens(memory.is_some());
        let begun = self.clock.now().monotonic;
        let until = until(&station, frame);
        let (heartbeat, give_up_at) = (Arc::clone(&self.heartbeat), Arc::clone(&self.give_up_at));
        let wanted = || {
            heartbeat.step();
            station.wants(frame) && give_up_at.get().is_none_or(|&at| Instant::now() < at)
        };
        let asked = Asked { regions: &recipe.regions, memory: memory.as_deref(), until, wanted: Some(&wanted) };
        let looked = self.lookers[camera].look(self.engine, taken.placed.seen(), asked, None);
        self.count_batch(matches!(looked, Err(LookError::Engine(_))));
        let reason = match looked {
            Ok(prediction) => {
                let waited = begun.saturating_duration_since(frame.captured.monotonic);
                self.conclude(taken, (prediction, None), waited);
                return self.trouble(None);
            }
            Err(error @ LookError::Overrun { .. }) => {
                tracing::warn!(camera = %frame.camera, frame = frame.seq, "{error}");
                NoVerdictReason::Overrun
            }
            Err(LookError::Unwanted) => NoVerdictReason::Deadline,
            Err(LookError::Engine(error)) => {
                self.trouble(Some(&error.to_string()));
                NoVerdictReason::EngineError
            }
            Err(error @ (LookError::View(_) | LookError::Memory(_))) => {
                tracing::error!(camera = %frame.camera, frame = frame.seq, "{error}");
                NoVerdictReason::EngineError
            }
        };
        station.failed(frame, reason);
    }
}
