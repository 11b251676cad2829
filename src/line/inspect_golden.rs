//! Golden parts are judged when no frame waits: each costs the next part at most one look of the engine.

use std::sync::Arc;

use super::camera_settings::Judge;
use super::golden::GoldenPart;
use super::inspect::Inspector;
use super::locating::Placed;
use super::recipe::{Recipe, RecipeSpec, no_verdict};
use super::station::Station;
use crate::error_chain;
use crate::frame::Frame;
use crate::look::{Asked, LookError};
use crate::verdict::Inspection;

impl Inspector<'_> {
    /// Judges those that wait, one of each camera, until `busy`: a frame has come.
    pub(super) fn judge_golden(&mut self, busy: &dyn Fn() -> bool) {
        for at in 0..self.post.stations.len() {
            if busy() || self.too_late() {
                return;
            }
            let station = Arc::clone(&self.post.stations[at]);
            let Some(part) = station.golden.take() else { continue };
            match self.judge_one(at, &station, &part, busy) {
                Ok(Some(inspection)) => part.answer(Ok(inspection)),
                Ok(None) => station.golden.put_back(part),
                Err(reason) => part.answer(Err(reason)),
            }
            self.heartbeat.step();
        }
    }

    /// As a frame of this camera would be judged now; `None` when a frame came between its tiles.
    fn judge_one(
        &mut self,
        at: usize,
        station: &Station,
        part: &GoldenPart,
        busy: &dyn Fn() -> bool,
    ) -> Result<Option<Inspection>, String> {
        let Judge { recipe, memory, way } = self.settle(at);
        if let Some(memory) = &memory {
            memory.fits(&self.post.context.model).map_err(|error| error.to_string())?;
        }
        self.let_go();
        self.ask_for_tokens(memory.is_some());
        let frame = Frame::alone(Arc::clone(station.camera()), self.clock.now(), part.image.clone());
        let heartbeat = Arc::clone(&self.heartbeat);
        let wanted = || {
            heartbeat.step();
            !busy()
        };
        let asked = Asked { regions: &recipe.regions, memory: memory.as_deref(), until: None, wanted: Some(&wanted) };
        let placed = match Placed::new(&frame, way.locate.as_ref()) {
            Ok(placed) => placed,
            Err(error) => return Ok(Some(no_verdict(error.reason()))),
        };
        let prediction = match self.lookers[at].look(self.engine, placed.seen(), asked, None) {
            Ok(prediction) => prediction,
            Err(LookError::Unwanted) => return Ok(None),
            Err(error) => return Err(error_chain::one_line(&error)),
        };
        let mut judge = Recipe::new(RecipeSpec::clone(&recipe));
        let judged = judge.inspect(&prediction, frame.image.width, frame.image.height);
        judged.map(|judged| Some(placed.inspection(judged))).map_err(|error| error.to_string())
    }
}
