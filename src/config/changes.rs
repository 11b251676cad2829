//! What differs between two readings of a settings file, and what of it a running line can take over.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

/// Keys of `[mqtt]` that the connections take over; names and topics are those of a start.
const BROKER: &[&str] = &[
    "url",
    "version",
    "ca",
    "client_certificate",
    "client_key",
    "session_expiry_s",
    "verdict_expiry_s",
    "username",
    "password_file",
    "keep_alive_s",
    "reconnect_min_ms",
    "reconnect_max_ms",
];
const OUTBOX: &[&str] = &["max_bytes", "max_age_h", "when_full"];
const ARCHIVE: &[&str] = &["sample", "max_bytes", "max_age_h", "reserve_bytes", "max_queue_bytes"];
/// Of a camera: how its frames are taken, which waits until those in hand are answered.
const TAKEN: &[&str] = &["queue", "when_full", "trigger"];
/// How its frames are looked at and judged.
const LOOKED: &[&str] = &["recipe", "frame_size", "view", "locate"];

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Every key that differs, as messages name it.
    pub keys: BTreeSet<String>,
    /// Cameras that have to be opened anew.
    pub cameras: BTreeSet<String>,
    /// Keys that only a restart takes over.
    pub restart: BTreeSet<String>,
}

enum Takes {
    /// No camera is closed.
    Over,
    /// This camera is opened anew.
    Camera(String),
    Restart,
}

/// The differences. Text that is no TOML has no keys; whoever asks has read both before.
pub fn changes(before: &str, after: &str) -> Changes {
    let read = |text: &str| {
        let mut keys = BTreeMap::new();
        let table: Table = text.parse().unwrap_or_default();
        keys_of(&table, &[], &mut keys);
        keys
    };
    let (before, after) = (read(before), read(after));
    let mut changes = Changes::default();
    for path in before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)) {
        let key = named(path);
        match takes(path) {
            Takes::Over => {}
            Takes::Camera(name) => _ = changes.cameras.insert(name),
            Takes::Restart => _ = changes.restart.insert(key.clone()),
        }
        changes.keys.insert(key);
    }
    // One that comes or goes is one change, and not that of each of its keys.
    let of_line = |keys: &BTreeMap<Vec<String>, Value>| -> BTreeSet<String> {
        let camera = |path: &Vec<String>| (path[0] == "camera").then(|| path.get(1).cloned()).flatten();
        keys.keys().filter_map(camera).collect()
    };
    let (had, has) = (of_line(&before), of_line(&after));
    for name in had.symmetric_difference(&has) {
        let camera = format!("camera '{name}'");
        let other = |key: &String| !key.starts_with(&format!("{camera}."));
        changes.keys.retain(other);
        changes.restart.retain(other);
        changes.cameras.remove(name);
        changes.keys.insert(camera.clone());
        changes.restart.insert(camera);
    }
    changes
}

/// Every value by its path; each camera by its name.
fn keys_of(table: &Table, path: &[String], keys: &mut BTreeMap<Vec<String>, Value>) {
    for (key, value) in table {
        let at = [path, std::slice::from_ref(key)].concat();
        match value {
            Value::Table(inner) => {
                // That there is such a section at all says something.
                if path.is_empty() && ["archive", "sparkplug", "traces"].contains(&key.as_str()) {
                    keys.insert(at.clone(), Value::Boolean(true));
                }
                keys_of(inner, &at, keys);
            }
            Value::Array(cameras) if path.is_empty() && key == "camera" => {
                for camera in cameras.iter().filter_map(Value::as_table) {
                    let name = camera.get("name").and_then(Value::as_str).unwrap_or_default();
                    keys_of(camera, &[at.clone(), vec![name.to_owned()]].concat(), keys);
                }
            }
            value => _ = keys.insert(at, value.clone()),
        }
    }
}

fn named(path: &[String]) -> String {
    match path {
        [camera, name, rest @ ..] if camera == "camera" => format!("camera '{name}'.{}", rest.join(".")),
        path => path.join("."),
    }
}

fn takes(path: &[String]) -> Takes {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["recipe", ..] => Takes::Over,
        ["camera", _, key, ..] if LOOKED.contains(&key) || TAKEN.contains(&key) => Takes::Over,
        ["mqtt", key] if BROKER.contains(&key) => Takes::Over,
        ["outbox", key] if OUTBOX.contains(&key) => Takes::Over,
        ["archive", key] if ARCHIVE.contains(&key) => Takes::Over,
        ["camera", name, ..] => Takes::Camera(name.to_owned()),
        _ => Takes::Restart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "line = \"caps\"\n[recipe]\nid = \"cap\"\ndefect_threshold = 0.5\n[mqtt]\nurl = \"mqtt://a\"\n\
                        [outbox]\nmax_bytes = 2000000\n\
                        [[camera]]\nname = \"top\"\nsource = \"directory\"\npath = \"parts\"\n\
                        [[camera]]\nname = \"side\"\nsource = \"directory\"\npath = \"others\"\n";

    fn said(pairs: &[(&str, &str)]) -> [String; 3] {
        let after = pairs.iter().fold(LINE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        let Changes { keys, cameras, restart } = changes(LINE, &after);
        [keys, cameras, restart].map(|set| set.into_iter().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_a_running_line_takes_over_is_told_from_what_needs_a_restart() {
        assert_eq!(changes(LINE, &format!("# {LINE}").replace("# line", "# a word\nline")), Changes::default());
        assert_eq!(said(&[("0.5", "0.6")]), ["recipe.defect_threshold", "", ""]);
        assert_eq!(said(&[("//a", "//b"), ("2000000", "3000000")]), ["mqtt.url outbox.max_bytes", "", ""]);
        assert_eq!(said(&[("\"parts\"", "\"new\"")]), ["camera 'top'.path", "top", ""]);
        let regions = "\"others\"\n[camera.recipe]\nregions = [[[1, 1], [9, 1], [9, 9]]]";
        assert_eq!(said(&[("\"others\"", regions)]), ["camera 'side'.recipe.regions", "", ""]);
        for (key, text) in [
            ("queue", "queue = 8"),
            ("trigger.mode", "[camera.trigger]\nmode = \"software\""),
            ("view.crop", "[camera.view]\ncrop = [0, 0, 9, 9]"),
            ("locate.picture", "[camera.locate]\npicture = \"a.png\""),
        ] {
            let after = format!("\"others\"\n{text}");
            assert_eq!(said(&[("\"others\"", &after)]), [&format!("camera 'side'.{key}"), "", ""]);
        }
        for (from, to, key) in [
            ("\"caps\"", "\"lids\"", "line"),
            ("[outbox]", "[outbox]\nfsync = \"always\"", "outbox.fsync"),
            ("[outbox]", "[archive]\n[outbox]", "archive"),
            ("[outbox]", "[http]\nlisten = \"127.0.0.1:1\"\n[outbox]", "http.listen"),
            ("\"mqtt://a\"", "\"mqtt://a\"\nprefix = \"plant\"", "mqtt.prefix"),
        ] {
            assert_eq!(said(&[(from, to)]), [key, "", key]);
        }
    }

    #[test]
    fn a_camera_that_comes_or_goes_is_one_change() {
        let both = "camera 'left' camera 'side'";
        assert_eq!(said(&[("\"side\"", "\"left\"")]), [both, "", both]);
    }
}
