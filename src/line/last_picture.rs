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
        if std::mem::take(&mut last.wanted) {
            inspected.map.values();
        }
        last.picture = Picture::Whole(Arc::new(inspected));
        self.whole.notify_all();
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
