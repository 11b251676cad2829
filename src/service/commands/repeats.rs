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
        let stands = !changes(&request.command) || known.changes == self.changes;
        (stands && known.request == *request).then(|| (Ack { repeated: true, ..known.ack.clone() }, known.debt))
    }

    /// This command was carried out.
    pub fn remember(&mut self, request: &Request, ack: &Ack, debt: Option<Debt>, now: Instant) {
        self.changes += u64::from(changes(&request.command));
        let Some(id) = &request.correlation_id else { return };
        let known = Known { request: request.clone(), at: now, ack: ack.clone(), debt, changes: self.changes };
        self.known.insert(id.clone(), known);
        self.order.push_back((now, id.clone()));
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        let old = |at: &Instant| now.saturating_duration_since(*at) >= WINDOW;
        while self.order.front().is_some_and(|(at, _)| old(at)) || self.order.len() > MOST {
            let Some((at, id)) = self.order.pop_front() else { return };
            if self.known.get(&id).is_some_and(|known| known.at == at) {
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
