//! What the scripts of deploy/ leave on a computer: every file that a text names, in one place, with rights that work.
// Clippy knows only functions marked as tests for tests, not what they share.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The user and group that own nothing.
const NOBODY: u32 = 65534;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Files in this folder, not in those below.
fn files(folder: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

#[test]
fn every_script_can_be_run() {
    let mut scripts = 0;
    for file in ["deploy", "scripts", "tests", "tests/support", ".ci"].into_iter().flat_map(files) {
        if fs::read(&file).unwrap().starts_with(b"#!") {
            scripts += 1;
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "git update-index --chmod=+x {}", file.display());
        }
    }
    assert!(scripts >= 8, "{scripts} scripts");
}

/// Installed below a folder, with a program that does nothing.
fn installed(prefix: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (root, binary) = (folder.path().join("root"), folder.path().join("vcp-line"));
    fs::write(&binary, "#!/bin/sh\n").unwrap();
    let output = Command::new(repository("deploy/install.sh"))
        .args([format!("--destdir={}", root.display()), format!("--binary={}", binary.display())])
        .arg(format!("--prefix={prefix}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    (folder, root)
}

/// Words of a text that begin so, without the punctuation around them.
fn paths(text: &str, start: &str) -> Vec<String> {
    let word = |word: &str| word.trim_end_matches(['.', '/']).to_owned();
    let words = text.split(|c: char| c.is_whitespace() || "\"`',;:()".contains(c));
    words.filter(|word| word.starts_with(start)).map(word).collect()
}

#[test]
fn what_texts_and_settings_name_is_there_after_installing() {
    for prefix in ["/usr", "/opt/plant"] {
        let (_folder, root) = installed(prefix);
        let share = format!("{prefix}/share/vcp-line");
        let mut texts = vec![
            root.join(format!("{prefix}/lib/systemd/system/vcp-line@.service").trim_start_matches('/')),
            root.join("etc/vcp-line/example.toml.sample"),
            root.join(format!("{share}/RUNBOOK.md").trim_start_matches('/')),
        ];
        let examples = root.join(format!("{share}/pipelines").trim_start_matches('/'));
        texts.extend(fs::read_dir(&examples).unwrap().map(|entry| entry.unwrap().path()));
        assert_eq!(texts.len(), 3 + files("pipelines").len());
        let mut named = 0;
        for file in &texts {
            let said = read(file);
            assert!(prefix == "/usr" || !said.contains("/usr/share/vcp-line"), "{}", file.display());
            for path in paths(&said, &share) {
                assert!(root.join(&path[1..]).exists(), "{} names {path}", file.display());
                named += 1;
            }
        }
        assert!(named >= texts.len() - 2, "{named} names");
    }
    let (_folder, root) = installed("/usr");
    let named = paths(&read(&repository("deploy/operate.md")), "/usr/share/vcp-line");
    assert!(!named.is_empty());
    for path in named {
        assert!(root.join(&path[1..]).exists(), "operate.md names {path}");
    }
}

#[test]
fn a_model_has_one_place() {
    let mut places = BTreeSet::new();
    let texts = ["deploy/operate.md", "deploy/example-line.toml", "deploy/RUNBOOK.md"].map(repository);
    for file in texts.into_iter().chain(files("pipelines")) {
        places.extend(paths(&read(&file), "/var/lib/vcp-line").into_iter().filter(|path| path.ends_with("/vcp-clip")));
    }
    assert_eq!(Vec::from_iter(places), ["/var/lib/vcp-line/models/vcp-clip"]);
    let (_folder, root) = installed("/usr");
    assert!(root.join("var/lib/vcp-line/models").is_dir());
}

#[test]
fn what_is_put_into_the_folder_of_settings_belongs_to_the_services_group() {
    let (_folder, root) = installed("/usr");
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("etc/vcp-line"), mode("etc/vcp-line/example.toml.sample")), (0o2750, 0o640));
    // systemd complains of a folder that is not as the unit says.
    assert!(read(&repository("deploy/vcp-line@.service")).contains("\nConfigurationDirectoryMode=2750\n"));
}

#[test]
fn the_unit_lets_the_cards_of_every_driver_in() {
    let unit = read(&repository("deploy/vcp-line@.service"));
    let allowed: Vec<&str> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("DeviceAllow=char-")?.strip_suffix(" rw")?.strip_suffix('*'))
        .collect();
    // Names in /proc/devices, of drivers up to 545 and from 550 on.
    for name in ["nvidia-frontend", "nvidia", "nvidiactl", "nvidia-modeset", "nvidia-uvm", "nvidia-caps"] {
        assert!(allowed.iter().any(|start| name.starts_with(start)), "{name}: {allowed:?}");
    }
}

fn certificates(folder: &Path) -> Output {
    Command::new(repository("deploy/broker-certificates.sh")).arg("broker.plant").arg(folder).output().unwrap()
}

#[test]
fn renewing_the_brokers_certificate_leaves_owners_and_rights() {
    const FILES: [(&str, u32); 5] =
        [("ca.key", 0o400), ("ca.pem", 0o444), ("ca.srl", 0o640), ("broker.key", 0o440), ("broker.pem", 0o664)];
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let made = certificates(folder.path());
    assert!(made.status.success(), "{}", text(&made));
    let root = fs::metadata(folder.path()).unwrap().uid() == 0;
    for (name, mode) in FILES {
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        // Away from root: what the broker's user can read it can read after the renewal.
        if root {
            chown(path(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let old = ["ca.pem", "broker.pem", "broker.key"].map(|name| read(&path(name)));
    let renewed = certificates(folder.path());
    assert!(renewed.status.success(), "{}", text(&renewed));
    for (name, mode) in FILES {
        let found = fs::metadata(path(name)).unwrap();
        assert_eq!((name, found.mode() & 0o7777), (name, mode));
        assert!(!root || (found.uid(), found.gid()) == (NOBODY, NOBODY), "{name} belongs to {}", found.uid());
    }
    let new = ["ca.pem", "broker.pem", "broker.key"].map(|name| read(&path(name)));
    assert!(new[0] == old[0] && new[1] != old[1] && new[2] != old[2], "the authority stays, the broker's is new");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), FILES.len(), "nothing is left beside them");
}

#[test]
fn without_the_authoritys_key_no_second_authority_is_made() {
    let folder = tempfile::tempdir().unwrap();
    assert!(certificates(folder.path()).status.success());
    let before = read(&folder.path().join("ca.pem"));
    fs::rename(folder.path().join("ca.key"), folder.path().join("kept-elsewhere")).unwrap();
    let refused = certificates(folder.path());
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("bring ca.key back"), "{}", text(&refused));
    assert_eq!(read(&folder.path().join("ca.pem")), before);
}
