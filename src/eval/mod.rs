//! How good a model is on labelled pictures: the figures of the field, a baseline beside them, a report to look at.
//!
//! [`metrics`] stands alone and measures any maps and scores. [`run`] streams a data set through an engine and keeps the
//! maps of one class at a time.

pub mod baseline;
pub mod curves;
mod error;
mod evaluation;
pub mod few_shot;
pub mod figures;
pub mod metrics;
pub mod report;
pub mod sizes;
pub mod stream;
pub mod tally;
pub mod tune;

pub use error::EvalError;
pub use evaluation::{Evaluation, LeftOut, Progress};

use std::sync::Arc;

use rayon::prelude::*;

use crate::anomaly::AnomalyMap;
use crate::clock::{Clock, SystemClock};
use crate::dataset::{ClassItems, Dataset, DatasetError, Item, most_left_out};
use crate::engine::Engine;
use crate::frame::Frame;
use crate::look::{Asked, LookError, Looker};
use crate::memory::Memory;
use crate::view::ViewSpec;
use crate::view::locate::Locator;
use baseline::Baseline;
use evaluation::{Peculiar, missing};
use few_shot::FewShot;
use report::Report;
use sizes::{MaskedDefect, SizeBins};
use stream::{Loaded, Looking, Picture};
use tally::{Tally, Truth};

/// Name of the network's column, and of the baseline's.
pub const MODEL: &str = "model";
/// See [`MODEL`].
pub const BASELINE: &str = "baseline";
/// Name of the column of the model with a memory of good parts.
pub const MEMORY: &str = "with memory";

/// What to look at besides the model.
#[derive(Clone, Default)]
pub struct Options<'a> {
    /// The classical method to measure on the same pictures.
    pub baseline: Option<Baseline>,
    /// A picture that cannot be read ends the evaluation.
    pub strict: bool,
    /// More than a tenth of the pictures may be left out.
    pub allow_missing: bool,
    /// Measures the model with a memory of good pictures as well.
    pub few_shot: Option<&'a FewShot>,
    /// How defects are told apart by size.
    pub sizes: SizeBins,
    /// What of the pictures is looked at, and in how many tiles: crop and tiles alone.
    pub view: ViewSpec,
    /// Finds the parts of pictures where they do not lie still; pictures and masks are laid back first.
    pub locator: Option<Arc<Locator>>,
}

/// Side of the square on which maps and masks are compared where tiles are stitched, as a multiple of the model's: fine enough for a
/// defect of a few pixels in a large picture, and a hundred maps still fit into memory.
const FINE: usize = 4;

/// Looks at every picture of `dataset` and measures; pictures for `report` are drawn on the way.
pub fn run(
    dataset: &Dataset,
    engine: &mut dyn Engine,
    options: Options<'_>,
    mut report: Option<&mut Report>,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Evaluation, EvalError> {
    // Stitched maps are finer than the model's, and are measured so.
    let size = engine.info().image_size * if options.view.tiles.is_some() { FINE } else { 1 };
    let methods = [Some(MODEL), options.few_shot.map(|_| MEMORY), options.baseline.map(|_| BASELINE)];
    if let Some(few_shot) = options.few_shot {
        few_shot.check(dataset)?;
    }
    let mut course = Course {
        size,
        looker: Looker::new(options.view.clone()),
        tallies: methods.into_iter().flatten().map(Tally::new).collect(),
        class: None,
        memory: None,
        masks: Vec::new(),
        defects: Vec::new(),
        sizes: options.sizes,
        items: Vec::new(),
    };
    let mut left_out = Vec::new();
    let mut peculiar = Peculiar::default();
    // What was left out before counts as well.
    let all = dataset.len() + dataset.left_out();
    let most = most_left_out(all).saturating_sub(dataset.left_out());
    let (mut done, mut looked_at, total) = (0, 0, dataset.len());
    let looking = Looking { locator: options.locator.as_deref(), crop: options.view.crop };
    stream::for_each(dataset, size, looking, |Loaded { class, item, picture, notes }| {
        let class = &dataset.classes[class];
        if course.enter(class, &mut report)? {
            course.memory = options.few_shot.map(|few_shot| few_shot.memory(&class.name, engine)).transpose()?;
        }
        match picture {
            Ok(picture) => {
                course.look(engine, options.baseline, &class.items[item], picture)?;
                peculiar.add(&class.name, &class.items[item].image, notes);
                looked_at += 1;
            }
            Err(error) if options.strict => return Err(EvalError::Strict(error)),
            Err(error) => {
                let missing =
                    LeftOut { image: class.items[item].image.display().to_string(), reason: error.to_string() };
                watch(Progress::LeftOut(&missing));
                left_out.push(missing);
                if !options.allow_missing && left_out.len() > most {
                    let reasons = left_out.iter().map(|left: &LeftOut| left.reason.clone());
                    let so_far = left_out.len() + dataset.left_out();
                    return Err(EvalError::TooManyLeftOut(DatasetError::too_many_left_out(so_far, all, reasons)));
                }
            }
        }
        done += 1;
        watch(Progress::Looked { done, total, class: &class.name });
        Ok(())
    })?;
    course.end(&mut report)?;
    if looked_at == 0 {
        let first = left_out.first().map(|missing| missing.reason.clone()).unwrap_or_default();
        return Err(EvalError::NothingReadable { total, first });
    }
    let pool = |source| EvalError::Metrics { class: "all".into(), source };
    let methods: Vec<_> = course.tallies.into_iter().map(Tally::finish).collect::<Result<_, _>>().map_err(pool)?;
    let classes = methods.first().map(|method| method.figures.classes.as_slice()).unwrap_or_default();
    let warnings = classes.iter().flat_map(missing).chain(peculiar.sentences()).collect();
    Ok(Evaluation { methods, left_out, looked_at, warnings })
}

/// The class that is being looked at.
struct Course<'a> {
    size: usize,
    looker: Looker,
    tallies: Vec<Tally>,
    class: Option<&'a ClassItems>,
    memory: Option<Memory>,
    masks: Vec<Option<Vec<bool>>>,
    defects: Vec<Vec<MaskedDefect>>,
    sizes: SizeBins,
    items: Vec<&'a Item>,
}

impl<'a> Course<'a> {
    /// Ends the class before when another one begins, and says whether it does.
    fn enter(&mut self, class: &'a ClassItems, report: &mut Option<&mut Report>) -> Result<bool, EvalError> {
        let another = self.class.is_none_or(|before| before.name != class.name);
        if another {
            self.end(report)?;
            self.class = Some(class);
        }
        Ok(another)
    }

    fn look(
        &mut self,
        engine: &mut dyn Engine,
        baseline: Option<Baseline>,
        item: &'a Item,
        Picture { image, mask, defects }: Picture,
    ) -> Result<(), EvalError> {
        let frame = Frame::alone("eval", SystemClock.now(), image);
        let path = || item.image.clone();
        let whole = self.looker.spec().is_whole();
        let mut look = |memory: Option<&Memory>| {
            let asked = Asked { memory, ..Asked::default() };
            let answer = self.looker.look(engine, &frame, asked, None).map_err(|error| match error {
                LookError::Engine(source) => EvalError::Engine { image: path(), source },
                LookError::Memory(error) => EvalError::from(error),
                source => EvalError::Look { image: path(), source },
            })?;
            let finite = answer.score.is_finite() && answer.map.values().iter().all(|value| value.is_finite());
            if finite { Ok(answer) } else { Err(EvalError::NotFinite { image: path() }) }
        };
        let answer = look(None)?;
        let mut answers = vec![(measured(&answer.map, self.size), answer.score)];
        if let Some(memory) = &self.memory {
            // The set's pictures have many shapes, and no line whose memory could be another's.
            let fused = match answer.tokens {
                Some(_) if whole => memory.look(answer, few_shot::shape(self.size))?,
                _ => look(Some(memory))?,
            };
            answers.push((measured(&fused.map, self.size), fused.score));
        }
        if let Some(baseline) = baseline {
            let map = baseline.map(&frame.image, self.size);
            let score = baseline::score(&map);
            answers.push((map, score));
        }
        self.tallies.iter_mut().zip(answers).for_each(|(tally, (map, score))| tally.add(map, score));
        self.masks.push(mask);
        self.defects.push(defects);
        self.items.push(item);
        Ok(())
    }

    fn end(&mut self, report: &mut Option<&mut Report>) -> Result<(), EvalError> {
        let Some(class) = self.class.take().filter(|_| !self.items.is_empty()) else { return Ok(()) };
        let anomalous: Vec<bool> = self.items.iter().map(|item| item.anomalous).collect();
        for tally in &mut self.tallies {
            let named = |source| EvalError::Metrics { class: class.name.clone(), source };
            let truth = Truth { masks: &self.masks, anomalous: &anomalous, defects: &self.defects };
            tally.end_class(&class.name, self.size, truth, &self.sizes).map_err(named)?;
        }
        if let Some(report) = report {
            report.draw_class(&self.items, self.size, &self.masks, &self.tallies)?;
        }
        self.tallies.iter_mut().for_each(Tally::forget);
        self.masks.clear();
        self.defects.clear();
        self.items.clear();
        Ok(())
    }
}

/// A map as it is measured, `side`×`side`: itself where it has that size, else the largest value of each cell, so that nothing that
/// was found is lost.
fn measured(map: &AnomalyMap, side: usize) -> Vec<f32> {
    let (width, height, values) = (map.width(), map.height(), map.values());
    if (width, height) == (side, side) {
        return values.to_vec();
    }
    let cell = |at: usize, of: usize| {
        let from = at * of / side;
        from..((at + 1) * of).div_ceil(side).clamp(from + 1, of.max(from + 1))
    };
    let largest = |x: usize, y: usize| {
        let (columns, rows) = (cell(x, width), cell(y, height));
        rows.flat_map(|y| &values[y * width..][columns.clone()]).copied().fold(f32::NEG_INFINITY, f32::max)
    };
    (0..side * side).into_par_iter().map(|i| largest(i % side, i / side)).collect()
}
