//! GPU time of work, by events around graphs that hold it many times: launches from the host stay out of it.

use std::sync::Arc;

use super::work::Work;
use crate::cuda::{CudaError, Event, Gpu, Stream};

/// Runs that one graph holds at least, so that the clock's steps of half a microsecond do not matter.
const RUNS: usize = 20;
/// Launches before the clock counts.
const WARM: usize = 3;

/// Times of one run, microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    pub median: f64,
    /// A tenth of the launches was faster.
    pub low: f64,
    /// A tenth of the launches was slower.
    pub high: f64,
    /// Launches measured.
    pub launches: usize,
    /// Runs in each launch, among whose mean the launches differ.
    pub runs: usize,
}

/// Times work on one stream of a card.
pub struct Stopwatch {
    gpu: Arc<Gpu>,
    stream: Stream,
    begun: Event,
    done: Event,
    launches: usize,
}

impl Stopwatch {
    /// `launches` of each work are measured.
    pub fn new(gpu: &Arc<Gpu>, launches: usize) -> Result<Self, CudaError> {
        Ok(Self {
            stream: gpu.stream()?,
            begun: gpu.event()?,
            done: gpu.event()?,
            gpu: Arc::clone(gpu),
            launches: launches.max(1),
        })
    }

    /// Captures a graph that goes through every set of the work's memory, and times its launches.
    pub fn time(&self, work: &mut Work) -> Result<Times, CudaError> {
        // Outside a graph first: what is wrong with a launch is told at once.
        work.run(&self.stream, 0)?;
        self.gpu.synchronize(&self.stream)?;
        let runs = RUNS.next_multiple_of(work.sets);
        let graph = self
            .gpu
            .capture(&self.stream, || (0..runs).try_for_each(|turn| work.run(&self.stream, turn % work.sets)))?;
        graph.upload()?;
        for _ in 0..WARM {
            graph.launch()?;
        }
        self.gpu.synchronize(&self.stream)?;
        let mut each = Vec::with_capacity(self.launches);
        for _ in 0..self.launches {
            self.begun.record(&self.stream)?;
            graph.launch()?;
            self.done.record(&self.stream)?;
            each.push(f64::from(self.begun.milliseconds_to(&self.done)?) * 1e3 / runs as f64);
        }
        Ok(Times::of(each, runs))
    }
}

impl Times {
    fn of(mut each: Vec<f64>, runs: usize) -> Self {
        each.sort_by(f64::total_cmp);
        let at = |share: f64| each[((each.len() - 1) as f64 * share).round() as usize];
        Self { median: at(0.5), low: at(0.1), high: at(0.9), launches: each.len(), runs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_in_the_middle_and_near_the_ends() {
        let times = Times::of((0..101).rev().map(f64::from).collect(), 20);
        assert_eq!(times, Times { median: 50.0, low: 10.0, high: 90.0, launches: 101, runs: 20 });
        assert_eq!(Times::of(vec![7.0], 1).median, 7.0);
    }
}
