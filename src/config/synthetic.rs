//! Rules and defaults of `source = "synthetic"`.

use std::path::Path;
use std::str::FromStr;

use super::raw::{Key, RawSynthetic};
use super::rules::{Rules, value};
use crate::source::synthetic::{
    Conveyor, ConveyorFrames, DefectKind, FRAME_SIDES, Motion, SIDES, SyntheticFormat, SyntheticSpec,
};

/// Bytes that the pictures made at the start may take.
const MOST_BYTES: u64 = 2 << 30;

pub(super) fn resolve(
    raw: &RawSynthetic,
    frame_size: Option<[u32; 2]>,
    base: &Path,
    rules: &mut Rules<'_>,
) -> Option<SyntheticSpec> {
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
    let frames = frames(raw, frame_size, rules);
    let (width, height) = frames.map_or((size, size), |frames| (frames.width, frames.height));
    let bytes = u64::from(pool) * u64::from(width) * u64::from(height) * pixel_format.bytes_per_pixel();
    if bytes > MOST_BYTES {
        let message = format!("{pool} pictures of {width}x{height} pixels take {} MiB; allowed: 2048 MiB", bytes >> 20);
        rules.wrong(raw.pool.as_ref(), "pool", message);
    }
    let defective = rules.bounded(&raw.defective, "defective", 0.25, 0.0..=1.0, " (share of the parts)");
    let fps = rules.bounded(&raw.fps, "fps", 2.0, 0.001..=1000.0, " parts per second");
    let first = rules.bounded(&raw.first, "first", 1, 1..=1 << 53, "");
    let count = rules.bounded_option(&raw.count, "count", 1..=u64::MAX, " parts");
    let seed = value(&raw.seed).unwrap_or(0);
    Some(SyntheticSpec {
        conveyor: Conveyor {
            classes: classes?,
            kinds: kinds?,
            defective,
            difficulty: (low, high),
            size,
            pool,
            seed,
            frames,
        },
        fps,
        first,
        count,
        pixel_format,
        truth_file: value(&raw.truth_file).map(|file| base.join(file)),
    })
}

/// Large frames, which `defect_px` asks for.
fn frames(raw: &RawSynthetic, frame_size: Option<[u32; 2]>, rules: &mut Rules<'_>) -> Option<ConveyorFrames> {
    let Some(written) = &raw.defect_px else {
        let of_frames = [("shift_px", &raw.shift_px), ("turn_degrees", &raw.turn_degrees)];
        for (key, value) in of_frames.into_iter().filter(|(_, value)| value.is_some()) {
            rules.wrong(
                value.as_ref(),
                key,
                "is for large frames; write defect_px = [8.0, 60.0] and frame_size".into(),
            );
        }
        if raw.one_product.is_some() {
            let message = "is for large frames; write defect_px = [8.0, 60.0] and frame_size";
            rules.wrong(raw.one_product.as_ref(), "one_product", message.into());
        }
        return None;
    };
    let Some([width, height]) = frame_size.filter(|sides| sides.iter().all(|side| FRAME_SIDES.contains(side))) else {
        let (least, most) = (FRAME_SIDES.start(), FRAME_SIDES.end());
        let message = format!("needs frame_size = [WIDTH, HEIGHT], each from {least} to {most} pixels");
        rules.wrong(Some(written), "defect_px", message);
        return None;
    };
    // Parts stay in the frame, and defects on the parts.
    let most = 0.1 * width.min(height) as f32;
    let [low, high] = *written.get_ref();
    if !(4.0 <= low && low <= high && high <= most) {
        let message =
            format!("[{low}, {high}] is no range; allowed: [LOW, HIGH] with 4 <= LOW <= HIGH <= {most} pixels");
        rules.wrong(Some(written), "defect_px", message);
    }
    let shift_px = rules.bounded(&raw.shift_px, "shift_px", most.min(40.0), 0.0..=most, " pixels");
    let turn_degrees = rules.bounded(&raw.turn_degrees, "turn_degrees", 5.0, 0.0..=180.0, " degrees");
    let motion = Motion { shift_px, turn_degrees };
    let one_product = value(&raw.one_product).unwrap_or(false);
    Some(ConveyorFrames { width, height, defect_px: (low, high), motion, one_product })
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
