//! The picture that was inspected last, for somebody who asks for it; its map is kept for nobody.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::anomaly::AnomalyMap;
use crate::frame::Frame;

/// How long somebody who asks for the last picture waits for the engine to look at it again.
const AGAIN: Duration = Duration::from_secs(5);

/// The picture that was inspected last, with its anomaly map.
pub struct Inspected {
    /// The picture.
    pub frame: Frame,
    /// Where it is how anomalous.
    pub map: AnomalyMap,
    /// From here on the map shows a defect.
    pub defect_threshold: f32,
}

#[derive(Default)]
enum Picture {
    #[default]
    Nothing,
    /// Its map was left where the engine had it, and is overwritten by now.
    Bare {
        frame: Frame,
        defect_threshold: f32,
    },
    Whole(Arc<Inspected>),
}

#[derive(Default)]
struct Last {
    picture: Picture,
    /// Somebody waits for the map.
    wanted: bool,
    /// Somebody looks on: the next picture is to have its map.
    looked_on: bool,
    /// The last one that has it, while somebody looks on and the engine keeps the maps.
    shown: Option<Arc<Inspected>>,
}

/// One camera's.
#[derive(Default)]
pub(super) struct LastPicture {
    last: Mutex<Last>,
    /// The last picture is whole.
    whole: Condvar,
}

impl LastPicture {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the picture that was inspected last; its map only as long as the engine has it anyway, unless it is wanted.
    pub fn keep(&self, inspected: Inspected) {
        let mut last = self.last();
        let looked_on = std::mem::take(&mut last.looked_on);
        if std::mem::take(&mut last.wanted) || looked_on {
            inspected.map.values();
        }
        let whole = Arc::new(inspected);
        if looked_on {
            last.shown = Some(Arc::clone(&whole));
        }
        last.picture = Picture::Whole(whole);
        self.whole.notify_all();
    }

    /// The newest picture whose map is here, for somebody who looks on. Never waits, and asks the engine to look again only
    /// when there is none at all; the next picture will have its map.
    pub fn glimpse(&self) -> Option<Arc<Inspected>> {
        let mut last = self.last();
        last.looked_on = true;
        let newest = match &last.picture {
            Picture::Whole(whole) if whole.map.is_here() => Some(Arc::clone(whole)),
            _ => last.shown.clone(),
        };
        last.wanted |= newest.is_none() && matches!(last.picture, Picture::Bare { .. });
        newest
    }

    /// The frame of it, without a map.
    pub fn frame(&self) -> Option<Frame> {
        match &self.last().picture {
            Picture::Nothing => None,
            Picture::Bare { frame, .. } => Some(frame.clone()),
            Picture::Whole(whole) => Some(whole.frame.clone()),
        }
    }

    /// The engine goes on: what it would have to fetch for nobody is let go.
    pub fn let_go(&self) {
        let mut last = self.last();
        let bare = match &last.picture {
            Picture::Whole(whole) if !whole.map.is_here() && Arc::strong_count(whole) == 1 => {
                Picture::Bare { frame: whole.frame.clone(), defect_threshold: whole.defect_threshold }
            }
            _ => return,
        };
        last.picture = bare;
    }

    /// The picture that the engine is to look at again, because somebody wants its map; and its threshold.
    pub fn wanted(&self) -> Option<(Frame, f32)> {
        let last = self.last();
        match &last.picture {
            Picture::Bare { frame, defect_threshold } if last.wanted => Some((frame.clone(), *defect_threshold)),
            _ => None,
        }
    }

    /// The engine could not look at it again; whoever asks later asks anew.
    pub fn not_shown(&self) {
        self.last().wanted = false;
    }

    /// The picture that was inspected last. May wait until the engine has looked at it again; `None` without one.
    pub fn latest(&self) -> Option<Arc<Inspected>> {
        let mut last = self.last();
        last.wanted = matches!(last.picture, Picture::Bare { .. });
        let bare = |last: &mut Last| matches!(last.picture, Picture::Bare { .. });
        let last = match self.whole.wait_timeout_while(last, AGAIN, bare) {
            Ok((last, _)) => last,
            Err(poisoned) => poisoned.into_inner().0,
        };
        match &last.picture {
            Picture::Whole(whole) => Some(Arc::clone(whole)),
            Picture::Nothing | Picture::Bare { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::anomaly::Fetch;
    use crate::clock::{Clock, SystemClock};
    use crate::frame::{Image, PixelFormat};

    struct Counted(Arc<AtomicUsize>);

    impl Fetch for Counted {
        fn fetch(&self) -> Vec<f32> {
            self.0.fetch_add(1, Ordering::Relaxed);
            vec![0.5]
        }
    }

    #[test]
    fn who_looks_on_costs_one_map_each_time() {
        let (last, fetched) = (LastPicture::default(), Arc::new(AtomicUsize::new(0)));
        let keep = |seq: u64| {
            let image = Image::new(1, 1, PixelFormat::Gray8, vec![0]).expect("valid");
            let frame = Frame { seq, ..Frame::alone("top", SystemClock.now(), image) };
            let map = AnomalyMap::elsewhere(1, 0.5, Box::new(Counted(Arc::clone(&fetched))));
            last.let_go();
            last.keep(Inspected { frame, map, defect_threshold: 0.5 });
        };
        let glimpsed = || last.glimpse().map(|seen| seen.frame.seq);
        assert_eq!(glimpsed(), None);
        (0..5).for_each(keep);
        assert_eq!((glimpsed(), fetched.load(Ordering::Relaxed)), (Some(0), 1));
        assert!(last.wanted().is_none(), "the engine need not look again");
        (5..9).for_each(keep);
        assert_eq!((glimpsed(), fetched.load(Ordering::Relaxed)), (Some(5), 2));
    }
}
