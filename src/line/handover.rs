//! Parts that have their verdicts, handed over to whoever learns from them; the inference thread never waits for that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::recipe::RecipeSpec;
use super::way::Way;
use crate::anomaly::Prediction;
use crate::frame::Frame;
use crate::memory::Memory;
use crate::verdict::Verdict;

/// Parts that may wait for the one who learns, with their pixels; those that find no room are left out.
const WAITING: usize = 2;

/// A part that was judged; one without a verdict only to a taker who wants tokens.
pub struct Handed {
    /// Its picture.
    pub frame: Frame,
    /// What the recipe has judged: what the engine said, joined with the memory's where there is one. The map's values are here.
    pub prediction: Prediction,
    /// What the engine alone said, with its tokens, for a taker who wants them.
    pub own: Option<Prediction>,
    /// Pass or fail; without a verdict where the memory could not be used.
    pub verdict: Verdict,
    /// What it was judged by.
    pub recipe: Arc<RecipeSpec>,
    /// What helped the model.
    pub memory: Option<Arc<Memory>>,
    /// How it was looked at.
    pub way: Arc<Way>,
}

struct Taker {
    /// Parts that were captured before are not meant.
    since: Instant,
    /// Of the engine, too.
    tokens: bool,
    parts: Sender<Handed>,
}

/// One camera's parts on their way to one taker at a time.
#[derive(Default)]
pub(super) struct HandOver {
    taker: Mutex<Option<Taker>>,
}

impl HandOver {
    fn taker(&self) -> MutexGuard<'_, Option<Taker>> {
        self.taker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on parts captured `since` then go here, and to nobody before. Ends when the receiver is dropped.
    pub fn begin(&self, since: Instant, tokens: bool) -> Receiver<Handed> {
        let (parts, taken) = bounded(WAITING);
        *self.taker() = Some(Taker { since, tokens, parts });
        taken
    }

    /// Whether somebody takes parts, has room for one more, and wants the engine's tokens with it.
    pub fn wants_tokens(&self) -> bool {
        self.taker().as_ref().is_some_and(|taker| taker.tokens && !taker.parts.is_full())
    }

    /// Hands a part over, when somebody takes parts and has room. Costs a map its fetch only then.
    pub fn offer(&self, part: impl FnOnce() -> Handed, captured: Instant) {
        let mut taker = self.taker();
        let Some(Taker { since, tokens, parts }) = taker.as_ref() else { return };
        if captured < *since || parts.is_full() {
            return;
        }
        let part = part();
        // It was with the engine before anybody asked for tokens.
        if *tokens && part.own.is_none() {
            return;
        }
        // The engine overwrites what is not fetched.
        [Some(&part.prediction), part.own.as_ref()].into_iter().flatten().for_each(|said| _ = said.map.values());
        if let Err(TrySendError::Disconnected(_)) = parts.try_send(part) {
            *taker = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::anomaly::{AnomalyMap, StageTimes};
    use crate::clock::Moment;
    use crate::event::RecipeInfo;
    use crate::frame::{Image, PixelFormat};

    #[test]
    fn nobody_waits_for_the_taker_and_old_parts_are_not_meant() {
        let since = Instant::now();
        let at = |seq: u64, monotonic| {
            let image = Image::new(1, 1, PixelFormat::Gray8, vec![0]).expect("valid");
            Frame { seq, ..Frame::alone("top", Moment { monotonic, wall: jiff::Timestamp::UNIX_EPOCH }, image) }
        };
        let prediction =
            Prediction { map: AnomalyMap::new(1, vec![0.5]), score: 0.5, times: StageTimes::default(), tokens: None };
        let recipe = Arc::new(RecipeSpec {
            info: RecipeInfo { id: "caps".into(), version: 1 },
            threshold: None,
            defect_threshold: 0.5,
            min_area_px: 1,
            regions: Vec::new(),
        });
        let hand_over = HandOver::default();
        let offer = |frame: &Frame| {
            let part = || Handed {
                frame: frame.clone(),
                prediction: prediction.clone(),
                own: None,
                verdict: Verdict::Pass,
                recipe: Arc::clone(&recipe),
                memory: None,
                way: Arc::default(),
            };
            hand_over.offer(part, frame.captured.monotonic);
        };
        offer(&at(0, since));
        let parts = hand_over.begin(since, false);
        offer(&at(1, since.checked_sub(Duration::from_millis(1)).expect("the computer runs for longer")));
        (2..9).for_each(|seq| offer(&at(seq, since)));
        let taken: Vec<u64> = parts.try_iter().map(|part| part.frame.seq).collect();
        assert_eq!(taken, [2, 3], "bounded by {WAITING}");
        offer(&at(9, since));
        assert_eq!(parts.try_recv().expect("there is room again").frame.seq, 9);
        drop(parts);
        offer(&at(10, since));
        assert!(hand_over.taker().is_none());
        let parts = hand_over.begin(since, true);
        assert!(hand_over.wants_tokens());
        offer(&at(11, since));
        assert!(parts.try_recv().is_err(), "the engine was not asked for its tokens");
    }
}
