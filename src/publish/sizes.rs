//! What this broker takes: the largest packet where it says so, and where it only hangs up, the message that it hangs up on.
//!
//! A connection that is lost with messages on the wire is followed by one on which they leave one at a time. A message
//! that is alone on the wire at two losses one after the other is looked at: is it larger than all that the broker has
//! taken on this topic? A verdict is sent without its defects then; when the broker hangs up on that, too, it is either set
//! aside, or, where nothing was ever taken on the topic, it is the topic that the broker does not like.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::MAX_PACKET;
use super::client::packet_head;
use super::door::Cargo;
use super::outbox::RecordId;

/// For so long a size that the broker has hung up on is not tried again, and is told.
const REMEMBERED: Duration = Duration::from_secs(600);

/// A message on the wire.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub cargo: Cargo,
    pub topic: String,
    /// Of its payload.
    pub bytes: usize,
}

/// What follows from a lost connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing but another attempt.
    Nothing,
    /// The message was sent without its details from now on.
    Shorten(Flight),
    /// The broker does not take the message in any form.
    SetAside(Flight),
    /// The broker hangs up on whatever is published to the topic.
    Topic(Flight),
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.cargo == other.cargo
    }
}

impl Eq for Flight {}

/// What a broker that does not say how much it takes has shown.
#[derive(Clone, Copy, Debug)]
struct Learned {
    /// It has hung up on a payload of so many bytes.
    refused: usize,
    /// It has taken one of so many.
    taken: usize,
    since: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// Largest packet of the present connection.
    packet: Option<usize>,
    /// Largest payload taken, by topic.
    taken: BTreeMap<String, usize>,
    learned: Option<Learned>,
    /// The verdict that is sent without its details, and its size with them.
    shortened: Option<(RecordId, usize)>,
    /// Topics on which the broker hangs up.
    refused: BTreeMap<String, Instant>,
    /// What was on the wire when the last connection was lost.
    lost: Vec<Cargo>,
    /// So many messages still leave one at a time.
    careful: usize,
    /// Verdicts of an earlier start that the broker did not take then: what is wrong is known to be their size.
    once_more: BTreeSet<RecordId>,
}

impl Sizes {
    /// Knows the verdicts that were set aside by an earlier start and are sent once more.
    pub fn new(once_more: impl IntoIterator<Item = RecordId>) -> Self {
        Self { once_more: once_more.into_iter().collect(), ..Self::default() }
    }

    /// The broker has accepted a connection, and takes packets of so many bytes.
    pub fn connected(&mut self, packet: usize) {
        self.packet = Some(packet);
    }

    /// Whether nothing may leave while something is on the wire.
    pub fn one_at_a_time(&self) -> bool {
        self.careful > 0
    }

    /// Largest payload for this topic.
    pub fn limit(&self, topic: &str) -> usize {
        self.packet.unwrap_or(MAX_PACKET).min(MAX_PACKET).saturating_sub(packet_head(topic))
    }

    /// Largest payload that this verdict should have; it may have none of its details.
    pub fn wanted(&self, id: RecordId, topic: &str) -> usize {
        if self.is_shortened(id) { 0 } else { self.limit(topic) }
    }

    /// To how many bytes a verdict is to be shortened that has so many: a size that the broker has taken, when it has
    /// hung up on less. What lies between the two is tried.
    pub fn shorter(&mut self, bytes: usize) -> Option<usize> {
        self.learned = self.learned.filter(|learned| learned.since.elapsed() < REMEMBERED);
        self.learned.filter(|learned| bytes >= learned.refused).map(|learned| learned.taken)
    }

    fn is_shortened(&self, id: RecordId) -> bool {
        self.shortened.is_some_and(|(shortened, _)| shortened == id)
    }

    /// The broker has taken a message. True when it was a verdict without its details, which it had not taken with them.
    pub fn taken(&mut self, flight: &Flight) -> bool {
        self.careful = self.careful.saturating_sub(1);
        self.lost.retain(|cargo| *cargo != flight.cargo);
        self.refused.remove(&flight.topic);
        let most = self.taken.entry(flight.topic.clone()).or_default();
        *most = flight.bytes.max(*most);
        let taken = *most;
        let shortened = self.shortened.take_if(|(id, _)| flight.cargo == Cargo::Verdict(*id));
        if let Some((_, refused)) = shortened {
            self.learned = Some(Learned { refused, taken, since: Instant::now() });
        }
        shortened.is_some()
    }

    /// The connection was lost while these were on the wire, by the broker's will or nobody's.
    pub fn lost(&mut self, flights: &[Flight]) -> Judgement {
        let before = std::mem::replace(&mut self.lost, flights.iter().map(|flight| flight.cargo.clone()).collect());
        self.careful = self.careful.max(flights.len());
        let [flight] = flights else { return Judgement::Nothing };
        if !before.contains(&flight.cargo) {
            return Judgement::Nothing;
        }
        let judgement = self.judge(flight, Instant::now());
        if judgement != Judgement::Nothing {
            self.lost.clear();
        }
        judgement
    }

    fn judge(&mut self, flight: &Flight, now: Instant) -> Judgement {
        let taken = self.taken.get(&flight.topic).copied();
        // Not for ever: once the topic is allowed, a large message at the head must be found all the same.
        if self.refused.get(&flight.topic).is_some_and(|since| now.duration_since(*since) < REMEMBERED) {
            return Judgement::Topic(flight.clone());
        }
        // Something else is wrong: it has taken as much before.
        if taken.is_some_and(|taken| flight.bytes <= taken) {
            return Judgement::Nothing;
        }
        match flight.cargo {
            Cargo::Verdict(id) if !self.is_shortened(id) => {
                self.shortened = Some((id, flight.bytes));
                Judgement::Shorten(flight.clone())
            }
            Cargo::Verdict(id) if taken.is_some() || self.once_more.contains(&id) => {
                self.shortened = None;
                Judgement::SetAside(flight.clone())
            }
            _ if taken.is_some() => {
                self.shortened = None;
                Judgement::SetAside(flight.clone())
            }
            _ => {
                // Once it is allowed, it shall leave as it is.
                self.shortened = None;
                self.refused.insert(flight.topic.clone(), now);
                Judgement::Topic(flight.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(id: u64, bytes: usize) -> Flight {
        Flight { cargo: Cargo::Verdict(RecordId(id)), topic: "l/top/verdict".into(), bytes }
    }

    #[test]
    fn a_large_one_among_many_is_found_and_sent_without_its_details() {
        let mut sizes = Sizes::default();
        sizes.taken(&verdict(1, 900));
        assert!(!sizes.one_at_a_time());
        assert_eq!(sizes.lost(&[verdict(2, 900), verdict(3, 5000), verdict(4, 900)]), Judgement::Nothing);
        assert!(sizes.one_at_a_time());
        assert!(!sizes.taken(&verdict(2, 900)));
        assert_eq!(sizes.lost(&[verdict(3, 5000)]), Judgement::Shorten(verdict(3, 5000)));
        assert_eq!((sizes.wanted(RecordId(3), "t"), sizes.wanted(RecordId(4), "t") > 200_000), (0, true));
        assert!(sizes.taken(&verdict(3, 950)));
        assert_eq!(
            (sizes.shorter(5000), sizes.shorter(4999)),
            (Some(950), None),
            "others of that size are spared the same"
        );
        assert!(!sizes.taken(&verdict(4, 900)) && !sizes.one_at_a_time());
    }

    #[test]
    fn one_that_leaves_in_no_form_is_set_aside_where_others_were_taken() {
        let mut sizes = Sizes::default();
        sizes.taken(&verdict(1, 900));
        let losses = [5000, 5000, 1400, 1400].map(|bytes| sizes.lost(&[verdict(2, bytes)]));
        let nothing = Judgement::Nothing;
        assert_eq!(
            losses,
            [nothing.clone(), Judgement::Shorten(verdict(2, 0)), nothing, Judgement::SetAside(verdict(2, 0))]
        );
    }

    #[test]
    fn one_that_was_set_aside_before_holds_up_no_later_start() {
        let mut sizes = Sizes::new([RecordId(2)]);
        let losses = [5000, 5000, 1400, 1400].map(|bytes| sizes.lost(&[verdict(2, bytes)]));
        assert_eq!(losses[1], Judgement::Shorten(verdict(2, 0)));
        assert_eq!(losses[3], Judgement::SetAside(verdict(2, 0)));
    }

    #[test]
    fn an_access_list_costs_no_verdict() {
        let mut sizes = Sizes::default();
        sizes.taken(&Flight {
            cargo: Cargo::Retained { topic: "l/state".into(), version: 1 },
            topic: "l/state".into(),
            bytes: 300,
        });
        let losses: Vec<Judgement> = (0..7).map(|_| sizes.lost(&[verdict(1, 900)])).collect();
        assert!(!losses.iter().any(|judgement| matches!(judgement, Judgement::SetAside(_))), "{losses:?}");
        assert_eq!(losses[3], Judgement::Topic(verdict(1, 900)));
        assert_eq!(losses[5], Judgement::Topic(verdict(1, 900)), "again and again, and never in another form");
        assert!(sizes.wanted(RecordId(1), "t") > 200_000);
        sizes.taken(&verdict(1, 900));
        assert_eq!(sizes.lost(&[verdict(2, 900)]), Judgement::Nothing);
    }

    #[test]
    fn a_topic_that_is_allowed_again_does_not_hide_a_large_verdict_for_ever() {
        let mut sizes = Sizes::default();
        (0..4).for_each(|_| drop(sizes.lost(&[verdict(1, 5000)])));
        assert!(sizes.refused.contains_key("l/top/verdict"));
        let now = Instant::now();
        assert_eq!(sizes.judge(&verdict(1, 5000), now), Judgement::Topic(verdict(1, 0)));
        assert_eq!(sizes.judge(&verdict(1, 5000), now + REMEMBERED), Judgement::Shorten(verdict(1, 0)));
    }

    #[test]
    fn a_network_that_comes_and_goes_costs_no_details() {
        let mut sizes = Sizes::default();
        sizes.taken(&verdict(1, 900));
        for _ in 0..10 {
            assert_eq!(sizes.lost(&[verdict(2, 900)]), Judgement::Nothing);
            assert_eq!(sizes.lost(&[]), Judgement::Nothing);
        }
    }
}
