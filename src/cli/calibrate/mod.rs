//! `vcp-line calibrate`: thresholds from pictures of good parts, with a promise; applied on request, and taken back.

mod applying;
mod learning;
mod pictures;
mod said;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::archive;
use super::engine_arguments::EngineArguments;
use super::failure::{self, wrong_arguments};
use super::inspect::judge::{chosen, locate, settings};
use super::terminal::{self, note};
use crate::calibrate::record::Model;
use crate::calibrate::{self, By, Kind, Record, Wanted, Warning, Wish};
use crate::clock::{Clock, SystemClock};
use crate::engine;
use crate::memory::Memory;
use crate::output::{self, NewFile};
use crate::service;
use crate::service::plan;
use applying::Place;
use learning::{How, Learnt};
use pictures::{Looked, Seeing};

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
    /// Make a memory of the good pictures, too, and write it into this file: some of them for the memory, the others for the
    /// thresholds, so that the promise is exact. The memory in use is left aside.
    #[arg(long, value_name = "FILE.memory", conflicts_with = "rollback")]
    learn: Option<PathBuf>,
    /// With --learn: every picture serves for the memory and for the thresholds, judged by the memory of the other folds. The
    /// promise is approximate.
    #[arg(long, value_name = "K", requires = "learn")]
    folds: Option<usize>,
    /// As --folds with as many folds as pictures.
    #[arg(long, requires = "learn", conflicts_with = "folds")]
    leave_one_out: bool,
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

    let mut engine = engine::open(&spec)?;
    let view = &camera.plan.view;
    if arguments.learn.is_some() && !view.is_whole() {
        let message = "--learn looks at whole frames; where the camera has a [camera.view], make the memory of some pictures \
                       (vcp-line learn --view LINE.toml) and the thresholds of others";
        return Err(wrong_arguments(message));
    }
    // Pictures of the camera mean what they mean to the line.
    let levels = plan::levels(camera, config.commands.directory.as_deref()).known().map_err(anyhow::Error::msg)?;
    let locate = locate(camera)?;
    let seeing = Seeing { levels: levels.as_ref(), locate: locate.as_ref() };
    let (good, kind, made, known) = match &arguments.learn {
        Some(file) => {
            output::check_file(file).with_context(|| format!("writing {}", file.display()))?;
            let how = How::of(arguments.folds, arguments.leave_one_out);
            let Learnt { memory, plan, kind, looked } =
                learning::learn(engine.as_mut(), &recipe, seeing, &good, how, &wish)?;
            (looked, kind, Some((memory, Some(plan))), 0)
        }
        None => {
            let memory =
                service::memory_in_use(config.commands.directory.as_deref(), &camera.plan, camera.memory.as_deref())
                    .context("reading the recipes that came by command")?;
            let memory = memory.as_deref().map(Memory::read).transpose()?;
            if let Some(memory) = &memory {
                memory.fits(&engine.info().model())?;
                engine.hand_out_tokens(true);
            }
            let mut looked = pictures::look(engine.as_mut(), memory.as_ref(), (view, &recipe), seeing, &good)?;
            let given = looked.parts.len();
            if let Some(memory) = &memory {
                looked.parts.retain(|part| !memory.about().knows(&part.look.sha256));
                said::independence(memory, given - looked.parts.len());
            }
            let known = given - looked.parts.len();
            (looked, Kind::Exact, memory.map(|memory| (memory, None)), known)
        }
    };
    let Looked { parts: good, unread } = good;
    let memory = made.as_ref().map(|(memory, _)| memory);
    let Looked { parts: bad, unread: bad_unread } =
        pictures::look(engine.as_mut(), memory, (view, &recipe), seeing, &arguments.bad)?;
    if unread + bad_unread > 0 {
        note!("vcp-line: {} pictures could not be judged and count nowhere; they are named above", unread + bad_unread);
    }
    let mut found = calibrate::calibrate(&recipe, &good, &bad, &Wish { kind, ..wish })?;
    if let Some(memory) = memory.filter(|_| known > 0) {
        found.warnings.insert(0, Warning::Remembered { count: known, memory: memory.info().id });
    }
    let model = Model { memory: memory.map(Memory::info), ..engine.info().model() };
    let by = By {
        at: SystemClock.now().wall,
        by: applying::user(),
        line: config.name.clone(),
        camera: camera.plan.name.to_string(),
    };
    let record = Record::new(by, model, &recipe, &found, &good, &bad);
    let record = Record { fitted: made.as_ref().and_then(|(_, plan)| *plan), ..record };
    let texts = calibrate::sheets(&record, &recipe, &found, &good, &bad)?;
    let placed = |(name, text): (String, String)| match &arguments.out {
        Some(folder) => (folder.join(name), text),
        // Where the line itself puts them.
        None => (place.sheet(&found.recipe.info, &name), text),
    };
    let mut files = out.map(|_| write(texts.into_iter().map(placed).collect())).transpose()?.unwrap_or_default();
    let sheet = files.first().cloned();
    let new = arguments.learn.as_ref().zip(memory);
    if let Some((file, memory)) = new {
        learning::write(memory, file)?;
        files.push(file.clone());
    }
    if arguments.apply {
        place.apply(&found.recipe, &record.model, sheet.as_deref(), new.map(|(_, memory)| memory))?;
    }
    if arguments.json {
        terminal::json(&record, true)?;
    } else {
        terminal::lines(&said::text(&record, &found, &files, arguments.apply));
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
