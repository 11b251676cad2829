//! Frames that the line had to drop, as an alarm that is raised once and cleared once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::line::queue::LaneCounters;

/// The alarm is cleared when nothing has been dropped for so long.
const QUIET: Duration = Duration::from_secs(10);

/// A change worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The camera has begun to drop frames.
    Began(Arc<str>),
    /// It has dropped none for a while; so many it had been.
    Ended(Arc<str>, u64),
}

/// Knows which cameras have dropped frames lately.
#[derive(Debug, Default)]
pub struct DropWatch {
    cameras: BTreeMap<Arc<str>, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    dropped: u64,
    /// Count before the alarm and when it last grew, while the alarm stands.
    alarm: Option<(u64, Instant)>,
}

impl DropWatch {
    /// Looks at the counters; to be called several times a second.
    pub fn look(&mut self, now: Instant, queues: &[(Arc<str>, LaneCounters)]) -> Vec<Change> {
        let mut changes = Vec::new();
        for (camera, counters) in queues {
            let seen = self.cameras.entry(Arc::clone(camera)).or_default();
            let before = std::mem::replace(&mut seen.dropped, counters.dropped);
            match seen.alarm {
                None if counters.dropped > before => {
                    seen.alarm = Some((before, now));
                    changes.push(Change::Began(Arc::clone(camera)));
                }
                Some((first, _)) if counters.dropped > before => seen.alarm = Some((first, now)),
                Some((first, last)) if now.saturating_duration_since(last) >= QUIET => {
                    seen.alarm = None;
                    changes.push(Change::Ended(Arc::clone(camera), counters.dropped - first));
                }
                _ => {}
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_raised_once_and_cleared_after_ten_quiet_seconds() {
        let (top, side): (Arc<str>, Arc<str>) = ("top".into(), "side".into());
        let lane = |dropped| LaneCounters { waiting: 0, taken: 100, dropped };
        let start = Instant::now();
        let mut watch = DropWatch::default();
        let mut look = |second: u64, dropped: u64| {
            let queues = [(Arc::clone(&top), lane(dropped)), (Arc::clone(&side), lane(0))];
            watch.look(start + Duration::from_secs(second), &queues)
        };
        assert_eq!(look(0, 0), []);
        assert_eq!(look(1, 2), [Change::Began(Arc::clone(&top))]);
        assert_eq!(look(5, 7), []);
        assert_eq!(look(14, 7), []);
        assert_eq!(look(15, 7), [Change::Ended(Arc::clone(&top), 7)]);
        assert_eq!(look(40, 7), []);
        assert_eq!(look(41, 8), [Change::Began(Arc::clone(&top))]);
        assert_eq!(look(51, 8), [Change::Ended(top, 1)]);
    }
}
