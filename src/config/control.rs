//! `[camera.trigger]`, `[commands]` and `[http]`: where parts come from, and who may ask what of the line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::{Key, RawCommands, RawHttp, RawTrigger};
use super::rules::{Rules, password_place, value};
use super::state;
use crate::line::parts::{TriggerMode, TriggerPlan};
use crate::publish::topic::is_name;

/// Folder of recipes beside the settings.
const RECIPES: &str = "recipes";

/// Commands, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandsConfig {
    /// Whether commands are taken from the broker.
    pub mqtt: bool,
    /// Older ones are not carried out.
    pub max_age: Duration,
    /// Where `snapshot` writes; without it the command is refused.
    pub snapshots: Option<PathBuf>,
    /// Where recipes that came by command are kept; `None` keeps them until the service stops.
    pub directory: Option<PathBuf>,
    /// Recipes that are prepared: `ID.toml`.
    pub recipes: PathBuf,
    /// Whether the settings are read again when their file has changed.
    pub watch: bool,
}

/// The API, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The file with the token; without it nothing can be changed.
    pub token_file: Option<PathBuf>,
    /// Names of this computer that browsers may use, besides its own.
    pub hosts: Vec<String>,
    /// A file with more texts of the page.
    pub texts: Option<PathBuf>,
}

/// `None` after a mistake. `each_frame` is true for a source whose every frame is a part, `held` the frames that may wait.
pub fn trigger(raw: &RawTrigger, each_frame: bool, held: usize, rules: &mut Rules<'_>) -> Option<TriggerPlan> {
    let default = if each_frame { TriggerMode::Hardware } else { TriggerMode::Free };
    let mode = value(&raw.mode).unwrap_or(default);
    let matched = mode == TriggerMode::Matched;
    let commanded = matched || mode == TriggerMode::Software;
    if raw.pairing.is_some() && !matched {
        rules.wrong(raw.pairing.as_ref(), "match", "belongs to mode = \"matched\"; leave it out".into());
    }
    if raw.window_ms.is_some() && !matched {
        rules.wrong(raw.window_ms.as_ref(), "window_ms", "belongs to mode = \"matched\"; leave it out".into());
    }
    if raw.deadline_ms.is_some() && mode == TriggerMode::Free {
        let message = "a camera that runs free has no parts to give up; set mode, or leave it out".into();
        rules.wrong(raw.deadline_ms.as_ref(), "deadline_ms", message);
    }
    let ms = |duration: Duration| duration.as_millis() as u64;
    let window = rules.bounded(&raw.window_ms, "window_ms", ms(TriggerPlan::WINDOW), 1..=60_000, " milliseconds");
    let deadline = rules.bounded_option(&raw.deadline_ms, "deadline_ms", 1..=600_000, " milliseconds");
    let deadline = deadline.or(commanded.then_some(ms(TriggerPlan::DEADLINE)));
    if matched && deadline.is_some_and(|deadline| deadline < window) {
        let message = format!("is less than window_ms = {window}; a part is given up before its frame may come");
        rules.wrong(raw.deadline_ms.as_ref().or(raw.window_ms.as_ref()), "deadline_ms", message);
    }
    Some(TriggerPlan {
        mode,
        pairing: value(&raw.pairing).unwrap_or_default(),
        window: Duration::from_millis(window),
        deadline: deadline.map(Duration::from_millis),
        held,
    })
}

/// Paths are relative to `base`, but for the pictures: theirs to the state directory.
pub fn commands(raw: &RawCommands, line: &str, base: &Path, rules: &mut Rules<'_>) -> CommandsConfig {
    let max_age = rules.bounded(&raw.max_age_s, "max_age_s", 10.0, 0.1..=86_400.0, " seconds");
    let folder = |key: &Key<PathBuf>, base: &Path| value(key).map(|folder| base.join(folder));
    let state = state::directory(line, |name| std::env::var_os(name));
    CommandsConfig {
        mqtt: value(&raw.mqtt).unwrap_or(true),
        max_age: Duration::from_secs_f64(max_age),
        // Beside the settings the service may not write.
        snapshots: folder(&raw.snapshots, state.as_deref().unwrap_or(base)),
        directory: folder(&raw.directory, base).or(state),
        recipes: folder(&raw.recipes, base).unwrap_or_else(|| base.join(RECIPES)),
        watch: value(&raw.watch).unwrap_or(false),
    }
}

/// `None` without `listen`, and after a mistake.
pub fn http(raw: &RawHttp, base: &Path, rules: &mut Rules<'_>) -> Option<HttpConfig> {
    let token_file = value(&raw.token_file).map(|file| password_place(&file, base));
    let Some(written) = &raw.listen else {
        if token_file.is_some() {
            rules.wrong(raw.token_file.as_ref(), "token_file", "needs listen = \"127.0.0.1:8710\" beside it".into());
        }
        return None;
    };
    let Ok(listen) = written.get_ref().parse::<SocketAddr>() else {
        let message = format!("\"{}\" is no address; write ADDRESS:PORT as in 127.0.0.1:8710", written.get_ref());
        rules.wrong(Some(written), "listen", message);
        return None;
    };
    if !listen.ip().is_loopback() && token_file.is_none() {
        let message = format!(
            "{listen} can be reached from other computers, which needs a token: write one into a file and name that as \
             token_file, or listen on 127.0.0.1"
        );
        rules.wrong(Some(written), "listen", message);
        return None;
    }
    let hosts = value(&raw.hosts).unwrap_or_default();
    let is_host = |name: &str| !name.is_empty() && name.split('.').all(is_name);
    if let Some(wrong) = hosts.iter().find(|host| !is_host(host)) {
        let message =
            format!("\"{wrong}\" is no host name; write it without scheme and port, as in line3.plant.example");
        rules.wrong(raw.hosts.as_ref(), "hosts", message);
        return None;
    }
    let texts = value(&raw.texts).map(|file| base.join(file));
    Some(HttpConfig { listen, token_file, hosts, texts })
}
