//! `vcp-line bench kernels`: GPU time of our kernels at the published size, against the card's own copy bandwidth.

mod stopwatch;
mod work;

use serde_json::{Value, json};

use super::kernel_arguments::KernelArguments;
use crate::cli::json_file;
use crate::cli::terminal::say;
use crate::clock::{Clock, SystemClock};
use crate::cuda::{CudaError, Gpu, Machine, Properties};
use stopwatch::{Stopwatch, Times};
use work::{Target, Work};

/// What was measured of one work.
struct Figure {
    name: String,
    batch: usize,
    bytes: usize,
    target: Option<Target>,
    times: Times,
}

impl Figure {
    fn of(mut work: Work, stopwatch: &Stopwatch) -> Result<Self, CudaError> {
        let times = stopwatch.time(&mut work)?;
        Ok(Self { name: work.name, batch: work.batch, bytes: work.bytes, target: work.target, times })
    }

    /// Bytes that must move per second, in GB.
    fn gb_per_s(&self) -> f64 {
        // Bytes per microsecond are MB/s.
        self.bytes as f64 / self.times.median / 1e3
    }

    /// The target in words, and whether it is met.
    fn judged(&self, copy: f64) -> Option<(String, bool)> {
        self.target.map(|target| match target {
            Target::Microseconds(most) => (format!("≤ {most} µs"), self.times.median <= most),
            Target::MicrosecondsPerImage(most) => {
                (format!("≤ {most} µs per image"), self.times.median <= most * self.batch as f64)
            }
            Target::ShareOfCopy(least) => {
                (format!("≥ {:.0} % of copy", least * 100.0), self.gb_per_s() >= least * copy)
            }
        })
    }

    fn json(&self, copy: f64) -> Value {
        let judged = self.judged(copy);
        json!({
            "name": self.name,
            "batch": self.batch,
            "median_us": self.times.median,
            "p10_us": self.times.low,
            "p90_us": self.times.high,
            "launches": self.times.launches,
            "runs_per_launch": self.times.runs,
            "bytes_that_must_move": self.bytes,
            "gb_per_s": self.gb_per_s(),
            "share_of_copy": self.gb_per_s() / copy,
            "target": judged.as_ref().map(|(words, _)| words),
            "met": judged.as_ref().map(|(_, met)| met),
        })
    }
}

pub fn run(arguments: &KernelArguments) -> anyhow::Result<()> {
    let gpu = Gpu::open(0)?;
    let card = Machine::properties(&*gpu).clone();
    let stopwatch = Stopwatch::new(&gpu, arguments.launches as usize)?;
    let copy = Figure::of(work::copy(&gpu)?, &stopwatch)?;
    let bandwidth = copy.gb_per_s();
    let mut figures = vec![copy];
    for make in work::all() {
        // One after the other: each has memory of its own, several times the card's cache.
        figures.push(Figure::of(make(&gpu.machine())?, &stopwatch)?);
    }
    print(&card, bandwidth, &figures);
    if let Some(path) = &arguments.json {
        let report = json!({
            "program": concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
            "date": SystemClock.now().wall.to_string(),
            "card": card.name,
            "sm": card.sm,
            "multiprocessors": card.multiprocessors,
            "driver_cuda": card.driver,
            "copy_gb_per_s": bandwidth,
            "figures": figures.iter().map(|figure| figure.json(bandwidth)).collect::<Vec<_>>(),
        });
        json_file::write(path, &report)?;
    }
    Ok(())
}

fn print(card: &Properties, copy: f64, figures: &[Figure]) {
    let date = SystemClock.now().wall.to_string();
    say!(
        "{} {}, {}, SM {}.{}, {} multiprocessors, driver for CUDA {}.{}, {}",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        card.name,
        card.sm / 10,
        card.sm % 10,
        card.multiprocessors,
        card.driver / 1000,
        card.driver % 1000 / 10,
        date.split('T').next().unwrap_or_default()
    );
    say!("");
    say!("GPU time by events, medians. Copy: device to device, bytes read and written both counted: {copy:.0} GB/s.");
    say!("The other rows count bytes that must move: each input and each weight once, each result once.");
    say!("");
    say!("| kernel | batch | p50 µs | p10 to p90 µs | MB | GB/s | of copy | target | |");
    say!("|---|---|---|---|---|---|---|---|---|");
    for figure in figures {
        let Times { median, low, high, .. } = figure.times;
        let (target, met) = figure.judged(copy).unzip();
        say!(
            "| {} | {} | {median:.1} | {low:.1} to {high:.1} | {:.1} | {:.0} | {:.2} | {} | {} |",
            figure.name,
            figure.batch,
            figure.bytes as f64 / 1e6,
            figure.gb_per_s(),
            figure.gb_per_s() / copy,
            target.unwrap_or_default(),
            met.map_or("", |met| if met { "met" } else { "missed" }),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(batch: usize, bytes: usize, median: f64, target: Target) -> Figure {
        let times = Times { median, low: median, high: median, launches: 1, runs: 1 };
        Figure { name: "x".to_owned(), batch, bytes, target: Some(target), times }
    }

    #[test]
    fn targets_are_judged_in_their_own_units() {
        let met = |figure: Figure| figure.judged(2000.0).expect("a target").1;
        assert!(met(figure(1, 1, 30.0, Target::Microseconds(30.0))));
        assert!(!met(figure(1, 1, 30.1, Target::Microseconds(30.0))));
        assert!(met(figure(8, 1, 319.0, Target::MicrosecondsPerImage(40.0))));
        assert!(!met(figure(8, 1, 321.0, Target::MicrosecondsPerImage(40.0))));
        // 100 MB in 100 µs are 1000 GB/s.
        assert!(met(figure(8, 100_000_000, 100.0, Target::ShareOfCopy(0.5))));
        assert!(!met(figure(8, 100_000_000, 101.0, Target::ShareOfCopy(0.5))));
    }
}
