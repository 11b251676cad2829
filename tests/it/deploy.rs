//! What is installed beside the program fits the program: the example, the unit's commands, the runbook's words.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::line::{FOLDER, finished, pictures, settings};
use vcp_line::config;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_example_line_is_a_line() {
    let text = read("deploy/example-line.toml");
    let config = config::parse(&text, Path::new("/etc/vcp-line/caps.toml")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.name.as_str(), config.cameras.len()), ("caps", 1));
    // The unit's comment hands the password over under the same name.
    let (user, file) = config.mqtt.user.expect("a user");
    assert_eq!((user.as_str(), file), ("line", Some(PathBuf::from("/etc/vcp-line/mqtt-password"))));
    assert!(read("deploy/vcp-line@.service").contains("\nLoadCredential=mqtt-password:vcp-line.%i.mqtt-password\n"));
    // Else a second trigger within 40 ms is delivered a frame or two late.
    assert!(read("deploy/mosquitto.conf").contains("\nset_tcp_nodelay true\n"));
    let (acl, name) = (read("deploy/mosquitto.acl"), format!("{}/{}", config.mqtt.prefix, config.name));
    assert!(acl.contains(&format!("\nuser {user}\ntopic write {name}/state\n")), "{acl}");
    assert_eq!(config.mqtt.tls.expect("encrypted").ca, Some(PathBuf::from("/etc/vcp-line/broker-ca.pem")));
}

/// The arguments after the program in the unit's line, for the settings `file`.
fn arguments(unit: &str, key: &str, file: &str) -> Vec<String> {
    let start = format!("{key}=");
    let line = unit.lines().find_map(|line| line.strip_prefix(&start)).expect(key);
    let rest = line.trim_start_matches('-').strip_prefix("/usr/bin/vcp-line ").expect("our program");
    rest.split(' ').map(|word| word.replace("/etc/vcp-line/%i.toml", file)).collect()
}

#[test]
fn the_units_commands_work_and_a_wrong_file_ends_them_with_78() {
    let unit = read("deploy/vcp-line@.service");
    let folder = tempfile::tempdir().unwrap();
    pictures(&folder.path().join("parts"));
    let file = folder.path().join("line.toml").to_str().unwrap().to_owned();
    // Nobody listens there: a broker that is away is no reason not to start.
    let text = settings(1, &format!("[stop]\ndeadline_s = 0.5\n{FOLDER}"));
    fs::write(&file, &text).unwrap();
    let code = |key: &str| {
        let arguments = arguments(&unit, key, &file);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        finished(&arguments).status.code()
    };
    // The folder ends, and its verdicts are lost.
    assert_eq!([code("ExecStartPre"), code("ExecStart")], [Some(0), Some(1)]);
    fs::write(&file, text.replace("line = ", "lines = ")).unwrap();
    assert_eq!([code("ExecStartPre"), code("ExecStart")], [Some(78), Some(78)]);
    // Only the main process's code keeps systemd from trying again, so the check must let it come to that.
    assert!(unit.contains("\nExecStartPre=-/") && unit.contains("\nRestartPreventExitStatus=78\n"));
}

/// All sources, as the compiler joins their strings.
fn sources() -> String {
    fn gather(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, text);
            } else {
                text.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut text = String::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    let mut joined = String::new();
    for piece in text.split_inclusive("\\\n") {
        let piece = if joined.is_empty() { piece } else { piece.trim_start() };
        joined.push_str(piece.strip_suffix("\\\n").unwrap_or(piece));
    }
    joined.replace("\\\"", "\"")
}

/// Sections of the runbook: heading and text.
fn sections(runbook: &str) -> Vec<(String, String)> {
    let section = |section: &str| {
        let (heading, text) = section.split_once('\n').expect("a text below the heading");
        (heading.to_owned(), text.to_owned())
    };
    runbook.split("\n## ").skip(1).map(section).collect()
}

#[test]
fn what_the_runbook_quotes_is_what_the_program_says() {
    let (runbook, sources) = (read("deploy/RUNBOOK.md"), sources());
    let mut quoted = 0;
    for (heading, text) in sections(&runbook) {
        let Some(quote) = heading.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) else { continue };
        if text.starts_with("systemd's words: ") {
            continue;
        }
        for part in quote.split('…').filter(|part| part.len() >= 5) {
            assert!(sources.contains(part), "`{part}` of the runbook's heading\n{heading}\nis said nowhere");
            quoted += 1;
        }
    }
    assert!(quoted >= 25, "{quoted} quotes");
}

#[test]
fn keys_in_the_runbook_are_keys_of_the_settings() {
    let (runbook, reference) = (read("deploy/RUNBOOK.md"), read("pipelines/reference.toml"));
    let known: Vec<&str> = reference
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
        .map(|(key, _)| key)
        .collect();
    const ALARMS: [&str; 5] = ["camera_lost", "broker_refuses", "client_id", "verdict_too_large", "self_test"];
    let is_key = |word: &&str| word.contains('_') && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let mut found = 0;
    for (_, text) in sections(&runbook) {
        for word in text.split('`').skip(1).step_by(2).filter(is_key).filter(|word| !ALARMS.contains(word)) {
            assert!(known.contains(&word), "`{word}` is no key");
            found += 1;
        }
    }
    assert!(found >= 5, "{found} keys");
}

/// Every page of the repository; each names its pictures and other pages by a path from where it lies.
#[test]
fn links_between_papers_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![];
    for folder in ["", "deploy", "engines", "engines/vcp-demo", "engines/vcp-demo-tiles", "findings"] {
        let files = fs::read_dir(root.join(folder)).unwrap().map(|file| file.unwrap().path());
        pages.extend(files.filter(|file| file.extension().is_some_and(|end| end == "md")));
    }
    let mut followed = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            if link.starts_with("http") {
                continue;
            }
            let there = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(there.exists(), "{} leads to {link}", page.display());
            let name =
                |line: &str| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-").replace(',', "");
            let headings = || {
                fs::read_to_string(&there)
                    .unwrap()
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| name(line) == heading)
            };
            assert!(heading.is_empty() || headings(), "{} leads to {link}", page.display());
            followed += 1;
        }
    }
    assert!(followed > 15, "{followed}");
}

#[test]
fn the_contract_for_machines_names_every_command_and_schema() {
    let text = include_str!("../../deploy/asyncapi.yaml");
    let known = vcp_line::command::NAMES.join(", ");
    assert!(text.contains(&format!("enum: [{known}]")), "enum: [{known}]");
    for name in vcp_line::command::NAMES {
        assert!(text.contains(&format!("\n    {name}:\n      summary: ")), "no message '{name}'");
    }
    let references = text.lines().filter_map(|line| line.trim().strip_prefix("$ref: '../")?.strip_suffix('\''));
    let files: Vec<&str> = references.collect();
    assert_eq!(files.len(), 3);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    files.iter().for_each(|file| assert!(root.join(file).is_file(), "{file}"));
}
