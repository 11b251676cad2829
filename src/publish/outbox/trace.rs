//! What a log still knows of one camera's frames: how far they were answered, and which parts were accepted.
//!
//! The log that a killed process leaves has its last records; whoever remembers frames beside it (a watched folder) learns
//! here which of them were answered, or are owed an answer by the next start.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use uuid::Uuid;

use super::lock::holder;
use super::record::{Kind, SEGMENT_HEAD, Step, Walk, leading_number};
use super::survey::paths;
use super::{OutboxError, OwedPart};
use crate::verdict::NoVerdictReason;

/// Segments that are read, from the newest on: more than lies between a frame and its event.
const NEWEST: usize = 4;

/// What is known of a camera's last frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The last frame of the session that has an event.
    pub answered_to: Option<u64>,
    /// Triggers of parts of the camera that were accepted, of whatever session, and when, milliseconds since 1970.
    pub accepted: Vec<(u64, i64)>,
}

/// The part of an event that is needed here.
#[derive(Deserialize)]
struct Event {
    session: Uuid,
    camera: String,
    reason: Option<NoVerdictReason>,
    frame: Option<Frame>,
}

#[derive(Deserialize)]
struct Frame {
    seq: u64,
}

/// Whether another process uses this log at the moment.
pub fn is_used(directory: &Path) -> Result<bool, OutboxError> {
    holder(directory).map(|process| process.is_some())
}

/// Looks for a camera's frames of a session in a log, changing nothing. A directory that is not there knows nothing.
pub fn trace(directory: &Path, session: Uuid, camera: &str) -> Result<Trace, OutboxError> {
    let paths = paths(directory)?;
    let mut trace = Trace::default();
    for path in paths.iter().rev().take(NEWEST) {
        let bytes = fs::read(path).map_err(OutboxError::io(path, "reading"))?;
        for step in Walk::new(&bytes, SEGMENT_HEAD) {
            let Step::Record(record, _) = step else { continue };
            match record.kind {
                Kind::Owed => {
                    let owed = serde_json::from_slice::<OwedPart>(record.payload).ok();
                    let own = owed.filter(|owed| owed.camera == camera);
                    trace.accepted.extend(own.map(|owed| (owed.part.trigger, owed.accepted.as_millisecond())));
                }
                Kind::Event => {
                    let json = leading_number(record.payload).map(|(_, json)| json).unwrap_or_default();
                    let event = serde_json::from_slice::<Event>(json).ok();
                    // A part of an earlier start has that start's frame.
                    let earlier = |event: &Event| event.reason == Some(NoVerdictReason::Restarted);
                    let own =
                        event.filter(|event| event.session == session && event.camera == camera && !earlier(event));
                    trace.answered_to = trace.answered_to.max(own.and_then(|event| event.frame).map(|frame| frame.seq));
                }
                Kind::Acked | Kind::Settled => {}
            }
        }
    }
    Ok(trace)
}
