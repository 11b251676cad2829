//! Rules and defaults of `source = "synthetic"`.

use std::path::Path;
use std::str::FromStr;

use super::raw::{Key, RawSynthetic};
use super::rules::{Rules, value};
use crate::source::synthetic::{Conveyor, DefectKind, SIDES, SyntheticFormat, SyntheticSpec};

/// Bytes that the pictures made at the start may take.
const MOST_BYTES: u64 = 2 << 30;

pub(super) fn resolve(raw: &RawSynthetic, base: &Path, rules: &mut Rules<'_>) -> Option<SyntheticSpec> {
    let what = "write classes = [\"ring\", …], the products; `vcp-line synth --help` tells how to see them";
    let classes = rules.required(&raw.classes, "classes", what).and_then(|_| names(&raw.classes, "classes", rules));
    let kinds = match &raw.defects {
        Some(_) => names(&raw.defects, "defects", rules),
        None => Some(DefectKind::ALL.to_vec()),
    };
    let difficulty = value(&raw.difficulty).unwrap_or([0.0, 0.6]);
    let [low, high] = difficulty;
    if !(0.0 <= low && low <= high && high <= 1.0) {
        let message = format!("[{low}, {high}] is no range; allowed: [LOW, HIGH] with 0 <= LOW <= HIGH <= 1");
        rules.wrong(raw.difficulty.as_ref(), "difficulty", message);
    }
    let size = rules.bounded(&raw.size, "size", 256, SIDES, " pixels");
    let pool = rules.bounded(&raw.pool, "pool", 64, 1..=10_000, " pictures");
    let pixel_format = match value(&raw.pixel_format).map(|name| name.parse::<SyntheticFormat>()).transpose() {
        Ok(format) => format.unwrap_or_default(),
        Err(error) => {
            rules.wrong(raw.pixel_format.as_ref(), "pixel_format", error.to_string());
            SyntheticFormat::default()
        }
    };
    let bytes = u64::from(pool) * u64::from(size) * u64::from(size) * pixel_format.bytes_per_pixel();
    if bytes > MOST_BYTES {
        let message = format!("{pool} pictures of {size}x{size} pixels take {} MiB; allowed: 2048 MiB", bytes >> 20);
        rules.wrong(raw.pool.as_ref(), "pool", message);
    }
    let defective = rules.bounded(&raw.defective, "defective", 0.25, 0.0..=1.0, " (share of the parts)");
    let fps = rules.bounded(&raw.fps, "fps", 2.0, 0.001..=1000.0, " parts per second");
    let first = rules.bounded(&raw.first, "first", 1, 1..=1 << 53, "");
    let count = rules.bounded_option(&raw.count, "count", 1..=u64::MAX, " parts");
    let seed = value(&raw.seed).unwrap_or(0);
    Some(SyntheticSpec {
        conveyor: Conveyor { classes: classes?, kinds: kinds?, defective, difficulty: (low, high), size, pool, seed },
        fps,
        first,
        count,
        pixel_format,
        truth_file: value(&raw.truth_file).map(|file| base.join(file)),
    })
}

fn names<T: FromStr<Err: std::fmt::Display>>(
    key: &Key<Vec<String>>,
    name: &str,
    rules: &mut Rules<'_>,
) -> Option<Vec<T>> {
    let list = key.as_ref()?.get_ref();
    if list.is_empty() {
        rules.wrong(key.as_ref(), name, "is empty; name at least one".into());
        return None;
    }
    let mut found = Vec::with_capacity(list.len());
    for written in list {
        match written.parse::<T>() {
            Ok(one) => found.push(one),
            Err(error) => {
                rules.wrong(key.as_ref(), name, error.to_string());
                return None;
            }
        }
    }
    Some(found)
}
