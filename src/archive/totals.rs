//! Counts of every inspected part by quarter of an hour and camera: what stays when parts go, and what is shown over time.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::error::ArchiveError;
use super::filter::{Filter, word};
use crate::event::{InspectionEvent, VerdictWord};

/// Length of a period, seconds.
pub(super) const QUARTER: i64 = 900;
/// Bins of image scores, 0 … 2 raw model units; what is above is in the last.
pub const BINS: usize = 200;
/// Width of a bin.
pub const BIN: f32 = 2.0 / BINS as f32;

/// What happened in some time.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Period {
    /// When it begins, seconds since 1970.
    pub start_s: i64,
    /// How long it is, seconds.
    pub seconds: i64,
    /// Parts that passed.
    pub pass: u64,
    /// Parts that failed.
    pub fail: u64,
    /// Parts without a verdict.
    pub no_verdict: u64,
    /// Capture to publish of all, milliseconds.
    pub latency_mean_ms: f64,
    /// The longest.
    pub latency_max_ms: f64,
}

/// How image scores are spread: bin `i` counts scores from `i × bin` to `(i + 1) × bin`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Scores {
    /// Width of a bin, raw model units.
    pub bin: f32,
    /// Parts that passed.
    pub pass: Vec<u64>,
    /// Parts that failed.
    pub fail: Vec<u64>,
}

impl Scores {
    /// Parts with scores of at least this, by what the line said of them: `(passed, failed)`. As fine as the bins.
    pub fn from(&self, threshold: f32) -> (u64, u64) {
        let first = bin(threshold);
        (self.pass.iter().skip(first).sum(), self.fail.iter().skip(first).sum())
    }
}

fn bin(score: f32) -> usize {
    // A threshold such as 0.29 is a little less than 29 bins of 0.01.
    ((score / BIN + 1e-4).max(0.0) as usize).min(BINS - 1)
}

/// What a part adds to its period.
pub(super) fn add(transaction: &Transaction<'_>, event: &InspectionEvent, camera: i64) -> rusqlite::Result<()> {
    let start = event.time.captured.as_second().div_euclid(QUARTER) * QUARTER;
    let found: Option<Vec<u8>> = transaction
        .prepare_cached("SELECT scores FROM period WHERE start = ?1 AND camera = ?2")?
        .query_row([start, camera], |row| row.get(0))
        .optional()?;
    let mut scores = found.unwrap_or_else(|| vec![0; 2 * BINS * 4]);
    let (pass, fail, none): (i64, i64, i64) = match event.verdict {
        VerdictWord::Pass => (1, 0, 0),
        VerdictWord::Fail => (0, 1, 0),
        VerdictWord::NoVerdict => (0, 0, 1),
    };
    if let (Some(score), true) = (event.score, scores.len() == 2 * BINS * 4) {
        let at = (bin(score) + fail as usize * BINS) * 4;
        let count = &mut scores[at..at + 4];
        let now = u32::from_le_bytes([count[0], count[1], count[2], count[3]]);
        count.copy_from_slice(&now.saturating_add(1).to_le_bytes());
    }
    let latency = event.latency_ms.total;
    transaction
        .prepare_cached(
            "INSERT INTO period VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7) ON CONFLICT (start, camera) DO UPDATE SET \
             pass = pass + ?3, fail = fail + ?4, no_verdict = no_verdict + ?5, latency_sum_ms = latency_sum_ms + ?6, \
             latency_max_ms = max(latency_max_ms, ?6), scores = ?7",
        )?
        .execute(rusqlite::params![start, camera, pass, fail, none, latency, scores])?;
    Ok(())
}

/// The first and the last quarter that a filter means, and its camera: `None` where the archive does not know it.
fn meant(connection: &Connection, filter: &Filter) -> Result<Option<(i64, i64, Option<i64>)>, ArchiveError> {
    let quarter = |time: Timestamp| time.as_second().div_euclid(QUARTER) * QUARTER;
    let from = filter.from.map_or(i64::MIN, quarter);
    let until = filter.until.map_or(i64::MAX, |time| quarter(time) + QUARTER);
    let camera = match &filter.camera {
        None => None,
        Some(name) => match word(connection, name)? {
            None => return Ok(None),
            id => id,
        },
    };
    Ok(Some((from, until, camera)))
}

pub(super) fn periods(connection: &Connection, filter: &Filter, step: u32) -> Result<Vec<Period>, ArchiveError> {
    let Some((from, until, camera)) = meant(connection, filter)? else { return Ok(Vec::new()) };
    let seconds = QUARTER * i64::from(step.max(1));
    let asked = || -> rusqlite::Result<Vec<Period>> {
        let mut ask = connection.prepare_cached(
            "SELECT start - start % ?1 AS begin, sum(pass), sum(fail), sum(no_verdict), sum(latency_sum_ms), \
             max(latency_max_ms) FROM period WHERE start >= ?2 AND start < ?3 AND (?4 IS NULL OR camera = ?4) \
             GROUP BY begin ORDER BY begin",
        )?;
        let rows = ask.query_map(rusqlite::params![seconds, from, until, camera], |row| {
            let (pass, fail, none): (i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let sum: f64 = row.get(4)?;
            Ok(Period {
                start_s: row.get(0)?,
                seconds,
                pass: pass as u64,
                fail: fail as u64,
                no_verdict: none as u64,
                latency_mean_ms: sum / (pass + fail + none).max(1) as f64,
                latency_max_ms: row.get(5)?,
            })
        })?;
        rows.collect()
    };
    asked().map_err(ArchiveError::index("reading totals"))
}

pub(super) fn scores(connection: &Connection, filter: &Filter) -> Result<Scores, ArchiveError> {
    let mut scores = Scores { bin: BIN, pass: vec![0; BINS], fail: vec![0; BINS] };
    let Some((from, until, camera)) = meant(connection, filter)? else { return Ok(scores) };
    let mut asked = || -> rusqlite::Result<()> {
        let mut ask = connection.prepare_cached(
            "SELECT scores FROM period WHERE start >= ?1 AND start < ?2 AND (?3 IS NULL OR camera = ?3)",
        )?;
        let mut rows = ask.query(rusqlite::params![from, until, camera])?;
        while let Some(row) = rows.next()? {
            let counts: Vec<u8> = row.get(0)?;
            let counts = counts.chunks_exact(4).map(|c| u64::from(u32::from_le_bytes([c[0], c[1], c[2], c[3]])));
            let bins = scores.pass.iter_mut().chain(&mut scores.fail);
            bins.zip(counts).for_each(|(bin, count)| *bin += count);
        }
        Ok(())
    };
    asked().map_err(ArchiveError::index("reading totals"))?;
    Ok(scores)
}
