//! Commands that come twice, as MQTT's QoS 1 may deliver them: the second is answered like the first and not carried out.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::command::{Ack, Command, Request};
use crate::line::Debt;

/// How long a command is known again by its correlation id and content. Longer than a reconnect, shorter than the time in
/// which a controller that starts anew could count up to the same ids.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Commands that are remembered at most.
const MOST: usize = 16 * 1024;

struct Known {
    request: Request,
    at: Instant,
    ack: Ack,
    debt: Option<Debt>,
    /// How many changes there were when it had been carried out.
    changes: u64,
    /// It has begun and not ended: it is known until then, whatever else changes.
    pending: bool,
}

/// What was carried out lately.
#[derive(Default)]
pub struct Repeats {
    known: HashMap<String, Known>,
    /// Oldest first; an id that came again stands here twice.
    order: VecDeque<(Instant, String)>,
    changes: u64,
}

impl Repeats {
    /// The answer to the same command, when it was carried out a moment ago. A command that changes a state counts as new
    /// once another one has changed it since: pause, resume, pause.
    pub fn answer(&mut self, request: &Request, now: Instant) -> Option<(Ack, Option<Debt>)> {
        self.forget(now);
        let known = self.known.get(request.correlation_id.as_ref()?)?;
        let stands = known.pending || !changes(&request.command) || known.changes == self.changes;
        (stands && known.request == *request).then(|| (Ack { repeated: true, ..known.ack.clone() }, known.debt))
    }

    /// This command was carried out.
    pub fn remember(&mut self, request: &Request, ack: &Ack, debt: Option<Debt>, now: Instant) {
        self.changes += u64::from(changes(&request.command));
        let Some(id) = &request.correlation_id else { return };
        let (changes, pending) = (self.changes, false);
        let known = Known { request: request.clone(), at: now, ack: ack.clone(), debt, changes, pending };
        self.known.insert(id.clone(), known);
        self.order.push_back((now, id.clone()));
        self.forget(now);
    }

    /// This command has begun something that takes long; there are few of those.
    pub fn begun(&mut self, request: &Request, ack: &Ack, now: Instant) {
        self.changes += 1;
        let Some(id) = &request.correlation_id else { return };
        let (changes, pending) = (self.changes, true);
        let known = Known { request: request.clone(), at: now, ack: ack.clone(), debt: None, changes, pending };
        self.known.insert(id.clone(), known);
    }

    /// What this command began has ended: that is its answer from now on. After a refusal it is heard anew.
    pub fn ended(&mut self, request: &Request, ack: &Ack, now: Instant) {
        let id = request.correlation_id.as_ref();
        let known =
            id.and_then(|id| self.known.get(id)).is_some_and(|known| known.pending && known.request == *request);
        if known && let Some(id) = id {
            self.known.remove(id);
            if ack.ok {
                self.remember(request, ack, None, now);
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        let old = |at: &Instant| now.saturating_duration_since(*at) >= WINDOW;
        while self.order.front().is_some_and(|(at, _)| old(at)) || self.order.len() > MOST {
            let Some((at, id)) = self.order.pop_front() else { return };
            if self.known.get(&id).is_some_and(|known| known.at == at && !known.pending) {
                self.known.remove(&id);
            }
        }
    }
}

fn changes(command: &Command) -> bool {
    !matches!(command, Command::Trigger(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::parse;

    fn request(name: &str, payload: &str) -> Request {
        parse(name, payload.as_bytes()).expect("a command")
    }

    fn done(request: &Request) -> Ack {
        Ack::done(request.correlation_id.clone(), serde_json::json!("done"))
    }

    #[test]
    fn a_trigger_is_known_again_for_a_while_and_by_its_whole_content() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        let first = request("trigger", r#"{"correlation_id":"1","part_id":"A-1"}"#);
        assert_eq!(repeats.answer(&first, start), None);
        repeats.remember(&first, &done(&first), Some(Debt(7)), start);
        let again = Some((Ack { repeated: true, ..done(&first) }, Some(Debt(7))));
        assert_eq!(repeats.answer(&first, start + WINDOW / 2), again);
        let other = request("trigger", r#"{"correlation_id":"1","part_id":"A-2"}"#);
        assert_eq!(repeats.answer(&other, start), None, "a controller that counts from the beginning again");
        assert_eq!(repeats.answer(&first, start + WINDOW), None, "time has passed");
        assert!(repeats.known.is_empty() && repeats.order.is_empty());
    }

    #[test]
    fn a_panel_that_always_sends_the_same_ids_is_heard() {
        let now = Instant::now();
        let mut repeats = Repeats::default();
        let pause = request("pause", r#"{"correlation_id":"p"}"#);
        let resume = request("resume", r#"{"correlation_id":"r"}"#);
        repeats.remember(&pause, &done(&pause), None, now);
        assert!(repeats.answer(&pause, now).is_some(), "delivered twice");
        repeats.remember(&resume, &done(&resume), None, now);
        assert_eq!(repeats.answer(&pause, now), None, "a pause after a resume is a new one");
        let nameless = request("pause", "{}");
        repeats.remember(&nameless, &done(&nameless), None, now);
        assert_eq!(repeats.answer(&nameless, now), None);
    }

    #[test]
    fn what_has_begun_is_known_until_its_end_and_then_by_its_end() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        let learn = request("learn", r#"{"correlation_id":"l","parts":16}"#);
        let begun = Ack::begun(learn.correlation_id.clone(), serde_json::json!("begun"));
        let again = |ack: &Ack| Some((Ack { repeated: true, ..ack.clone() }, None));
        repeats.begun(&learn, &begun, start);
        let pause = request("pause", r#"{"correlation_id":"p"}"#);
        repeats.remember(&pause, &done(&pause), None, start);
        let late = start + 10 * WINDOW;
        assert_eq!(repeats.answer(&learn, late), again(&begun), "it goes on, whatever else has changed");
        repeats.ended(&learn, &done(&learn), late);
        assert_eq!(repeats.answer(&learn, late + WINDOW / 2), again(&done(&learn)), "delivered twice");
        assert_eq!(repeats.answer(&learn, late + WINDOW), None, "another one");
        repeats.begun(&learn, &begun, late + WINDOW);
        repeats.ended(&learn, &Ack::refused(learn.correlation_id.clone(), "stopped"), late + WINDOW);
        assert_eq!(repeats.answer(&learn, late + WINDOW), None, "told to begin again");
        assert!(repeats.known.keys().all(|id| id == "p"));
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let mut repeats = Repeats::default();
        for number in 0..MOST + 100 {
            let request = request("trigger", &format!(r#"{{"correlation_id":"{number}","part_id":"x"}}"#));
            repeats.remember(&request, &done(&request), None, now);
        }
        assert_eq!((repeats.known.len(), repeats.order.len()), (MOST, MOST));
    }
}
