//! Which parts are asked for, as SQL.

use jiff::Timestamp;
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

/// What a condition is about; indices can look for some of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Time,
    Camera,
    Verdict,
    Reason,
    Score,
    Pictures,
    Other,
}

/// Conditions, and the index to look through.
pub(super) struct Query {
    pub index: &'static str,
    counted_by: &'static str,
    /// Numbers stand in them; the id of a part is the one value that is bound.
    conditions: Vec<(About, String)>,
    pub values: Vec<String>,
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
        use About::{Camera, Other, Pictures, Reason, Score, Time, Verdict};
        let mut query = Query {
            index: "part_time",
            counted_by: "part_time",
            conditions: Vec::new(),
            values: Vec::new(),
            nothing: false,
        };
        let mut add = |about, condition: String| query.conditions.push((about, condition));
        if let Some(from) = self.from {
            add(Time, format!("captured >= {}", from.as_microsecond()));
        }
        if let Some(until) = self.until {
            add(Time, format!("captured < {}", until.as_microsecond()));
        }
        if let Some(Cursor { captured, id }) = after {
            add(Time, format!("captured <= {captured}"));
            add(Other, format!("(captured < {captured} OR id < {id})"));
        }
        match self.verdict {
            Some(verdict) => add(Verdict, format!("verdict = {}", verdict_code(verdict))),
            // The index of scores begins with it; what has no verdict has no score.
            None if self.by_score() => add(Verdict, "verdict IN (0, 1)".into()),
            None => {}
        }
        if self.by_score() {
            add(Score, "score IS NOT NULL".into());
        }
        for (bound, sign) in [(self.min_score, ">="), (self.max_score, "<=")] {
            match bound {
                Some(score) if score.is_finite() => add(Score, format!("score {sign} {:?}", f64::from(score))),
                Some(_) => query.nothing = true,
                None => {}
            }
        }
        if self.pictures {
            query.conditions.push((Pictures, "pictures > 0".into()));
        }
        if let Some(part) = &self.part {
            query.conditions.push((Other, "part = ?1".into()));
            query.values.push(part.clone());
        }
        let camera = self.camera.as_deref().map(|name| word(connection, name)).transpose()?;
        let reason = self.reason.map(|reason| word(connection, &reason_word(reason))).transpose()?;
        for (about, column, found) in [(Camera, "camera", camera), (Reason, "reason", reason)] {
            match found {
                Some(Some(id)) => query.conditions.push((about, format!("{column} = {id}"))),
                Some(None) => query.nothing = true,
                None => {}
            }
        }
        // Indices that begin with the camera are of use for all of them, too.
        if (self.by_score() || self.verdict.is_some()) && self.camera.is_none() {
            query.conditions.push((Camera, "camera IN (SELECT id FROM camera)".into()));
        }
        query.index = self.index(connection, &query)?;
        // In the order of time what is rare is met late; that order is nothing to a count.
        query.counted_by = match (self.verdict, query.index) {
            (Some(_), "part_time") if !self.by_score() => "part_camera",
            (_, index) => index,
        };
        Ok(query)
    }

    fn by_score(&self) -> bool {
        self.min_score.is_some() || self.max_score.is_some()
    }

    /// The first index that has few candidates; otherwise the one in the order of time.
    fn index(&self, connection: &Connection, query: &Query) -> Result<&'static str, ArchiveError> {
        use About::{Camera, Pictures, Reason, Score, Time, Verdict};
        let usual = match (&self.camera, self.verdict) {
            _ if query.nothing => return Ok("part_time"),
            _ if self.part.is_some() => return Ok("part_part"),
            _ if self.pictures => "part_shown",
            (Some(_), Some(_)) => "part_camera",
            _ => "part_time",
        };
        let of_camera: &[About] = if self.verdict.is_some() { &[Camera, Verdict, Time] } else { &[Camera] };
        let narrow: [(bool, &str, &[About]); 5] = [
            (self.from.is_some() || self.until.is_some(), "part_time", &[Time]),
            (self.by_score(), "part_score", &[Verdict, Camera, Score]),
            (self.pictures, "part_shown", &[Time, Pictures]),
            (self.reason.is_some(), "part_reason", &[Reason, Camera]),
            (self.camera.is_some(), "part_camera", of_camera),
        ];
        for (_, index, about) in narrow.into_iter().filter(|(asked, ..)| *asked) {
            if query.count_of(connection, index, about, SORTED)? < SORTED {
                return Ok(index);
            }
        }
        Ok(usual)
    }
}

impl Query {
    /// All conditions, for a WHERE.
    pub fn conditions(&self) -> String {
        self.conditions_about(&[])
    }

    /// Conditions about these; about none all of them.
    fn conditions_about(&self, about: &[About]) -> String {
        let meant = self.conditions.iter().filter(|(own, _)| about.is_empty() || about.contains(own));
        let texts: Vec<&str> = meant.map(|(_, text)| text.as_str()).collect();
        if texts.is_empty() { "1".to_owned() } else { texts.join(" AND ") }
    }

    /// How many there are, as far as `most`.
    pub fn count(&self, connection: &Connection, most: i64) -> Result<i64, ArchiveError> {
        self.count_of(connection, self.counted_by, &[], most)
    }

    fn count_of(&self, connection: &Connection, index: &str, about: &[About], most: i64) -> Result<i64, ArchiveError> {
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM part INDEXED BY {index} WHERE {} LIMIT {most})",
            self.conditions_about(about)
        );
        let asked = || connection.prepare(&sql)?.query_row(rusqlite::params_from_iter(&self.values), |row| row.get(0));
        asked().map_err(ArchiveError::index("counting parts"))
    }
}
