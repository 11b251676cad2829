//! Whether a check by hand tests what the service runs: its user, its folders, its credentials and its libraries.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where the unit looks for `NAME.toml`.
const SETTINGS: &str = "/etc/vcp-line";
/// Where `install.sh` has put OpenVINO for the unit.
const LIBRARIES: &str = "/usr/lib/vcp-line/openvino";
const USER: &str = "vcp-line";
/// What the unit hands over as credentials, under these names.
const CREDENTIALS: [&str; 4] = ["mqtt-password", "client-key", "camera-password", "http-token"];

/// How this process differs from the service that would run the same settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// What is other than there.
    pub missing: Vec<&'static str>,
    /// How to check as the service.
    pub command: String,
}

/// Nothing for settings that no unit runs, and as the service itself.
pub fn difference(settings: &Path) -> Option<Difference> {
    let settings = settings.canonicalize().unwrap_or_else(|_| settings.to_owned());
    between(&settings, |name| std::env::var_os(name), own_user(), user(&read("/etc/passwd")))
}

fn between(
    settings: &Path,
    variable: impl Fn(&str) -> Option<OsString>,
    own: Option<u32>,
    service: Option<u32>,
) -> Option<Difference> {
    let line = line(settings)?;
    let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let libraries = variable("LD_LIBRARY_PATH").unwrap_or_default();
    let libraries = std::env::split_paths(&libraries).any(|folder| folder == Path::new(LIBRARIES));
    let is_there = [
        (service.is_some() && own == service, "user"),
        (set("STATE_DIRECTORY"), "state folder"),
        (set("CREDENTIALS_DIRECTORY"), "credentials"),
        (libraries, "libraries"),
    ];
    let missing: Vec<&str> = is_there.into_iter().filter(|(same, _)| !same).map(|(_, what)| what).collect();
    (!missing.is_empty()).then(|| Difference { missing, command: command(line) })
}

/// The line that the unit `vcp-line@LINE` runs with these settings.
fn line(settings: &Path) -> Option<&str> {
    let of_unit = settings.parent() == Some(Path::new(SETTINGS)) && settings.extension()? == "toml";
    settings.file_stem()?.to_str().filter(|_| of_unit)
}

/// Runs `check` with the properties of the unit that decide what it finds.
fn command(line: &str) -> String {
    let mut text = String::from("sudo systemd-run --pipe --wait --collect --quiet");
    let mut add = |property: &str| text += &format!(" -p '{property}'");
    for property in ["User=vcp-line", "Group=vcp-line", "SupplementaryGroups=video plugdev render"] {
        add(property);
    }
    add(&format!("StateDirectory=vcp-line/{line}"));
    add(&format!("CacheDirectory=vcp-line/{line}"));
    add(&format!("Environment=XDG_CACHE_HOME=/var/cache/vcp-line/{line}"));
    add(&format!("Environment=LD_LIBRARY_PATH={LIBRARIES}"));
    for name in CREDENTIALS {
        add(&format!("LoadCredential={name}:vcp-line.{line}.{name}"));
        add(&format!("SetCredential={name}:\\n"));
    }
    for property in ["ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes"] {
        add(property);
    }
    text + &format!(" /usr/bin/vcp-line check {SETTINGS}/{line}.toml")
}

fn own_user() -> Option<u32> {
    Some(fs::metadata("/proc/self").ok()?.uid())
}

/// The service's user id in a file of users.
fn user(passwd: &str) -> Option<u32> {
    let fields = passwd.lines().find_map(|line| line.strip_prefix(USER)?.strip_prefix(':'))?;
    fields.split(':').nth(1)?.parse().ok()
}

/// Empty when it cannot be read: then nobody is known to be the service.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0::/root:/bin/sh\nvcp-line-x:x:7:7::/:/x\nvcp-line:x:998:997::/var/lib/vcp-line:/x\n";

    fn missing(path: &str, variables: &[(&str, &str)], own: u32) -> Option<Vec<&'static str>> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        between(Path::new(path), find, Some(own), user(PASSWD)).map(|difference| difference.missing)
    }

    #[test]
    fn what_is_other_than_in_the_service_is_named() {
        let all = [
            ("STATE_DIRECTORY", "/var/lib/vcp-line/caps"),
            ("CREDENTIALS_DIRECTORY", "/run/credentials/x"),
            ("LD_LIBRARY_PATH", "/opt/x:/usr/lib/vcp-line/openvino"),
        ];
        let file = "/etc/vcp-line/caps.toml";
        assert_eq!(missing(file, &all, 998), None);
        assert_eq!(missing(file, &all, 0), Some(vec!["user"]));
        assert_eq!(missing(file, &all[1..], 998), Some(vec!["state folder"]));
        assert_eq!(missing(file, &[], 0), Some(vec!["user", "state folder", "credentials", "libraries"]));
        // No unit runs these.
        assert_eq!(missing("/home/me/line.toml", &[], 0), None);
        assert_eq!(missing("/etc/vcp-line/old/caps.toml", &[], 0), None);
    }

    #[test]
    fn the_command_is_the_unit_in_short() {
        let unit = include_str!("../../../deploy/vcp-line@.service").replace("%i", "caps");
        let said = command("caps");
        let properties: Vec<&str> = said.split(" -p '").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
        assert_eq!(properties.len(), 7 + 2 * CREDENTIALS.len() + 3);
        for property in properties {
            assert!(unit.lines().any(|line| line == property), "the unit has no {property}");
        }
        // And every credential and variable of the unit is in it.
        for line in unit.lines().filter(|line| line.contains("Credential=") || line.starts_with("Environment=")) {
            assert!(said.contains(&format!("'{line}'")), "{line} is not in the command");
        }
        assert!(said.ends_with(" /usr/bin/vcp-line check /etc/vcp-line/caps.toml"));
    }
}
