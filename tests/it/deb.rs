//! The Debian package, made of the program that the tests run: what is in it, and what its scripts do on a box.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::install::judged;
use crate::support::package::{newer, program, repository, run};

/// The package in this folder, and one of the version after it.
pub fn packages(folder: &Path) -> (PathBuf, PathBuf) {
    run(Command::new(repository("scripts/deb.sh"))
        .arg(format!("--binary={}", program().display()))
        .args(["--without-openvino", "--fast"])
        .arg(folder));
    let packages: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [older] = &packages[..] else { panic!("{packages:?}") };
    (older.clone(), newer(older))
}

#[test]
#[ignore = "cargo-deb takes minutes to build: make package-test"]
fn the_package_holds_what_the_papers_name_and_its_scripts_do_what_they_say() {
    // `make package-test` installs it; a build of minutes is no part of a test.
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let script = fs::read_to_string(repository("scripts/cargo-deb.sh")).unwrap();
    let version = script.lines().find_map(|line| line.strip_prefix("version=")).unwrap();
    let cargo_deb = cache.unwrap().join(format!("vcp-line/cargo-deb-{version}/bin/cargo-deb"));
    if !cargo_deb.exists() {
        assert!(std::env::var_os("CI").is_none(), "scripts/cargo-deb.sh installs cargo-deb {version}");
        println!("SKIPPED: scripts/cargo-deb.sh installs cargo-deb {version}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (package, newer) = packages(folder.path());
    let listed = run(Command::new("dpkg-deb").arg("--contents").arg(&package));
    let files: BTreeMap<&str, &str> = listed
        .lines()
        .filter_map(|line| Some((line.split_whitespace().nth(5)?.trim_start_matches('.'), line.split(' ').next()?)))
        .collect();
    for (file, mode) in [
        ("/usr/bin/vcp-line", "-rwxr-xr-x"),
        ("/usr/lib/systemd/system/vcp-line@.service", "-rw-r--r--"),
        ("/usr/lib/sysusers.d/vcp-line.conf", "-rw-r--r--"),
        ("/usr/lib/tmpfiles.d/vcp-line.conf", "-rw-r--r--"),
        ("/usr/lib/udev/rules.d/99-vcp-line-cameras.rules", "-rw-r--r--"),
        ("/usr/lib/sysctl.d/60-vcp-line-gige.conf", "-rw-r--r--"),
        ("/etc/vcp-line/example.toml.sample", "-rw-r-----"),
        ("/usr/share/vcp-line/pipelines/reference.toml", "-rw-r--r--"),
        ("/usr/share/vcp-line/engines/vcp-demo/weights.safetensors", "-rw-r--r--"),
        ("/usr/share/vcp-line/RUNBOOK.md", "-rw-r--r--"),
        ("/usr/share/man/man1/vcp-line.1.gz", "-rw-r--r--"),
        ("/usr/share/man/man1/vcp-line-recipe-list.1.gz", "-rw-r--r--"),
        ("/usr/share/bash-completion/completions/vcp-line", "-rw-r--r--"),
        ("/usr/share/zsh/vendor-completions/_vcp-line", "-rw-r--r--"),
        ("/usr/share/fish/vendor_completions.d/vcp-line.fish", "-rw-r--r--"),
        ("/usr/share/doc/vcp-line/SECURITY.md", "-rw-r--r--"),
        ("/usr/share/doc/vcp-line/copyright", "-rw-r--r--"),
        ("/usr/share/doc/vcp-line/vcp-line.cdx.json.gz", "-rw-r--r--"),
    ] {
        assert_eq!(files.get(file), Some(&mode), "{file} in\n{listed}");
    }

    // Every crate of the bill has its licence, and its checksum is that of the lock file.
    let bill: Value =
        serde_json::from_slice(&fs::read(repository("target/package/vcp-line.cdx.json")).unwrap()).unwrap();
    let copyright = fs::read_to_string(repository("target/package/copyright")).unwrap();
    let lock = fs::read_to_string(repository("Cargo.lock")).unwrap();
    let crates = bill["components"].as_array().unwrap();
    assert!(crates.len() > 200, "{}", crates.len());
    for part in crates {
        let (name, version) = (part["name"].as_str().unwrap(), part["version"].as_str().unwrap());
        assert!(copyright.contains(&format!("Files: {name}-{version}/*\n")), "{name} {version}");
        if let Some(checksum) = part["hashes"][0]["content"].as_str() {
            assert!(lock.contains(checksum), "{name} {version}");
        }
    }

    judged(&package, &newer);
}
