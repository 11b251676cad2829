//! Folders for files that an engine's runtime reads: a network with its weights beside it, read once, and what stays for the next
//! start.

use std::path::{Path, PathBuf};

use super::EngineError;
use crate::output::Temporary;

/// Beginning of the names of our scratch folders; the process id follows.
const PREFIX: &str = "vcp-line-";

/// A new folder on a disk, deleted when it is dropped. What killed processes have left is removed first.
pub fn folder() -> Result<Temporary, EngineError> {
    let place = place();
    remove_leftovers(&place);
    Temporary::new(&place, &format!("{PREFIX}{}-", std::process::id()), "")
        .map_err(|source| EngineError::Io { path: place, source })
}

/// Removes what a process that was killed while it compiled has left: more than a gigabyte each time.
fn remove_leftovers(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'));
        let Some(owner) = owner.and_then(|(pid, _)| pid.parse::<u32>().ok()) else { continue };
        if Path::new("/proc").join(owner.to_string()).exists() {
            continue;
        }
        match std::fs::remove_dir_all(entry.path()) {
            Ok(()) => tracing::info!(folder = %entry.path().display(), "removed what a killed process had left"),
            Err(error) => tracing::debug!(folder = %entry.path().display(), %error, "cannot be removed"),
        }
    }
}

/// Where files stay for the next start: systemd's cache folder, or the user's.
pub fn cache() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    variable("CACHE_DIRECTORY")
        .and_then(|folders| std::env::split_paths(&folders).next())
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("vcp-line")))
        .or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".cache/vcp-line")))
}

/// A folder on a disk (`/tmp` may be memory): systemd's cache folder, else `/var/tmp`, else the system's choice.
fn place() -> PathBuf {
    let var_tmp = Path::new("/var/tmp");
    match std::env::var_os("CACHE_DIRECTORY") {
        // systemd separates several with colons.
        Some(folders) => std::env::split_paths(&folders).next().unwrap_or_else(std::env::temp_dir),
        None if var_tmp.is_dir() => var_tmp.to_owned(),
        None => std::env::temp_dir(),
    }
}
