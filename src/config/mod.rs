//! The settings of a line: read as written, checked as a whole, resolved until nothing is left to interpret.

mod aravis;
mod archive;
mod changes;
mod control;
mod key;
mod locate;
pub mod mqtt;
mod outbox;
pub mod problem;
pub mod raw;
mod raw_remote;
mod raw_self_test;
mod raw_traces;
pub mod read;
mod recipe_file;
mod remote;
pub mod resolve;
mod rules;
pub mod secret;
mod self_test;
pub mod sparkplug;
mod state;
mod synthetic;
mod traces;
mod view;

use std::path::{Path, PathBuf};

pub use changes::{Changes, changes};
pub use control::{CommandsConfig, HttpConfig};
pub use mqtt::MqttConfig;
pub use problem::{ConfigError, Problem};
pub use recipe_file::{RecipeFile, parse_recipe, read_recipe, recipe_names, recipe_place};
pub use resolve::{CameraConfig, LineConfig, SourceConfig};
pub use secret::SecretError;
pub use self_test::SelfTestConfig;
pub use sparkplug::SparkplugConfig;

/// Reads and resolves a settings file, and looks whether the files it names are there. Passwords are read later, by
/// [`secret::read`]; whether they can be read is part of the look.
pub fn load(path: &Path) -> Result<LineConfig, ConfigError> {
    load_with_text(path).map(|(config, _)| config)
}

/// As [`load`], with the text that was read.
pub fn load_with_text(path: &Path) -> Result<(LineConfig, String), ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let mut report = problem::Report::new(path, &text);
    let raw = read::read(&text, &mut report);
    let mut config = resolve::resolve(&raw, path, &mut report);
    if let Some(config) = &mut config {
        resolve::look_for_files(&raw, config, &mut report);
    }
    Ok((finish(config, report, path)?, text))
}

/// Like [`load`] for a text that stands for the file at `path`, without looking for the files it names.
pub fn parse(text: &str, path: &Path) -> Result<LineConfig, ConfigError> {
    let mut report = problem::Report::new(path, text);
    let raw = read::read(text, &mut report);
    let config = resolve::resolve(&raw, path, &mut report);
    finish(config, report, path)
}

fn finish(config: Option<LineConfig>, mut report: problem::Report, path: &Path) -> Result<LineConfig, ConfigError> {
    if config.is_none() && report.is_empty() {
        report.add(None, "", "the settings could not be resolved".into());
    }
    report.finish()?;
    config.ok_or_else(|| ConfigError::Read {
        path: PathBuf::from(path),
        source: std::io::Error::other("the settings could not be resolved"),
    })
}
