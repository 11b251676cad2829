//! How a training is kept, and how an interruption waits for that.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::cli::interrupt::Interrupts;
use crate::cli::terminal::note;
use crate::learn::LearnError;
use crate::learn::checkpoint::CheckpointRequest;

/// Where a training is kept, and who is asked to keep it before an interruption.
pub fn request(folder: Option<&Path>, every: u64, resume: bool, interrupts: &Interrupts) -> Option<CheckpointRequest> {
    let folder = folder?.to_owned();
    interrupts
        .advise(format!("what was last kept in {} stands: go on with the same command and --resume", folder.display()));
    Some(CheckpointRequest { folder, every, resume, stop: CancellationToken::new() })
}

/// While steps are taken there is something to keep.
pub fn stepping(kept: Option<&CheckpointRequest>, interrupts: &Interrupts) {
    interrupts.ask_first(kept.map(|kept| &kept.stop));
}

/// Tells of a training that was stopped and kept, and ends the process as the signal would have.
pub fn ended<T>(result: Result<T, LearnError>, interrupts: &Interrupts) -> anyhow::Result<T> {
    if let Err(stopped @ LearnError::Stopped { .. }) = &result {
        note!("vcp-line: {stopped}");
        interrupts.end();
    }
    Ok(result?)
}
