//! `vcp-line recipe`: the recipes that a line has in files and in use, shown, compared, and carried to another line.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::terminal::say;
use crate::config::{self, LineConfig, RecipeFile};
use crate::line::recipe::RecipeSpec;
use crate::service;

mod carry;
mod history;
mod text;

use text::lines;

#[derive(Subcommand)]
pub enum RecipeCommand {
    /// Name the recipes of a line: those in files, and what its cameras are judged by.
    List(OfLine),
    /// Print a recipe as a file of its own would say it.
    Show(OneOf),
    /// Say what the cameras were judged by, since when, and whose doing that was; the newest first.
    History(History),
    /// Print the keys in which two recipes differ.
    Diff(TwoOf),
    /// Write a recipe with its memory and calibration into one file, for another line.
    Export(Export),
    /// Take a recipe that was exported into the line's folder of recipes.
    Import(Import),
}

#[derive(Args)]
pub struct OfLine {
    /// The line's settings.
    #[arg(value_name = "LINE.toml")]
    line: PathBuf,
}

#[derive(Args)]
pub struct OneOf {
    #[command(flatten)]
    of: OfLine,
    /// Name of the recipe.
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Args)]
pub struct History {
    #[command(flatten)]
    of: OfLine,
    /// Of this camera alone.
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// As JSON, times in UTC.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct TwoOf {
    #[command(flatten)]
    of: OfLine,
    /// Name of one.
    #[arg(value_name = "ID")]
    id: String,
    /// Name of the other.
    #[arg(value_name = "OTHER")]
    other: String,
}

#[derive(Args)]
pub struct Export {
    #[command(flatten)]
    of: OfLine,
    /// Name of the recipe.
    #[arg(value_name = "ID")]
    id: String,
    /// Where it goes, best ending with `.vcpz`.
    #[arg(value_name = "FILE.vcpz")]
    output: PathBuf,
}

#[derive(Args)]
pub struct Import {
    #[command(flatten)]
    of: OfLine,
    /// What `export` has written.
    #[arg(value_name = "FILE.vcpz")]
    input: PathBuf,
    /// In place of the recipe of this name, if there is one.
    #[arg(long)]
    replace: bool,
}

pub fn run(command: &RecipeCommand) -> anyhow::Result<()> {
    match command {
        RecipeCommand::List(of) => list(&config(of)?),
        RecipeCommand::Show(OneOf { of, id }) => {
            lines(&find(&config(of)?, id)?).iter().for_each(|(key, value)| say!("{key} = {value}"));
            Ok(())
        }
        RecipeCommand::History(History { of, camera, json }) => {
            history::run(&config(of)?, &of.line, camera.as_deref(), *json)
        }
        RecipeCommand::Diff(TwoOf { of, id, other }) => {
            let config = config(of)?;
            differ(&find(&config, id)?, &find(&config, other)?);
            Ok(())
        }
        RecipeCommand::Export(Export { of, id, output }) => {
            let bytes = carry::export(&find(&config(of)?, id)?, output)?;
            say!("{}: recipe {id}, {bytes} bytes", output.display());
            Ok(())
        }
        RecipeCommand::Import(Import { of, input, replace }) => {
            let folder = config(of)?.commands.recipes;
            let id = carry::import(input, &folder, *replace)?;
            say!("recipe {id} is in {}; change over to it with command recipe {{\"id\": \"{id}\"}}", folder.display());
            Ok(())
        }
    }
}

fn config(of: &OfLine) -> anyhow::Result<LineConfig> {
    let text = std::fs::read_to_string(&of.line).with_context(|| of.line.display().to_string())?;
    // Neither the model nor a camera has to be there.
    Ok(config::parse(&text, &of.line)?)
}

fn list(config: &LineConfig) -> anyhow::Result<()> {
    let folder = &config.commands.recipes;
    for id in config::recipe_names(folder).with_context(|| folder.display().to_string())? {
        match config::read_recipe(folder, &id) {
            Ok(file) => {
                say!("{id:<24} version {:<6} {}", file.recipe.info.version, config::recipe_place(folder, &id).display())
            }
            Err(error) => say!("{id:<24} cannot be used: {error}"),
        }
    }
    for camera in &config.cameras {
        let used = in_use(config, camera)?;
        let info = &used.recipe.info;
        let from =
            if used.recipe == camera.plan.recipe { "as in the settings" } else { "by command, calibration or file" };
        say!("{:<24} version {:<6} camera '{}' starts with it, {from}", info.id, info.version, camera.plan.name);
    }
    Ok(())
}

fn in_use(config: &LineConfig, camera: &config::CameraConfig) -> anyhow::Result<RecipeFile> {
    let directory = config.commands.directory.as_deref();
    let recipe: RecipeSpec = service::recipe_in_use(directory, &camera.plan)?;
    let memory = service::memory_in_use(directory, &camera.plan, camera.memory.as_deref())?;
    Ok(RecipeFile { recipe, memory, calibration: camera.calibration.clone() })
}

/// That of the folder, else what a camera is judged by.
fn find(config: &LineConfig, id: &str) -> anyhow::Result<RecipeFile> {
    RecipeSpec::check_id(id)?;
    let folder = &config.commands.recipes;
    if config::recipe_place(folder, id).exists() {
        return Ok(config::read_recipe(folder, id)?);
    }
    for camera in &config.cameras {
        let used = in_use(config, camera)?;
        if used.recipe.info.id == id {
            return Ok(used);
        }
    }
    bail!("no recipe '{id}' in {}, and no camera is judged by one; `vcp-line recipe list` names all", folder.display())
}

fn differ(one: &RecipeFile, other: &RecipeFile) {
    let (one, other) = (lines(one), lines(other));
    let keys = one.iter().chain(other.iter().filter(|(key, _)| !one.iter().any(|(known, _)| known == key)));
    let value = |of: &[(&'static str, String)], key: &str| {
        of.iter().find(|(known, _)| *known == key).map_or_else(|| "-".to_owned(), |(_, value)| value.clone())
    };
    for (key, _) in keys {
        let (before, after) = (value(&one, key), value(&other, key));
        if before != after {
            say!("{key:<18} {before}  ->  {after}");
        }
    }
}
