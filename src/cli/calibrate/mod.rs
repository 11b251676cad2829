//! `vcp-line calibrate`: thresholds from pictures of good parts, with a promise; applied on request, and taken back.

mod applying;
mod pictures;
mod said;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::archive;
use super::engine_arguments::EngineArguments;
use super::failure::{self, wrong_arguments};
use super::inspect::judge::{chosen, settings};
use super::terminal::{self, note};
use crate::calibrate::record::Model;
use crate::calibrate::{self, By, Kind, Record, Wanted, Wish};
use crate::clock::{Clock, SystemClock};
use crate::engine;
use crate::memory::Memory;
use crate::output::{self, NewFile};
use crate::service;
use crate::service::plan;
use applying::Place;
use pictures::Looked;

#[derive(Args)]
pub struct CalibrateArguments {
    /// The line's settings: its model, its engine, its recipe.
    #[arg(value_name = "LINE.toml")]
    line: PathBuf,
    /// Pictures of good parts, each of another one: files, or folders with their subfolders.
    #[arg(long, value_name = "DIR|IMAGE", num_args = 1.., required_unless_present_any = ["rollback", "from_archive"])]
    good: Vec<PathBuf>,
    /// Good parts from the line's archive besides: those of its sample, with what reviews say of them.
    #[arg(long)]
    from_archive: bool,
    /// Pictures of defective parts: how many of them would be found is said.
    #[arg(long, value_name = "DIR|IMAGE", num_args = 1..)]
    bad: Vec<PathBuf>,
    /// Whose recipe, when the line has several cameras.
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Share of good parts that may be rejected: 0.05 needs 59 good parts, 0.01 needs 299.
    #[arg(long, value_name = "RATE", default_value_t = 0.05)]
    false_rejects: f64,
    /// How sure that is.
    #[arg(long, value_name = "P", default_value_t = 0.95)]
    confidence: f64,
    /// Give the image score a threshold as well, under the same promise: 93 parts for 0.05, 473 for 0.01. A recipe that has
    /// one gets a new one in any case.
    #[arg(long)]
    score: bool,
    /// Take the new thresholds into use at the next start, as the recipe's next version. The line must not run.
    #[arg(long, conflicts_with = "rollback")]
    apply: bool,
    /// Write the calibration and its histograms into this folder [default: nothing, with --apply `calibrations` in the
    /// line's state folder]
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print the calibration as JSON.
    #[arg(long)]
    json: bool,
    /// Go back to the recipe before, at the next start; again for the one before that.
    #[arg(long, conflicts_with_all = ["good", "from_archive", "bad", "out", "score", "json"])]
    rollback: bool,
    #[command(flatten)]
    engine: EngineArguments,
}

pub fn run(arguments: &CalibrateArguments) -> anyhow::Result<()> {
    let config = settings(&arguments.line)?;
    let camera = chosen(&config, &arguments.line, arguments.camera.as_deref())?;
    let place = Place { settings: &arguments.line, config: &config, camera: &camera.plan };
    if arguments.rollback {
        return place.roll_back();
    }
    let wanted = Wanted::new(arguments.false_rejects, arguments.confidence).map_err(wrong_arguments)?;
    let wish = Wish { wanted, score: arguments.score, kind: Kind::Exact };
    for (name, paths) in [("--good", &arguments.good), ("--bad", &arguments.bad)] {
        paths.iter().try_for_each(|path| failure::there(name, path))?;
    }
    // Before the work: what cannot be done afterwards.
    let out = match (&arguments.out, arguments.apply) {
        (Some(folder), false) => Some(folder.clone()),
        (out, true) => {
            let state = place.state()?;
            Some(out.clone().unwrap_or_else(|| state.join("calibrations")))
        }
        (None, false) => None,
    };
    if let Some(folder) = &out {
        let place =
            if folder.is_dir() { output::check_file(&folder.join("new")) } else { output::check_folder(folder) };
        place.with_context(|| format!("writing into {}", folder.display()))?;
        terminal::goes_on_without();
    }
    let mut good = arguments.good.clone();
    if arguments.from_archive {
        let Some(spec) = &config.archive else {
            return Err(wrong_arguments("--from-archive: the line has no [archive] in its settings"));
        };
        good.extend(archive::good_frames(spec, &camera.plan.name).context("good parts of the archive")?);
    }
    let spec = arguments.engine.over(config.engine.clone());
    if arguments.apply && (spec.engine, spec.precision) != (config.engine.engine, config.engine.precision) {
        let message = "--apply: thresholds of another engine or precision are none of this line's; leave --engine and --precision out";
        return Err(wrong_arguments(message));
    }
    failure::bundle_there(&spec.bundle)?;
    let recipe = service::recipe_in_use(config.commands.directory.as_deref(), &camera.plan)
        .context("reading the recipes that came by command; start the line once, which puts the file aside")?;

    let memory = service::memory_in_use(config.commands.directory.as_deref(), &camera.plan, camera.memory.as_deref())
        .context("reading the recipes that came by command")?;
    let memory = memory.as_deref().map(Memory::read).transpose()?;
    let mut engine = engine::open(&spec)?;
    if let Some(memory) = &memory {
        memory.fits(&engine.info().model())?;
        engine.hand_out_tokens(true);
        let about = memory.about();
        note!(
            "with memory {} of {} good parts, which must be others than those that are given here",
            about.id,
            about.parts
        );
    }
    let memory = memory.as_ref();
    let looking = (&camera.plan.view, &recipe);
    // Pictures of the camera mean what they mean to the line.
    let levels = plan::levels(camera, config.commands.directory.as_deref()).known().map_err(anyhow::Error::msg)?;
    let levels = levels.as_ref();
    let Looked { parts: good, unread } = pictures::look(engine.as_mut(), memory, looking, levels, &good)?;
    let Looked { parts: bad, unread: bad_unread } =
        pictures::look(engine.as_mut(), memory, looking, levels, &arguments.bad)?;
    if unread + bad_unread > 0 {
        note!("vcp-line: {} pictures could not be judged and count nowhere; they are named above", unread + bad_unread);
    }
    let found = calibrate::calibrate(&recipe, &good, &bad, &wish)?;
    let info = engine.info();
    let model = Model {
        name: info.model.clone(),
        sha256: info.sha256.clone(),
        engine: info.engine.to_string(),
        precision: info.precision.to_string(),
        memory: memory.map(Memory::info),
    };
    let by = By {
        at: SystemClock.now().wall,
        by: applying::user(),
        line: config.name.clone(),
        camera: camera.plan.name.to_string(),
    };
    let record = Record::new(by, model, &recipe, &found, &good, &bad);
    let texts = calibrate::sheets(&record, &recipe, &found, &good, &bad)?;
    let placed = |(name, text): (String, String)| match &arguments.out {
        Some(folder) => (folder.join(name), text),
        // Where the line itself puts them.
        None => (place.sheet(&found.recipe.info, &name), text),
    };
    let files = out.map(|_| write(texts.into_iter().map(placed).collect())).transpose()?;
    if arguments.apply {
        place.apply(
            &found.recipe,
            &record.model,
            files.as_ref().and_then(|files| files.first()).map(|file| &**file),
        )?;
    }
    if arguments.json {
        terminal::json(&record, true)?;
    } else {
        terminal::lines(&said::text(&record, &found, files.as_deref().unwrap_or(&[]), arguments.apply));
    }
    Ok(())
}

/// The file and a histogram for each threshold, all of them or none.
fn write(texts: Vec<(PathBuf, String)>) -> anyhow::Result<Vec<PathBuf>> {
    let folder = texts.first().and_then(|(path, _)| path.parent()).map(Path::to_owned).unwrap_or_default();
    let writing = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::create_dir_all(&folder)?;
        let mut whole = Vec::new();
        for (path, text) in &texts {
            let mut file = NewFile::beside(path)?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            whole.push((path.clone(), file));
        }
        whole.into_iter().map(|(path, file)| file.put().map(|()| path)).collect()
    };
    match writing() {
        Ok(files) => Ok(files),
        Err(error) => bail!("writing into {}: {error}; nothing has been applied", folder.display()),
    }
}
