//! One thread per camera: opens it, hands its frames to the queue, opens it again when it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::error::LineError;
use super::plan::{Arrangement, CameraPlan, Open, Reopening, SourceOpener};
use super::sink::EventSink;
use super::station::Station;
use crate::camera::CameraState;
use crate::error_chain;
use crate::source::{Source, SourceError};

/// How soon a camera thread notices the stop while no frame comes.
const POLL: Duration = Duration::from_millis(100);

/// How soon events that the sink had no room for are offered again.
pub(super) const AGAIN: Duration = Duration::from_millis(10);

/// Never sent: the channel's end is the message.
pub(super) enum Never {}

/// From camera threads to the line.
pub(super) enum Notice {
    /// The first attempt to open the camera is over.
    Tried,
    Failed(LineError),
}

/// Everything a camera thread owns.
pub(super) struct CameraThread {
    pub plan: CameraPlan,
    pub open: SourceOpener,
    pub station: Arc<Station>,
    pub sink: Arc<dyn EventSink>,
    pub stop: Receiver<Never>,
    pub notices: Sender<Notice>,
}

/// Closes the camera's lane, however its thread ends.
struct Closing(Arc<Station>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Why frames stopped coming.
enum Pause {
    Stopped,
    /// The settings say another way to open it.
    Reopening,
    Ended,
    Failed(LineError),
    Lost(String),
}

impl CameraThread {
    /// Returns when the line stops, a finite source has ended, or the camera cannot be used at all.
    pub fn run(mut self) {
        // Also after a panic: the engine must not wait for frames that never come.
        let _closing = Closing(Arc::clone(&self.station));
        let camera = Arc::clone(&self.plan.name);
        self.state(CameraState::Starting, None);
        let mut next_seq = 0;
        let mut backoff = self.plan.backoff_min;
        let mut opened = false;
        loop {
            if let Some((Reopening { open, arrangement }, number)) = self.station.reopen.take() {
                if let Some(Open { open, backoff_min, backoff_max }) = open {
                    (self.open, self.plan.backoff_min, self.plan.backoff_max) = (open, backoff_min, backoff_max);
                    backoff = backoff_min;
                }
                self.state(CameraState::Starting, None);
                if self.stopped_before(arrangement, number, next_seq) {
                    break self.state(CameraState::Stopped, None);
                }
            }
            let before = next_seq;
            let pause = match (self.open)() {
                Ok(mut source) => {
                    tracing::info!(%camera, "camera open");
                    self.station.camera_back();
                    self.state(CameraState::Online, None);
                    self.opened(&mut opened);
                    let pause = self.pump(source.as_mut(), &mut next_seq);
                    source.stop();
                    pause
                }
                Err(error) => Pause::from(error),
            };
            match pause.after(self.station.settings.was_read_again(), &camera) {
                Pause::Reopening => {
                    tracing::info!(%camera, "the camera's settings have changed: it is opened anew");
                    self.station.camera_lost();
                }
                Pause::Stopped => break self.state(CameraState::Stopped, None),
                Pause::Ended => {
                    tracing::info!(%camera, frames = next_seq, "no more frames");
                    break self.state(CameraState::Stopped, None);
                }
                Pause::Failed(error) => {
                    self.state(CameraState::Lost, Some(&error.to_string()));
                    break self.notify(Notice::Failed(error));
                }
                Pause::Lost(error) => {
                    if next_seq > before {
                        backoff = self.plan.backoff_min;
                    }
                    tracing::warn!(%camera, retry_in = ?backoff, "{error}");
                    self.station.camera_lost();
                    self.state(CameraState::Lost, Some(&error));
                    self.opened(&mut opened);
                    if self.pauses(backoff) {
                        break self.state(CameraState::Stopped, None);
                    }
                    backoff = (backoff * 2).min(self.plan.backoff_max);
                }
            }
        }
    }

    /// Frames keep counting where they stopped when the camera is opened again.
    fn pump(&self, source: &mut dyn Source, next_seq: &mut u64) -> Pause {
        let (base, writer) = (*next_seq, self.station.writer());
        let mut size = None;
        loop {
            if self.stopped_within(Duration::ZERO) {
                return Pause::Stopped;
            }
            if self.station.reopen.closes() {
                return Pause::Reopening;
            }
            if let Some((Reopening { arrangement, .. }, number)) = self.station.reopen.take() {
                tracing::info!(camera = %self.plan.name, "the camera's settings have changed: it goes on in another way");
                if self.stopped_before(arrangement, number, *next_seq) {
                    return Pause::Stopped;
                }
                self.station.camera_back();
                // They may have changed once more meanwhile.
                continue;
            }
            if let Some(to) = writer.answered_to() {
                source.answered(to);
            }
            let (seq, frame) = match source.next(POLL) {
                Ok(Some(frame)) => (frame.seq + base, Ok(frame)),
                Ok(None) => continue,
                Err(error) => match error {
                    SourceError::Damaged { seq, .. } => (seq + base, Err(error)),
                    error => return Pause::from(error),
                },
            };
            if let Some(before) = seq.checked_sub(1) {
                self.station.lost(before, seq.saturating_sub(*next_seq));
            }
            *next_seq = seq + 1;
            source.hand_over(writer.session(), seq);
            let mut frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    tracing::warn!("{error}");
                    self.station.damaged_frames.one_in_vain();
                    self.station.damaged(seq, error);
                    continue;
                }
            };
            frame.seq = seq;
            let this_size = (frame.image.width, frame.image.height);
            if size != Some(this_size) {
                if let Err(source) = self.station.settings.frames_have(this_size.0, this_size.1) {
                    return Pause::Failed(LineError::Recipe { camera: self.plan.name.to_string(), source });
                }
                size = Some(this_size);
            }
            if !self.station.frame(frame) {
                return Pause::Stopped;
            }
            // Only what a source that can wait has shown is ever offered again.
            while !writer.offer_again() {
                if self.stopped_within(AGAIN) {
                    return Pause::Stopped;
                }
            }
        }
    }

    /// What the camera has in hand is answered as it came; from then on frames are taken in this way. True when the line stops
    /// before.
    fn stopped_before(&self, arrangement: Arrangement, number: u64, next_seq: u64) -> bool {
        self.station.settle();
        while !self.station.arrange(arrangement, number, next_seq) {
            if self.stopped_within(AGAIN) {
                return true;
            }
        }
        false
    }

    /// Before a lost camera is opened again; shorter when it is to be opened in another way. True when the line stops.
    fn pauses(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        while !self.station.reopen.is_due() {
            let left = until.saturating_duration_since(Instant::now());
            if self.stopped_within(left.min(POLL)) {
                return true;
            }
            if left.is_zero() {
                break;
            }
        }
        false
    }

    fn stopped_within(&self, time: Duration) -> bool {
        match self.stop.recv_timeout(time) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }

    fn state(&self, state: CameraState, detail: Option<&str>) {
        self.sink.camera(&self.plan.name, state, detail);
    }

    /// The start waits for every camera's first attempt, not for its success.
    fn opened(&self, told: &mut bool) {
        if !std::mem::replace(told, true) {
            self.notify(Notice::Tried);
        }
    }

    fn notify(&self, notice: Notice) {
        // There is room for both notices of every camera; it is closed only when nobody waits any more.
        if self.notices.try_send(notice).is_err() {
            tracing::debug!(camera = %self.plan.name, "nobody listens to this camera any more");
        }
    }
}

impl Pause {
    /// What is wrong with settings that were read while the line runs takes one camera away, and not the line.
    fn after(self, read_again: bool, camera: &str) -> Self {
        match self {
            Self::Failed(error) if read_again => {
                tracing::error!(
                    camera,
                    "the line goes on without this camera: mend its settings and have them read again"
                );
                Self::Lost(error_chain::one_line(&error))
            }
            pause => pause,
        }
    }
}

impl From<SourceError> for Pause {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Ended { .. } => Self::Ended,
            error if error.is_transient() => Self::Lost(error.to_string()),
            error => Self::Failed(LineError::Camera(error)),
        }
    }
}
