//! What the cameras of a line were judged by: since when, and whose doing that was.

use std::path::Path;

use anyhow::Context;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::cli::inspect::judge;
use crate::cli::terminal::{self, say};
use crate::config::{CameraConfig, LineConfig};
use crate::service::{self, Before};

/// What a camera was judged by, and whether it still is.
struct Entry<'a> {
    camera: &'a str,
    in_use: bool,
    was: Before,
}

/// Prints those of one camera or of all, the newest first.
pub fn run(config: &LineConfig, file: &Path, camera: Option<&str>, json: bool) -> anyhow::Result<()> {
    let cameras: Vec<&CameraConfig> = match camera {
        Some(_) => vec![judge::chosen(config, file, camera)?],
        None => config.cameras.iter().collect(),
    };
    let directory = config.commands.directory.as_deref();
    let mut all = Vec::new();
    for CameraConfig { plan, .. } in cameras {
        let history = service::recipe_history(directory, plan)
            .with_context(|| format!("what is kept of camera '{}'", plan.name))?;
        let entry = |(at, was)| Entry { camera: &plan.name, in_use: at == 0, was };
        all.extend(history.into_iter().rev().enumerate().map(entry));
    }
    if json {
        return Ok(terminal::json(&all.iter().map(Entry::json).collect::<Vec<_>>(), true)?);
    }
    let zone = TimeZone::system();
    say!("{}", row("SINCE", "CAMERA", "RECIPE", "VERSION", "USE", "BY"));
    all.iter().for_each(|entry| say!("{}", entry.row(&zone)));
    Ok(())
}

impl Entry<'_> {
    fn row(&self, zone: &TimeZone) -> String {
        let Before { recipe, since, .. } = &self.was;
        let at = since
            .as_ref()
            .map(|since| since.at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string());
        let by = since.as_ref().map_or_else(|| "not noted".to_owned(), ToString::to_string);
        let version = recipe.info.version.to_string();
        let used = if self.in_use { "now" } else { "-" };
        row(at.as_deref().unwrap_or("-"), self.camera, &recipe.info.id, &version, used, &by)
    }

    fn json(&self) -> Value {
        let Before { recipe, with, since } = &self.was;
        json!({
            "camera": self.camera,
            "in_use": self.in_use,
            "since": since,
            "recipe": recipe,
            "memory": with.memory,
        })
    }
}

fn row(since: &str, camera: &str, recipe: &str, version: &str, used: &str, by: &str) -> String {
    format!("{since:<19}  {camera:<10}  {recipe:<14}  {version:>7}  {used:<3}  {by}")
}
