//! Where each kind of message goes: `PREFIX/LINE/state`, `PREFIX/LINE/CAMERA/verdict`, `PREFIX/LINE/CAMERA/alarm`, and
//! `PREFIX/LINE/cmd/NAME` with `PREFIX/LINE/ack` in answer.

use crate::command::MAX_ID;

/// What stands where the names of cameras do, below `PREFIX/LINE`: the verdicts of a camera with such a name would be taken
/// for commands, and its alarms for answers.
pub const OWN_WORDS: [&str; 3] = ["cmd", "ack", "state"];

/// Longest prefix, bytes: with a line's and a camera's name a topic stays far below the 65 535 bytes of MQTT.
pub const MAX_PREFIX: usize = 512;

/// The topics of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    root: String,
}

impl Topics {
    /// Joins a prefix and the name of a line, checked with [`prefix_mistake`] and [`is_name`].
    pub fn new(prefix: &str, line: &str) -> Self {
        Self { root: format!("{prefix}/{line}") }
    }

    /// Retained state of the line, also the topic of the last will.
    pub fn state(&self) -> String {
        format!("{}/state", self.root)
    }

    /// Verdicts of one camera.
    pub fn verdict(&self, camera: &str) -> String {
        format!("{}/{camera}/verdict", self.root)
    }

    /// Filter of all commands to the line.
    pub fn commands(&self) -> String {
        format!("{}/cmd/+", self.root)
    }

    /// The topics of these commands.
    pub fn each_command(&self, names: &[&str]) -> Vec<String> {
        names.iter().map(|name| format!("{}/cmd/{name}", self.root)).collect()
    }

    /// Acknowledgements of commands.
    pub fn ack(&self) -> String {
        format!("{}/ack", self.root)
    }

    /// Retained alarms of one camera.
    pub fn alarm(&self, camera: &str) -> String {
        format!("{}/{camera}/alarm", self.root)
    }
}

/// Whether `name` may be a line or a camera: letters, digits, `_` and `-`, at least one of them, and no more than a command
/// can name.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_ID).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Why `prefix` cannot start a topic; every legal one of MQTT can (3.1.1 and 5, section 4.7), as a Unified Namespace has
/// them: dots, blanks, letters of any language, a slash in front.
pub fn prefix_mistake(prefix: &str) -> Option<String> {
    let mistake = if prefix.is_empty() {
        "is empty; write the first levels of every topic, such as vcp-line".into()
    } else if prefix.len() > MAX_PREFIX {
        format!("has {} bytes; allowed: 1 to {MAX_PREFIX}", prefix.len())
    } else if prefix.contains(['+', '#']) {
        "has a '+' or '#', with which only readers may ask for several topics; leave it out".into()
    } else if prefix.chars().any(char::is_control) {
        "has control characters; leave them out".into()
    } else if prefix.starts_with('$') {
        "begins with '$', which is kept for the broker's own topics; leave it out".into()
    } else if prefix.ends_with('/') {
        "ends with '/', which would make an empty level; leave it out".into()
    } else {
        return None;
    };
    Some(mistake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_follow_the_contract() {
        let topics = Topics::new("plant/vcp-line", "cap-line-2");
        assert_eq!(topics.state(), "plant/vcp-line/cap-line-2/state");
        assert_eq!(topics.verdict("top"), "plant/vcp-line/cap-line-2/top/verdict");
        assert_eq!(topics.alarm("top"), "plant/vcp-line/cap-line-2/top/alarm");
        assert_eq!(topics.commands(), "plant/vcp-line/cap-line-2/cmd/+");
        assert_eq!(topics.each_command(&["pause"]), ["plant/vcp-line/cap-line-2/cmd/pause"]);
    }

    #[test]
    fn wildcards_are_not_names() {
        assert!(is_name("cap-line_2"));
        for bad in ["", "+", "#", "a b", "a/b", "ü", &"n".repeat(129)] {
            assert!(!is_name(bad), "{bad:?}");
        }
        for good in
            ["plant/vcp-line", "acme.corp/Plant 1/line", "umh/v1/acme/köln", "/factory/line", "a//b", "a/$x", "工場"]
        {
            assert_eq!(prefix_mistake(good), None, "{good:?}");
        }
        let long = "p/".repeat(300);
        for bad in ["", "a/", "/", "$SYS", "$share/x", "a/+", "#", "a/b#", "a\nb", "a\0", &long[..599]] {
            assert!(prefix_mistake(bad).is_some(), "{bad:?}");
        }
    }
}
