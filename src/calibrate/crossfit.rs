//! The same good parts make a memory and its thresholds: each is judged only by a memory that has not seen it.
//!
//! A part in the memory is at distance 0 from itself, so that thresholds from such statistics reject far more of the next
//! parts than they promise. Two ways out: a split, some parts for the memory and the others for the thresholds, keeps the
//! promise exact; folds use every part for both, but their statistics depend on each other, and the memory that judges
//! later has seen more than those that judged here. That promise is called approximate (for the best that holds without
//! assumptions, twice the rate, see Barber, Candès, Ramdas and Tibshirani 2021, "Predictive inference with the jackknife+").

use serde::{Deserialize, Serialize};

use super::promise::{Kind, Wanted};
use crate::dice::Dice;
use crate::line::recipe::Statistics;

/// Makes a memory of parts and says how a part looks to it. Implemented by the memory, and by tests.
pub trait Learner {
    /// A good part, with everything that learning and judging need.
    type Part;
    /// What was learnt.
    type Memory;
    /// Why nothing could be.
    type Error;
    /// A memory of these parts, at least one.
    fn learn(&self, parts: &[&Self::Part]) -> Result<Self::Memory, Self::Error>;
    /// The statistics of a part to this memory.
    fn judge(&self, memory: &Self::Memory, part: &Self::Part) -> Result<Statistics, Self::Error>;
}

/// A memory, and the statistics of parts that no memory judged which had seen them.
#[derive(Clone, Debug)]
pub struct Fitted<M> {
    /// What the line uses from now on.
    pub memory: M,
    /// Which parts the statistics are of, as indexes of those given.
    pub judged: Vec<usize>,
    /// Theirs.
    pub statistics: Vec<Statistics>,
    /// Whether a promise that rests on them is exact.
    pub kind: Kind,
}

/// How to use the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// So many for the memory, the rest for the thresholds.
    Split {
        /// At least 1, and fewer than there are.
        memory: usize,
    },
    /// All for the memory, and each judged by a memory of the other folds.
    Folds {
        /// 2 to the number of parts; as many as there are parts is leave-one-out.
        folds: usize,
    },
}

/// The parts do not suffice for the plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Too few for a memory and for thresholds of others.
    #[error(
        "{parts} good parts are too few for a memory and for thresholds from others: {} are needed, {} more ({LEAST_MEMORY} make \
         the memory, {thresholds} the thresholds); or let every part serve for both with --folds {FOLDS}, which promises \
         approximately",
        LEAST_MEMORY + thresholds, LEAST_MEMORY + thresholds - parts
    )]
    TooFew {
        /// Those that are there.
        parts: usize,
        /// Those that the promise needs.
        thresholds: usize,
    },
    /// No such folds.
    #[error("{folds} folds of {parts} good parts: 2 to {parts} are possible, and none of a single part")]
    Folds {
        /// As asked for.
        folds: usize,
        /// Those that are there.
        parts: usize,
    },
}

/// Fewer parts in the memory than this are none to rely on.
const LEAST_MEMORY: usize = 4;
/// Folds where nothing speaks for another number: each memory has nine tenths of the parts.
pub const FOLDS: usize = 10;

impl Plan {
    /// As many parts for the memory as for the thresholds, and fewer where the promise needs them. `both` when two thresholds
    /// are wanted.
    pub fn split(parts: usize, wanted: &Wanted, both: bool) -> Result<Self, PlanError> {
        let thresholds = wanted.parts_needed(usize::from(both));
        match parts.saturating_sub(thresholds).min(parts / 2) {
            memory if memory >= LEAST_MEMORY => Ok(Self::Split { memory }),
            _ => Err(PlanError::TooFew { parts, thresholds }),
        }
    }

    /// Every part for both.
    pub fn folds(parts: usize, folds: usize) -> Result<Self, PlanError> {
        match (2..=parts).contains(&folds) {
            true => Ok(Self::Folds { folds }),
            false => Err(PlanError::Folds { folds, parts }),
        }
    }
}

/// Learns and judges. Which part serves what is drawn by `seed`, so that the order in which they came does not matter.
///
/// # Panics
/// When the plan does not fit the number of parts.
pub fn fit<L: Learner>(learner: &L, parts: &[L::Part], plan: Plan, seed: u64) -> Result<Fitted<L::Memory>, L::Error> {
    let order = shuffled(parts.len(), seed);
    let of = |indexes: &[usize]| indexes.iter().map(|at| &parts[*at]).collect::<Vec<_>>();
    match plan {
        Plan::Split { memory } => {
            assert!((1..parts.len()).contains(&memory), "a split leaves parts on both sides");
            let (seen, judged) = order.split_at(memory);
            let memory = learner.learn(&of(seen))?;
            let statistics = judged.iter().map(|at| learner.judge(&memory, &parts[*at])).collect::<Result<_, _>>()?;
            Ok(Fitted { memory, judged: judged.to_vec(), statistics, kind: Kind::Exact })
        }
        Plan::Folds { folds } => {
            assert!((2..=parts.len()).contains(&folds), "every fold has parts, and others beside it");
            let (mut judged, mut statistics) = (Vec::new(), Vec::new());
            for fold in 0..folds {
                let in_fold = |place: usize| place % folds == fold;
                let pick = |wanted: bool| {
                    let places = order.iter().enumerate().filter(move |(place, _)| in_fold(*place) == wanted);
                    places.map(|(_, at)| *at).collect::<Vec<_>>()
                };
                let memory = learner.learn(&of(&pick(false)))?;
                for at in pick(true) {
                    statistics.push(learner.judge(&memory, &parts[at])?);
                    judged.push(at);
                }
            }
            let memory = learner.learn(&of(&order))?;
            Ok(Fitted { memory, judged, statistics, kind: Kind::Approximate })
        }
    }
}

/// Fisher and Yates.
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    const PURPOSE: [u64; 3] = [0x0063_726f_7373, 0, 0];
    let mut dice = Dice::new(seed, PURPOSE);
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        order.swap(at, dice.below(at + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Parts are points in the plane, a memory is all of them, the statistic is the distance to the nearest.
    struct Nearest;

    impl Learner for Nearest {
        type Part = [f32; 2];
        type Memory = Vec<[f32; 2]>;
        type Error = Infallible;

        fn learn(&self, parts: &[&[f32; 2]]) -> Result<Self::Memory, Infallible> {
            Ok(parts.iter().map(|part| **part).collect())
        }

        fn judge(&self, memory: &Self::Memory, part: &[f32; 2]) -> Result<Statistics, Infallible> {
            let distance = |other: &[f32; 2]| (part[0] - other[0]).hypot(part[1] - other[1]);
            let defect = memory.iter().map(distance).fold(f32::INFINITY, f32::min);
            Ok(Statistics { defect, score: 0.0 })
        }
    }

    const RUNS: usize = 400;
    const NEXT: usize = 1000;

    fn point(dice: &mut Dice) -> [f32; 2] {
        [dice.normal() as f32, dice.normal() as f32]
    }

    /// In how many of the runs at most 5 % of the next parts are rejected.
    fn kept(count: usize, fitted: impl Fn(&[[f32; 2]], u64) -> Fitted<Vec<[f32; 2]>>) -> usize {
        let wanted = Wanted::new(0.05, 0.95).expect("in range");
        let keeps = |run: &u64| {
            let mut dice = Dice::new(11, [*run, count as u64, 0]);
            let parts: Vec<[f32; 2]> = (0..count).map(|_| point(&mut dice)).collect();
            let fitted = fitted(&parts, *run);
            let (thresholds, _) = wanted.thresholds(&fitted.statistics, false, fitted.kind).expect("enough");
            let judge = |part: [f32; 2]| Nearest.judge(&fitted.memory, &part).unwrap_or_else(|never| match never {});
            let rejected = (0..NEXT).filter(|_| thresholds.reject(&judge(point(&mut dice)))).count();
            rejected as f64 <= 0.05 * NEXT as f64 * 1.1
        };
        (0..RUNS as u64).filter(keeps).count()
    }

    fn with(plan: Plan) -> impl Fn(&[[f32; 2]], u64) -> Fitted<Vec<[f32; 2]>> {
        move |parts, seed| fit(&Nearest, parts, plan, seed).unwrap_or_else(|never| match never {})
    }

    #[test]
    fn split_and_folds_keep_the_promise_and_the_naive_way_does_not() {
        let split = kept(100, with(Plan::Split { memory: 41 }));
        let folds = kept(100, with(Plan::Folds { folds: FOLDS }));
        // Every part judged by the memory it is in.
        let naive = kept(100, |parts, _| {
            let memory = parts.to_vec();
            let statistics =
                parts.iter().map(|part| Nearest.judge(&memory, part).unwrap_or_else(|never| match never {})).collect();
            Fitted { memory, judged: (0..parts.len()).collect(), statistics, kind: Kind::Approximate }
        });
        let least = RUNS * 95 / 100 - 13;
        assert!(split >= least && folds >= least, "kept in {split} (split) and {folds} (folds) of {RUNS}");
        assert!(naive == 0, "the naive way keeps {naive} of {RUNS}");
    }

    #[test]
    fn every_part_serves_once() {
        let parts: Vec<[f32; 2]> = (0..23).map(|i| [i as f32, 0.0]).collect();
        let sorted = |mut indexes: Vec<usize>| {
            indexes.sort_unstable();
            indexes
        };
        let folds = with(Plan::Folds { folds: 10 })(&parts, 1);
        assert_eq!((sorted(folds.judged), folds.memory.len(), folds.kind), ((0..23).collect(), 23, Kind::Approximate));
        assert!(folds.statistics.iter().all(|part| part.defect >= 1.0), "nobody is judged by itself");
        let split = with(Plan::Split { memory: 5 })(&parts, 1);
        assert_eq!((split.judged.len(), split.memory.len(), split.kind), (18, 5, Kind::Exact));
        assert!(split.statistics.iter().all(|part| part.defect >= 1.0));
    }

    #[test]
    fn the_plan_follows_the_number_of_parts() {
        let wanted = Wanted::new(0.05, 0.95).expect("in range");
        let plan = |parts| Plan::split(parts, &wanted, false);
        assert_eq!(
            [63, 100, 118, 300].map(plan),
            [4, 41, 59, 150].map(|memory| Ok(Plan::Split { memory })),
            "as many as the promise leaves, and no more than half"
        );
        assert_eq!(Plan::split(100, &wanted, true), Ok(Plan::Split { memory: 7 }));
        let error = plan(62).expect_err("3 are no memory").to_string();
        assert!(error.contains("63 are needed, 1 more (4 make the memory, 59 the thresholds)"), "{error}");
        assert_eq!(plan(1), Err(PlanError::TooFew { parts: 1, thresholds: 59 }));
        assert_eq!(Plan::folds(60, 10), Ok(Plan::Folds { folds: 10 }));
        assert_eq!([Plan::folds(60, 61), Plan::folds(1, 2)].map(|plan| plan.is_err()), [true; 2]);
    }
}
