//! `vcp-line archive`: what a line has kept of its parts, listed or as a data set; also while the line runs.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::failure::wrong_arguments;
use super::terminal::say;
use crate::archive::{
    ArchiveError, ArchiveSpec, Count, Exported, Filter, Layout, Opinion, PartSummary, Reader, is_sampled,
};
use crate::event::VerdictWord;
use crate::printable::printable;
use crate::verdict::NoVerdictReason;

/// Parts that are asked for at once.
const PAGE: usize = 500;

#[derive(Args)]
pub struct ArchiveArguments {
    /// Directory of an archive, as `vcp-line check LINE.toml` prints it.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print parts, the newest first.
    List(ListArguments),
    /// Write parts with pictures as a data set that `eval` and `train vcp` read: good and bad ones by their newest review,
    /// else by their verdict.
    Export(ExportArguments),
}

#[derive(Args)]
struct ListArguments {
    #[command(flatten)]
    which: Which,
    /// Most parts.
    #[arg(long, value_name = "N", default_value_t = 50)]
    most: usize,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ExportArguments {
    #[command(flatten)]
    which: Which,
    /// Most parts.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    most: usize,
    /// One zip file in place of a folder.
    #[arg(long)]
    zip: bool,
    /// Folder or file to write; must not be there yet.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
}

#[derive(Args)]
struct Which {
    /// Captured at or after this, as 2026-11-28T06:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Captured before this.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Configured name of the camera.
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// pass, fail or no_verdict.
    #[arg(long, value_name = "WORD", value_parser = word::<VerdictWord>)]
    verdict: Option<VerdictWord>,
    /// Why there is no verdict, such as deadline.
    #[arg(long, value_name = "WORD", value_parser = word::<NoVerdictReason>)]
    reason: Option<NoVerdictReason>,
    /// Image score at least this.
    #[arg(long, value_name = "SCORE")]
    min_score: Option<f32>,
    /// Image score at most this.
    #[arg(long, value_name = "SCORE")]
    max_score: Option<f32>,
    /// Id of the part.
    #[arg(long, value_name = "ID")]
    part: Option<String>,
    /// Only parts with pictures.
    #[arg(long)]
    pictures: bool,
}

/// A word as events write it.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(Value::String(text.to_owned())).map_err(|error| error.to_string())
}

impl Which {
    fn filter(&self) -> Filter {
        Filter {
            from: self.from,
            until: self.until,
            camera: self.camera.clone(),
            verdict: self.verdict,
            reason: self.reason,
            min_score: self.min_score,
            max_score: self.max_score,
            part: self.part.clone(),
            pictures: self.pictures,
        }
    }
}

pub fn run(arguments: &ArchiveArguments) -> anyhow::Result<()> {
    let ArchiveArguments { directory, what } = arguments;
    if !directory.is_dir() {
        let message = format!("no directory at {}; `vcp-line check LINE.toml` names the line's", directory.display());
        return Err(wrong_arguments(message));
    }
    let reader = Reader::new(directory);
    match what {
        What::List(list) => list.run(&reader),
        What::Export(export) => {
            let ExportArguments { which, most, zip, target } = export;
            let layout = if *zip { Layout::Zip } else { Layout::Folder };
            let Exported { good, bad, left_out } = reader.export(&which.filter(), *most, target, layout)?;
            say!("{}: {good} good, {bad} bad parts", target.display());
            if left_out > 0 {
                say!("left out: {left_out} with neither a verdict nor a review, or whose pictures are gone");
            }
            Ok(())
        }
    }
}

impl ListArguments {
    fn run(&self, reader: &Reader) -> anyhow::Result<()> {
        let (filter, mut after, mut left) = (self.which.filter(), None, self.most);
        while left > 0 {
            let page = reader.list(&filter, after, left.min(PAGE))?;
            left -= page.parts.len();
            for part in &page.parts {
                if self.json {
                    say!("{}", serde_json::to_string(part)?);
                } else {
                    say!("{}", printable(&one_line(part)));
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }
}

fn one_line(part: &PartSummary) -> String {
    let verdict = match part.verdict {
        VerdictWord::Pass => "pass".to_owned(),
        VerdictWord::Fail => "FAIL".to_owned(),
        VerdictWord::NoVerdict => format!("no verdict ({})", part.reason.as_deref().unwrap_or("?")),
    };
    let score = part.score.map(|score| format!(" {score:.4}")).unwrap_or_default();
    let id = part.part.as_deref().map(|id| format!(" part {id}")).unwrap_or_default();
    let pictures = match (part.has_frame, part.has_map) {
        (true, true) => ", frame and map",
        (true, false) => ", frame",
        _ => "",
    };
    format!("{} {}{id} {verdict}{score}{pictures} {}", part.captured, part.camera, part.event_id)
}

/// Frames of a camera's good parts for `calibrate`. Only parts of the sample count, whatever their verdict: those that failed
/// are kept all, and would be too many. What nobody has said of those that failed decides what is promised, so that one
/// without a review is an error.
pub fn good_frames(spec: &ArchiveSpec, camera: &str) -> anyhow::Result<Vec<PathBuf>> {
    let reader = Reader::new(&spec.directory);
    let filter = Filter { camera: Some(camera.to_owned()), pictures: true, ..Filter::default() };
    let (mut frames, mut unknown, mut after) = (Vec::new(), 0, None);
    loop {
        let page = reader.list(&filter, after, PAGE)?;
        for part in page.parts.iter().filter(|part| is_sampled(part.event_id, spec.sample)) {
            let said = reader.get(part.event_id)?.and_then(|part| part.reviews.last().map(|review| review.opinion));
            match (said, part.verdict) {
                (Some(Opinion::Good), _) | (None, VerdictWord::Pass) => frames.extend(reader.files(part).0),
                (Some(Opinion::Bad), _) | (None, VerdictWord::NoVerdict) => {}
                (None, VerdictWord::Fail) => unknown += 1,
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    ensure!(
        unknown == 0,
        "{unknown} parts of the archive's sample failed and nobody has said what they are; review them first: without the good \
         ones among them fewer rejects would be promised than there are"
    );
    Ok(frames)
}

/// For `check`: whether it can be used, and what is in it. Leaves nothing behind.
pub fn look(spec: &ArchiveSpec) -> anyhow::Result<String> {
    let directory = &spec.directory;
    let place = directory.ancestors().find(|place| place.exists()).context("no such place; name a directory")?;
    tempfile::tempfile_in(place)
        .with_context(|| format!("writing in {}; choose another directory in [archive]", place.display()))?;
    let disk = rustix::fs::statvfs(place).with_context(|| format!("looking at the disk of {}", place.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    ensure!(
        free > spec.reserve_bytes,
        "{}: {} MiB free, and the archive leaves {} MiB: no picture would be kept; make room, or lower reserve_bytes in \
         [archive]",
        directory.display(),
        free >> 20,
        spec.reserve_bytes >> 20
    );
    let parts = match Reader::new(directory).count(&Filter::default()) {
        Ok(Count { parts, more: false }) => format!("{parts} parts"),
        Ok(Count { parts, more: true }) => format!("more than {parts} parts"),
        Err(ArchiveError::Absent { .. }) => "new".to_owned(),
        Err(error) => return Err(error.into()),
    };
    Ok(format!("{}: {parts}, at most {} MiB, {} MiB free", directory.display(), spec.max_bytes >> 20, free >> 20))
}
