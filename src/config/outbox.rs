//! `[outbox]`: where what waits for the broker is kept, and how far.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::RawOutbox;
use super::rules::{Rules, value};
use super::state;
use crate::publish::OutboxSpec;
use crate::publish::outbox::{Fsync, WhenLogFull, WhenUnkept};

const MIB: u64 = 1 << 20;

/// Usual time between two fsyncs, milliseconds.
const USUAL_FSYNC: u64 = 20;

/// `None` after a mistake. `deadline` is the shortest of the line's parts: what they are owed must be on disk by then.
pub fn resolve(
    raw: &RawOutbox,
    line: &str,
    base: &Path,
    deadline: Option<Duration>,
    rules: &mut Rules<'_>,
) -> Option<OutboxSpec> {
    let written = value(&raw.directory).map(|directory| base.join(directory));
    let Some(directory) = written.or_else(|| default_directory(line, |name| std::env::var_os(name))) else {
        let message = "missing, and neither STATE_DIRECTORY nor HOME says where state belongs; name a directory";
        rules.wrong::<()>(None, "directory", message.into());
        return None;
    };
    let default = OutboxSpec::new(directory);
    let max_bytes = rules.bounded(&raw.max_bytes, "max_bytes", default.max_bytes, MIB..=MIB << 20, " bytes");
    let hours = rules.bounded(&raw.max_age_h, "max_age_h", default.max_age.as_secs() / 3600, 1..=87_600, " hours");
    let deadline = deadline.map_or(u64::MAX, |deadline| deadline.as_millis() as u64);
    let usual = USUAL_FSYNC.min(deadline);
    let pause = rules.bounded(&raw.fsync_ms, "fsync_ms", usual, 1..=10_000, " milliseconds");
    if pause > deadline {
        let message = format!(
            "{pause} is more than deadline_ms = {deadline} of a camera: its parts would be due before they are on disk; \
             allowed: 1 to {deadline}"
        );
        rules.wrong(raw.fsync_ms.as_ref(), "fsync_ms", message);
    }
    let fsync = match raw.fsync.as_ref().map(|word| word.get_ref().as_str()) {
        Some("always") => Fsync::Always,
        None | Some("batch") => Fsync::Batch(Duration::from_millis(pause)),
        Some("never") => Fsync::Never,
        Some(other) => {
            rules.wrong(
                raw.fsync.as_ref(),
                "fsync",
                format!("\"{other}\" is no policy; allowed: always, batch, never"),
            );
            return None;
        }
    };
    if raw.fsync_ms.is_some() && !matches!(fsync, Fsync::Batch(_)) {
        rules.wrong(raw.fsync_ms.as_ref(), "fsync_ms", "belongs to fsync = \"batch\"; leave it out".into());
    }
    let when_full = match raw.when_full.as_ref().map(|word| word.get_ref().as_str()) {
        None | Some("refuse") => WhenLogFull::Refuse,
        Some("drop-oldest") => WhenLogFull::DropOldest,
        Some(other) => {
            let message = format!("\"{other}\" is no policy; allowed: refuse, drop-oldest");
            rules.wrong(raw.when_full.as_ref(), "when_full", message);
            return None;
        }
    };
    let when_unkept = match raw.when_unkept.as_ref().map(|word| word.get_ref().as_str()) {
        None | Some("refuse") => WhenUnkept::Refuse,
        Some("memory") => WhenUnkept::Memory,
        Some(other) => {
            let message = format!("\"{other}\" is no policy; allowed: refuse, memory");
            rules.wrong(raw.when_unkept.as_ref(), "when_unkept", message);
            return None;
        }
    };
    let max_age = Duration::from_secs(hours * 3600);
    Some(OutboxSpec { max_bytes, max_age, fsync, when_full, when_unkept, ..default })
}

fn default_directory(line: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    Some(state::directory(line, variable)?.join("outbox"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Option<PathBuf> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        default_directory("caps", find)
    }

    #[test]
    fn the_default_is_the_units_state_or_the_users() {
        let path = |text: &str| Some(PathBuf::from(text));
        let unit = [("STATE_DIRECTORY", "/var/lib/vcp-line/caps:/x"), ("HOME", "/root")];
        assert_eq!(with(&unit), path("/var/lib/vcp-line/caps/outbox"));
        assert_eq!(with(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]), path("/s/vcp-line/caps/outbox"));
        assert_eq!(
            with(&[("XDG_STATE_HOME", "relative"), ("HOME", "/h")]),
            path("/h/.local/state/vcp-line/caps/outbox")
        );
        assert_eq!(with(&[("HOME", "")]), None);
    }
}
