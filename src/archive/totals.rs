//! Counts of every inspected part by quarter of an hour and camera: what stays when parts go, and what is shown over time.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::error::ArchiveError;
use super::filter::{Filter, word};
use crate::event::{InspectionEvent, VerdictWord};

/// Length of a period, seconds.
pub(super) const QUARTER: i64 = 900;
/// Scores of whole days are counted by days, too.
pub(super) const DAY: i64 = 24 * 3600;
/// Bins of image scores, 0 … 2 raw model units; what is above is in the last.
pub const BINS: usize = 200;
/// Before and behind everything, seconds.
const EVER: i64 = 1 << 40;
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
    let second = event.time.captured.as_second();
    let (pass, fail, none): (i64, i64, i64) = match event.verdict {
        VerdictWord::Pass => (1, 0, 0),
        VerdictWord::Fail => (0, 1, 0),
        VerdictWord::NoVerdict => (0, 0, 1),
    };
    let latency = event.latency_ms.total;
    transaction
        .prepare_cached(
            "INSERT INTO period VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT (start, camera) DO UPDATE SET \
             pass = pass + ?3, fail = fail + ?4, no_verdict = no_verdict + ?5, latency_sum_ms = latency_sum_ms + ?6, \
             latency_max_ms = max(latency_max_ms, ?6)",
        )?
        .execute(rusqlite::params![begin(second, QUARTER), camera, pass, fail, none, latency])?;
    let Some(score) = event.score else { return Ok(()) };
    let bin = bin(score) + fail as usize * BINS;
    for length in [QUARTER, DAY] {
        let place = [length, begin(second, length), camera];
        let found: Option<Vec<u8>> = transaction
            .prepare_cached("SELECT counts FROM score WHERE length = ?1 AND start = ?2 AND camera = ?3")?
            .query_row(place, |row| row.get(0))
            .optional()?;
        let mut counts = found.unwrap_or_default();
        count(&mut counts, bin as u16);
        let [length, start, camera] = place;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO score VALUES (?1, ?2, ?3, ?4)")?
            .execute(rusqlite::params![length, start, camera, counts])?;
    }
    Ok(())
}

/// When the period of this length begins that has this second.
fn begin(second: i64, length: i64) -> i64 {
    second.div_euclid(length) * length
}

/// Bytes of a bin's number and its count, little endian; bins without parts take none.
const COUNTED: usize = 6;

fn count(counts: &mut Vec<u8>, bin: u16) {
    let number = bin.to_le_bytes();
    match counts.chunks_exact_mut(COUNTED).find(|entry| entry[..2] == number) {
        Some(entry) => {
            let now = u32::from_le_bytes([entry[2], entry[3], entry[4], entry[5]]);
            entry[2..].copy_from_slice(&now.saturating_add(1).to_le_bytes());
        }
        None => counts.extend(number.into_iter().chain(1u32.to_le_bytes())),
    }
}

/// The first and the last quarter that a filter means, and its camera: `None` where the archive does not know it.
fn meant(connection: &Connection, filter: &Filter) -> Result<Option<(i64, i64, Option<i64>)>, ArchiveError> {
    let quarter = |time: Timestamp| begin(time.as_second(), QUARTER);
    let from = filter.from.map_or(-EVER, quarter);
    let until = filter.until.map_or(EVER, |time| quarter(time) + QUARTER);
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
    // Whole days from their own counts, what is before and behind them by quarters.
    let (first, last) = (begin(from + DAY - 1, DAY), begin(until, DAY));
    let spans = match first < last {
        true => vec![(QUARTER, from, first), (DAY, first, last), (QUARTER, last, until)],
        false => vec![(QUARTER, from, until)],
    };
    let asked = || -> rusqlite::Result<()> {
        let mut ask = connection.prepare_cached(
            "SELECT counts FROM score WHERE length = ?1 AND start >= ?2 AND start < ?3 AND (?4 IS NULL OR camera = ?4)",
        )?;
        for (length, from, until) in spans {
            let mut rows = ask.query(rusqlite::params![length, from, until, camera])?;
            while let Some(row) = rows.next()? {
                for entry in row.get::<_, Vec<u8>>(0)?.chunks_exact(COUNTED) {
                    let bin = usize::from(u16::from_le_bytes([entry[0], entry[1]]));
                    let parts = u64::from(u32::from_le_bytes([entry[2], entry[3], entry[4], entry[5]]));
                    let side = if bin < BINS { &mut scores.pass } else { &mut scores.fail };
                    if let Some(count) = side.get_mut(bin % BINS) {
                        *count += parts;
                    }
                }
            }
        }
        Ok(())
    };
    asked().map_err(ArchiveError::index("reading totals"))?;
    Ok(scores)
}
