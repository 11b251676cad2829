//! The same pictures of good parts make a memory and, each judged by a memory that has not seen it, the statistics of the
//! thresholds.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::{Context, bail};

use super::pictures::{self, Looked, Seeing};
use crate::calibrate::crossfit::{Fitted, Plan, fit};
use crate::calibrate::remembering::{GoodPart, Remembering};
use crate::calibrate::{Kind, Look, Part, Wish};
use crate::cli::inspect::images;
use crate::cli::terminal::note;
use crate::clock::{Clock, SystemClock};
use crate::drift::Features;
use crate::engine::Engine;
use crate::line::recipe::{RecipeSpec, Statistics};
use crate::memory::{self, Memory, Settings, same_shape};

/// Draws which part serves what; any number would do, and the same pictures shall give the same memory.
const SEED: u64 = 1;

/// How the pictures are divided.
#[derive(Clone, Copy)]
pub enum How {
    /// Some for the memory, the others for the thresholds.
    Split,
    /// Every picture for both.
    Folds(usize),
    /// Every picture for both, each judged by a memory of all others.
    LeaveOneOut,
}

/// A memory, and what was seen of the parts that it had not seen.
pub struct Learnt {
    pub memory: Memory,
    pub plan: Plan,
    pub kind: Kind,
    pub looked: Looked,
}

/// One good picture, before it has its statistics.
struct Good {
    path: PathBuf,
    size: (u32, u32),
    look: Look,
    features: Features,
}

/// Makes both of these files and folders. `both` when the score gets a threshold, too.
pub fn learn(
    engine: &mut dyn Engine,
    recipe: &RecipeSpec,
    seeing: Seeing<'_>,
    paths: &[PathBuf],
    how: How,
    wish: &Wish,
) -> anyhow::Result<Learnt> {
    let (good, unread) = find(paths, seeing)?;
    let both = wish.score || recipe.threshold.is_some();
    let plan = match how {
        How::Split => Plan::split(good.len(), &wish.wanted, both)?,
        How::Folds(folds) => Plan::folds(good.len(), folds)?,
        How::LeaveOneOut => Plan::folds(good.len(), good.len())?,
    };
    engine.hand_out_tokens(true);
    let info = engine.info().clone();
    let settings = Settings {
        model: info.model(),
        size: info.image_size,
        sigma: info.sigma,
        pictures_of_tokens: usize::from(memory::PICTURES_OF_TOKENS),
        by: "vcp-line calibrate".into(),
        now: SystemClock.now().wall,
    };
    // With folds every part is seen many times, and what the model says of it is kept.
    let seen: RefCell<HashMap<[u8; 32], GoodPart>> = RefCell::default();
    let (engine, looked_at) = (RefCell::new(engine), Cell::new(0));
    let see = |good: &Good| -> anyhow::Result<GoodPart> {
        let sha256 = good.look.sha256;
        if let Some(part) = seen.borrow().get(&sha256) {
            return Ok(part.clone());
        }
        let Some(image) = seeing.open(&good.path) else { bail!("{} has changed meanwhile", good.path.display()) };
        if Look::of(&image).sha256 != sha256 {
            bail!("{} has changed meanwhile; calibrate again", good.path.display());
        }
        let prediction = pictures::infer(&mut **engine.borrow_mut(), &image, &good.path)?;
        let part = GoodPart { prediction, size: good.size, sha256 };
        looked_at.set(looked_at.get() + 1);
        if matches!(plan, Plan::Folds { .. }) {
            seen.borrow_mut().insert(sha256, part.clone());
        }
        Ok(part)
    };
    let learner = Remembering::new(settings, recipe.clone(), see);
    let Fitted { memory, judged, statistics, kind } = fit(&learner, &good, plan, SEED)?;
    // In the order in which a person has them.
    let mut of: HashMap<usize, Statistics> = judged.into_iter().zip(statistics).collect();
    let part = |(at, good): (usize, Good)| {
        let statistics = of.remove(&at)?;
        let Good { path, look, features, .. } = good;
        Some(Part { picture: path.to_string_lossy().into_owned(), statistics, look, features: Some(features) })
    };
    let parts = good.into_iter().enumerate().filter_map(part).collect();
    Ok(Learnt { memory, plan, kind, looked: Looked { parts, unread } })
}

/// The pictures that serve, each another one and all of one shape, and how many could not be read.
fn find(paths: &[PathBuf], seeing: Seeing<'_>) -> anyhow::Result<(Vec<Good>, usize)> {
    let (images, mut unread) = images::find(paths)?;
    let (mut good, mut seen): (Vec<Good>, HashSet<[u8; 32]>) = Default::default();
    let (mut copies, mut others) = (0, 0);
    for images::Image { path, .. } in images {
        let Some(image) = seeing.open(&path) else {
            unread += 1;
            continue;
        };
        let (size, look) = ((image.width, image.height), Look::of(&image));
        if !seen.insert(look.sha256) {
            note!("vcp-line: {} is the very picture of another part; it counts once", path.display());
            copies += 1;
        } else if good.first().is_some_and(|first| !same_shape(first.size, size)) {
            others += 1;
        } else {
            good.push(Good { path, size, look, features: Features::of(&image) });
        }
    }
    let Some(first) = good.first() else { bail!("none of the good pictures can be read") };
    if copies + others > 0 {
        let (width, height) = first.size;
        note!(
            "vcp-line: {} good pictures count; left out: {copies} copies, {others} of another shape than {width}x{height}",
            good.len()
        );
    }
    Ok((good, unread))
}

impl How {
    /// As the arguments have it.
    pub fn of(folds: Option<usize>, leave_one_out: bool) -> Self {
        match (folds, leave_one_out) {
            (_, true) => Self::LeaveOneOut,
            (Some(folds), false) => Self::Folds(folds),
            (None, false) => Self::Split,
        }
    }
}

/// Puts it there, whole or not at all.
pub fn write(memory: &Memory, file: &std::path::Path) -> anyhow::Result<()> {
    memory.write(file).with_context(|| format!("writing {}; nothing has been applied", file.display()))
}
