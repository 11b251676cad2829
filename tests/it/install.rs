//! What the package and the scripts of deploy/ leave on a computer: every file that a text names, in one place, with rights
//! that work.
// Clippy knows only functions marked as tests for tests, not what they share.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::package::{newer, package, place, repository, text};

/// The user and group that own nothing.
const NOBODY: u32 = 65534;
/// Exit code of a script that misses something.
const MISSING: i32 = 77;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files in this folder, not in those below.
fn files(folder: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(repository(folder)).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

#[test]
fn every_script_can_be_run() {
    let mut scripts = 0;
    for file in ["deploy", "deploy/debian", "scripts", "tests", "tests/support", ".ci"].into_iter().flat_map(files) {
        if fs::read(&file).unwrap().starts_with(b"#!") {
            scripts += 1;
            let mode = fs::metadata(&file).unwrap().permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "git update-index --chmod=+x {}", file.display());
        }
    }
    assert!(scripts >= 8, "{scripts} scripts");
}

/// What systemd-tmpfiles makes of the package's line for this folder: its rights, owner and group.
fn folder_made(folder: &str) -> Option<(u32, String)> {
    let lines = read(&repository("deploy/debian/tmpfiles.conf"));
    lines.lines().find_map(|line| {
        let ["d", path, mode, owner, group, "-"] = *line.split(' ').collect::<Vec<_>>() else { return None };
        (path == folder).then(|| (u32::from_str_radix(mode, 8).unwrap(), format!("{owner}:{group}")))
    })
}

/// Words of a text that begin so, without the punctuation around them.
fn paths(text: &str, start: &str) -> Vec<String> {
    let word = |word: &str| word.trim_end_matches(['.', '/']).to_owned();
    let words = text.split(|c: char| c.is_whitespace() || "\"`',;:()".contains(c));
    words.filter(|word| word.starts_with(start)).map(word).collect()
}

#[test]
fn what_texts_and_settings_name_is_there_after_installing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    place(root);
    let share = "/usr/share/vcp-line";
    let mut texts = vec![
        root.join("usr/lib/systemd/system/vcp-line@.service"),
        root.join("etc/vcp-line/example.toml.sample"),
        root.join("usr/share/vcp-line/RUNBOOK.md"),
        root.join("usr/share/vcp-line/operate.md"),
        repository("README.md"),
        repository("SECURITY.md"),
        repository("deploy/debian/postinst"),
    ];
    let others = texts.len();
    let examples = fs::read_dir(root.join("usr/share/vcp-line/pipelines")).unwrap();
    texts.extend(examples.map(|entry| entry.unwrap().path()));
    assert_eq!(texts.len(), others + files("pipelines").len());
    let mut named = 0;
    for file in &texts {
        let said = read(file);
        let kinds = [share, "/usr/share/doc/vcp-line", "/usr/bin/vcp-line", "/usr/lib/sys", "/usr/lib/udev"];
        for path in kinds.iter().flat_map(|start| paths(&said, start)) {
            assert!(root.join(&path[1..]).exists(), "{} names {path}", file.display());
            named += usize::from(path.starts_with(share));
        }
    }
    assert!(named >= files("pipelines").len() + 4, "{named} names");
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode("usr/bin/vcp-line"), 0o755);
    // Both lie where systemd looks for them; what is in them is tried by `deb.sh` and on a booted root.
    for (program, file) in [("systemd-sysusers", "sysusers.d"), ("systemd-tmpfiles", "tmpfiles.d")] {
        let shown =
            Command::new(program).arg("--cat-config").arg(format!("--root={}", root.display())).output().unwrap();
        assert!(text(&shown).contains(&format!("/usr/lib/{file}/vcp-line.conf")), "{}", text(&shown));
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
    assert_eq!(folder_made("/var/lib/vcp-line/models"), Some((0o755, "root:root".into())));
}

#[test]
fn what_is_put_into_the_folder_of_settings_belongs_to_the_services_group() {
    assert_eq!(folder_made("/etc/vcp-line"), Some((0o2750, "root:vcp-line".into())));
    // systemd complains of a folder that is not as the unit says.
    assert!(read(&repository("deploy/vcp-line@.service")).contains("\nConfigurationDirectoryMode=2750\n"));
    let manifest = read(&repository("Cargo.toml"));
    assert!(manifest.contains("[\"deploy/example-line.toml\", \"etc/vcp-line/example.toml.sample\", \"640\"]"));
}

#[test]
fn installed_twice_settings_stay_and_removed_they_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let older = package(folder.path());
    judged(&older, &newer(&older));
}

/// What deb.sh finds of these packages; without root it is said that it was not tried.
pub fn judged(older: &Path, newer: &Path) {
    let output = Command::new(repository("tests/support/deb.sh")).args([older, newer]).output().unwrap();
    println!("{}", text(&output));
    match output.status.code() {
        Some(MISSING) => {
            let root = fs::metadata("/proc/self").unwrap().uid() == 0;
            assert!(!root || std::env::var_os("CI").is_none(), "{}", text(&output));
        }
        code => assert_eq!(code, Some(0), "{}", text(&output)),
    }
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
