//! What people say of parts: confirmed or overruled, by whom and why, kept with the time.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::error::ArchiveError;
use super::filter::Filter;
use super::schema;

/// Longest name and reason, characters.
const MOST_TEXT: usize = 500;

/// What somebody says a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opinion {
    /// A good part.
    Good,
    /// A bad one.
    Bad,
}

/// A review that is to be noted.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewReview {
    /// The part's event.
    pub event_id: Uuid,
    /// What it is.
    pub opinion: Opinion,
    /// Who says so.
    pub name: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A review as it was noted.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Review {
    /// The part's event.
    pub event_id: Uuid,
    /// When it was noted.
    pub at: Timestamp,
    /// What it is.
    pub opinion: Opinion,
    /// Who says so.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// How often people and the line say the same, by each part's newest review.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Agreement {
    /// Passed, and called good.
    pub pass_good: u64,
    /// Passed, and called bad: an escape.
    pub pass_bad: u64,
    /// Failed, and called good: a false reject.
    pub fail_good: u64,
    /// Failed, and called bad.
    pub fail_bad: u64,
    /// Reviewed parts that had no verdict.
    pub no_verdict: u64,
}

impl Agreement {
    /// Share of the reviewed parts with a verdict of which both say the same; `None` without any.
    pub fn rate(&self) -> Option<f64> {
        let all = self.pass_good + self.pass_bad + self.fail_good + self.fail_bad;
        (all > 0).then(|| (self.pass_good + self.fail_bad) as f64 / all as f64)
    }
}

/// The one who writes is another connection; this one waits for it.
pub(super) fn add(directory: &Path, review: &NewReview, at: Timestamp) -> Result<Review, ArchiveError> {
    let name = review.name.trim();
    if name.is_empty() {
        return Err(ArchiveError::Review("a review needs a name"));
    }
    let long = |text: &str| text.chars().count() > MOST_TEXT;
    if long(name) || long(&review.reason) {
        return Err(ArchiveError::Review("name and reason have at most 500 characters"));
    }
    let mut connection = schema::open_to_write(directory)?;
    let event_id = review.event_id.as_bytes().as_slice();
    let mut note = || -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute(
            "INSERT INTO review (event_id, at, good, name, why) VALUES (?1, ?2, ?3, ?4, ?5)",
            rusqlite::params![event_id, at.as_microsecond(), review.opinion == Opinion::Good, name, review.reason],
        )?;
        // What a person has looked at goes last.
        transaction.execute("UPDATE part SET rank = 1 WHERE event_id = ?1", [event_id])?;
        transaction.commit()
    };
    note().map_err(ArchiveError::index("noting a review"))?;
    Ok(Review {
        event_id: review.event_id,
        at,
        opinion: review.opinion,
        name: name.to_owned(),
        reason: review.reason.clone(),
    })
}

pub(super) fn of(connection: &Connection, event_id: Uuid) -> Result<Vec<Review>, ArchiveError> {
    let asked = || -> rusqlite::Result<Vec<Review>> {
        let sql = "SELECT event_id, at, good, name, why FROM review WHERE event_id = ?1 ORDER BY id";
        connection.prepare_cached(sql)?.query_map([event_id.as_bytes().as_slice()], review)?.collect()
    };
    asked().map_err(ArchiveError::index("reading reviews"))
}

pub(super) fn newest(connection: &Connection, most: usize) -> Result<Vec<Review>, ArchiveError> {
    let asked = || -> rusqlite::Result<Vec<Review>> {
        let sql = "SELECT event_id, at, good, name, why FROM review ORDER BY id DESC LIMIT ?1";
        connection.prepare_cached(sql)?.query_map([most as i64], review)?.collect()
    };
    asked().map_err(ArchiveError::index("reading reviews"))
}

pub(super) fn agreement(connection: &Connection, filter: &Filter) -> Result<Agreement, ArchiveError> {
    let query = filter.query(connection, None)?;
    let mut agreement = Agreement::default();
    if query.nothing {
        return Ok(agreement);
    }
    let sql = format!(
        "SELECT verdict, good FROM review JOIN part USING (event_id) \
         WHERE review.id IN (SELECT max(id) FROM review GROUP BY event_id) AND {}",
        query.conditions()
    );
    let mut asked = || -> rusqlite::Result<()> {
        let mut ask = connection.prepare(&sql)?;
        let mut rows = ask.query(rusqlite::params_from_iter(&query.values))?;
        while let Some(row) = rows.next()? {
            let count = match (row.get::<_, i64>(0)?, row.get::<_, bool>(1)?) {
                (0, true) => &mut agreement.pass_good,
                (0, false) => &mut agreement.pass_bad,
                (1, true) => &mut agreement.fail_good,
                (1, false) => &mut agreement.fail_bad,
                _ => &mut agreement.no_verdict,
            };
            *count += 1;
        }
        Ok(())
    };
    asked().map_err(ArchiveError::index("comparing reviews"))?;
    Ok(agreement)
}

fn review(row: &Row<'_>) -> rusqlite::Result<Review> {
    let event_id: Vec<u8> = row.get(0)?;
    Ok(Review {
        event_id: Uuid::from_slice(&event_id).unwrap_or_default(),
        at: Timestamp::from_microsecond(row.get(1)?).unwrap_or(Timestamp::UNIX_EPOCH),
        opinion: if row.get(2)? { Opinion::Good } else { Opinion::Bad },
        name: row.get(3)?,
        reason: row.get(4)?,
    })
}
