//! Which parts are asked for, as SQL.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use super::error::ArchiveError;
use crate::event::VerdictWord;
use crate::verdict::NoVerdictReason;

/// Candidates that an index gives are sorted when there are not more; otherwise parts are looked through by their time, and
/// what is asked for is frequent enough to be met soon.
const SORTED: i64 = 20_000;

/// Which parts are meant; what is `None` is no condition.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Captured at or after this.
    pub from: Option<Timestamp>,
    /// Captured before this.
    pub until: Option<Timestamp>,
    /// Configured name of the camera.
    pub camera: Option<String>,
    /// The verdict.
    pub verdict: Option<VerdictWord>,
    /// Why there is none.
    pub reason: Option<NoVerdictReason>,
    /// Image score at least this, raw model units.
    pub min_score: Option<f32>,
    /// Image score at most this.
    pub max_score: Option<f32>,
    /// The part's id, whole.
    pub part: Option<String>,
    /// Only those with pictures.
    pub pictures: bool,
}

/// Where a page ends: the next one begins after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// Capture of the page's last part, microseconds since 1970.
    pub captured: i64,
    /// Its place in the index.
    pub id: i64,
}

/// How many parts there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// So many at least.
    pub parts: u64,
    /// There are more, which were not counted.
    pub more: bool,
}

/// Conditions with their values, and the index to look through.
pub(super) struct Query {
    pub index: &'static str,
    pub conditions: String,
    pub values: Vec<Value>,
    /// Nothing can match: a camera that the archive does not know.
    pub nothing: bool,
}

pub(super) fn verdict_code(verdict: VerdictWord) -> i64 {
    match verdict {
        VerdictWord::Pass => 0,
        VerdictWord::Fail => 1,
        VerdictWord::NoVerdict => 2,
    }
}

pub(super) fn verdict_of(code: i64) -> VerdictWord {
    match code {
        0 => VerdictWord::Pass,
        1 => VerdictWord::Fail,
        _ => VerdictWord::NoVerdict,
    }
}

/// A reason as events write it.
pub(super) fn reason_word(reason: NoVerdictReason) -> String {
    serde_json::to_value(reason).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The number of a word; `None` where no part has it.
pub(super) fn word(connection: &Connection, text: &str) -> Result<Option<i64>, ArchiveError> {
    let mut find = connection
        .prepare_cached("SELECT id FROM word WHERE text = ?1")
        .map_err(ArchiveError::index("looking up a word"))?;
    find.query_row([text], |row| row.get(0)).optional().map_err(ArchiveError::index("looking up a word"))
}

impl Filter {
    /// Everything that is asked, and the index by which it is found soonest.
    pub(super) fn query(&self, connection: &Connection, after: Option<Cursor>) -> Result<Query, ArchiveError> {
        let (mut conditions, mut values, mut nothing) = (Vec::new(), Vec::new(), false);
        let mut add = |condition: &str, value: Value| {
            values.push(value);
            conditions.push(condition.replace('?', &format!("?{}", values.len())));
        };
        if let Some(from) = self.from {
            add("captured >= ?", from.as_microsecond().into());
        }
        if let Some(until) = self.until {
            add("captured < ?", until.as_microsecond().into());
        }
        if let Some(cursor) = after {
            add("captured <= ?", cursor.captured.into());
        }
        let words =
            [self.camera.clone().map(|name| ("camera = ?", name)), self.reason.map(|r| ("reason = ?", reason_word(r)))];
        for (condition, text) in words.into_iter().flatten() {
            match word(connection, &text)? {
                Some(id) => add(condition, id.into()),
                None => nothing = true,
            }
        }
        if let Some(verdict) = self.verdict {
            add("verdict = ?", verdict_code(verdict).into());
        } else if self.by_score() {
            // The index begins with it; what has no verdict has no score.
            conditions.push("verdict IN (0, 1)".to_owned());
        }
        let mut add = |condition: &str, value: Value| {
            values.push(value);
            conditions.push(condition.replace('?', &format!("?{}", values.len())));
        };
        if let Some(least) = self.min_score {
            add("score >= ?", f64::from(least).into());
        }
        if let Some(most) = self.max_score {
            add("score <= ?", f64::from(most).into());
        }
        if let Some(part) = &self.part {
            add("part = ?", part.clone().into());
        }
        if let Some(cursor) = after {
            values.push(cursor.captured.into());
            values.push(cursor.id.into());
            let at = values.len();
            conditions.push(format!("(captured < ?{} OR id < ?{at})", at - 1));
        }
        if self.pictures {
            conditions.push("pictures > 0".to_owned());
        }
        if self.by_score() {
            conditions.push("score IS NOT NULL".to_owned());
            if self.camera.is_none() {
                conditions.push("camera IN (SELECT id FROM camera)".to_owned());
            }
        }
        let conditions = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
        let mut query = Query { index: "part_time", conditions, values, nothing };
        query.index = self.index(connection, &query)?;
        Ok(query)
    }

    fn by_score(&self) -> bool {
        self.min_score.is_some() || self.max_score.is_some()
    }

    fn index(&self, connection: &Connection, query: &Query) -> Result<&'static str, ArchiveError> {
        if self.part.is_some() {
            return Ok("part_part");
        }
        let usual = match (&self.camera, self.verdict) {
            _ if self.pictures => "part_shown",
            (Some(_), Some(_)) => "part_camera",
            _ => "part_time",
        };
        let narrow = match () {
            () if self.by_score() => "part_score",
            () if self.reason.is_some() => "part_reason",
            () if self.camera.is_some() => "part_camera",
            () => return Ok(usual),
        };
        let few = query.count(connection, narrow, SORTED)? < SORTED;
        Ok(if few { narrow } else { usual })
    }
}

impl Query {
    /// How many there are, as far as `most`.
    pub fn count(&self, connection: &Connection, index: &str, most: i64) -> Result<i64, ArchiveError> {
        let reason = if index == "part_reason" { " AND reason IS NOT NULL" } else { "" };
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM part INDEXED BY {index} WHERE {}{reason} LIMIT {most})",
            self.conditions
        );
        let mut count = connection.prepare_cached(&sql).map_err(ArchiveError::index("counting parts"))?;
        count
            .query_row(rusqlite::params_from_iter(&self.values), |row| row.get(0))
            .map_err(ArchiveError::index("counting parts"))
    }
}
