//! Parts that have their verdicts, handed over to whoever learns from them; the inference thread never waits for that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::recipe::RecipeSpec;
use crate::anomaly::Prediction;
use crate::frame::Frame;
use crate::verdict::Verdict;

/// Parts that may wait for the one who learns, with their pixels; those that find no room are left out.
const WAITING: usize = 2;

/// A part that was judged.
pub struct Handed {
    /// Its picture.
    pub frame: Frame,
    /// What the engine said of it; the map's values are here.
    pub prediction: Prediction,
    /// Pass or fail.
    pub verdict: Verdict,
    /// What it was judged by.
    pub recipe: Arc<RecipeSpec>,
}

struct Taker {
    /// Parts that were captured before are not meant.
    since: Instant,
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
    pub fn begin(&self, since: Instant) -> Receiver<Handed> {
        let (parts, taken) = bounded(WAITING);
        *self.taker() = Some(Taker { since, parts });
        taken
    }

    /// Hands a part over, when somebody takes parts and has room. Costs a map its fetch only then.
    pub fn offer(&self, frame: &Frame, prediction: &Prediction, verdict: Verdict, recipe: &Arc<RecipeSpec>) {
        let mut taker = self.taker();
        let Some(Taker { since, parts }) = taker.as_ref() else { return };
        if frame.captured.monotonic < *since || parts.is_full() {
            return;
        }
        // The engine overwrites what is not fetched.
        prediction.map.values();
        let handed =
            Handed { frame: frame.clone(), prediction: prediction.clone(), verdict, recipe: Arc::clone(recipe) };
        if let Err(TrySendError::Disconnected(_)) = parts.try_send(handed) {
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
        let offer = |frame: &Frame| hand_over.offer(frame, &prediction, Verdict::Pass, &recipe);
        offer(&at(0, since));
        let parts = hand_over.begin(since);
        offer(&at(1, since.checked_sub(Duration::from_millis(1)).expect("the computer runs for longer")));
        (2..9).for_each(|seq| offer(&at(seq, since)));
        let taken: Vec<u64> = parts.try_iter().map(|part| part.frame.seq).collect();
        assert_eq!(taken, [2, 3], "bounded by {WAITING}");
        offer(&at(9, since));
        assert_eq!(parts.try_recv().expect("there is room again").frame.seq, 9);
        drop(parts);
        offer(&at(10, since));
        assert!(hand_over.taker().is_none());
    }
}
