//! What has just happened, for pages that look on: telling it never waits, and whoever reads slowly misses some of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::event::InspectionEvent;

/// News that a slow reader may be behind; older ones are lost to it.
const BEHIND: usize = 256;
/// Verdicts of each camera that a page begins with.
const RECENT: usize = 50;

/// A verdict as pages see it.
pub struct Told {
    event: InspectionEvent,
    /// Written once, by the first reader, whatever their number.
    text: OnceLock<String>,
}

impl Told {
    /// The event as JSON.
    pub(super) fn text(&self) -> &str {
        self.text.get_or_init(|| serde_json::to_string(&self.event).unwrap_or_default())
    }

    fn brief(&self) -> Value {
        let InspectionEvent { event_id, seq, part, verdict, reason, score, threshold, time, .. } = &self.event;
        json!({
            "event_id": event_id, "seq": seq, "part": part, "verdict": verdict, "reason": reason, "score": score,
            "threshold": threshold, "captured": time.captured,
        })
    }
}

/// One of the news.
#[derive(Clone)]
pub(super) enum Item {
    Verdict(Arc<Told>),
    /// The state of the line is another one.
    Changed,
}

/// Where the line tells what happens; cheap to clone.
#[derive(Clone)]
pub struct News {
    stream: broadcast::Sender<Item>,
    recent: Arc<Mutex<BTreeMap<String, VecDeque<Arc<Told>>>>>,
}

impl Default for News {
    fn default() -> Self {
        Self { stream: broadcast::Sender::new(BEHIND), recent: Arc::default() }
    }
}

impl News {
    fn recent(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<Arc<Told>>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part has its verdict `total` after it was captured.
    pub fn verdict(&self, mut event: InspectionEvent, total: Duration, now: Timestamp) {
        event.latency_ms.total = total.as_secs_f64() * 1e3;
        event.time.published = now;
        let camera = event.camera.clone();
        let told = Arc::new(Told { event, text: OnceLock::new() });
        {
            let mut recent = self.recent();
            let recent = recent.entry(camera).or_default();
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(Arc::clone(&told));
        }
        self.tell(Item::Verdict(told));
    }

    /// The state of the line is another one.
    pub fn changed(&self) {
        self.tell(Item::Changed);
    }

    fn tell(&self, item: Item) {
        // Nobody looks on: nobody is told.
        if self.stream.receiver_count() > 0 && self.stream.send(item).is_err() {
            tracing::debug!("the last page has gone");
        }
    }

    /// What happens from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<Item> {
        self.stream.subscribe()
    }

    /// The last verdicts of each camera, oldest first, and the very last one whole, as JSON.
    pub(super) fn so_far(&self) -> String {
        let recent = self.recent().clone();
        let cameras: Vec<String> = recent
            .iter()
            .filter_map(|(camera, told)| {
                let brief: Vec<Value> = told.iter().map(|told| told.brief()).collect();
                Some(format!(
                    "{}:{{\"recent\":{},\"last\":{}}}",
                    json!(camera),
                    Value::from(brief),
                    told.back()?.text()
                ))
            })
            .collect();
        format!("{{{}}}", cameras.join(","))
    }
}
