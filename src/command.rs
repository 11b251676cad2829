//! What a line controller may ask for, as JSON over MQTT and HTTP: read strictly, refused with a reason.

use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

mod ack;
mod activity;
mod evidence;
mod id;
mod payload;

pub use ack::Ack;
pub use activity::{Calibrate, Learn, MOST_PARTS, Rollback};
pub use evidence::{Keep, MOST_KEPT, Reload, SelfTest};
pub use id::{MAX_ID, is_id};

use payload::Unread;

/// Largest payload of a command, bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Clocks of two computers may differ by this much.
const SKEW: Duration = Duration::from_secs(5);

/// The names of the commands, the last part of their topic and of their path.
pub const NAMES: [&str; 12] = [
    "trigger",
    "pause",
    "resume",
    "threshold",
    "recipe",
    "snapshot",
    "calibrate",
    "learn",
    "rollback",
    "keep",
    "reload",
    "self_test",
];

/// A command with what belongs to every command.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Comes back in the acknowledgement; a number comes back as a string of its digits.
    pub correlation_id: Option<String>,
    /// When the sender sent it.
    pub sent_at: Option<Timestamp>,
    /// What is asked for.
    pub command: Command,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A part is there.
    Trigger(Trigger),
    /// Stop inspecting.
    Pause(Which),
    /// Go on inspecting.
    Resume(Which),
    /// Change single values of the recipe.
    Threshold(Threshold),
    /// Replace the recipe.
    Recipe(NewRecipe),
    /// Write the picture that was inspected last to a file.
    Snapshot(Which),
    /// Find thresholds from the next parts.
    Calibrate(Calibrate),
    /// Make a memory of the next parts.
    Learn(Learn),
    /// Go back to the recipe and the memory before.
    Rollback(Rollback),
    /// Keep the pictures of the next parts.
    Keep(Keep),
    /// Read the settings file again.
    Reload(Reload),
    /// Judge the golden parts.
    SelfTest(SelfTest),
}

/// A part is there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Which camera; may be left out on a line with one.
    #[serde(default, deserialize_with = "payload::name_or_none")]
    pub camera: Option<String>,
    /// The controller's name for the part.
    #[serde(deserialize_with = "payload::name")]
    pub part_id: String,
    /// The controller's counter of triggers, for cameras that match by counter.
    #[serde(default, deserialize_with = "payload::number_or_none")]
    pub trigger: Option<u64>,
}

/// One camera, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Which camera; absent: all of the line.
    #[serde(default, deserialize_with = "payload::name_or_none")]
    pub camera: Option<String>,
}

/// Single values of the recipe; what is absent stays.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Which camera; absent: all of the line.
    #[serde(default, deserialize_with = "payload::name_or_none")]
    pub camera: Option<String>,
    /// Image scores from here on fail, 0 to 2; `null` decides by defects alone.
    #[serde(default, deserialize_with = "present")]
    pub threshold: Option<Option<f32>>,
    /// Map values from here on belong to a defect, 0 to 1.
    #[serde(default, deserialize_with = "payload::number_or_none")]
    pub defect_threshold: Option<f32>,
}

/// A whole recipe.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRecipe {
    /// Which camera; absent: all of the line.
    #[serde(default, deserialize_with = "payload::name_or_none")]
    pub camera: Option<String>,
    /// Name of the product.
    #[serde(deserialize_with = "payload::name")]
    pub id: String,
    /// Larger than the version in use under this name; absent: the next one.
    #[serde(default, deserialize_with = "payload::number_or_none")]
    pub version: Option<u32>,
    /// Image scores from here on fail, 0 to 2; absent or `null` decides by defects alone.
    #[serde(default, deserialize_with = "payload::number_or_none")]
    pub threshold: Option<f32>,
    /// Map values from here on belong to a defect, 0 to 1; absent: the recipe of this name that is prepared on the line.
    #[serde(default, deserialize_with = "payload::number_or_none")]
    pub defect_threshold: Option<f32>,
    /// Smaller defects do not count, pixels of the captured frame.
    #[serde(default, deserialize_with = "payload::number_or_none")]
    pub min_area_px: Option<u32>,
    /// Polygons in pixels of the captured frame, inside of which defects count; absent: the whole frame.
    #[serde(default)]
    pub regions: Vec<Vec<[f32; 2]>>,
    /// `false`: no memory helps, although the product or the settings have one; absent: that of the product.
    #[serde(default)]
    pub memory: Option<bool>,
}

impl NewRecipe {
    /// Whether it says all, or names a recipe and says nothing.
    fn is_whole(&self) -> bool {
        let Self { version, threshold, min_area_px, regions, memory, .. } = self;
        let only =
            (version.is_none(), threshold.is_none(), min_area_px.is_none(), regions.is_empty(), memory.is_none());
        self.defect_threshold.is_some() || only == (true, true, true, true, true)
    }
}

/// `null` is a value here, unlike a key that is absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<f32>>, D::Error> {
    payload::number_or_none(deserializer).map(Some)
}

/// A payload is no command, or comes at the wrong time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Too long.
    #[error("the command has {bytes} bytes; at most {MAX_PAYLOAD} are read")]
    TooLarge {
        /// What came.
        bytes: usize,
    },
    /// No JSON object.
    #[error("the command is no JSON object: {reason}")]
    NotJson {
        /// What the reader said.
        reason: String,
    },
    /// Nothing has this name.
    #[error("there is no command \"{name}\"; known: {}", NAMES.join(", "))]
    Unknown {
        /// Shortened, without control characters.
        name: String,
    },
    /// A field is missing, unknown, or of the wrong kind.
    #[error("{command}: {reason}")]
    Field {
        /// The command's name.
        command: &'static str,
        /// What the reader said.
        reason: String,
    },
    /// A name is empty, too long, or holds control characters.
    #[error("{field} must have 1 to {MAX_ID} characters and no control characters")]
    Id {
        /// Which one.
        field: &'static str,
    },
    /// It waited too long on its way.
    #[error(
        "the command was sent {age_s:.1} s ago, and after {limit_s:.1} s it is not carried out any more; send it again"
    )]
    Stale {
        /// Its age, as text would show it.
        age_s: Seconds,
        /// The limit.
        limit_s: Seconds,
    },
    /// Its time lies ahead.
    #[error("sent_at lies {ahead_s:.1} s in the future; set the clocks of both computers")]
    Ahead {
        /// How far.
        ahead_s: Seconds,
    },
    /// It was kept by the broker.
    #[error(
        "retained commands are not carried out: they would be repeated at every connection; send it without the retain flag"
    )]
    Retained,
}

/// Seconds for messages; compared by their milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(i64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (self.0 as f64 / 1e3).fmt(f)
    }
}

/// A refused command; the sender is told when it can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whom to tell, where it could be read.
    pub correlation_id: Option<String>,
    /// Why.
    pub error: CommandError,
}

/// Reads a command. Whatever the bytes are, the answer is a command or a refusal.
pub fn parse(name: &str, payload: &[u8]) -> Result<Request, Refusal> {
    let refuse = |error| Refusal { correlation_id: None, error };
    if payload.len() > MAX_PAYLOAD {
        return Err(refuse(CommandError::TooLarge { bytes: payload.len() }));
    }
    let mut fields = payload::fields(payload).map_err(|Unread { reason, correlation_id }| Refusal {
        correlation_id,
        error: CommandError::NotJson { reason },
    })?;
    let correlation_id = fields.remove("correlation_id").map(payload::name_or_none).transpose();
    let correlation_id = match correlation_id.map(Option::flatten) {
        Ok(id) if id.as_deref().is_none_or(is_id) => id,
        _ => return Err(refuse(CommandError::Id { field: "correlation_id, a string or a number," })),
    };
    let refuse = |error| Refusal { correlation_id: correlation_id.clone(), error };
    let known = NAMES.iter().find(|known| **known == name).ok_or_else(|| {
        let shown = name.chars().filter(|c| !c.is_control()).take(40).collect();
        refuse(CommandError::Unknown { name: shown })
    })?;
    let sent_at = match fields.remove("sent_at") {
        None | Some(Value::Null) => None,
        Some(value) => Some(field::<Timestamp>(known, value).map_err(refuse)?),
    };
    let rest = Value::Object(fields);
    let command = match *known {
        "trigger" => field(known, rest).map(Command::Trigger),
        "pause" => field(known, rest).map(Command::Pause),
        "resume" => field(known, rest).map(Command::Resume),
        "threshold" => field(known, rest).map(Command::Threshold),
        "recipe" => field(known, rest).map(Command::Recipe),
        "calibrate" => field(known, rest).map(Command::Calibrate),
        "learn" => field(known, rest).map(Command::Learn),
        "rollback" => field(known, rest).map(Command::Rollback),
        "keep" => field(known, rest).map(Command::Keep),
        "reload" => field(known, rest).map(Command::Reload),
        "self_test" => field(known, rest).map(Command::SelfTest),
        _ => field(known, rest).map(Command::Snapshot),
    };
    let command = command.and_then(|command| command.checked()).map_err(refuse)?;
    Ok(Request { correlation_id: correlation_id.clone(), sent_at, command })
}

fn field<T: DeserializeOwned>(command: &'static str, value: Value) -> Result<T, CommandError> {
    serde_json::from_value(value).map_err(|error| CommandError::Field { command, reason: error.to_string() })
}

impl Command {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Trigger(_) => "trigger",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Threshold(_) => "threshold",
            Self::Recipe(_) => "recipe",
            Self::Snapshot(_) => "snapshot",
            Self::Calibrate(_) => "calibrate",
            Self::Learn(_) => "learn",
            Self::Rollback(_) => "rollback",
            Self::Keep(_) => "keep",
            Self::Reload(_) => "reload",
            Self::SelfTest(_) => "self_test",
        }
    }

    /// The camera it names, if it does.
    pub fn camera(&self) -> Option<&str> {
        match self {
            Self::Trigger(trigger) => trigger.camera.as_deref(),
            Self::Pause(which) | Self::Resume(which) | Self::Snapshot(which) => which.camera.as_deref(),
            Self::Threshold(change) => change.camera.as_deref(),
            Self::Recipe(recipe) => recipe.camera.as_deref(),
            Self::Calibrate(calibrate) => calibrate.camera.as_deref(),
            Self::Learn(learn) => learn.camera.as_deref(),
            Self::Rollback(rollback) => rollback.camera.as_deref(),
            Self::Keep(keep) => keep.camera.as_deref(),
            Self::Reload(_) => None,
            Self::SelfTest(test) => test.camera.as_deref(),
        }
    }

    fn checked(self) -> Result<Self, CommandError> {
        if self.camera().is_some_and(|camera| !is_id(camera)) {
            return Err(CommandError::Id { field: "camera" });
        }
        match &self {
            Self::Trigger(trigger) if !is_id(&trigger.part_id) => Err(CommandError::Id { field: "part_id" }),
            Self::Recipe(recipe) if !is_id(&recipe.id) => Err(CommandError::Id { field: "id" }),
            Self::Recipe(recipe) if !recipe.is_whole() => {
                let reason = "write defect_threshold, or nothing but the id of a recipe that is prepared".into();
                Err(CommandError::Field { command: "recipe", reason })
            }
            Self::Threshold(Threshold { threshold: None, defect_threshold: None, .. }) => {
                let reason = "write threshold, defect_threshold or both".into();
                Err(CommandError::Field { command: "threshold", reason })
            }
            Self::Calibrate(calibrate) => calibrate.checked().map(|()| self),
            Self::Learn(learn) => learn.checked().map(|()| self),
            Self::Keep(keep) => keep.checked().map(|()| self),
            _ => Ok(self),
        }
    }
}

impl Request {
    /// Whether it is still to be carried out, by what the sender says about its age.
    pub fn fresh(&self, now: Timestamp, limit: Duration) -> Result<(), CommandError> {
        let Some(sent_at) = self.sent_at else { return Ok(()) };
        let age = i64::try_from(now.duration_since(sent_at).as_millis()).unwrap_or(i64::MAX);
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        if age > ms(limit) {
            return Err(CommandError::Stale { age_s: Seconds(age), limit_s: Seconds(ms(limit)) });
        }
        if age < -ms(SKEW) {
            return Err(CommandError::Ahead { ahead_s: Seconds(-age) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(name: &str, payload: &str) -> String {
        parse(name, payload.as_bytes()).expect_err("refused").error.to_string()
    }

    #[test]
    fn commands_as_a_controller_sends_them() {
        let request = parse("trigger", br#"{"correlation_id":"7","camera":"top","part_id":"A-1"}"#).expect("valid");
        assert_eq!(request.correlation_id.as_deref(), Some("7"));
        let trigger = Trigger { camera: Some("top".into()), part_id: "A-1".into(), trigger: None };
        assert_eq!(request.command, Command::Trigger(trigger));
        assert_eq!(parse("pause", b"{}").expect("valid").command, Command::Pause(Which::default()));
        let Command::Threshold(change) = parse("threshold", br#"{"threshold":null}"#).expect("valid").command else {
            panic!("another command")
        };
        assert_eq!((change.threshold, change.defect_threshold), (Some(None), None));
    }

    #[test]
    fn what_is_no_command_is_refused_with_the_correlation_where_it_can_be_read() {
        assert_eq!(error("trigger", ""), "the command is no JSON object: it is empty");
        assert!(error("trigger", "[1]").starts_with("the command is no JSON object: invalid type: sequence"));
        assert!(error("reboot", "{}").starts_with("there is no command \"reboot\"; known: trigger, pause"));
        assert_eq!(error("trigger", "{}"), "trigger: missing field `part_id`");
        assert!(error("trigger", r#"{"part_id":"A","parts":1}"#).starts_with("trigger: unknown field `parts`"));
        assert_eq!(
            error("trigger", r#"{"part_id":""}"#),
            "part_id must have 1 to 128 characters and no control characters"
        );
        assert!(error("pause", r#"{"camera":"a\u0007"}"#).starts_with("camera must have"));
        assert!(
            error("pause", r#"{"correlation_id":[7]}"#).starts_with("correlation_id, a string or a number, must have")
        );
        assert_eq!(error("threshold", "{}"), "threshold: write threshold, defect_threshold or both");
        let refusal = parse("no\nsuch", br#"{"correlation_id":"x"}"#).expect_err("refused");
        assert_eq!(refusal.correlation_id.as_deref(), Some("x"));
        assert!(!refusal.error.to_string().contains('\n'));
        let huge = vec![b' '; MAX_PAYLOAD + 1];
        assert_eq!(
            parse("pause", &huge).expect_err("refused").error,
            CommandError::TooLarge { bytes: MAX_PAYLOAD + 1 }
        );
    }

    #[test]
    fn numbers_as_strings_and_names_as_numbers_are_understood() {
        let request =
            parse("trigger", br#"{"correlation_id":7,"camera":1,"part_id":42,"trigger":"7"}"#).expect("valid");
        let trigger = Trigger { camera: Some("1".into()), part_id: "42".into(), trigger: Some(7) };
        assert_eq!((request.correlation_id.as_deref(), request.command), (Some("7"), Command::Trigger(trigger)));
        let padded = parse("trigger", br#"{"part_id":"A-2\u0000\u0000","trigger":7.0}"#).expect("valid");
        assert_eq!(padded.command, Command::Trigger(Trigger { camera: None, part_id: "A-2".into(), trigger: Some(7) }));
        let Command::Threshold(change) = parse("threshold", br#"{"defect_threshold":" 0.25"}"#).expect("valid").command
        else {
            panic!("another command")
        };
        assert_eq!((change.threshold, change.defect_threshold), (None, Some(0.25)));
        let wrong = [
            (r#"{"part_id":"A","trigger":"-1"}"#, "trigger: \"-1\" where a whole number from 0 belongs"),
            (r#"{"part_id":"A","trigger":1.5}"#, "trigger: 1.5 where a whole number from 0 belongs"),
            (r#"{"part_id":true}"#, "trigger: true or false where a string belongs"),
            (r#"{"part_id":"A","trigger":"0,5"}"#, "trigger: \"0,5\" where a whole number from 0 belongs"),
        ];
        for (payload, reason) in wrong {
            assert_eq!(error("trigger", payload), reason);
        }
    }

    #[test]
    fn commands_that_take_many_parts_say_how_many() {
        let request = parse("calibrate", br#"{"parts":"59","false_rejects":0.05,"apply":1}"#).expect("valid");
        let calibrate = Calibrate { parts: Some(59), false_rejects: Some(0.05), apply: true, ..Calibrate::default() };
        assert_eq!(request.command, Command::Calibrate(calibrate));
        let stop = Command::Learn(Learn { stop: true, ..Learn::default() });
        assert_eq!(parse("learn", br#"{"stop":true}"#).expect("valid").command, stop);
        let wrong = [
            ("learn", "{}", "learn: write parts, the number of good parts to come"),
            ("learn", r#"{"parts":0}"#, "learn: parts 0 is out of range; allowed: 1 to 10000"),
            ("learn", r#"{"parts":3,"stop":true}"#, "learn: write parts to begin or stop to end, not both"),
            (
                "calibrate",
                r#"{"false_rejects":1}"#,
                "calibrate: false_rejects 1 is out of range; allowed: above 0 and below 1",
            ),
            (
                "calibrate",
                r#"{"confidence":"0"}"#,
                "calibrate: confidence 0 is out of range; allowed: above 0 and below 1",
            ),
            ("calibrate", r#"{"apply":"perhaps"}"#, "calibrate: \"perhaps\" where true or false belongs"),
        ];
        for (name, payload, reason) in wrong {
            assert_eq!(error(name, payload), reason);
        }
        assert!(error("rollback", r#"{"to":1}"#).starts_with("rollback: unknown field `to`"));
    }

    #[test]
    fn old_commands_and_those_from_the_future_are_refused() {
        let sent = Timestamp::from_second(1_700_000_000).expect("valid");
        let request = Request { correlation_id: None, sent_at: Some(sent), command: Command::Pause(Which::default()) };
        let limit = Duration::from_secs(10);
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).expect("valid");
        assert_eq!((request.fresh(at(10), limit), request.fresh(at(-5), limit)), (Ok(()), Ok(())));
        assert!(
            request.fresh(at(11), limit).expect_err("old").to_string().contains("sent 11.0 s ago, and after 10.0 s")
        );
        assert!(request.fresh(at(-6), limit).expect_err("ahead").to_string().contains("lies 6.0 s in the future"));
        assert_eq!(Request { sent_at: None, ..request }.fresh(at(99), limit), Ok(()));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(name in "[a-z]{0,9}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            // A command or a refusal: that it comes at all is the point.
            if let Err(refusal) = parse(&name, &bytes) {
                prop_assert!(!refusal.error.to_string().is_empty());
            }
        }

        #[test]
        fn no_json_breaks_the_reader(which in 0..NAMES.len(), key in "camera|part_id|sent_at|regions|threshold|id",
            value in "null|true|-1|1e308|\"\"|\"a\"|\\[\\]|\\{\\}|\\[\\[\\[1,2\\]\\]\\]|99999999999999999999") {
            let text = format!("{{\"{key}\":{value},\"part_id\":\"p\",\"id\":\"r\",\"defect_threshold\":0.5}}");
            if let Err(refusal) = parse(NAMES[which], text.as_bytes()) {
                prop_assert!(!refusal.error.to_string().is_empty());
            }
        }
    }
}
