//! How much the archive may take: bytes, age, and what stays free of the disk. The oldest good parts go first.

use std::time::{Duration, Instant};

use rusqlite::params;

use super::error::ArchiveError;
use super::queue::Shared;
use super::schema;
use super::store::Store;
use super::sweep;

/// How often the disk is looked at, and whether anything is too old.
const LOOK: Duration = Duration::from_millis(500);
/// Parts that leave with one commit.
const STEP: i64 = 200;
/// Totals are kept so long, seconds: two years.
const TOTALS: i64 = 2 * 365 * 24 * 3600;
/// Share of the allowed bytes that the index may take before its oldest rows without pictures go.
const INDEX_SHARE: u64 = 4;

/// What the disk has for the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// Pictures and rows.
    Enough,
    /// Rows only: pictures would take what stays free.
    Rows,
    /// Not even rows: the disk is nearly full.
    Nothing,
}

/// What is known of the archive's size.
pub(super) struct Bounds {
    pictures_bytes: u64,
    index_bytes: u64,
    parts: u64,
    pictured: u64,
    looked: Option<Instant>,
    space: Space,
}

impl Bounds {
    pub fn new(store: &Store, shared: &Shared) -> Result<Self, ArchiveError> {
        let sums = "SELECT (SELECT count(*) FROM part), count(*), coalesce(sum(bytes), 0) \
                    FROM part INDEXED BY part_kept WHERE pictures > 0";
        let (parts, pictured, bytes): (i64, i64, i64) = store
            .connection
            .query_row(sums, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .map_err(ArchiveError::index("reading its size"))?;
        let mut bounds = Self {
            pictures_bytes: bytes as u64,
            index_bytes: 0,
            parts: parts as u64,
            pictured: pictured as u64,
            looked: None,
            space: Space::Enough,
        };
        bounds.tell(store, shared)?;
        Ok(bounds)
    }

    /// What it takes, as far as it is known.
    pub fn bytes(&self) -> u64 {
        self.pictures_bytes + self.index_bytes
    }

    /// Parts were written, some of them with pictures.
    pub fn wrote(&mut self, parts: u64, pictured: u64, bytes: u64) {
        self.parts += parts;
        self.pictured += pictured;
        self.pictures_bytes += bytes;
    }

    /// Makes room where that is due, and says what there is.
    pub fn look(&mut self, store: &mut Store, shared: &Shared) -> Result<Space, ArchiveError> {
        let spec = &shared.spec;
        while self.bytes() > spec.max_bytes && self.remove_pictures(store, shared, false)? {}
        let now = Instant::now();
        if self.looked.is_some_and(|at| now.duration_since(at) < LOOK) {
            return Ok(self.space);
        }
        self.looked = Some(now);
        let mut free = free(store)?;
        // Good parts give way to what stays free; the others are worth a person's look first.
        let mut gave_way = false;
        while free < wanted(spec.reserve_bytes) && self.remove_pictures(store, shared, true)? {
            free = self::free(store)?;
            gave_way = true;
        }
        self.remove_old(store, shared)?;
        if self.index_bytes > spec.max_bytes / INDEX_SHARE {
            self.remove_rows(store, shared, "pictures = 0 ORDER BY id", &[])?;
        }
        self.space = match free {
            free if free < spec.reserve_bytes / 2 => Space::Nothing,
            free if free < spec.reserve_bytes => Space::Rows,
            // What has stopped goes on when there is some room, not at every byte.
            free if self.space != Space::Enough && free < wanted(spec.reserve_bytes) => Space::Rows,
            _ => Space::Enough,
        };
        // Without what is free at the moment: an alarm whose text changes all the time would be told all the time.
        let told = |least: u64, then: &str| {
            Some(format!(
                "the disk of {} has less than {} MiB free and the archive leaves {} MiB: {then}; free some of it, or lower \
                 max_bytes in [archive]",
                spec.directory.display(),
                least >> 20,
                spec.reserve_bytes >> 20
            ))
        };
        let reserve = spec.reserve_bytes;
        let trouble = match self.space {
            Space::Enough if gave_way || free < warned(reserve) => {
                told(warned(reserve), "soon no picture will be kept")
            }
            Space::Enough => None,
            Space::Rows => told(wanted(reserve), "no picture is kept until there is more"),
            Space::Nothing => told(reserve / 2, "nothing is archived until there is more"),
        };
        shared.tell(self.space == Space::Enough, trouble);
        shared.count(|counters| counters.free_bytes = Some(free));
        self.tell(store, shared)?;
        Ok(self.space)
    }

    fn tell(&mut self, store: &Store, shared: &Shared) -> Result<(), ArchiveError> {
        let asked = || -> rusqlite::Result<(i64, i64, i64, Option<i64>)> {
            let pragma = |name: &str| store.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let oldest = "SELECT min(captured) FROM part";
            let oldest = store.connection.prepare_cached(oldest)?.query_row([], |row| row.get(0))?;
            Ok((pragma("page_count")?, pragma("freelist_count")?, pragma("page_size")?, oldest))
        };
        let (pages, free, size, oldest) = asked().map_err(ArchiveError::index("reading its size"))?;
        self.index_bytes = ((pages - free).max(0) * size) as u64;
        shared.count(|counters| {
            counters.bytes = self.bytes();
            counters.parts = self.parts;
            counters.parts_with_pictures = self.pictured;
            counters.oldest_s = oldest.map(|at| at as f64 / 1e6);
        });
        Ok(())
    }

    /// Pictures of the oldest parts leave, of good ones before others'; their rows stay. False when there were none.
    fn remove_pictures(&mut self, store: &mut Store, shared: &Shared, good_only: bool) -> Result<bool, ArchiveError> {
        let over = self.bytes().saturating_sub(shared.spec.max_bytes);
        let mut left = 0;
        let chosen: Vec<(i64, i64)> = {
            let asked = || -> rusqlite::Result<Vec<(i64, i64)>> {
                let rank = if good_only { " AND rank = 0" } else { "" };
                let sql = format!(
                    "SELECT id, bytes FROM part INDEXED BY part_kept WHERE pictures > 0{rank} ORDER BY rank, id LIMIT {STEP}"
                );
                let mut ask = store.connection.prepare_cached(&sql)?;
                ask.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            };
            let all = asked().map_err(ArchiveError::index("looking for the oldest pictures"))?;
            let enough = |left: u64| !good_only && left >= over;
            let take = |(_, bytes): &(i64, i64)| {
                let more = !enough(left);
                left += *bytes as u64;
                more
            };
            // For the disk's sake a few at a time: it is looked at again after each step.
            all.into_iter().take(if good_only { 20 } else { STEP as usize }).take_while(take).collect()
        };
        if chosen.is_empty() {
            return Ok(false);
        }
        let mut write = || -> rusqlite::Result<()> {
            let transaction = store.connection.transaction()?;
            for (id, _) in &chosen {
                transaction
                    .prepare_cached("INSERT INTO leaving SELECT event_id, id / ?2 FROM part WHERE id = ?1")?
                    .execute(params![id, schema::FOLDER])?;
                transaction
                    .prepare_cached("UPDATE part SET pictures = 0, bytes = 0, why = NULL WHERE id = ?1")?
                    .execute([id])?;
            }
            transaction.commit()
        };
        write().map_err(ArchiveError::index("taking pictures back"))?;
        sweep::finish_leaving(store)?;
        self.pictures_bytes -= chosen.iter().map(|(_, bytes)| *bytes as u64).sum::<u64>().min(self.pictures_bytes);
        self.pictured = self.pictured.saturating_sub(chosen.len() as u64);
        shared.count(|counters| {
            counters.removed += chosen.len() as u64;
            counters.bytes = self.bytes();
        });
        Ok(true)
    }

    fn remove_old(&mut self, store: &mut Store, shared: &Shared) -> Result<(), ArchiveError> {
        let now = shared.clock.now().wall;
        let oldest = now.as_microsecond().saturating_sub(shared.spec.max_age.as_micros() as i64);
        self.remove_rows(store, shared, "captured < ?1 ORDER BY captured", &[oldest])?;
        let kept = now.as_second().saturating_sub(TOTALS);
        let forget = || store.connection.prepare_cached("DELETE FROM period WHERE start < ?1")?.execute([kept]);
        forget().map_err(ArchiveError::index("forgetting old totals"))?;
        Ok(())
    }

    /// Rows leave with all that belongs to them.
    fn remove_rows(&mut self, store: &mut Store, shared: &Shared, which: &str, of: &[i64]) -> Result<(), ArchiveError> {
        let asked = || -> rusqlite::Result<Vec<(i64, i64)>> {
            let mut ask = store
                .connection
                .prepare_cached(&format!("SELECT id, bytes FROM part WHERE {which} LIMIT {}", 5 * STEP))?;
            ask.query_map(rusqlite::params_from_iter(of), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let chosen = asked().map_err(ArchiveError::index("looking for the oldest parts"))?;
        if chosen.is_empty() {
            return Ok(());
        }
        let mut write = || -> rusqlite::Result<()> {
            let transaction = store.connection.transaction()?;
            for (id, _) in &chosen {
                for sql in [
                    "INSERT INTO leaving SELECT event_id, id / 1000 FROM part WHERE id = ?1 AND pictures > 0",
                    "DELETE FROM review WHERE event_id = (SELECT event_id FROM part WHERE id = ?1)",
                    "DELETE FROM event WHERE id = ?1",
                    "DELETE FROM part WHERE id = ?1",
                ] {
                    transaction.prepare_cached(sql)?.execute([id])?;
                }
            }
            transaction.commit()
        };
        write().map_err(ArchiveError::index("taking parts back"))?;
        sweep::finish_leaving(store)?;
        self.parts = self.parts.saturating_sub(chosen.len() as u64);
        self.pictured = self.pictured.saturating_sub(chosen.iter().filter(|(_, bytes)| *bytes > 0).count() as u64);
        self.pictures_bytes -= chosen.iter().map(|(_, bytes)| *bytes as u64).sum::<u64>().min(self.pictures_bytes);
        shared.count(|counters| counters.removed += chosen.len() as u64);
        Ok(())
    }
}

/// Below this the archive tells that soon it will keep nothing.
fn warned(reserve: u64) -> u64 {
    reserve + reserve / 4
}

/// What good parts make free, and what lets the archive begin again.
fn wanted(reserve: u64) -> u64 {
    reserve + reserve / 20
}

/// Bytes that this process may still take of the disk.
fn free(store: &Store) -> Result<u64, ArchiveError> {
    let there = rustix::fs::statvfs(&store.directory);
    let there = there.map_err(|errno| ArchiveError::file("looking at the disk of", &store.directory)(errno.into()))?;
    Ok(there.f_bavail.saturating_mul(there.f_frsize))
}
