//! `[archive]`: what is kept of every part, where, and how much.

use std::path::Path;
use std::time::Duration;

use super::raw::RawArchive;
use super::rules::{Rules, value};
use super::state;
use crate::archive::ArchiveSpec;

const MIB: u64 = 1 << 20;

/// `None` without the section, and after a mistake.
pub fn resolve(raw: Option<&RawArchive>, line: &str, base: &Path, rules: &mut Rules<'_>) -> Option<ArchiveSpec> {
    let raw = raw?;
    let written = value(&raw.directory).map(|directory| base.join(directory));
    let usual = || Some(state::directory(line, |name| std::env::var_os(name))?.join("archive"));
    let Some(directory) = written.or_else(usual) else {
        let message = "missing, and neither STATE_DIRECTORY nor HOME says where state belongs; name a directory";
        rules.wrong::<()>(None, "directory", message.into());
        return None;
    };
    let usual = ArchiveSpec::new(directory);
    let sample = rules.bounded(&raw.sample, "sample", usual.sample, 0.0..=1.0, " (share of the parts that pass)");
    let max_bytes = rules.bounded(&raw.max_bytes, "max_bytes", usual.max_bytes, 16 * MIB..=MIB << 24, " bytes");
    let hours = rules.bounded(&raw.max_age_h, "max_age_h", usual.max_age.as_secs() / 3600, 1..=87_600, " hours");
    let reserve_bytes =
        rules.bounded(&raw.reserve_bytes, "reserve_bytes", usual.reserve_bytes, MIB..=MIB << 20, " bytes");
    let queue = usual.max_queue_bytes as u64;
    let queue = rules.bounded(&raw.max_queue_bytes, "max_queue_bytes", queue, MIB..=MIB << 14, " bytes");
    let max_age = Duration::from_secs(hours * 3600);
    let max_queue_bytes = usize::try_from(queue).unwrap_or(usize::MAX);
    Some(ArchiveSpec { sample, max_bytes, max_age, reserve_bytes, max_queue_bytes, ..usual })
}
