//! `vcp-line learn`: good pictures become a memory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;

use super::engine_arguments::EngineArguments;
use super::failure;
use super::inspect::{images, judge};
use super::levels_argument;
use super::terminal::{self, note};
use crate::anomaly::Prediction;
use crate::calibrate::Look;
use crate::clock::{Clock, SystemClock};
use crate::engine;
use crate::frame::{Frame, Levels};
use crate::line::locating::{NotPlaced, Placed};
use crate::look::{Asked, Looker};
use crate::memory::{self, Learner, Memory, MemoryError, Settings};
use crate::output;
use crate::source::image_file;

#[derive(Args)]
pub struct LearnArguments {
    /// Model bundle.
    #[arg(long, value_name = "BUNDLE")]
    model: PathBuf,
    /// Pictures of good parts: files, or folders of them with their subfolders. As the camera takes them.
    #[arg(long, required = true, num_args = 1.., value_name = "DIR|IMAGE")]
    good: Vec<PathBuf>,
    /// The memory; one that is there is replaced.
    #[arg(short, long, value_name = "FILE.memory")]
    output: PathBuf,
    /// Tokens that it keeps of each tapped layer, as multiples of one picture's; more of them cost time with every frame.
    #[arg(long, value_name = "PICTURES", default_value_t = memory::PICTURES_OF_TOKENS, value_parser = clap::value_parser!(u16).range(1..=1000))]
    size: u16,
    /// Look as a camera in this line's settings does: at its part as it was taught, through its view, in its tiles, at its
    /// regions of interest.
    #[arg(long, value_name = "LINE.toml")]
    view: Option<PathBuf>,
    /// Whose view, when the line has several cameras.
    #[arg(long, value_name = "NAME", requires = "view")]
    camera: Option<String>,
    /// What the values of the pictures mean, for those of 10 to 16 bits, as in [camera.levels] [default: 16 bits as they are]
    #[arg(long, value_name = "BLACK,WHITE[,GAMMA]", value_parser = levels_argument::levels)]
    levels: Option<Arc<Levels>>,
    #[command(flatten)]
    engine: EngineArguments,
}

pub fn run(arguments: &LearnArguments) -> anyhow::Result<()> {
    failure::bundle_there(&arguments.model)?;
    output::check_file(&arguments.output).with_context(|| format!("writing {}", arguments.output.display()))?;
    let camera = arguments.view.as_deref().map(|file| judge::open(file, arguments.camera.as_deref())).transpose()?;
    let judge = camera.map(|(_, judge)| judge);
    let levels = arguments.levels.clone().or_else(|| judge.as_ref()?.levels.clone());
    let locate = judge.as_ref().and_then(|judge| judge.locate.clone());
    let (view, regions) = judge.map(|judge| (judge.view.clone(), judge.spec().regions.clone())).unwrap_or_default();
    let (images, unreadable) = images::find(&arguments.good)?;
    if unreadable > 0 {
        bail!("{unreadable} folders could not be read; a memory of some of the good parts would not know the others");
    }
    let mut engine = engine::open(&arguments.engine.spec(&arguments.model, 1))?;
    engine.hand_out_tokens(true);
    let info = engine.info().clone();
    let mut learner = Learner::new(Settings {
        model: info.model(),
        size: info.image_size,
        sigma: info.sigma,
        pictures_of_tokens: usize::from(arguments.size),
        by: "vcp-line learn".into(),
        now: SystemClock.now().wall,
    })
    .through(view.clone());
    let mut looker = Looker::new(view);
    let begin = Instant::now();
    let (mut others, mut lost) = (0, 0);
    let mut seen: HashMap<[u8; 32], PathBuf> = HashMap::new();
    for images::Image { path, .. } in images {
        let frame = Frame::alone("good", SystemClock.now(), image_file::load_with(&path, levels.as_ref())?);
        let placed = match Placed::new(&frame, locate.as_ref()) {
            Ok(placed) if !placed.is_missing() => placed,
            Ok(_) | Err(NotPlaced::Missing) => {
                note!("vcp-line: {}: {}; it is left out", path.display(), NotPlaced::Missing);
                lost += 1;
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        };
        let frame = placed.seen();
        let (size, picture) = ((frame.image.width, frame.image.height), Look::of(&frame.image).sha256);
        if !learner.fits(size) {
            note!("vcp-line: {} has {}x{} pixels, another shape; it is left out", path.display(), size.0, size.1);
            others += 1;
            continue;
        }
        if let Some(first) = seen.insert(picture, path.clone()) {
            note!("vcp-line: {} shows the same as {}; it is taken once", path.display(), first.display());
            continue;
        }
        let (mut pictures, mut taken) = (0, Ok(()));
        let mut take = |answer: &Prediction, size: (u32, u32)| {
            if taken.is_err() {
                return;
            }
            taken = match &answer.tokens {
                Some(tokens) if pictures == 0 => learner.take(tokens, answer.score, size),
                Some(tokens) => learner.take_tile(tokens, answer.score, size),
                None => Err(MemoryError::NoTokens { engine: info.engine.to_string() }),
            };
            pictures += 1;
        };
        let asked = Asked { regions: &regions, ..Asked::default() };
        looker.look(engine.as_mut(), frame, asked, Some(&mut take)).with_context(|| format!("{}", path.display()))?;
        taken.with_context(|| format!("{}", path.display()))?;
        learner.note(picture);
    }
    if others > 0 {
        let (width, height) = learner.picture();
        note!(
            "vcp-line: {others} good pictures have another shape than {width}x{height}, that of the first, and are left out"
        );
    }
    if lost > 0 {
        note!("vcp-line: {lost} good pictures are left out because their part was not found");
    }
    let memory = learner.finish()?;
    memory.write(&arguments.output)?;
    terminal::lines(&told(&memory, arguments, begin));
    Ok(())
}

fn told(memory: &Memory, arguments: &LearnArguments, begin: Instant) -> String {
    let about = memory.about();
    let weights = memory.fusion().weights();
    format!(
        "{}: memory {} of {} good pictures ({}x{}), {} tokens of each of {} layers, {:.1} MB in use, made in {:.1} s\n\
         its word counts {:.3} in the map and {:.3} in the score; model {} with {} in {}\n",
        arguments.output.display(),
        about.id,
        about.parts,
        about.picture.0,
        about.picture.1,
        about.tokens.iter().copied().max().unwrap_or_default(),
        about.tokens.len(),
        memory.bytes() as f64 / 1e6,
        begin.elapsed().as_secs_f64(),
        weights.map,
        weights.own,
        about.model.name,
        about.model.engine,
        about.model.precision,
    )
}
