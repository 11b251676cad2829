//! A thousand simulated commissionings on the shipped model's statistics of a synthetic line: how often what is promised of
//! the thresholds holds, without a memory and with one that the same parts have made.
//!
//! The pool and the distances between its parts (5 GB) are made once and kept in the target folder. Without a memory the
//! parts are drawn with putting back, so that the pool is the whole population and its false-reject rate is exact; with one
//! without, and the rest of the pool is judged. `cargo bench --bench commissioning -- RUNS PARTS` says how many commissionings
//! and of how many parts of the pool those with a memory are;
//! leave-one-out, which makes a memory for every part, gets a twentieth of them.
#![allow(unsafe_code, clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod distances;
mod pool;
mod simulated;
#[cfg(target_arch = "x86_64")]
#[path = "../../src/memory/tiles.rs"]
#[allow(dead_code, reason = "the product's own, of which a part is used")]
mod tiles;

/// What `tiles` asks of the product.
mod vcp_clip {
    pub mod simd {
        #[inline]
        pub fn dispatch<R>(body: impl FnOnce() -> R) -> R {
            pulp::Arch::new().dispatch(body)
        }
    }
}

use std::fmt::Write;

use rayon::prelude::*;
use vcp_line::calibrate::crossfit::{FOLDS, Plan, fit};
use vcp_line::calibrate::{Kind, Wanted};
use vcp_line::dice::Dice;
use vcp_line::event::RecipeInfo;
use vcp_line::line::recipe::{Recipe, RecipeSpec, Statistics};

use distances::Distances;
use pool::{POOL, Pool};
use simulated::{Made, Simulated, product};

/// Commissionings unless asked otherwise.
const RUNS: u64 = 1000;
/// One of so many tries leave-one-out.
const LEAVE_ONE_OUT: u64 = 20;
/// After so many the table as it is then is shown.
const BATCH: u64 = 20;
const SEED: u64 = 14;
/// Of statistics that are simulated and those of a memory that is made: distances are kept in half precision, and where there
/// are tiles they are those of bfloat16.
const MOST_DIFFERENT: f32 = 5e-3;
/// Later parts that the naive way is judged by, which needs no precision.
const NAIVE: usize = 200;

/// As in `pipelines/synthetic.toml`.
fn recipe() -> Recipe {
    let info = RecipeInfo { id: "mixed".into(), version: 1 };
    Recipe::new(RecipeSpec { info, threshold: None, defect_threshold: 0.25, min_area_px: 25, regions: Vec::new() })
}

fn five_percent() -> Wanted {
    Wanted::new(0.05, 0.95).unwrap()
}

/// Commissionings of one kind: the share of later parts that each rejects.
struct Row {
    name: &'static str,
    n: usize,
    rate: f64,
    /// Share of commissionings that keep an exact promise, where the later parts are as few as here.
    exact: f64,
    rejected: Vec<f64>,
}

impl Row {
    fn text(&self) -> String {
        let runs = self.rejected.len().max(1) as f64;
        let kept = self.rejected.iter().filter(|found| **found <= self.rate).count() as f64 / runs;
        let mean = self.rejected.iter().sum::<f64>() / runs;
        let error = 2.0 * (self.exact * (1.0 - self.exact) / runs).sqrt();
        let Self { name, n, rate, exact, .. } = self;
        let percent = |share: f64| share * 100.0;
        format!(
            "| {name} | {n} | {:.0} % | {} | {:.1} % | {:.1} ± {:.1} % | {:.2} % |",
            percent(*rate),
            self.rejected.len(),
            percent(kept),
            percent(*exact),
            percent(error),
            percent(mean)
        )
    }
}

/// P(an exact promise is kept) when `n` of `all` parts were drawn for the threshold and the others are judged: that of the
/// parts with the highest statistics enough were drawn (hypergeometric).
fn exactly(all: usize, n: usize, wanted: &Wanted) -> f64 {
    let over = wanted.may_be_over(n).unwrap();
    let top = (wanted.false_rejects() * (all - n) as f64) as usize + over + 1;
    // P(Hypergeometric(all, top, n) ≤ over), term by term.
    let choose = |n: usize, k: usize| (0..k).map(|i| ((n - i) as f64 / (i + 1) as f64).ln()).sum::<f64>();
    let whole = choose(all, n);
    let fewer: f64 = (0..=over).map(|k| (choose(top, k) + choose(all - top, n - k) - whole).exp()).sum();
    1.0 - fewer
}

/// Thresholds of the model's map, and of map and score.
fn without_memory(pool: &Pool, runs: u64) {
    for (n, rate, both) in
        [(59, 0.05, false), (100, 0.05, false), (300, 0.05, false), (300, 0.01, false), (100, 0.05, true)]
    {
        let wanted = Wanted::new(rate, 0.95).unwrap();
        let rejected = |run: u64| {
            let mut dice = Dice::new(SEED, [run, n as u64, (rate * 1e4) as u64]);
            let parts: Vec<Statistics> = (0..n).map(|_| pool.parts[dice.below(POOL)].statistics).collect();
            let (thresholds, _) = wanted.thresholds(&parts, both, Kind::Exact).unwrap();
            pool.parts.iter().filter(|part| thresholds.reject(&part.statistics)).count() as f64 / POOL as f64
        };
        let name = if both { "map and score, no memory" } else { "map, no memory" };
        let rejected: Vec<f64> = (0..runs).into_par_iter().map(rejected).collect();
        let over = wanted.may_be_over(n).unwrap();
        let exact = 1.0 - vcp_line::calibrate::promise::at_most(over, n, rate);
        println!("{}", Row { name, n, rate, exact, rejected }.text());
    }
}

/// A commissioning's parts and those that come later.
fn drawn(simulated: &Simulated, run: u64, n: usize) -> (Vec<usize>, Vec<usize>) {
    let mut dice = Dice::new(SEED, [run, n as u64, 1]);
    let count = simulated.pool.parts.len();
    let mut places: Vec<usize> = (0..count).collect();
    (0..n).for_each(|at| places.swap(at, at + dice.below(count - at)));
    let later = places.split_off(n);
    (places, later)
}

fn threshold(statistics: &[Statistics]) -> f32 {
    five_percent().thresholds(statistics, false, Kind::Exact).unwrap().0.defect
}

fn fitted(simulated: &Simulated, parts: &[usize], plan: Plan, seed: u64) -> (Made, f32) {
    let Ok(fitted) = fit(simulated, parts, plan, seed);
    let threshold = threshold(&fitted.statistics);
    (fitted.memory, threshold)
}

fn share(simulated: &Simulated, memory: &Made, later: &[usize], threshold: f32) -> f64 {
    let rejected = later.iter().filter(|part| simulated.is_rejected(memory, **part, threshold)).count();
    rejected as f64 / later.len() as f64
}

/// What one commissioning of `n` parts rejects: split, folds, leave-one-out, naive.
fn commissioning(simulated: &Simulated, n: usize, run: u64) -> [Option<f64>; 4] {
    let (parts, later) = drawn(simulated, run, n);
    let needed = five_percent().parts_needed(0);
    let split = (n > needed).then(|| {
        let (memory, threshold) = fitted(simulated, &parts, Plan::Split { memory: n - needed }, run);
        share(simulated, &memory, &later, threshold)
    });
    let (memory, by_folds) = fitted(simulated, &parts, Plan::Folds { folds: FOLDS }, run);
    let folds = share(simulated, &memory, &later, by_folds);
    let alone = run.is_multiple_of(LEAVE_ONE_OUT).then(|| {
        let (memory, threshold) = fitted(simulated, &parts, Plan::Folds { folds: n }, run);
        share(simulated, &memory, &later, threshold)
    });
    let own: Vec<Statistics> = parts.iter().map(|part| simulated.statistics(&memory, *part)).collect();
    let naive = share(simulated, &memory, &later[..NAIVE.min(later.len())], threshold(&own));
    [split, Some(folds), alone, Some(naive)]
}

fn with_memory(simulated: &Simulated, runs: u64) {
    const NAMES: [&str; 4] = [
        "memory of the same parts, split (exact)",
        "memory of the same parts, 10 folds (approximate)",
        "memory of the same parts, leave-one-out (approximate)",
        "memory of the same parts, naive",
    ];
    let (wanted, all) = (five_percent(), simulated.pool.parts.len());
    let mut rows: Vec<Row> = [100usize, 59]
        .into_iter()
        .flat_map(|n| {
            NAMES.map(|name| {
                let needed = wanted.parts_needed(0);
                let exact = match name == NAMES[0] {
                    true => exactly(all - n.saturating_sub(needed), needed, &wanted),
                    false => exactly(all, n, &wanted),
                };
                Row { name, n, rate: wanted.false_rejects(), exact, rejected: Vec::new() }
            })
        })
        .collect();
    for begin in (0..runs).step_by(BATCH as usize) {
        for (at, n) in [100, 59].into_iter().enumerate() {
            let found: Vec<[Option<f64>; 4]> =
                (begin..runs.min(begin + BATCH)).into_par_iter().map(|run| commissioning(simulated, n, run)).collect();
            for found in found {
                for (row, found) in rows[4 * at..].iter_mut().zip(found) {
                    row.rejected.extend(found);
                }
            }
        }
        eprintln!("\n{}", table(&rows));
    }
    println!("{}", table(&rows));
}

fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows.iter().filter(|row| !row.rejected.is_empty()) {
        writeln!(text, "{}", row.text()).unwrap();
    }
    text
}

/// With tokens thinned as by default, split, through the product's own learner and look: a minute for each.
fn thinned(simulated: &Simulated, runs: u64) {
    let n = 100;
    let wanted = five_percent();
    let needed = wanted.parts_needed(0);
    let judge = |memory: &vcp_line::memory::Memory, part: usize| {
        let joined = memory.look(simulated.pool.prediction(part), (pool::SIDE, pool::SIDE)).unwrap();
        recipe().statistics(&joined, pool::SIDE, pool::SIDE).unwrap()
    };
    let name = "memory of the same parts, thinned to 4 pictures' tokens, split (exact)";
    let exact = exactly(simulated.pool.parts.len() - n + needed, needed, &wanted);
    let mut row = Row { name, n, rate: wanted.false_rejects(), exact, rejected: Vec::new() };
    for run in 0..runs {
        let (parts, later) = drawn(simulated, run, n);
        let (seen, others) = parts.split_at(n - needed);
        let memory = product(simulated.pool, seen, usize::from(vcp_line::memory::PICTURES_OF_TOKENS));
        let own: Vec<Statistics> = others.iter().map(|part| judge(&memory, *part)).collect();
        let threshold = threshold(&own);
        let rejected = later.par_iter().filter(|part| judge(&memory, **part).defect >= threshold).count();
        row.rejected.push(rejected as f64 / later.len() as f64);
        eprintln!("{}", row.text());
    }
    if runs > 0 {
        println!("{}", row.text());
    }
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let number = |at: usize, otherwise: u64| numbers.get(at).copied().unwrap_or(otherwise);
    let (runs, parts) = (number(0, RUNS), number(1, POOL as u64));
    let mut pool = Pool::open();
    println!(
        "| thresholds from | n | α | commissionings | kept in | an exact promise ± 2 errors | mean false rejects |"
    );
    println!("|---|---|---|---|---|---|---|");
    without_memory(&pool, RUNS);
    pool.parts.truncate(parts as usize);
    let distances = Distances::open(&pool);
    let simulated = Simulated::new(&pool, &distances);
    for run in 0..2 {
        let (parts, later) = drawn(&simulated, run, 20);
        let difference = simulated.same(&parts, &later[..20]);
        eprintln!("statistics of a memory that is really made differ by at most {difference:e}");
        assert!(difference < MOST_DIFFERENT, "half precision does not explain it");
    }
    with_memory(&simulated, runs);
    thinned(&simulated, number(2, 0));
}
