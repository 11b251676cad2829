//! `vcp-line locate`: teaches a camera what to look for, and shows how parts lie in pictures.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::failure::{there, wrong_arguments};
use super::inspect::judge::chosen;
use super::rectangle;
use super::terminal::{self, say};
use crate::config;
use crate::line::locating::{LocateSettings, Missing};
use crate::printable::printable;
use crate::source::image_file;

#[derive(Args)]
pub struct LocateArguments {
    /// The line's settings.
    #[arg(value_name = "LINE.toml")]
    settings: PathBuf,
    /// Which camera [default: the only one of the line]
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// A frame of a good part, as the camera captures it [default: that of the settings]
    #[arg(long, value_name = "FILE", requires = "rectangle")]
    picture: Option<PathBuf>,
    /// The piece of it that is looked for, pixels [default: that of the settings]
    #[arg(long, value_name = "X,Y,W,H", value_parser = rectangle::parse, requires = "picture")]
    rectangle: Option<[u32; 4]>,
    /// Largest shift along either axis, pixels [default: that of the settings, else 40]
    #[arg(long, value_name = "PX")]
    shift: Option<u32>,
    /// Largest turn either way, degrees [default: that of the settings, else 5]
    #[arg(long, value_name = "DEGREES")]
    turn: Option<f32>,
    /// Print JSON, one line for each picture.
    #[arg(long)]
    json: bool,
    /// Pictures in which to look for the part.
    #[arg(value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
}

pub fn run(arguments: &LocateArguments) -> anyhow::Result<()> {
    there("LINE.toml", &arguments.settings)?;
    let config = config::load(&arguments.settings)?;
    let camera = chosen(&config, &arguments.settings, arguments.camera.as_deref())?;
    let settings = arguments.settings(camera.locate.as_ref()).ok_or_else(|| {
        let message = format!(
            "camera '{}' has no [camera.locate] yet; teach it with --picture FILE --rectangle X,Y,W,H",
            camera.plan.name
        );
        wrong_arguments(message)
    })?;
    let plan = settings.plan().with_context(|| format!("camera '{}'", camera.plan.name))?;
    let own = image_file::load_as_stored(&settings.picture)?;
    let (width, height) = (own.width, own.height);
    let pictures = std::iter::once(&settings.picture).chain(&arguments.pictures);
    for file in pictures {
        let image = image_file::load_as_stored(file)?;
        let pose = plan.locator.find(&image).with_context(|| file.display().to_string())?;
        let name = file.display().to_string();
        match (arguments.json, pose) {
            (true, Some(pose)) => terminal::json(
                &json!({
                    "picture": name, "found": true,
                    "dx_px": pose.dx, "dy_px": pose.dy, "turn_degrees": pose.degrees, "score": pose.score,
                }),
                false,
            )?,
            (true, None) => terminal::json(&json!({ "picture": name, "found": false }), false)?,
            (false, Some(pose)) => say!(
                "{}  dx {:+.2} px  dy {:+.2} px  turn {:+.3} degrees  score {:.3}",
                printable(&name),
                to(pose.dx, 100.0),
                to(pose.dy, 100.0),
                to(pose.degrees, 1000.0),
                pose.score
            ),
            (false, None) => say!("{}  not found", printable(&name)),
        }
    }
    if !arguments.json && arguments.picture.is_some() {
        let table = table(&settings, &arguments.settings);
        terminal::lines(&format!(
            "\ntaught on a frame of {width}x{height} pixels; write below camera '{}':\n\n{table}\n",
            camera.plan.name
        ));
    }
    Ok(())
}

/// Rounded to a share of one; nothing is never less than nothing.
fn to(value: f32, steps: f32) -> f32 {
    (value * steps).round() / steps + 0.0
}

impl LocateArguments {
    /// What the arguments say goes before what the camera's settings say.
    fn settings(&self, set: Option<&LocateSettings>) -> Option<LocateSettings> {
        let picture = self.picture.clone().or(set.map(|set| set.picture.clone()))?;
        let rectangle = self.rectangle.or(set.map(|set| set.rectangle))?;
        Some(LocateSettings {
            picture,
            rectangle,
            shift_px: self.shift.or(set.map(|set| set.shift_px)).unwrap_or(40),
            turn_degrees: self.turn.or(set.map(|set| set.turn_degrees)).unwrap_or(5.0),
            least_score: set.map_or(0.6, |set| set.least_score),
            missing: set.map_or(Missing::default(), |set| set.missing),
        })
    }
}

/// The table as it stands in a settings file; the picture is named from the file's folder where it lies in it.
fn table(settings: &LocateSettings, file: &Path) -> String {
    let whole = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let picture = whole(&settings.picture);
    let folder = whole(file).parent().map(Path::to_owned).unwrap_or_default();
    let picture = picture.strip_prefix(&folder).unwrap_or(&picture).display().to_string();
    let LocateSettings { rectangle, shift_px, turn_degrees, least_score, missing, .. } = settings;
    let missing = if *missing == Missing::Fail { "fail" } else { "no_verdict" };
    format!(
        "[camera.locate]\npicture = {}\nrectangle = {rectangle:?}\nshift_px = {shift_px}\nturn_degrees = {turn_degrees:?}\n\
         least_score = {least_score:?}\nmissing = \"{missing}\"",
        toml::Value::String(picture)
    )
}
