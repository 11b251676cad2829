//! Frames wait here for the engine: one bounded lane per camera, a named policy when it is full, every drop counted.
//!
//! An engine that has room for more is told what is next; from then on that is the engine's, though it still waits here: no newer
//! frame takes its place. It is never told of more than it has asked for.
//!
//! All lanes share one lock, because the inference thread takes from all of them at once and a full lane gives up its
//! oldest frame in the same step that takes the new one. The lock is held for moving a frame, never for its pixels.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::frame::{Frame, Image};

/// What happens when a camera is faster than the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The frame that waited longest goes: verdicts stay fresh.
    #[default]
    DropOldest,
    /// The new frame goes: what waits is finished.
    Reject,
    /// Nothing goes, the source waits. Only for sources that can: files and folders.
    Wait,
}

/// What became of a frame.
#[derive(Debug)]
pub enum Pushed {
    /// It waits for the engine.
    Taken,
    /// The lane was full; this frame went, the oldest or the new one as the policy says.
    Dropped(Frame),
    /// Nobody takes frames any more.
    Closed(Frame),
}

/// What the engine gets.
#[derive(Debug)]
pub enum Batch {
    /// At least one frame, each with the index of its camera; in order per camera.
    Frames(Vec<(usize, Frame)>),
    /// Nothing came in time.
    Idle,
    /// Every camera has closed its lane and everything was taken.
    Closed,
}

/// How a lane is doing, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneCounters {
    /// Frames waiting now.
    pub waiting: usize,
    /// Frames taken in.
    pub taken: u64,
    /// Frames dropped because the lane was full.
    pub dropped: u64,
}

struct Lane {
    frames: VecDeque<Frame>,
    capacity: usize,
    when_full: WhenFull,
    /// The engine has some of its frames.
    with_engine: bool,
    taken: u64,
    dropped: u64,
}

struct Inner {
    lanes: Vec<Lane>,
    /// Frames that the engine has been told of, each with the index of its camera: the next that are taken, whatever comes.
    told: VecDeque<(usize, Frame)>,
    /// The camera that is asked first next time.
    turn: usize,
    /// Lanes whose camera may still push.
    open: usize,
    /// Nothing goes in any more: the collector is gone, or the line stops.
    closed: bool,
}

struct SharedLanes {
    inner: Mutex<Inner>,
    arrived: Condvar,
    room: Condvar,
}

impl SharedLanes {
    fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
        self.room.notify_all();
    }

    /// The state is consistent between any two statements under the lock, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A camera's end of its lane; dropping it closes the lane.
pub struct FrameQueue {
    shared: Arc<SharedLanes>,
    lane: usize,
}

/// The engine's end of all lanes; dropping it closes them.
pub struct Collector {
    shared: Arc<SharedLanes>,
}

/// Reads the counters, and closes the lanes when the line stops.
#[derive(Clone)]
pub struct QueueWatch {
    shared: Arc<SharedLanes>,
}

/// One lane per camera, in the order given: capacity in frames (0 counts as 1) and policy.
pub fn lanes(cameras: &[(usize, WhenFull)]) -> (Vec<FrameQueue>, Collector) {
    let lane = |&(capacity, when_full): &(usize, WhenFull)| Lane {
        frames: VecDeque::with_capacity(capacity),
        capacity: capacity.max(1),
        when_full,
        with_engine: false,
        taken: 0,
        dropped: 0,
    };
    let lanes = cameras.iter().map(lane).collect();
    let inner = Inner { lanes, told: VecDeque::new(), turn: 0, open: cameras.len(), closed: false };
    let shared = Arc::new(SharedLanes { inner: Mutex::new(inner), arrived: Condvar::new(), room: Condvar::new() });
    let queues = (0..cameras.len()).map(|lane| FrameQueue { shared: Arc::clone(&shared), lane }).collect();
    (queues, Collector { shared })
}

impl FrameQueue {
    /// Hands a frame over and returns what was dropped for it. Waits only under [`WhenFull::Wait`], until the engine
    /// has taken a frame or is gone.
    pub fn push(&self, frame: Frame) -> Pushed {
        let mut inner = self.shared.lock();
        loop {
            if inner.closed {
                return Pushed::Closed(frame);
            }
            let lane = &mut inner.lanes[self.lane];
            let full = lane.frames.len() >= lane.capacity;
            let dropped = match (full, lane.when_full) {
                (false, _) => None,
                (true, WhenFull::DropOldest) => lane.frames.pop_front(),
                (true, WhenFull::Reject) => {
                    lane.dropped += 1;
                    return Pushed::Dropped(frame);
                }
                (true, WhenFull::Wait) => {
                    inner = self.shared.room.wait(inner).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            };
            lane.frames.push_back(frame);
            lane.taken += 1;
            lane.dropped += u64::from(dropped.is_some());
            drop(inner);
            self.shared.arrived.notify_one();
            return dropped.map_or(Pushed::Taken, Pushed::Dropped);
        }
    }
}

impl FrameQueue {
    /// Whether no frame waits and the engine has answered what it took.
    pub fn is_idle(&self) -> bool {
        let inner = self.shared.lock();
        let lane = &inner.lanes[self.lane];
        lane.frames.is_empty() && !lane.with_engine && inner.told_of(self.lane) == 0
    }

    /// Takes so many frames (0 counts as 1) from now on, with this policy when it is full.
    pub fn arrange(&self, capacity: usize, when_full: WhenFull) {
        let mut inner = self.shared.lock();
        let lane = &mut inner.lanes[self.lane];
        (lane.capacity, lane.when_full) = (capacity.max(1), when_full);
    }
}

impl Drop for FrameQueue {
    fn drop(&mut self) {
        self.shared.lock().open -= 1;
        self.shared.arrived.notify_one();
    }
}

impl Collector {
    /// Takes what is waiting, at most `max` frames, one camera after the other in turn; waits up to `timeout` when
    /// nothing is. Whoever takes the next one has answered the one before.
    pub fn take_batch(&self, max: usize, timeout: Duration) -> Batch {
        let deadline = Instant::now() + timeout;
        let mut inner = self.shared.lock();
        inner.lanes.iter_mut().for_each(|lane| lane.with_engine = false);
        loop {
            let batch = inner.take(max.max(1));
            if !batch.is_empty() {
                drop(inner);
                self.shared.room.notify_all();
                return Batch::Frames(batch);
            }
            if inner.open == 0 || inner.closed {
                return Batch::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Batch::Idle;
            }
            inner = self.shared.arrived.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Pictures of the next frames in turn, at most `max`, up to the first that is damaged or of a camera that is not `seen`. From
    /// now on no newer frame takes their place: [`Self::take_batch`] hands them over next, and until then each answer begins with
    /// them.
    pub fn coming(&self, max: usize, seen: &[bool]) -> Vec<Image> {
        let images = self.shared.lock().tell(max, seen);
        self.shared.room.notify_all();
        images
    }

    /// Whether a frame could be taken now.
    pub fn is_waiting(&self) -> bool {
        let inner = self.shared.lock();
        !inner.told.is_empty() || inner.lanes.iter().any(|lane| !lane.frames.is_empty())
    }

    /// A look at the counters that outlives the collector.
    pub fn watch(&self) -> QueueWatch {
        QueueWatch { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl QueueWatch {
    /// Nothing goes in any more, whatever the cameras do; what waits can still be taken.
    pub fn close(&self) {
        self.shared.close();
    }

    /// One entry per camera.
    pub fn counters(&self) -> Vec<LaneCounters> {
        let inner = self.shared.lock();
        let counters = |(at, lane): (usize, &Lane)| {
            let waiting = lane.frames.len() + inner.told_of(at);
            LaneCounters { waiting, taken: lane.taken, dropped: lane.dropped }
        };
        inner.lanes.iter().enumerate().map(counters).collect()
    }
}

impl Inner {
    /// Frames of a camera that the engine has been told of.
    fn told_of(&self, camera: usize) -> usize {
        self.told.iter().filter(|(of, _)| *of == camera).count()
    }

    /// The camera whose frame is next.
    fn next_camera(&self) -> Option<usize> {
        let cameras = self.lanes.len();
        (0..cameras).map(|step| (self.turn + step) % cameras).find(|&camera| !self.lanes[camera].frames.is_empty())
    }

    fn next(&mut self) -> Option<(usize, Frame)> {
        let camera = self.next_camera()?;
        self.turn = (camera + 1) % self.lanes.len();
        Some((camera, self.lanes[camera].frames.pop_front()?))
    }

    fn tell(&mut self, max: usize, seen: &[bool]) -> Vec<Image> {
        while self.told.len() < max {
            let is_seen = |camera: &usize| {
                seen[*camera] && self.lanes[*camera].frames.front().is_some_and(|next| !next.image.damaged)
            };
            if self.next_camera().filter(is_seen).is_none() {
                break;
            }
            let next = self.next();
            self.told.extend(next);
        }
        self.told.iter().take(max).map(|(_, frame)| frame.image.clone()).collect()
    }

    fn take(&mut self, max: usize) -> Vec<(usize, Frame)> {
        let mut batch = Vec::new();
        while batch.len() < max {
            let Some((camera, frame)) = self.told.pop_front().or_else(|| self.next()) else { break };
            self.lanes[camera].with_engine = true;
            batch.push((camera, frame));
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ClockSource, SystemClock};
    use crate::frame::PixelFormat;

    fn frame(camera: &str, seq: u64) -> Frame {
        Frame {
            camera: camera.into(),
            seq,
            part: None,
            captured: SystemClock.now(),
            clock: ClockSource::System,
            file: None,
            image: Image::new(1, 1, PixelFormat::Gray8, vec![0]).expect("one pixel"),
        }
    }

    fn seqs(batch: Batch) -> Vec<(usize, u64)> {
        match batch {
            Batch::Frames(frames) => frames.iter().map(|(camera, frame)| (*camera, frame.seq)).collect(),
            other => panic!("expected frames, got {other:?}"),
        }
    }

    #[test]
    fn a_closed_lane_is_emptied_and_takes_nothing_more() {
        let (queues, collector) = lanes(&[(2, WhenFull::DropOldest)]);
        assert!(matches!(queues[0].push(frame("a", 0)), Pushed::Taken));
        collector.watch().close();
        assert!(matches!(queues[0].push(frame("a", 1)), Pushed::Closed(_)));
        assert_eq!(seqs(collector.take_batch(4, Duration::ZERO)), [(0, 0)]);
        assert!(matches!(collector.take_batch(4, Duration::from_secs(60)), Batch::Closed));
    }

    #[test]
    fn a_lane_is_idle_when_what_was_taken_is_answered_and_has_another_size_from_then_on() {
        let (queues, collector) = lanes(&[(1, WhenFull::Reject), (1, WhenFull::Reject)]);
        assert!(queues[0].is_idle());
        assert!(matches!(queues[0].push(frame("a", 0)), Pushed::Taken));
        assert!(!queues[0].is_idle() && queues[1].is_idle(), "it waits");
        assert_eq!(seqs(collector.take_batch(4, Duration::ZERO)), [(0, 0)]);
        assert!(!queues[0].is_idle() && queues[1].is_idle(), "the engine has it");
        assert!(matches!(collector.take_batch(4, Duration::ZERO), Batch::Idle));
        assert!(queues[0].is_idle());
        queues[0].arrange(2, WhenFull::DropOldest);
        assert!((1..3).all(|seq| matches!(queues[0].push(frame("a", seq)), Pushed::Taken)));
        assert!(matches!(queues[0].push(frame("a", 3)), Pushed::Dropped(frame) if frame.seq == 1));
    }

    #[test]
    fn the_oldest_goes_and_is_returned() {
        let (queues, collector) = lanes(&[(2, WhenFull::DropOldest)]);
        assert!(matches!(queues[0].push(frame("a", 0)), Pushed::Taken));
        assert!(matches!(queues[0].push(frame("a", 1)), Pushed::Taken));
        assert!(matches!(queues[0].push(frame("a", 2)), Pushed::Dropped(frame) if frame.seq == 0));
        assert_eq!(collector.watch().counters(), [LaneCounters { waiting: 2, taken: 3, dropped: 1 }]);
        assert_eq!(seqs(collector.take_batch(8, Duration::ZERO)), [(0, 1), (0, 2)]);
    }

    #[test]
    fn the_newest_is_rejected() {
        let (queues, collector) = lanes(&[(1, WhenFull::Reject)]);
        assert!(matches!(queues[0].push(frame("a", 0)), Pushed::Taken));
        assert!(matches!(queues[0].push(frame("a", 1)), Pushed::Dropped(frame) if frame.seq == 1));
        assert_eq!(seqs(collector.take_batch(8, Duration::ZERO)), [(0, 0)]);
    }

    #[test]
    fn cameras_take_turns() {
        let (queues, collector) = lanes(&[(8, WhenFull::Reject), (8, WhenFull::Reject), (8, WhenFull::Reject)]);
        for seq in 0..4 {
            queues[0].push(frame("a", seq));
        }
        queues[2].push(frame("c", 0));
        queues[2].push(frame("c", 1));
        assert_eq!(seqs(collector.take_batch(3, Duration::ZERO)), [(0, 0), (2, 0), (0, 1)]);
        assert_eq!(seqs(collector.take_batch(8, Duration::ZERO)), [(2, 1), (0, 2), (0, 3)]);
        assert!(matches!(collector.take_batch(8, Duration::ZERO), Batch::Idle));
    }

    #[test]
    fn what_comes_is_what_is_taken() {
        let (queues, collector) = lanes(&[(8, WhenFull::Reject), (8, WhenFull::Reject), (8, WhenFull::Reject)]);
        for (lane, count) in [(0, 4), (2, 2)] {
            (0..count).for_each(|seq| assert!(matches!(queues[lane].push(frame("x", seq)), Pushed::Taken)));
        }
        for _ in 0..3 {
            let coming = collector.coming(2, &[true; 3]);
            let Batch::Frames(taken) = collector.take_batch(2, Duration::ZERO) else { panic!("frames came") };
            assert_eq!((coming.len(), taken.len()), (2, 2));
            assert!(coming.iter().zip(&taken).all(|(image, (_, frame))| image.is_same(&frame.image)));
        }
        assert!(collector.coming(2, &[true; 3]).is_empty());
        assert!(matches!(collector.take_batch(2, Duration::ZERO), Batch::Idle));
    }

    #[test]
    fn what_the_engine_was_told_of_is_not_dropped() {
        let (queues, collector) = lanes(&[(1, WhenFull::DropOldest), (1, WhenFull::Reject)]);
        queues[0].push(frame("a", 0));
        queues[1].push(frame("b", 0));
        assert_eq!(collector.coming(1, &[true, true]).len(), 1);
        assert!(matches!(queues[0].push(frame("a", 1)), Pushed::Taken), "there is room for another");
        assert!(matches!(queues[0].push(frame("a", 2)), Pushed::Dropped(frame) if frame.seq == 1));
        assert_eq!(collector.watch().counters()[0], LaneCounters { waiting: 2, taken: 3, dropped: 1 });
        assert_eq!(collector.coming(4, &[true, false]).len(), 1, "b is next, and is not seen");
        assert_eq!(seqs(collector.take_batch(2, Duration::ZERO)), [(0, 0), (1, 0)]);
        assert!(!queues[0].is_idle() && collector.is_waiting());
        // It is told of the same again, and of no more than it asks for.
        let told = || collector.coming(4, &[true, true]);
        assert!(told().len() == 1 && told()[0].is_same(&told()[0]) && collector.coming(0, &[true, true]).is_empty());
        assert!(matches!(collector.take_batch(2, Duration::ZERO), Batch::Frames(_)));
        assert!(matches!(collector.take_batch(2, Duration::ZERO), Batch::Idle));
        assert!(queues.iter().all(FrameQueue::is_idle) && !collector.is_waiting());

        let mut damaged = frame("a", 3);
        damaged.image.damaged = true;
        queues[0].push(damaged);
        assert!(collector.coming(1, &[true, true]).is_empty());
        queues[1].push(frame("b", 1));
        queues[0].push(frame("a", 4));
        assert_eq!(collector.coming(3, &[true, true]).len(), 2);
        queues[0].push(frame("a", 5));
        collector.watch().close();
        assert_eq!(seqs(collector.take_batch(2, Duration::ZERO)).len(), 2, "told of before the line stops");
        assert_eq!(seqs(collector.take_batch(2, Duration::ZERO)), [(0, 5)]);
        assert!(matches!(collector.take_batch(2, Duration::ZERO), Batch::Closed));
    }

    #[test]
    fn closing_drains_first() {
        let (queues, collector) = lanes(&[(2, WhenFull::Reject)]);
        queues[0].push(frame("a", 0));
        drop(queues);
        assert_eq!(seqs(collector.take_batch(1, Duration::ZERO)), [(0, 0)]);
        assert!(matches!(collector.take_batch(1, Duration::from_secs(60)), Batch::Closed));
    }

    #[test]
    fn a_waiting_camera_learns_that_the_engine_is_gone() {
        let (queues, collector) = lanes(&[(1, WhenFull::Wait)]);
        queues[0].push(frame("a", 0));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| queues[0].push(frame("a", 1)));
            drop(collector);
            assert!(matches!(waiting.join().expect("no panic"), Pushed::Closed(frame) if frame.seq == 1));
        });
    }

    /// Threads push as fast as they can: nothing is lost uncounted, nothing comes twice, order holds per camera.
    #[test]
    fn every_frame_is_taken_or_returned() {
        const FRAMES: u64 = 5_000;
        let policies = [WhenFull::DropOldest, WhenFull::Reject, WhenFull::Wait, WhenFull::DropOldest];
        let (queues, collector) = lanes(&policies.map(|policy| (3, policy)));
        let watch = collector.watch();
        let mut seen = vec![Vec::new(); policies.len()];
        let mut dropped = Vec::new();
        std::thread::scope(|scope| {
            let pushing: Vec<_> = queues
                .into_iter()
                .map(|queue| {
                    scope.spawn(move || {
                        let returned = |seq| match queue.push(frame("x", seq)) {
                            Pushed::Taken => None,
                            Pushed::Dropped(frame) => Some(frame.seq),
                            Pushed::Closed(_) => panic!("the collector is there"),
                        };
                        (0..FRAMES).filter_map(returned).collect::<Vec<_>>()
                    })
                })
                .collect();
            loop {
                match collector.take_batch(5, Duration::from_secs(20)) {
                    Batch::Frames(frames) => {
                        assert!(frames.len() <= 5);
                        frames.iter().for_each(|(camera, frame)| seen[*camera].push(frame.seq));
                    }
                    Batch::Idle => panic!("a wake-up was lost"),
                    Batch::Closed => break,
                }
            }
            dropped.extend(pushing.into_iter().map(|thread| thread.join().expect("no panic")));
        });
        for (camera, (seen, dropped)) in seen.iter().zip(&dropped).enumerate() {
            assert!(seen.is_sorted_by(|a, b| a < b), "camera {camera} out of order");
            assert_eq!(watch.counters()[camera].dropped, dropped.len() as u64);
            let mut all: Vec<u64> = seen.iter().chain(dropped).copied().collect();
            all.sort_unstable();
            assert_eq!(all, (0..FRAMES).collect::<Vec<_>>(), "camera {camera}");
        }
        assert!(dropped[2].is_empty(), "a source that waits loses nothing");
    }
}
