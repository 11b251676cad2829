//! Where each kind of message goes: `PREFIX/LINE/state`, `PREFIX/LINE/CAMERA/verdict`, `PREFIX/LINE/CAMERA/alarm`, and
//! `PREFIX/LINE/cmd/NAME` with `PREFIX/LINE/ack` in answer.

use crate::command::MAX_ID;

/// What stands where the names of cameras do, below `PREFIX/LINE`: the verdicts of a camera with such a name would be taken
/// for commands, and its alarms for answers.
pub const OWN_WORDS: [&str; 3] = ["cmd", "ack", "state"];

/// Longest prefix, characters: with a line's and a camera's name a topic stays far below the 65 535 bytes of MQTT.
pub const MAX_PREFIX: usize = 512;

/// The topics of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    root: String,
}

impl Topics {
    /// Joins a prefix and the name of a line. The configuration has checked its own with [`is_prefix`] and [`is_name`];
    /// those in a URL are taken as they are written.
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

/// Whether `prefix` may start a topic: names separated by single slashes.
pub fn is_prefix(prefix: &str) -> bool {
    prefix.len() <= MAX_PREFIX && prefix.split('/').all(is_name)
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
        assert!(is_name("cap-line_2") && is_prefix("plant/vcp-line"));
        for bad in ["", "+", "#", "a b", "a/b", "ü", &"n".repeat(129)] {
            assert!(!is_name(bad), "{bad:?}");
        }
        for bad in ["", "/a", "a/", "a//b", "$SYS", &"p/".repeat(300)[..599]] {
            assert!(!is_prefix(bad), "{bad:?}");
        }
    }
}
