//! Measured times as a Markdown table, milliseconds.

use std::time::Duration;

use crate::cli::terminal::say;
use crate::line::stats::Histogram;

pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Medians and tails, a row for each stage.
pub fn print(rows: &[(&str, &Histogram)]) {
    say!("| stage | p50 ms | p99 ms | max ms | n |");
    say!("|---|---|---|---|---|");
    for (name, stage) in rows {
        say!(
            "| {name} | {:.2} | {:.2} | {:.2} | {} |",
            ms(stage.percentile(0.5)),
            ms(stage.percentile(0.99)),
            ms(stage.max()),
            stage.count()
        );
    }
}
