//! Whom the line tells: of events, of its cameras' states, of signs of life.

use std::time::Instant;

use crate::camera::CameraState;
use crate::event::InspectionEvent;
use crate::frame::Part;
use crate::verdict::Suspect;

/// Nothing was taken, and this is why: the way out is full or closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A part that is owed an event, by the number under which the sink knows it: whether it is kept can be asked with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debt(pub u64);

/// Takes what the line has to say. Implemented by the service, by `bench` and by tests.
pub trait EventSink: Send + Sync {
    /// A trigger for this part has come. Taken, the part is owed exactly one event with the same `part`, also across a
    /// crash; refused, it is owed none, and whoever sent the trigger has to be told. Never waits.
    fn owe(&self, camera: &str, part: &Part) -> Result<Debt, Refused>;
    /// One event, in order per camera. Never waits: it is called under the camera's locks. That of an owed part is
    /// refused only when the program is ending; a refused event has used no number. One that leaves after `due` is
    /// marked so.
    fn verdict(&self, event: InspectionEvent, captured: Instant, due: Option<Instant>) -> Result<(), Refused>;
    /// A camera has changed its state; `detail` says why it is lost.
    fn camera(&self, camera: &str, state: CameraState, detail: Option<&str>);
    /// The engine has begun to fail (the reason) or works again (`None`).
    fn engine(&self, error: Option<&str>);
    /// A camera's pictures have changed in this way (what, and what to do), or look like those of the good parts again
    /// (`None`).
    fn picture(&self, _camera: &str, _suspect: Suspect, _message: Option<&str>) {}
}

/// Learns that the inference thread is alive: after every batch, and twice a second while nothing comes.
pub trait Heartbeat: Send + Sync {
    /// One sign of life.
    fn step(&self);
}
