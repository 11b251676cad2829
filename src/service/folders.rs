//! Watched folders across a start: where it is remembered what was taken of them, and what has become of the last files.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::spec::OwedFile;
use crate::event::FrameInfo;
use crate::line::parts::TriggerMode;
use crate::publish::outbox::trace::{Trace, is_used, trace};
use crate::source::directory::{DirectorySpec, Fate, Left, MemorySpec, Open, image_size, open_files, settle};

/// Folder of the memories in the line's state directory.
const FOLDER: &str = "taken";
/// A part is accepted within this time after its file was noted, milliseconds. A part of the same number that another
/// start has accepted just before or long after is another one.
const SOON: i64 = 5000;

/// Gives a watched folder its memory. `state` is where the line keeps what must outlast it, `outbox` the directory of its
/// outbox, which must not have been opened yet: it forgets what was answered. Returns the files whose parts were accepted
/// and may still be owed their events.
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
    match look_back(&file, &spec.path, camera, mode, outbox) {
        Ok(owed) => {
            spec.memory = Some(MemorySpec { file });
            owed
        }
        Err(error) => {
            tracing::error!(
                camera,
                "what an earlier start has taken last is not known, and is not taken again: {error}"
            );
            spec.memory = Some(MemorySpec { file });
            Vec::new()
        }
    }
}

/// Finds out what has become of the last files, and notes it before the outbox forgets. Returns those that are owed.
fn look_back(
    file: &Path,
    folder: &Path,
    camera: &str,
    mode: TriggerMode,
    outbox: &Path,
) -> Result<Vec<OwedFile>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", file.display());
    let folder = std::path::absolute(folder).map_err(told)?;
    let Left { open, mut owed } = open_files(file, &folder).map_err(told)?;
    let mut traces: BTreeMap<Uuid, Trace> = BTreeMap::new();
    let mut fates = Vec::new();
    for file in open {
        let trace = match traces.entry(file.open.session) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let found = trace(outbox, file.open.session, camera).map_err(|error| error.to_string())?;
                new.insert(found)
            }
        };
        let fate = fate(&file.open, mode, trace);
        if let Fate::Owed(at) = fate {
            owed.push((file.name.clone(), Open { at, ..file.open }));
        }
        fates.push((file, fate));
    }
    let lost = fates.iter().filter(|(_, fate)| *fate == Fate::Lost).count();
    if lost > 0 {
        tracing::info!(camera, files = lost, "taken by the start before and not answered: taken again");
    }
    // A second process of this line ends at once, and must not write what the first one reads.
    if !is_used(outbox).map_err(|error| error.to_string())? {
        settle(file, &fates).map_err(told)?;
    }
    let of_part = |(name, open): (PathBuf, Open)| {
        // Without the file nobody knows the size of its frame.
        let (width, height) = image_size(&folder.join(&name))?;
        let file = Some(name.to_string_lossy().into());
        let frame = FrameInfo { seq: open.frame, width, height, skipped_before: 0, file };
        Some(OwedFile { camera: camera.to_owned(), trigger: open.frame + 1, accepted: open.at, frame })
    };
    Ok(owed.into_iter().filter_map(of_part).collect())
}

/// What is known of a frame: its event, or else, where every frame is a part, that its part is owed one.
fn fate(open: &Open, mode: TriggerMode, trace: &Trace) -> Fate {
    let own =
        |(trigger, accepted): &&(u64, i64)| *trigger == open.frame + 1 && (open.at..=open.at + SOON).contains(accepted);
    let accepted = || trace.accepted.iter().find(own).map(|(_, at)| *at);
    match mode {
        _ if trace.answered_to.is_some_and(|to| open.frame <= to) => Fate::Answered,
        TriggerMode::Free => Fate::Lost,
        TriggerMode::Hardware => accepted().map_or(Fate::Lost, Fate::Owed),
        // Its command is gone; another one must not find it.
        TriggerMode::Software | TriggerMode::Matched => Fate::Answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_lost_when_neither_an_event_nor_a_debt_tells_of_it() {
        let open = |frame| Open { session: Uuid::from_u128(1), frame, at: 50_000 };
        let trace = Trace { answered_to: Some(3), accepted: vec![(5, 50_010), (6, 49_900)] };
        let fates = |mode| (3..7).map(|frame| fate(&open(frame), mode, &trace)).collect::<Vec<_>>();
        let (answered, lost) = (Fate::Answered, Fate::Lost);
        assert_eq!(fates(TriggerMode::Free), [answered, lost, lost, lost]);
        // Trigger 6 is that of the session just before.
        assert_eq!(fates(TriggerMode::Hardware), [answered, Fate::Owed(50_010), lost, lost]);
        assert_eq!(fates(TriggerMode::Software), [answered; 4]);
        assert_eq!(fate(&open(0), TriggerMode::Hardware, &Trace::default()), lost);
    }
}
