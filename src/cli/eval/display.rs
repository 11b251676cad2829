//! How far an evaluation is, and what of a data set it has found.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::terminal::note;
use crate::dataset::Dataset;
use crate::eval::Progress;

/// Without a terminal a line is printed no more often than this, and at each new class.
const PLAIN_EVERY: Duration = Duration::from_secs(20);

/// Says what was found, and refuses when too much of it cannot be used.
pub fn found(dataset: &Dataset, allow_missing: bool) -> anyhow::Result<()> {
    for line in dataset.lines() {
        note!("{line}");
    }
    if !allow_missing {
        dataset.check_left_out()?;
    }
    Ok(())
}

/// A bar on a terminal, plain lines otherwise; both on standard error.
pub struct Display {
    bar: Option<ProgressBar>,
    class: String,
    printed: Instant,
}

impl Display {
    /// Nothing has been looked at.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{msg:24} {bar:32} {pos} of {len}  {eta} left") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, class: String::new(), printed: Instant::now() }
    }

    /// How far it is, or what was left out.
    pub fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Looked { done, total, class } => self.looked(done, total, class),
            Progress::LeftOut(missing) => self.say(&format!("vcp-line: {}; left out", missing.reason)),
        }
    }

    /// So many of all, the last of this class.
    pub fn looked(&mut self, done: usize, total: usize, class: &str) {
        let new_class = self.class != class;
        if new_class {
            class.clone_into(&mut self.class);
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            if new_class {
                bar.set_message(self.class.clone());
            }
        } else if new_class || done == total || self.printed.elapsed() >= PLAIN_EVERY {
            note!("{done} of {total}: {class}");
            self.printed = Instant::now();
        }
    }

    /// A line of its own.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note!("{line}")),
            None => note!("{line}"),
        }
    }

    /// The bar goes.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
