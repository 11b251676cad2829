//! `vcp-line bench fleet`: how many servers a number of boxes needs, from measured times: a formula, and a simulation of queues.

use std::collections::VecDeque;

use clap::Args;

use crate::cli::terminal::say;

/// Share of a server's time that is planned with: the rest is for the times when boxes come together.
const PLANNED: f64 = 0.7;
/// A fleet is enough when no more than this share of parts is late.
const ENOUGH: f64 = 0.0001;
/// Each box's parts come so much sooner or later than its rate says, as a share of the time between two.
const JITTER: f64 = 0.1;
/// More servers than the formula's that are tried.
const MORE: usize = 8;

#[derive(Args)]
pub struct FleetBench {
    /// Boxes that send pictures.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    boxes: u32,
    /// Pictures of a box in a second.
    #[arg(long)]
    rate: f64,
    /// What a batch takes on a server besides its pictures, milliseconds.
    #[arg(long, default_value_t = 0.0)]
    batch_ms: f64,
    /// What each picture of a batch takes, milliseconds: `bench engine --batch N` measures both.
    #[arg(long)]
    picture_ms: f64,
    /// Most pictures in a batch.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    max_batch: u16,
    /// There and back again, milliseconds: network, resizing, packing.
    #[arg(long, default_value_t = 3.0)]
    way_ms: f64,
    /// When an answer is late, milliseconds.
    #[arg(long, default_value_t = 200.0)]
    deadline_ms: f64,
    /// Seconds to simulate.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
}

/// Times of the answers of one fleet, milliseconds, ascending, and how busy its servers were.
struct Simulated {
    times: Vec<f64>,
    load: f64,
}

#[derive(Default)]
struct Server {
    free_at: f64,
    waiting: VecDeque<f64>,
    busy: f64,
}

pub fn run(arguments: &FleetBench) -> anyhow::Result<()> {
    let positive =
        [arguments.rate, arguments.picture_ms, arguments.deadline_ms].iter().all(|x| *x > 0.0 && x.is_finite());
    let sane = [arguments.batch_ms, arguments.way_ms].iter().all(|x| *x >= 0.0 && x.is_finite());
    anyhow::ensure!(
        positive && sane,
        "--rate, --picture-ms and --deadline-ms must be above 0, --batch-ms and --way-ms not below"
    );
    let asked = f64::from(arguments.boxes) * arguments.rate;
    let largest = f64::from(arguments.max_batch);
    let full = largest * 1000.0 / (arguments.batch_ms + largest * arguments.picture_ms);
    let planned = ((asked / (PLANNED * full)).ceil() as usize).max(1);
    say!(
        "{asked:.0} pictures in a second; a server of full batches does {full:.0}; planned at {PLANNED}: {planned} servers"
    );
    say!("");
    say!("| servers | load | p50 ms | p99 ms | longest ms | late |");
    say!("|---|---|---|---|---|---|");
    for servers in planned.saturating_sub(1).max(1)..=planned + MORE {
        let Simulated { times, load } = simulate(arguments, servers);
        let at = |share: f64| times.get(((times.len() as f64 - 1.0) * share) as usize).copied().unwrap_or_default();
        let late = times.len() - times.partition_point(|time| *time <= arguments.deadline_ms);
        let late = late as f64 / times.len().max(1) as f64;
        say!("| {servers} | {load:.2} | {:.1} | {:.1} | {:.1} | {:.3} % |", at(0.5), at(0.99), at(1.0), 100.0 * late);
        if late <= ENOUGH {
            break;
        }
    }
    Ok(())
}

fn simulate(arguments: &FleetBench, servers: usize) -> Simulated {
    let mut random = random();
    let between = 1000.0 / arguments.rate;
    let end = f64::from(arguments.seconds) * 1000.0;
    let mut arrivals = Vec::new();
    for _ in 0..arguments.boxes {
        let mut next = random() * between;
        while next < end {
            arrivals.push(next + (random() - 0.5) * 2.0 * JITTER * between);
            next += between;
        }
    }
    arrivals.sort_by(f64::total_cmp);
    let mut fleet: Vec<Server> = (0..servers).map(|_| Server::default()).collect();
    let mut times = Vec::with_capacity(arrivals.len());
    for at in arrivals {
        fleet.iter_mut().for_each(|server| server.work(arguments, at, &mut times));
        // As a box does it: the server that will answer soonest.
        let soonest = fleet.iter_mut().min_by(|a, b| a.promise(arguments, at).total_cmp(&b.promise(arguments, at)));
        if let Some(server) = soonest {
            server.waiting.push_back(at);
        }
    }
    fleet.iter_mut().for_each(|server| server.work(arguments, f64::INFINITY, &mut times));
    times.sort_by(f64::total_cmp);
    let busy: f64 = fleet.iter().map(|server| server.busy).sum();
    Simulated { times, load: busy / (end * servers as f64) }
}

impl Server {
    /// Begins every batch that begins before `now`.
    fn work(&mut self, arguments: &FleetBench, now: f64, times: &mut Vec<f64>) {
        while let Some(&first) = self.waiting.front() {
            let begin = self.free_at.max(first);
            if begin >= now {
                break;
            }
            let there = self.waiting.iter().take(arguments.max_batch.into()).take_while(|at| **at <= begin).count();
            let took = arguments.batch_ms + there as f64 * arguments.picture_ms;
            self.free_at = begin + took;
            self.busy += took;
            times.extend(self.waiting.drain(..there).map(|at| begin + took - at + arguments.way_ms));
        }
    }

    fn promise(&self, arguments: &FleetBench, now: f64) -> f64 {
        (self.free_at - now).max(0.0) + self.waiting.len() as f64 * arguments.picture_ms
    }
}

/// Numbers from 0 to 1, the same at every call: Knuth's MMIX generator.
fn random() -> impl FnMut() -> f64 {
    let mut state = 0x5eed_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(boxes: u32) -> FleetBench {
        let (rate, batch_ms, picture_ms, max_batch) = (10.0, 2.0, 4.0, 8);
        FleetBench { boxes, rate, batch_ms, picture_ms, max_batch, way_ms: 3.0, deadline_ms: 200.0, seconds: 5 }
    }

    #[test]
    fn a_server_with_time_answers_at_once_and_one_without_never_catches_up() {
        let idle = simulate(&arguments(1), 1);
        assert_eq!(idle.times.len(), 50);
        assert!(idle.times.iter().all(|time| (time - 9.0).abs() < 1e-9) && idle.load < 0.1);
        // 1000 pictures in a second; full batches of 8 in 34 ms are 235.
        let swamped = simulate(&arguments(100), 1);
        assert!(swamped.times[swamped.times.len() / 2] > 5000.0 && swamped.load > 1.0);
        assert!(simulate(&arguments(100), 8).times.iter().all(|time| *time < 200.0));
    }
}
