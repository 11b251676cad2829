//! `vcp-line outbox`: what waits for the broker, without touching it.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::failure::wrong_arguments;
use super::terminal::say;
use crate::clock::{Clock, SystemClock};
use crate::printable::printable;
use crate::publish::OutboxSpec;
use crate::publish::outbox::survey::{self, Look};
use crate::publish::outbox::{Aside, SetAside};

#[derive(Args)]
pub struct OutboxArguments {
    /// Directory of an outbox, as `vcp-line check LINE.toml` prints it.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn run(arguments: &OutboxArguments) -> anyhow::Result<()> {
    let directory = &arguments.directory;
    if !directory.is_dir() {
        let message = format!("no directory at {}; `vcp-line check LINE.toml` names the line's", directory.display());
        return Err(wrong_arguments(message));
    }
    let survey = survey::read(directory)?;
    say!("events that wait    {}", survey.waiting());
    say!("parts owed          {}", survey.owed().count());
    for owed in survey.owed().take(20) {
        say!(
            "                    {} {} (trigger {}) since {}",
            owed.camera,
            owed.part.id,
            owed.part.trigger,
            owed.accepted
        );
    }
    match survey.oldest().and_then(|oldest| Timestamp::from_millisecond(oldest).ok()) {
        Some(oldest) => {
            let hours = SystemClock.now().wall.duration_since(oldest).as_secs_f64() / 3600.0;
            say!("oldest              about {hours:.1} hours, from {oldest}");
        }
        None => say!("oldest              -"),
    }
    say!("on disk             {} in {} files", size(survey.bytes()), survey.files());
    say!("unreadable          {} stretches, {} bytes", survey.damage.stretches, survey.damage.bytes);
    if survey.torn() > 0 {
        say!("last write          cut short, {} bytes; the next start removes them", survey.torn());
    }
    let aside = Aside::new(directory).list();
    say!("set aside           {} verdicts that the broker did not take, or not whole", aside.len());
    for one in aside.iter().take(20) {
        say!("                    {}", one_line(one));
    }
    Ok(())
}

fn one_line(SetAside { path, json, shortened }: &SetAside) -> String {
    let event: Value = serde_json::from_slice(json).unwrap_or_default();
    let text = |key: &str| event[key].as_str().unwrap_or("?").to_owned();
    let part = event["part"]["id"].as_str().map(|part| format!(" part {part}")).unwrap_or_default();
    let fate = if *shortened { "sent without its defects" } else { "sent once more at the next start" };
    let said = format!(
        "{} #{} {}{part}, {}, {fate}: {}",
        text("camera"),
        event["seq"],
        text("verdict"),
        size(json.len() as u64),
        path.display()
    );
    printable(&said).into_owned()
}

/// For `check`: whether it can be used, and what is in it.
pub fn look(spec: &OutboxSpec) -> anyhow::Result<String> {
    let Look { survey, free, used_by } = survey::look(spec)?;
    let damage = match survey.damage.stretches {
        0 => String::new(),
        stretches => format!(", {stretches} unreadable stretches"),
    };
    let used_by = used_by.map(|owner| format!(", in use by process {owner}")).unwrap_or_default();
    let room = spec.max_bytes.saturating_sub(survey.bytes());
    ensure!(
        free >= room.min(SMALL),
        "{}: {} free, and the outbox may grow by {}; make room, or lower max_bytes in [outbox]",
        spec.directory.display(),
        size(free),
        size(room)
    );
    Ok(format!(
        "{}: {} events wait, {} parts owed{damage}, {} free{used_by}",
        spec.directory.display(),
        survey.waiting(),
        survey.owed().count(),
        size(free)
    ))
}

/// Less free space than this is too little for any line: a few hours of events.
const SMALL: u64 = 64 << 20;

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
