//! Hands frames from GStreamer's streaming thread to the camera's thread: a few at most, and what goes wrong after them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::frame::Frame;

/// Frames that may wait. Two, so that one can arrive while another is taken; real queueing is the line's business.
const CAPACITY: usize = 2;

/// What happens to a frame that arrives while [`CAPACITY`] frames wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Cameras: the oldest waiting frame goes, which the sequence numbers show.
    DropOldest,
    /// Files: GStreamer waits, nothing is lost.
    Wait,
}

/// What [`Mailbox::take`] found.
#[derive(Debug)]
pub enum Taken<End> {
    /// The oldest waiting frame.
    Frame(Frame),
    /// Nothing within the time given.
    Nothing,
    /// No more frames will come; stays until [`Mailbox::reopen`].
    Ended(End),
}

/// One camera's mailbox. `End` says why no more frames come.
#[derive(Debug)]
pub struct Mailbox<End> {
    state: Mutex<State<End>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<End> {
    frames: VecDeque<Frame>,
    overflow: Overflow,
    end: Option<End>,
    closed: bool,
    delivered: u64,
}

impl<End: Clone> Mailbox<End> {
    /// An empty mailbox.
    pub fn new(overflow: Overflow) -> Self {
        let state =
            State { frames: VecDeque::with_capacity(CAPACITY), overflow, end: None, closed: false, delivered: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Changes the policy, as soon as GStreamer says whether the pipeline is live.
    pub fn set_overflow(&self, overflow: Overflow) {
        self.lock().overflow = overflow;
        self.changed.notify_all();
    }

    /// Puts a frame in, waiting for room where the policy says so. False when the mailbox is closed.
    pub fn put(&self, frame: Frame) -> bool {
        let mut state = self.lock();
        while state.frames.len() >= CAPACITY && state.overflow == Overflow::Wait && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        if state.frames.len() >= CAPACITY {
            state.frames.pop_front();
        }
        state.frames.push_back(frame);
        state.delivered += 1;
        self.changed.notify_all();
        true
    }

    /// Says why no more frames come; the first reason is kept, later ones are its consequences.
    pub fn end(&self, end: End) {
        let mut state = self.lock();
        state.end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// The oldest frame; when there is none, the end; else waits up to `timeout`.
    pub fn take(&self, timeout: Duration) -> Taken<End> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(frame) = state.frames.pop_front() {
                self.changed.notify_all();
                return Taken::Frame(frame);
            }
            if let Some(end) = &state.end {
                return Taken::Ended(end.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.closed {
                return Taken::Nothing;
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until a frame is there, the end is known or `timeout` is over. The frame stays for [`Mailbox::take`].
    pub fn wait(&self, timeout: Duration) -> Result<bool, End> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            match (&state.end, state.frames.is_empty()) {
                (_, false) => return Ok(true),
                (Some(end), true) => return Err(end.clone()),
                (None, true) => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The end reported so far, whether or not frames are still waiting.
    pub fn ended(&self) -> Option<End> {
        self.lock().end.clone()
    }

    /// Frames put in since the mailbox was made.
    pub fn delivered(&self) -> u64 {
        self.lock().delivered
    }

    /// Forgets the end, when the pipeline starts again.
    pub fn reopen(&self) {
        self.lock().end = None;
    }

    /// Refuses all further frames and wakes whoever waits, so that the pipeline can stop.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.frames.clear();
        self.changed.notify_all();
    }

    // A panic elsewhere while the lock was held leaves the queue as it was: every change is one step.
    fn lock(&self) -> MutexGuard<'_, State<End>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::{Clock, ClockSource, SystemClock};
    use crate::frame::{Image, PixelFormat};

    fn frame(seq: u64) -> Frame {
        let image = Image::new(1, 1, PixelFormat::Gray8, vec![0]).unwrap();
        let (captured, clock) = (SystemClock.now(), ClockSource::System);
        Frame { camera: "top".into(), seq, part: None, captured, clock, file: None, image }
    }

    fn taken(mailbox: &Mailbox<&'static str>) -> String {
        match mailbox.take(Duration::from_millis(1)) {
            Taken::Frame(frame) => frame.seq.to_string(),
            Taken::Nothing => "nothing".to_owned(),
            Taken::Ended(why) => why.to_owned(),
        }
    }

    #[test]
    fn a_camera_keeps_its_newest_frames_and_the_end_comes_after_them() {
        let mailbox = Mailbox::new(Overflow::DropOldest);
        (0..5).for_each(|seq| assert!(mailbox.put(frame(seq))));
        mailbox.end("unplugged");
        mailbox.end("a consequence");
        let seen: Vec<_> = (0..4).map(|_| taken(&mailbox)).collect();
        assert_eq!(seen, ["3", "4", "unplugged", "unplugged"]);
        mailbox.reopen();
        assert_eq!(taken(&mailbox), "nothing");
    }

    #[test]
    fn a_file_waits_for_room_until_the_mailbox_is_closed() {
        let mailbox = Arc::new(Mailbox::<&'static str>::new(Overflow::Wait));
        let writer = std::thread::Builder::new().name("writer".into()).spawn({
            let mailbox = Arc::clone(&mailbox);
            move || (0..10).take_while(|&seq| mailbox.put(frame(seq))).count()
        });
        let seen: Vec<_> = (0..4).map(|_| mailbox.take(Duration::from_secs(5))).collect();
        for (expected, taken) in seen.iter().enumerate() {
            assert!(matches!(taken, Taken::Frame(frame) if frame.seq == expected as u64), "{taken:?}");
        }
        mailbox.close();
        assert!(writer.unwrap().join().unwrap() <= 6);
    }
}
