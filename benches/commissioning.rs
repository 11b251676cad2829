//! A thousand simulated commissionings on the shipped model's statistics of a synthetic line: how often what is promised of
//! the thresholds holds, without a memory and with one that the same parts have made.
//!
//! The pool is made once and kept in the target folder. Without a memory the parts are drawn with putting back, so that the
//! pool is the whole population and its false-reject rate is exact; with one without, and the rest of the pool is judged.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use vcp_line::calibrate::crossfit::{FOLDS, Fitted, Learner, Plan, fit};
use vcp_line::calibrate::{Kind, Look, Wanted};
use vcp_line::clock::{Clock, SystemClock};
use vcp_line::dice::Dice;
use vcp_line::engine::{self, EngineChoice, EngineSpec, PlanSpec, Precision};
use vcp_line::event::RecipeInfo;
use vcp_line::frame::{Frame, Image, PixelFormat};
use vcp_line::line::recipe::{Recipe, RecipeSpec, Statistics};
use vcp_line::synth::{Class, Conveyor, DefectKind, render};

const POOL: usize = 2000;
const RUNS: u64 = 1000;
const SIDE: u32 = 256;
const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/vcp-demo");

#[derive(serde::Serialize, serde::Deserialize)]
struct Pooled {
    statistics: Statistics,
    thumbnail: Vec<f32>,
}

/// The good parts of the line in `pipelines/synthetic.toml`.
fn pool() -> Vec<Pooled> {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("commissioning-pool-{POOL}.json"));
    if let Some(pool) = std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return pool;
    }
    let conveyor = Conveyor {
        classes: vec![Class::Ring, Class::Leather, Class::PrintedBoard],
        kinds: vec![DefectKind::ALL[0]],
        defective: 0.0,
        difficulty: (0.0, 0.0),
        size: SIDE,
        pool: POOL as u32,
        seed: 14,
    };
    let plan = PlanSpec { file: None, rebuild: false };
    let (engine, precision) = (EngineChoice::Auto, Precision::default());
    let spec = EngineSpec { bundle: Path::new(BUNDLE).into(), engine, precision, max_batch: 1, threads: None, plan };
    let mut engine = engine::open(&spec).unwrap();
    let info = RecipeInfo { id: "mixed".into(), version: 1 };
    let spec = RecipeSpec { info, threshold: None, defect_threshold: 0.25, min_area_px: 25, regions: Vec::new() };
    let mut recipe = Recipe::new(spec);
    let triggers: Vec<u64> = (1..=POOL as u64).collect();
    let mut pool = Vec::with_capacity(POOL);
    for some in triggers.chunks(100) {
        let pictures: Vec<Image> = some
            .par_iter()
            .map(|trigger| Image::new(SIDE, SIDE, PixelFormat::Rgb8, render(&conveyor.part(*trigger)).rgb).unwrap())
            .collect();
        for image in pictures {
            let thumbnail = Look::of(&image).thumbnail;
            let frame = Frame::alone("pool", SystemClock.now(), image);
            let prediction = engine.infer(&[&frame]).unwrap().remove(0);
            pool.push(Pooled { statistics: recipe.statistics(&prediction, SIDE, SIDE).unwrap(), thumbnail });
        }
        eprintln!("{} of {POOL} parts looked at", pool.len());
    }
    std::fs::write(&file, serde_json::to_vec(&pool).unwrap()).unwrap();
    pool
}

/// A memory of thumbnails; a part's statistic is its distance to the most similar one. Parts are places in the pool.
struct Similar {
    distances: Vec<f32>,
}

impl Similar {
    fn new(pool: &[Pooled]) -> Self {
        let distance = |(a, b): (&Pooled, &Pooled)| {
            let sum: f32 = a.thumbnail.iter().zip(&b.thumbnail).map(|(a, b)| (a - b) * (a - b)).sum();
            sum.sqrt()
        };
        let row = |a| pool.iter().map(move |b| distance((a, b))).collect::<Vec<_>>();
        Self { distances: pool.par_iter().flat_map_iter(row).collect() }
    }
}

impl Learner for Similar {
    type Part = usize;
    type Memory = Vec<usize>;
    type Error = Infallible;

    fn learn(&self, parts: &[&usize]) -> Result<Vec<usize>, Infallible> {
        Ok(parts.iter().map(|part| **part).collect())
    }

    fn judge(&self, memory: &Vec<usize>, part: &usize) -> Result<Statistics, Infallible> {
        let row = &self.distances[part * POOL..][..POOL];
        let defect = memory.iter().map(|other| row[*other]).fold(f32::INFINITY, f32::min);
        Ok(Statistics { defect, score: 0.0 })
    }
}

/// In how many runs at most α of the parts that come later are rejected, and the mean of that rate.
fn row(name: &str, n: usize, rate: f64, rejected: impl Fn(&mut Dice, &Wanted) -> f64 + Sync) {
    let wanted = Wanted::new(rate, 0.95).unwrap();
    let each = |run: u64| rejected(&mut Dice::new(14, [run, n as u64, (rate * 1e4) as u64]), &wanted);
    let rates: Vec<f64> = (0..RUNS).into_par_iter().map(each).collect();
    let kept = rates.iter().filter(|found| **found <= rate).count();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    println!(
        "| {name} | {n} | {:.0} % | {:.1} % | {:.2} % |",
        rate * 100.0,
        kept as f64 / RUNS as f64 * 100.0,
        mean * 100.0
    );
}

fn main() {
    let pool = pool();
    println!("| thresholds from | n | α | kept in | mean false rejects |\n|---|---|---|---|---|");
    for (n, rate, both) in
        [(59, 0.05, false), (100, 0.05, false), (300, 0.05, false), (300, 0.01, false), (100, 0.05, true)]
    {
        let name = if both { "map and score together, no memory" } else { "map, no memory" };
        row(name, n, rate, |dice, wanted| {
            let parts: Vec<Statistics> = (0..n).map(|_| pool[dice.below(POOL)].statistics).collect();
            let (thresholds, _) = wanted.thresholds(&parts, both, Kind::Exact).unwrap();
            pool.iter().filter(|part| thresholds.reject(&part.statistics)).count() as f64 / POOL as f64
        });
    }
    let similar = &Similar::new(&pool);
    let judge = |memory: &Vec<usize>, part: usize| similar.judge(memory, &part).unwrap_or_else(|never| match never {});
    let memory = |name: &str, n: usize, how: &(dyn Fn(&[usize]) -> Fitted<Vec<usize>> + Sync)| {
        row(name, n, 0.05, |dice, wanted| {
            let mut places: Vec<usize> = (0..POOL).collect();
            (0..n).for_each(|at| places.swap(at, at + dice.below(POOL - at)));
            let (parts, later) = places.split_at(n);
            let fitted = how(parts);
            let (thresholds, _) = wanted.thresholds(&fitted.statistics, false, fitted.kind).unwrap();
            let rejected = later.iter().filter(|part| thresholds.reject(&judge(&fitted.memory, **part))).count();
            rejected as f64 / later.len() as f64
        });
    };
    let with = |plan: Plan| move |parts: &[usize]| fit(similar, parts, plan, 1).unwrap_or_else(|never| match never {});
    let naive = |parts: &[usize]| {
        let statistics = parts.iter().map(|part| judge(&parts.to_vec(), *part)).collect();
        Fitted { memory: parts.to_vec(), judged: (0..parts.len()).collect(), statistics, kind: Kind::Approximate }
    };
    memory("memory of the same parts, split 41 + 59 (exact)", 100, &with(Plan::Split { memory: 41 }));
    for n in [59, 100] {
        memory("memory of the same parts, 10 folds (approximate)", n, &with(Plan::Folds { folds: FOLDS }));
        memory("memory of the same parts, leave-one-out (approximate)", n, &with(Plan::Folds { folds: n }));
    }
    memory("memory of the same parts, naive", 59, &naive);
    memory("memory of the same parts, naive", 100, &naive);
}
