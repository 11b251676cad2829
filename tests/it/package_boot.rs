//! The packages on a box that knew nothing of them: a bare Debian boots a real systemd, installs them as the papers say, and a
//! reader of its broker sees every verdict in order while versions come and go.

use std::fs;
use std::path::Path;

use super::live_boot::{self, script, sessions, tried};
use crate::deb::packages;
use crate::support::package::runtime;

/// Starts of each line in the life of the box: by hand, with the new version, with the old one again, with the new one while
/// the broker is away.
const STARTS: usize = 4;

/// Two lives of the box, both from the bare Debian on: what happens to a service on a plant floor, and versions that come and go.
/// Their verdicts, as a reader saw them.
fn lives(folder: &Path) -> Result<[String; 2], String> {
    let made = folder.join("packages");
    fs::create_dir(&made).unwrap();
    let ((package, newer), runtime) = (packages(&made), runtime(folder));
    let (root, verdicts) = (folder.join("root"), folder.join("verdicts.jsonl"));
    let mut arguments = vec![root.as_path(), &package, &newer, &runtime];
    arguments.extend(["mosquitto", "aravis-tools", "gstreamer1.0-tools", "procps"].map(Path::new));
    assert!(script("minimal_root.sh", "1200", &arguments)?, "mmdebstrap has failed");
    let first = live_boot::life(&package, &runtime, &[&root])?;
    let fine = script("package_boot.sh", "900", &[&root, &package, &newer, &runtime, &verdicts])?;
    assert!(fine, "see the lines that begin with FAIL");
    Ok([first, fs::read_to_string(&verdicts).unwrap()])
}

#[test]
#[ignore = "makes packages and a Debian of 500 MB: make package-boot"]
fn a_bare_debian_judges_parts_under_faults_and_changes_versions_without_a_gap() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Some([faults, versions]) = tried(lives(folder.path())) else { return };
    live_boot::judged(&faults);
    for line in ["gige", "synthetic"] {
        let of_this = |verdict: &&str| verdict.contains(&format!("\"line\":\"{line}\""));
        let found = sessions(versions.lines().filter(of_this));
        assert_eq!(found.len(), STARTS, "{line}: {found:?}");
    }
}
