//! What a person reads of a calibration.

use std::fmt::Write;
use std::path::PathBuf;

use crate::calibrate::calibration::Counts;
use crate::calibrate::crossfit::Plan;
use crate::calibrate::promise::percent;
use crate::calibrate::record::Setting;
use crate::calibrate::{Calibration, Kind, Promise, Record, Warning};
use crate::cli::terminal::note;
use crate::memory::Memory;

/// Says beforehand what a promise with this memory rests on: `known` of the good pictures have made it.
pub fn independence(memory: &Memory, known: usize) {
    let about = memory.about();
    match (known, about.pictures.is_empty()) {
        (0, true) => note!(
            "with memory {} of {} good parts, which must be others than those that are given here",
            about.id,
            about.parts
        ),
        (0, false) => {
            note!("with memory {}; none of its {} good parts is among those given here", about.id, about.parts)
        }
        (count, _) => note!("vcp-line: {}", Warning::Remembered { count, memory: about.id.clone() }),
    }
}

/// A few lines.
pub fn text(record: &Record, found: &Calibration, files: &[PathBuf], applied: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, what: std::fmt::Arguments<'_>| {
        // Writing into a text does not fail.
        writeln!(text, "{name:20}{what}").ok();
    };
    let Record { before, after, promise, decided, .. } = record;
    let (id, from, to) = (&before.recipe.id, before.recipe.version, after.recipe.version);
    line("camera", format_args!("{}, recipe {id} version {from} → {to}", record.camera));
    line("defect_threshold", format_args!("{} → {}", before.defect_threshold, after.defect_threshold));
    if let Some(threshold) = after.threshold {
        line("threshold", format_args!("{} → {threshold}", score(before)));
    }
    if let Some(memory) = &record.model.memory {
        let how = match record.fitted {
            Some(Plan::Split { .. }) => {
                format!("of {} of the good pictures; the others make the thresholds", memory.parts)
            }
            Some(Plan::Folds { folds }) => {
                format!(
                    "of all {} good pictures, each judged by the memory of the others in {folds} folds",
                    memory.parts
                )
            }
            None => format!("of {} other good pictures", memory.parts),
        };
        line("memory", format_args!("{} {how}", memory.id));
    }
    line("promise", format_args!("{}", promised(promise)));
    line(
        "expected",
        format_args!(
            "{} of good parts rejected; {} of the {} given are",
            percent(promise.expected),
            promise.over,
            promise.parts
        ),
    );
    if let Some(next) = promise.next {
        line("tighter", format_args!("at most {} needs {} more good parts", percent(next.false_rejects), next.more));
    }
    line("would have decided", format_args!("good parts: {}", counts(&decided.good)));
    if decided.bad.parts > 0 {
        let (rate, [low, high]) = decided.bad.rate_after();
        line("", format_args!("defective parts: {}", counts(&decided.bad)));
        let (rate, low, high) = (percent(rate), percent(low), percent(high));
        line("expected detection", format_args!("{rate} of such defects, {low} to {high} with 95 % confidence"));
    }
    for warning in &found.warnings {
        line("look", format_args!("{warning}"));
    }
    for file in files {
        line("written", format_args!("{}", file.display()));
    }
    match applied {
        true => line("applied", format_args!("at the line's next start; --rollback goes back")),
        false => line("applied", format_args!("no; --apply takes it into use")),
    }
    text
}

fn promised(promise: &Promise) -> String {
    let kind = match promise.kind {
        Kind::Exact => "",
        Kind::Approximate => {
            " (approximate: every part has made the memory, too, and was judged by one of the others; how often such promises are \
             kept is measured in README)"
        }
    };
    format!(
        "at most {} of good parts rejected, with {} confidence: {} parts promise {}{kind}",
        percent(promise.false_rejects),
        percent(promise.confidence),
        promise.parts,
        // Never less than what holds.
        percent((promise.bound * 1e4).ceil() / 1e4)
    )
}

fn score(setting: &Setting) -> String {
    setting.threshold.map_or_else(|| "none".into(), |threshold| threshold.to_string())
}

fn counts(counts: &Counts) -> String {
    let Counts { parts, failed_before, failed_after } = counts;
    format!("{failed_before} of {parts} failed before, {failed_after} after")
}
