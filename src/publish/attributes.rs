//! What a message over MQTT 5 says about itself beside its payload, so that bridges and brokers can sort it without reading JSON: the media
//! type, and the attributes of CloudEvents 1.0.2 as user properties (its MQTT protocol binding, section 3.1, binary content mode).

use jiff::Timestamp;
use uuid::Uuid;

/// Media type of every message of ours that has a payload, Sparkplug's apart.
pub(super) const CONTENT_TYPE: &str = "application/json";

/// What `type` starts with.
const FAMILY: &str = "vcp-line";

/// Which event a message tells of. What else there is to say follows from its topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// Tells the event from others of the same topic: a verdict's `event_id`.
    pub id: String,
    /// When it happened, RFC 3339.
    pub time: String,
}

impl About {
    /// What happens now and has no identifier of its own: a state, an alarm, an answer.
    pub fn now(now: Timestamp) -> Self {
        Self { id: Uuid::now_v7().to_string(), time: now.to_string() }
    }

    /// The attributes of a message to `PREFIX/LINE/CAMERA/WORD`: its source is the topic above the last level, its type
    /// `vcp-line.WORD`. `PREFIX/LINE/cmd/NAME` is of type `vcp-line.NAME`.
    pub fn properties(self, topic: &str) -> Vec<(String, String)> {
        let (source, word) = topic.rsplit_once('/').unwrap_or(("", topic));
        let kind = format!("{FAMILY}.{word}");
        [("specversion", "1.0"), ("id", &self.id), ("source", source), ("type", &kind), ("time", &self.time)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }
}

/// Bytes that these properties and the media type add to a packet (MQTT 5, sections 3.3.2.3.7 and 3.3.2.3.9), with one more for a
/// length that no longer fits into one byte.
pub(super) fn bytes(properties: &[(String, String)]) -> usize {
    let pairs: usize = properties.iter().map(|(name, value)| 1 + 2 + name.len() + 2 + value.len()).sum();
    pairs + 1 + 2 + CONTENT_TYPE.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_says_whose_event_it_is_and_of_what_kind() {
        for (topic, source, kind) in [
            ("vcp-line/caps/top/verdict", "vcp-line/caps/top", "vcp-line.verdict"),
            ("plant/hall 2/caps/state", "plant/hall 2/caps", "vcp-line.state"),
            ("p/caps/cmd/trigger", "p/caps/cmd", "vcp-line.trigger"),
        ] {
            let about = About { id: "7".into(), time: "1970-01-01T00:00:00Z".into() };
            let properties = about.properties(topic);
            let wanted = [
                ("specversion", "1.0"),
                ("id", "7"),
                ("source", source),
                ("type", kind),
                ("time", "1970-01-01T00:00:00Z"),
            ];
            assert_eq!(properties, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
    }

    #[test]
    fn two_states_are_two_events() {
        let now = Timestamp::UNIX_EPOCH;
        assert_ne!(About::now(now).id, About::now(now).id);
    }
}
