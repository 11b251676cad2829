//! Watched folders across a start: where it is remembered what was taken of them, and what has become of the last files.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::spec::OwedFile;
use crate::event::FrameInfo;
use crate::line::parts::TriggerMode;
use crate::publish::outbox::trace::{Trace, trace};
use crate::source::directory::{DirectorySpec, MemorySpec, Open, image_size, open_frames};

/// Folder of the memories in the line's state directory.
const FOLDER: &str = "taken";
/// A part is accepted within this time after its file was noted, milliseconds. A part of the same number that another
/// start has accepted just before or long after is another one.
const SOON: i64 = 5000;

/// Gives a watched folder its memory. `state` is where the line keeps what must outlast it, `outbox` the directory of its
/// outbox; only looks, changes nothing. Returns the files whose parts were accepted last.
pub fn remember(
    spec: &mut DirectorySpec,
    camera: &str,
    mode: TriggerMode,
    state: Option<&Path>,
    outbox: &Path,
) -> Vec<OwedFile> {
    if !spec.watch || spec.repeat {
        return Vec::new();
    }
    let Some(state) = state else {
        tracing::warn!(
            camera,
            "{}: no state directory, so that a restart takes its files again; set STATE_DIRECTORY or HOME",
            spec.path.display()
        );
        return Vec::new();
    };
    let file = state.join(FOLDER).join(format!("{camera}.log"));
    let last = Last::look(&file, &spec.path, camera, mode, outbox).unwrap_or_else(|error| {
        tracing::error!(camera, "what an earlier start has taken last cannot be looked up: {error}");
        Last::default()
    });
    if let Some((_, lost)) = last.settled.as_ref().filter(|(_, lost)| !lost.is_empty()) {
        tracing::info!(camera, files = lost.len(), "taken by the start before and not answered: taken again");
    }
    spec.memory = Some(MemorySpec { file, settled: last.settled });
    last.owed
}

/// What has become of the last files that an earlier start has taken.
#[derive(Default)]
struct Last {
    /// Its session, and the files that nobody knows.
    settled: Option<(Uuid, Vec<PathBuf>)>,
    /// Those whose parts were accepted.
    owed: Vec<OwedFile>,
}

impl Last {
    fn look(file: &Path, folder: &Path, camera: &str, mode: TriggerMode, outbox: &Path) -> Result<Self, String> {
        let told = |error: std::io::Error| format!("{}: {error}", file.display());
        let folder = std::path::absolute(folder).map_err(told)?;
        let Some((session, open)) = open_frames(file, &folder).map_err(told)? else { return Ok(Self::default()) };
        let trace = trace(outbox, session, camera).map_err(|error| error.to_string())?;
        let owed = open.iter().filter(|_| mode == TriggerMode::Hardware).filter_map(|(name, open)| {
            let (trigger, accepted) = accepted(open, &trace)?;
            // Without the file nobody knows the size of its frame.
            let (width, height) = image_size(&folder.join(name))?;
            let file = Some(name.to_string_lossy().into());
            let frame = FrameInfo { seq: open.frame, width, height, skipped_before: 0, file };
            Some(OwedFile { camera: camera.to_owned(), trigger, accepted, frame })
        });
        let owed = owed.collect();
        let lost = open.into_iter().filter(|(_, open)| is_lost(open, mode, &trace)).map(|(name, _)| name).collect();
        Ok(Self { settled: Some((session, lost)), owed })
    }
}

/// The part of this frame, where every frame is one: its trigger, and when it was accepted.
fn accepted(open: &Open, trace: &Trace) -> Option<(u64, i64)> {
    let own =
        |(trigger, accepted): &&(u64, i64)| *trigger == open.frame + 1 && (open.at..=open.at + SOON).contains(accepted);
    trace.accepted.iter().find(own).copied()
}

/// Whether nobody knows this frame: it has no event, and is no part that is owed one.
fn is_lost(open: &Open, mode: TriggerMode, trace: &Trace) -> bool {
    let answered = trace.answered_to.is_some_and(|to| open.frame <= to);
    match mode {
        TriggerMode::Free => !answered,
        TriggerMode::Hardware => !answered && accepted(open, trace).is_none(),
        // Its command is gone; another one must not find it.
        TriggerMode::Software | TriggerMode::Matched => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_lost_when_neither_an_event_nor_a_debt_tells_of_it() {
        let open = |frame| Open { session: Uuid::from_u128(1), frame, at: 50_000 };
        let trace = Trace { answered_to: Some(3), accepted: vec![(5, 50_010), (6, 49_900)] };
        let lost = |mode| (3..7).map(|frame| is_lost(&open(frame), mode, &trace)).collect::<Vec<_>>();
        assert_eq!(lost(TriggerMode::Free), [false, true, true, true]);
        // Trigger 6 is that of the session just before.
        assert_eq!(lost(TriggerMode::Hardware), [false, false, true, true]);
        assert_eq!(lost(TriggerMode::Software), [false; 4]);
        assert!(is_lost(&open(0), TriggerMode::Hardware, &Trace::default()));
    }
}
