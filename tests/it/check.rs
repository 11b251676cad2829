//! `vcp-line check` by hand: its last word, its JSON, and that it leaves nothing behind; what `--version` says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::support::line::{FOLDER, Running, finished, pictures, program, settings};
use crate::support::mosquitto::{Mosquitto, Rules, free_port};

/// Exit code, standard output and standard error of a check with its state in `state` beside the settings.
fn check(file: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program(&[&["--log", "off", "check", file.to_str().unwrap()], more].concat());
    command.env("STATE_DIRECTORY", file.with_file_name("state"));
    let mut check = Running::start(command);
    let code = check.end().code();
    (code, check.stdout(), check.stderr())
}

/// Everything below a folder, with sizes and times.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let seen = fs::symlink_metadata(&path).unwrap();
        if seen.is_dir() {
            all.extend(tree(&path));
        }
        all.insert(path, (seen.len(), seen.modified().unwrap()));
    }
    all
}

#[test]
fn a_check_ends_with_one_word_and_leaves_nothing_behind() {
    let broker = Mosquitto::start(Rules::default());
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    let file = folder.path().join("line.toml");
    let belt = "[[camera]]\nname = \"belt\"\nsource = \"synthetic\"\nclasses = [\"pill\"]\nsize = 64\npool = 2\n\
                truth_file = \"truth.jsonl\"\n";
    let text = settings(broker.port, &format!("[commands]\nsnapshots = \"pictures\"\n{FOLDER}{belt}"));
    fs::write(&file, &text).unwrap();
    let before = tree(folder.path());
    let (code, said, error) = check(&file, &[]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{said}");
    assert_eq!(said.lines().last(), Some("ready"), "{said}");
    // What is relative lies where the service may write, not beside the settings.
    let place = folder.path().join("state/pictures");
    assert!(said.contains(&format!("ok    snapshots    {}, made when it is needed", place.display())), "{said}");
    assert_eq!(tree(folder.path()), before);

    // An outbox that is there is looked at, and stays as it is.
    fs::create_dir_all(folder.path().join("state/outbox")).unwrap();
    fs::write(folder.path().join("state/outbox/lock"), "4711\n").unwrap();
    let before = tree(folder.path());
    let (code, said, _) = check(&file, &[]);
    assert_eq!((code, said.lines().last()), (Some(0), Some("ready")), "{said}");
    assert!(!said.contains("in use"), "{said}");
    assert_eq!(tree(folder.path()), before);
}

#[test]
fn a_check_as_json_is_one_object() {
    let broker = Mosquitto::start(Rules::default());
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    let file = folder.path().join("line.toml");
    let found = |text: &str| {
        fs::write(&file, text).unwrap();
        let (code, said, _) = check(&file, &["--json"]);
        (code, serde_json::from_str::<Value>(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
    };
    let (code, good) = found(&settings(broker.port, FOLDER));
    assert_eq!((code, &good["ready"]), (Some(0), &json!(true)), "{good}");
    let names: Vec<&str> = good["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["settings", "model", "camera top", "broker", "outbox", "engine", "time top"]);
    assert!(good["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true && check["detail"].is_string()));
    assert_eq!(good.as_object().unwrap().len(), 2, "no unit runs this line: {good}");

    let port = free_port();
    let (code, bad) = found(&settings(port, FOLDER));
    assert_eq!((code, &bad["ready"]), (Some(1), &json!(false)), "{bad}");
    let broker = json!({"name": "broker", "ok": false, "detail": format!("broker 127.0.0.1:{port} refuses connections; is it \
                                                                 running, and is the port right?")});
    assert!(bad["checks"].as_array().unwrap().contains(&broker), "{bad}");

    let (code, wrong) = found(&settings(port, FOLDER).replace("line = ", "lime = "));
    assert_eq!((code, &wrong["ready"], &wrong["checks"][0]["name"]), (Some(78), &json!(false), &json!("settings")));
}

#[test]
fn problems_are_counted_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    let file = folder.path().join("line.toml");
    let last = |text: &str| {
        fs::write(&file, text).unwrap();
        let (_, said, _) = check(&file, &[]);
        said.lines().last().unwrap_or_default().to_owned()
    };
    let text = settings(free_port(), FOLDER);
    assert_eq!(last(&text), "1 problem", "the broker is away");
    assert_eq!(last(&text.replace("line = ", "lime = ").replace("0.5", "5.0")), "3 problems", "mistakes count singly");
    assert_eq!(last(&text.replace("path = \"parts\"", "path = \"parts\"\nextensions = [\"gif\"]")), "2 problems");
}

#[test]
fn the_version_says_what_was_built() {
    let said = |argument: &str| String::from_utf8(finished(&[argument]).stdout).unwrap();
    assert_eq!(said("-V"), concat!("vcp-line ", env!("CARGO_PKG_VERSION"), "\n"));
    let long = said("--version");
    let lines: Vec<&str> = long.lines().collect();
    assert_eq!(lines[0], concat!("vcp-line ", env!("CARGO_PKG_VERSION")), "{long}");
    let words: Vec<&str> = lines[1..].iter().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(words, ["commit", "features", "engines"], "{long}");
    assert_eq!(lines[2].contains("gstreamer"), cfg!(feature = "gstreamer"), "{long}");
    assert!(lines[3].contains("reference") && lines[3].contains("openvino") == cfg!(feature = "openvino"), "{long}");
}
