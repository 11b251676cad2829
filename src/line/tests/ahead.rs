//! What an engine is told of before its turn comes.

use std::collections::BTreeSet;

use super::*;
use crate::engine::{Coming, nothing_comes};
use crate::view::{TileSpec, ViewSpec};

/// Columns of a whole frame.
const WIDE: u32 = 8;
/// First pixel of the frames that are cut into tiles.
const TILED: u8 = 77;
const FRAMES: u64 = 200;

/// Asks for three pictures that are next in every batch, and holds the line to its word.
struct Curious {
    info: EngineInfo,
    told: Vec<Image>,
    /// Pictures that it had been told of when they were asked for.
    known: Arc<AtomicU64>,
}

impl Engine for Curious {
    fn infer(&mut self, frames: &[&Frame]) -> Result<Vec<Prediction>, EngineError> {
        self.infer_looking_ahead(frames, &nothing_comes)
    }

    fn infer_looking_ahead(&mut self, frames: &[&Frame], coming: &Coming<'_>) -> Result<Vec<Prediction>, EngineError> {
        for frame in frames.iter().filter(|frame| frame.image.width == WIDE) {
            // Parts that nobody waits for any longer leave gaps.
            if let Some(at) = self.told.iter().position(|image| image.is_same(&frame.image)) {
                self.told.drain(..=at);
                self.known.fetch_add(1, Ordering::Relaxed);
            } else {
                assert!(self.told.is_empty(), "another frame took the place of {} that were next", self.told.len());
            }
        }
        std::thread::sleep(Duration::from_millis(1));
        if frames[0].image.width == WIDE {
            let next = coming(3);
            assert!(next.len() <= 3 && next.iter().all(|image| image.data()[0] != TILED && !image.damaged));
            assert!(self.told.iter().zip(&next).all(|(told, next)| told.is_same(next)), "told of the same again");
            self.told = next;
        }
        let predict = |frame: &&Frame| {
            let score = f32::from(frame.image.data()[0]) / 255.0;
            let map = AnomalyMap::new(4, vec![score; 16]);
            Prediction { map, score, times: StageTimes::default(), tokens: None }
        };
        Ok(frames.iter().map(predict).collect())
    }

    fn info(&self) -> &EngineInfo {
        &self.info
    }
}

#[test]
fn what_an_engine_is_told_of_is_next_and_every_part_has_one_verdict() {
    let known = Arc::new(AtomicU64::new(0));
    let engine = Curious { info: info(2), told: Vec::new(), known: Arc::clone(&known) };
    let names = ["a", "b", "tiled"];
    let (feeds, mut cameras): (Vec<_>, Vec<_>) =
        names.map(|name| camera(name, 2, WhenFull::DropOldest)).into_iter().unzip();
    for (plan, _) in &mut cameras {
        plan.trigger = TriggerPlan::hardware(None);
    }
    let tiles = TileSpec::Grid { grid: [2, 1], overlap: 0.25 };
    cameras[2].0.view = ViewSpec { tiles: Some(tiles), ..ViewSpec::default() };
    let (line, notebook) = start_with(cameras, engine, Vec::new());
    for seq in 0..FRAMES {
        for ((feed, name), pixel) in feeds.iter().zip(names).zip([20, 30, TILED]) {
            let mut frame = part(frame(name, seq, pixel));
            frame.image.damaged = seq % 31 == 7;
            feed.send(Ok(frame)).expect("room");
        }
        // Faster than the engine, but for a pause now and then in which it has nothing left to do.
        std::thread::sleep(Duration::from_millis(if seq % 50 == 49 { 40 } else { 1 }));
    }
    until("a verdict for every part", || notebook.events().len() as u64 == 3 * FRAMES);
    let events = notebook.events();
    let parts: BTreeSet<_> =
        events.iter().map(|event| (&event.camera, &event.part.as_ref().expect("a part").id)).collect();
    assert_eq!(parts.len() as u64, 3 * FRAMES, "none twice");
    for (name, score) in names.iter().zip([20.0, 30.0, f32::from(TILED)]) {
        let of_camera = || events.iter().filter(|event| event.camera == *name);
        let judged: Vec<_> = of_camera().filter_map(|event| event.score).collect();
        // That of tiles is taken from the stitched map.
        let is_right = |found: &f32| *name == "tiled" || (found - score / 255.0).abs() < 1e-6;
        assert!(!judged.is_empty() && judged.iter().all(is_right), "{name}");
        assert!(of_camera().any(|event| event.reason == Some(NoVerdictReason::Overrun)), "{name} was not too fast");
    }
    assert!(known.load(Ordering::Relaxed) > 20, "{known:?} were known before");
    assert_eq!(line.stop(LONG).panicked.len(), 0);
}
