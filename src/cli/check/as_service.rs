//! Whether a check by hand tests what the service runs: its user, its folders, its credentials and its libraries.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the unit looks for `NAME.toml`.
const SETTINGS: &str = "/etc/vcp-line";
/// Where the package vcp-line-openvino has put it for the unit.
const LIBRARIES: &str = "/usr/lib/vcp-line/openvino";
const USER: &str = "vcp-line";
/// Where the package has put the program for the unit.
const PROGRAM: &str = "/usr/bin/vcp-line";
/// Folders of the unit, each with one for every line.
const FOLDERS: [(&str, &str); 2] = [("StateDirectory", "/var/lib"), ("CacheDirectory", "/var/cache")];
/// Set where a check runs as the service, so that it never starts another.
const INSIDE: &str = "VCP_LINE_CHECKED_AS_SERVICE";
/// Where systemd-run hands over what is to run; a Debian made of the least packages has none.
const BUS: &str = "/run/dbus/system_bus_socket";
/// What the unit hands over as credentials, under these names.
const CREDENTIALS: [&str; 4] = ["mqtt-password", "client-key", "camera-password", "http-token"];

/// How this process differs from the service that would run the same settings.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// What is other than there.
    pub missing: Vec<&'static str>,
    /// How to check as the service.
    pub command: String,
    line: String,
}

impl Difference {
    /// Whether this process can check as the service: the installed program, run by root where systemd is at work.
    pub fn can_be_closed(&self) -> bool {
        Self::systemd_can_help() && Path::new(BUS).exists()
    }

    /// Whether it could, if there were a system bus.
    pub fn needs_the_bus(&self) -> bool {
        Self::systemd_can_help() && !Path::new(BUS).exists()
    }

    fn systemd_can_help() -> bool {
        own_user() == Some(0)
            && std::env::var_os(INSIDE).is_none()
            && Path::new("/run/systemd/system").is_dir()
            && std::env::current_exe().is_ok_and(|program| program == Path::new(PROGRAM))
    }

    /// Checks as the service, whose findings go where this program's would; its exit code. Folders that systemd makes
    /// for it are gone afterwards.
    pub fn check_as_service(&self, json: bool) -> io::Result<u8> {
        let folders = FOLDERS.map(|(_, above)| PathBuf::from(above).join("vcp-line").join(&self.line));
        let new: Vec<&PathBuf> = folders.iter().filter(|folder| !folder.exists()).collect();
        let mut command = Command::new("systemd-run");
        command.args(["--pipe", "--wait", "--collect", "--quiet"]).arg(format!("--setenv={INSIDE}=1"));
        if let Some(filter) = std::env::var_os("VCP_LINE_LOG") {
            let mut set = OsString::from("--setenv=VCP_LINE_LOG=");
            set.push(filter);
            command.arg(set);
        }
        for property in properties(&self.line) {
            command.arg("-p").arg(property);
        }
        command.args([PROGRAM, "check"]).arg(Path::new(SETTINGS).join(format!("{}.toml", self.line)));
        command.args(json.then_some("--json"));
        let ended = command.status();
        // Only when empty.
        for folder in new {
            fs::remove_dir(folder).ok();
        }
        Ok(ended?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }
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
    (!missing.is_empty()).then(|| Difference { missing, command: command(line), line: line.to_owned() })
}

/// The line that the unit `vcp-line@LINE` runs with these settings.
fn line(settings: &Path) -> Option<&str> {
    let of_unit = settings.parent() == Some(Path::new(SETTINGS)) && settings.extension()? == "toml";
    settings.file_stem()?.to_str().filter(|_| of_unit)
}

/// The properties of the unit that decide what a check finds.
fn properties(line: &str) -> Vec<String> {
    let mut all: Vec<String> =
        ["User=vcp-line", "Group=vcp-line", "SupplementaryGroups=video plugdev render"].map(String::from).into();
    all.extend(FOLDERS.map(|(property, _)| format!("{property}=vcp-line/{line}")));
    all.push(format!("Environment=XDG_CACHE_HOME=/var/cache/vcp-line/{line}"));
    all.push(format!("Environment=LD_LIBRARY_PATH={LIBRARIES}"));
    for name in CREDENTIALS {
        all.push(format!("LoadCredential={name}:vcp-line.{line}.{name}"));
        all.push(format!("SetCredential={name}:\\n"));
    }
    all.extend(["ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes"].map(String::from));
    all
}

/// Runs `check` with them.
fn command(line: &str) -> String {
    let properties: String = properties(line).iter().map(|property| format!(" -p '{property}'")).collect();
    format!("sudo systemd-run --pipe --wait --collect --quiet{properties} {PROGRAM} check {SETTINGS}/{line}.toml")
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
