//! The packages on a box that knew nothing of them: a bare Debian boots a real systemd, installs them as the papers say, and a
//! reader of its broker sees every verdict in order while versions come and go.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::deb::{packages, repository, run};
use crate::live_boot::{openvino, script, sessions, tried};

/// Starts of each line in the life of the box: by hand, with the new version, with the old one again, with the new one while
/// the broker is away.
const STARTS: usize = 4;

/// One life of the box; its verdicts, as a reader saw them.
fn life(folder: &Path) -> Result<String, String> {
    let made = folder.join("packages");
    fs::create_dir(&made).unwrap();
    let (package, newer) = packages(&made);
    let libraries = folder.join("openvino");
    openvino()?;
    run(Command::new(repository("scripts/deb.sh"))
        .arg(format!("--binary={}", env!("CARGO_BIN_EXE_vcp-line")))
        .arg("--fast")
        .arg(&libraries));
    let runtime = fs::read_dir(&libraries)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("vcp-line-openvino"))
        .unwrap();
    let (root, verdicts) = (folder.join("root"), folder.join("verdicts.jsonl"));
    let names = ["mosquitto", "aravis-tools", "gstreamer1.0-tools"].map(Path::new);
    let here = repository("");
    let mut arguments = vec![here.as_path(), &root, &package, &newer, &runtime];
    arguments.extend(names);
    assert!(script("minimal_root.sh", "1200", &arguments)?, "mmdebstrap has failed");
    let fine = script("package_boot.sh", "900", &[&root, &package, &newer, &runtime, &verdicts])?;
    assert!(fine, "see the lines that begin with FAIL");
    Ok(fs::read_to_string(&verdicts).unwrap())
}

#[test]
#[ignore = "makes packages and a Debian of 500 MB: make package-boot"]
fn a_bare_debian_judges_parts_and_changes_versions_without_a_gap() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if let Some(verdicts) = tried(life(folder.path())) {
        for line in ["gige", "synthetic"] {
            let of_this = |verdict: &&str| verdict.contains(&format!("\"line\":\"{line}\""));
            let found = sessions(verdicts.lines().filter(of_this));
            assert_eq!(found.len(), STARTS, "{line}: {found:?}");
        }
    }
}
