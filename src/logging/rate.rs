//! How often one message may be logged: a burst, then a trickle; what was held back is counted and said.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use crate::event::LOG_TARGET;

/// A message is a place in the code: the same words with other values count together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many at once.
    pub burst: u32,
    /// Then one in this time.
    pub pause: Duration,
}

impl Default for RateLimit {
    /// A start with sixteen cameras says nothing more than 50 times; ten lines a minute of one kind tell the rest.
    fn default() -> Self {
        Self { burst: 50, pause: Duration::from_secs(6) }
    }
}

struct Bucket {
    place: String,
    /// When the bucket would be full again.
    full_at: Instant,
    held_back: u64,
}

/// Lets each message through as its [`RateLimit`] allows; clones share what they know.
#[derive(Clone)]
pub struct PerMessage {
    limit: RateLimit,
    buckets: Arc<Mutex<HashMap<Identifier, Bucket>>>,
}

impl PerMessage {
    /// No message has been seen yet.
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, buckets: Arc::default() }
    }

    fn allows(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = match buckets.entry(metadata.callsite()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Bucket { place: place(metadata), full_at: now, held_back: 0 }),
        };
        let full_at = bucket.full_at.max(now) + self.limit.pause;
        let allowed = full_at.saturating_duration_since(now) <= self.limit.pause * self.limit.burst;
        if allowed {
            bucket.full_at = full_at;
        } else {
            bucket.held_back += 1;
        }
        allowed
    }

    /// Messages that have been held back and are due to be mentioned: where they come from, and how many.
    pub fn held_back(&self) -> Vec<(String, u64)> {
        self.held_back_at(Instant::now())
    }

    fn held_back_at(&self, now: Instant) -> Vec<(String, u64)> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.limit.pause * (self.limit.burst - 1);
        let due = |bucket: &&mut Bucket| bucket.held_back > 0 && bucket.full_at.saturating_duration_since(now) <= room;
        let tell = |bucket: &mut Bucket| {
            // The mention takes the place of one line.
            bucket.full_at = bucket.full_at.max(now) + self.limit.pause;
            (bucket.place.clone(), std::mem::take(&mut bucket.held_back))
        };
        buckets.values_mut().filter(due).map(tell).collect()
    }
}

fn place(metadata: &Metadata<'_>) -> String {
    format!("{}:{}", metadata.target(), metadata.line().unwrap_or_default())
}

impl<S: Subscriber> Filter<S> for PerMessage {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    /// Verdicts are asked for one by one, and come no faster than parts do.
    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        event.metadata().target() == LOG_TARGET || self.allows(event.metadata(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    /// Metadata of a real call.
    fn metadata() -> &'static Metadata<'static> {
        struct Catch(OnceLock<&'static Metadata<'static>>);
        impl Subscriber for Catch {
            fn enabled(&self, _: &Metadata<'_>) -> bool {
                true
            }
            fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
                tracing::span::Id::from_u64(1)
            }
            fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
            fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
            fn event(&self, event: &Event<'_>) {
                self.0.get_or_init(|| event.metadata());
            }
            fn enter(&self, _: &tracing::span::Id) {}
            fn exit(&self, _: &tracing::span::Id) {}
        }
        let catch = Arc::new(Catch(OnceLock::new()));
        tracing::subscriber::with_default(Arc::clone(&catch), || tracing::info!("x"));
        catch.0.get().unwrap()
    }

    #[test]
    fn a_burst_passes_then_a_trickle_and_the_rest_is_counted() {
        let rate = PerMessage::new(RateLimit { burst: 3, pause: Duration::from_secs(10) });
        let (metadata, start) = (metadata(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((0..5).filter(|_| rate.allows(metadata, at(0))).count(), 3);
        assert_eq!(rate.held_back_at(at(5)), []);
        let told = rate.held_back_at(at(10));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].1, 2);
        assert!(told[0].0.contains("rate"), "{}", told[0].0);
        assert!(!rate.allows(metadata, at(11)), "the mention took the place of a line");
        assert!(rate.allows(metadata, at(20)));
        assert_eq!(
            (0..5).filter(|_| rate.allows(metadata, at(600))).count(),
            3,
            "in the end everything is as at first"
        );
    }
}
