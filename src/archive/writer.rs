//! The thread that writes: takes what waits, puts pictures on disk, then their rows, then makes room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::bounds::{Bounds, Space};
use super::error::ArchiveError;
use super::queue::{Item, Shared};
use super::store::{Put, Store};
use super::sweep;
use crate::error_chain;

/// How long the thread sleeps when nothing comes.
const IDLE: Duration = Duration::from_millis(250);
/// Parts written with one commit at most, and their bytes.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 64 << 20;
/// After the disk would not have something, it is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) struct WriterThread {
    shared: Arc<Shared>,
    items: Receiver<Item>,
}

impl WriterThread {
    pub fn new(shared: Arc<Shared>, items: Receiver<Item>) -> Self {
        Self { shared, items }
    }

    /// Until it is told to stop.
    pub fn run(self) {
        loop {
            let served = Store::open(&self.shared.spec.directory).and_then(|mut store| {
                sweep::sweep(&mut store)?;
                self.serve(&mut store)
            });
            let Err(failed) = served else { return };
            let chain = error_chain::one_line(&failed);
            self.shared.tell(false, Some(format!("nothing is archived: {chain}; it is tried again")));
            // What waits would only keep its memory from those who need it.
            let until = Instant::now() + AGAIN;
            while Instant::now() < until {
                if self.shared.stops_at().is_some() {
                    return;
                }
                if let Ok(item) = self.items.recv_timeout(IDLE) {
                    self.drop(&item);
                }
            }
        }
    }

    fn drop(&self, item: &Item) {
        self.shared.count(|counters| {
            counters.dropped_parts += 1;
            counters.dropped_disk += u64::from(item.seen.is_some());
        });
    }

    fn serve(&self, store: &mut Store) -> Result<(), ArchiveError> {
        let mut bounds = Bounds::new(store, &self.shared)?;
        self.shared.tell(true, None);
        loop {
            let space = bounds.look(store, &self.shared)?;
            let stopping = self.shared.stops_at();
            let first = match self.items.recv_timeout(if stopping.is_some() { Duration::ZERO } else { IDLE }) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) if stopping.is_none() => continue,
                Err(_) => return Ok(()),
            };
            if stopping.is_some_and(|until| Instant::now() >= until) {
                tracing::warn!(parts = self.items.len() + 1, "the archive has not written all that waited");
                return Ok(());
            }
            let mut bytes = size(&first);
            let mut batch = vec![first];
            while batch.len() < BATCH && bytes < BATCH_BYTES {
                let Ok(item) = self.items.try_recv() else { break };
                bytes += size(&item);
                batch.push(item);
            }
            self.write(store, &mut bounds, batch, space)?;
        }
    }

    fn write(
        &self,
        store: &mut Store,
        bounds: &mut Bounds,
        batch: Vec<Item>,
        space: Space,
    ) -> Result<(), ArchiveError> {
        if space == Space::Nothing {
            batch.iter().for_each(|item| self.drop(item));
            return Ok(());
        }
        let now = batch.len();
        let mut put = Vec::with_capacity(now);
        let mut failed = None;
        for item in batch {
            let id = store.next_id;
            store.next_id += 1;
            let pictures =
                if failed.is_none() && space == Space::Enough { store.put_pictures(id, &item) } else { Ok((0, 0)) };
            let (pictures, bytes) = pictures.unwrap_or_else(|error| {
                failed = Some(error);
                (0, 0)
            });
            if pictures == 0 && item.seen.is_some() {
                self.shared.count(|counters| counters.dropped_disk += 1);
            }
            put.push(Put { item, id, pictures, bytes });
        }
        if let Err(error) = store.put_rows(&put) {
            put.iter().for_each(|put| {
                store.remove_files(put.id, put.item.event.event_id);
                self.drop(&put.item);
            });
            return Err(error);
        }
        let pictured = put.iter().filter(|put| put.pictures > 0).count() as u64;
        bounds.wrote(now as u64, pictured, put.iter().map(|put| put.bytes).sum());
        self.shared.count(|counters| {
            counters.written += now as u64;
            counters.pictures_written += pictured;
            counters.bytes = bounds.bytes();
        });
        failed.map_or(Ok(()), Err)
    }
}

/// What an item holds in memory that the disk is to take, bytes.
fn size(item: &Item) -> usize {
    item.seen.as_ref().map_or(0, |seen| seen.image.data().len())
}
