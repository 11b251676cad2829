//! Watched folders across a start: where it is remembered what was taken of them, and what has become of the last files.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::line::parts::TriggerMode;
use crate::publish::outbox::trace::{Trace, trace};
use crate::source::directory::{DirectorySpec, MemorySpec, Open, open_frames};

/// Folder of the memories in the line's state directory.
const FOLDER: &str = "taken";
/// An accepted part is noted within this time after its file, milliseconds.
const SOON: i64 = 1000;

/// Gives a watched folder its memory. `state` is where the line keeps what must outlast it, `outbox` the directory of its
/// outbox; only looks, changes nothing.
pub fn remember(spec: &mut DirectorySpec, camera: &str, mode: TriggerMode, state: Option<&Path>, outbox: &Path) {
    if !spec.watch || spec.repeat {
        return;
    }
    let Some(state) = state else {
        tracing::warn!(
            camera,
            "{}: no state directory, so that a restart takes its files again; set STATE_DIRECTORY or HOME",
            spec.path.display()
        );
        return;
    };
    let file = state.join(FOLDER).join(format!("{camera}.log"));
    let settled = match settled(&file, &spec.path, camera, mode, outbox) {
        Ok(settled) => settled,
        Err(error) => {
            tracing::error!(camera, "what an earlier start has taken last cannot be looked up: {error}");
            None
        }
    };
    spec.memory = Some(MemorySpec { file, settled });
}

fn settled(
    file: &Path,
    folder: &Path,
    camera: &str,
    mode: TriggerMode,
    outbox: &Path,
) -> Result<Option<(Uuid, Vec<PathBuf>)>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", file.display());
    let folder = std::path::absolute(folder).map_err(told)?;
    let Some((session, open)) = open_frames(file, &folder).map_err(told)? else { return Ok(None) };
    let trace = trace(outbox, session, camera).map_err(|error| error.to_string())?;
    let lost: Vec<PathBuf> =
        open.into_iter().filter(|(_, open)| is_lost(open, mode, &trace)).map(|(name, _)| name).collect();
    if !lost.is_empty() {
        tracing::info!(camera, files = lost.len(), "taken by the start before and not answered: taken again");
    }
    Ok(Some((session, lost)))
}

/// Whether nobody knows this frame: it has no event, and is no part that is owed one.
fn is_lost(open: &Open, mode: TriggerMode, trace: &Trace) -> bool {
    let answered = trace.answered_to.is_some_and(|to| open.frame <= to);
    let owed = || {
        let own = |(trigger, accepted): &(u64, i64)| *trigger == open.frame + 1 && *accepted >= open.at - SOON;
        trace.accepted.iter().any(own)
    };
    match mode {
        TriggerMode::Free => !answered,
        TriggerMode::Hardware => !answered && !owed(),
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
        let trace = Trace { answered_to: Some(3), accepted: vec![(5, 50_010), (6, 7_000)] };
        let lost = |mode| (3..7).map(|frame| is_lost(&open(frame), mode, &trace)).collect::<Vec<_>>();
        assert_eq!(lost(TriggerMode::Free), [false, true, true, true]);
        // Trigger 6 is that of an older session.
        assert_eq!(lost(TriggerMode::Hardware), [false, false, true, true]);
        assert_eq!(lost(TriggerMode::Software), [false; 4]);
        assert!(is_lost(&open(0), TriggerMode::Hardware, &Trace::default()));
    }
}
