//! `[self_test]`: golden parts, whose right verdict is known.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::RawSelfTest;
use super::rules::Rules;

/// Where golden parts lie, and how often they are judged unasked.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfTestConfig {
    /// A folder for each camera in it.
    pub directory: PathBuf,
    /// From one to the next; `None`: on request only.
    pub every: Option<Duration>,
}

/// `None` without the section, and after a mistake.
pub fn resolve(raw: Option<&RawSelfTest>, base: &Path, rules: &mut Rules<'_>) -> Option<SelfTestConfig> {
    let raw = raw?;
    let directory = rules.required(&raw.directory, "directory", "name the folder of the golden parts")?;
    let hours = raw.every_h.is_some().then(|| rules.bounded(&raw.every_h, "every_h", 8.0, 0.01..=8760.0, " hours"));
    let every = hours.map(|hours| Duration::from_secs_f64(hours * 3600.0));
    Some(SelfTestConfig { directory: base.join(directory), every })
}
