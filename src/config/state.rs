//! Where a line keeps what must outlast it when no setting names a directory.

use std::ffi::OsString;
use std::path::PathBuf;

/// systemd's state directory is the line's own; the user's is shared by all lines.
pub fn directory(line: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(state) = variable("STATE_DIRECTORY").filter(|state| !state.is_empty()) {
        // Several are separated by colons; the first is the unit's.
        return state.to_string_lossy().split(':').next().map(PathBuf::from);
    }
    let state = path("XDG_STATE_HOME").or_else(|| path("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("vcp-line").join(line))
}
