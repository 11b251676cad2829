//! A thousand simulated commissionings on the shipped model's statistics of a synthetic line: how often what is promised of
//! the thresholds holds, without a memory and with one that the same parts have made.
//!
//! The pool is made once and kept in the target folder. Without a memory the parts are drawn with putting back, so that the
//! pool is the whole population and its false-reject rate is exact; with one without, and the rest of the pool is judged.
#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use vcp_line::calibrate::crossfit::{FOLDS, Fitted, Learner, Plan, fit};
use vcp_line::calibrate::{Kind, Wanted};
use vcp_line::clock::{Clock, SystemClock};
use vcp_line::dice::Dice;
use vcp_line::engine::{self, EngineChoice, EngineSpec, PlanSpec, Precision};
use vcp_line::event::RecipeInfo;
use vcp_line::frame::{Frame, Image, PixelFormat};
use vcp_line::line::recipe::{Recipe, RecipeSpec, Statistics};
use vcp_line::synth::{Class, Conveyor, DefectKind, render};

const POOL: usize = 1000;
const RUNS: u64 = 1000;
const SIDE: u32 = 128;
/// Every third patch of each row and column is in the pool, of the last tapped layer, …
const STEP: usize = 3;
/// … and every fourth of those in the memory: few enough for a thousand runs.
const EVERY: usize = 4;
/// A part's statistic is the mean distance of so many patches, the largest.
const LARGEST: usize = 3;
const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/vcp-demo");

struct Pooled {
    statistics: Statistics,
    /// Rows of length 1.
    tokens: Vec<f32>,
}

/// The good parts of the line in `pipelines/synthetic.toml`, and numbers per token.
fn pool() -> (Vec<Pooled>, usize) {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("commissioning-{POOL}.f32"));
    if let Ok(bytes) = std::fs::read(&file) {
        let numbers: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
        let pooled = |row: &[f32]| Pooled {
            statistics: Statistics { defect: row[0], score: row[1] },
            tokens: row[2..].to_vec(),
        };
        return (numbers[1..].chunks_exact((numbers.len() - 1) / POOL).map(pooled).collect(), numbers[0] as usize);
    }
    let conveyor = Conveyor {
        frames: None,
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
    engine.hand_out_tokens(true);
    let info = RecipeInfo { id: "mixed".into(), version: 1 };
    let spec = RecipeSpec { info, threshold: None, defect_threshold: 0.25, min_area_px: 25, regions: Vec::new() };
    let mut recipe = Recipe::new(spec);
    let triggers: Vec<u64> = (1..=POOL as u64).collect();
    let (mut numbers, mut width) = (vec![0.0], 0);
    for (done, some) in triggers.chunks(50).enumerate() {
        let pictures: Vec<Image> = some
            .par_iter()
            .map(|trigger| Image::new(SIDE, SIDE, PixelFormat::Rgb8, render(&conveyor.part(*trigger)).rgb).unwrap())
            .collect();
        for image in pictures {
            let frame = Frame::alone("pool", SystemClock.now(), image);
            let prediction = engine.infer(&[&frame]).unwrap().remove(0);
            let Statistics { defect, score } = recipe.statistics(&prediction, SIDE, SIDE).unwrap();
            numbers.extend([defect, score]);
            let tokens = prediction.tokens.unwrap();
            width = tokens.width();
            let last = tokens.taps().last().unwrap();
            for at in 0..tokens.grid() * tokens.grid() {
                if (at / tokens.grid()).is_multiple_of(STEP) && (at % tokens.grid()).is_multiple_of(STEP) {
                    let token = &last[at * width..][..width];
                    let length = token.iter().map(|value| value * value).sum::<f32>().sqrt();
                    numbers.extend(token.iter().map(|value| value / length));
                }
            }
        }
        eprintln!("{} of {POOL} parts looked at", (done + 1) * 50);
    }
    numbers[0] = width as f32;
    std::fs::write(&file, bytemuck::cast_slice(&numbers)).unwrap();
    pool()
}

/// A memory of all tokens of its parts: a patch's distance is that to the nearest of them. Parts are places in the pool.
struct Nearest {
    patches: usize,
    /// Of each patch of a part to the nearest patch of another: part, other, patch.
    distances: Vec<f32>,
}

impl Nearest {
    fn new(pool: &[Pooled], width: usize) -> Self {
        let tokens = |part: &Pooled| -> Vec<f32> {
            part.tokens.chunks_exact(width).step_by(EVERY).flat_map(|token| token.iter().copied()).collect()
        };
        let thinned: Vec<Vec<f32>> = pool.iter().map(tokens).collect();
        let patches = thinned[0].len() / width;
        let others = thinned.concat();
        let row = |part: &Vec<f32>| {
            let mut likeness = vec![0.0f32; patches * POOL * patches];
            let n = POOL * patches;
            let (from, to) = (part.as_ptr(), likeness.as_mut_ptr());
            let (k, rows) = (width as isize, n as isize);
            assert_eq!((part.len(), others.len()), (patches * width, n * width));
            // SAFETY: `likeness` is patches×n by its making; the others are patches×width and n×width, asserted above, the
            // second read transposed.
            unsafe {
                let threads = gemm::Parallelism::None;
                let (right, plain) = (others.as_ptr(), false);
                gemm::gemm(
                    patches, n, width, to, 1, rows, plain, from, 1, k, right, k, 1, 0.0, 1.0, plain, plain, plain,
                    threads,
                );
            }
            let mut nearest = vec![0.0f32; POOL * patches];
            for (patch, likeness) in likeness.chunks_exact(n).enumerate() {
                for (other, likeness) in likeness.chunks_exact(patches).enumerate() {
                    nearest[other * patches + patch] = 1.0 - likeness.iter().copied().fold(-1.0, f32::max);
                }
            }
            nearest
        };
        Self { patches, distances: thinned.par_iter().flat_map_iter(row).collect() }
    }
}

impl Learner for Nearest {
    type Part = usize;
    type Memory = Vec<usize>;
    type Error = Infallible;

    fn learn(&self, parts: &[&usize]) -> Result<Vec<usize>, Infallible> {
        Ok(parts.iter().map(|part| **part).collect())
    }

    fn judge(&self, memory: &Vec<usize>, part: &usize) -> Result<Statistics, Infallible> {
        let mut nearest = vec![f32::INFINITY; self.patches];
        for other in memory {
            let distances = &self.distances[(part * POOL + other) * self.patches..][..self.patches];
            nearest.iter_mut().zip(distances).for_each(|(nearest, distance)| *nearest = nearest.min(*distance));
        }
        nearest.sort_unstable_by(|a, b| b.total_cmp(a));
        Ok(Statistics { defect: nearest[..LARGEST].iter().sum::<f32>() / LARGEST as f32, score: 0.0 })
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
    let (pool, width) = pool();
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
    let nearest = &Nearest::new(&pool, width);
    let judge = |memory: &Vec<usize>, part: usize| nearest.judge(memory, &part).unwrap_or_else(|never| match never {});
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
    let with = |plan: Plan| move |parts: &[usize]| fit(nearest, parts, plan, 1).unwrap_or_else(|never| match never {});
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
