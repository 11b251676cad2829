//! Rules and defaults of `[mqtt]`: the broker, how to speak with it, and who we are there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::Report;
use super::raw::{Key, RawMqtt};
use super::rules::{Rules, password_place, value};
use super::secret;
use crate::publish::client::SHORTEST_KEEP_ALIVE_V5;
use crate::publish::topic::prefix_mistake;
use crate::publish::url::UrlError;
use crate::publish::{BrokerUrl, ClientFiles, TlsError, TlsFiles, Version};

/// Longest client id, characters: brokers take more than the 23 of MQTT 3.1.1, but not any number.
const MAX_CLIENT_ID: usize = 200;

/// The broker, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttConfig {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Certificate files; `None` without TLS.
    pub tls: Option<TlsFiles>,
    /// MQTT 3.1.1 or 5.
    pub version: Version,
    /// How long the broker remembers this line, MQTT 5 only.
    pub session_expiry: Duration,
    /// How long the broker keeps a verdict for absent readers, MQTT 5 only.
    pub verdict_expiry: Option<Duration>,
    /// First part of every topic.
    pub prefix: String,
    /// Unique at the broker, the same at every start.
    pub client_id: String,
    /// User, and the file with the password where there is one: some brokers know a user without.
    pub user: Option<(String, Option<PathBuf>)>,
    /// Sign of life.
    pub keep_alive: Duration,
    /// First pause.
    pub reconnect_min: Duration,
    /// Longest pause.
    pub reconnect_max: Duration,
    /// Events that memory alone holds, and parts that are owed one.
    pub max_queue: usize,
}

pub(super) fn resolve(raw: &RawMqtt, line: &str, base: &Path, report: &mut Report) -> Option<MqttConfig> {
    let mut rules = Rules { section: "mqtt".into(), report };
    let url = rules.required(&raw.url, "url", "write url = \"mqtt://HOST:PORT\"");
    let address = url.and_then(|url| match broker(&url) {
        Ok(address) => Some(address),
        Err(message) => {
            rules.wrong(raw.url.as_ref(), "url", message);
            None
        }
    });
    let tls = tls(raw, address.as_ref().is_none_or(|broker| broker.tls), base, &mut rules);
    let version = match value(&raw.version) {
        None | Some(4) => Version::V4,
        Some(5) => Version::V5,
        Some(other) => {
            let message = format!("{other} is no version; allowed: 4 (MQTT 3.1.1), 5");
            rules.wrong(raw.version.as_ref(), "version", message);
            Version::V4
        }
    };
    let session = rules.bounded(&raw.session_expiry_s, "session_expiry_s", 3600, 0..=u32::MAX, " seconds");
    let verdict = rules.bounded_option(&raw.verdict_expiry_s, "verdict_expiry_s", 1..=u32::MAX, " seconds");
    if version == Version::V4 {
        only_with(&mut rules, &raw.session_expiry_s, "session_expiry_s", "version = 5");
        only_with(&mut rules, &raw.verdict_expiry_s, "verdict_expiry_s", "version = 5");
    }
    let prefix = value(&raw.prefix).unwrap_or_else(|| "vcp-line".into());
    if let Some(mistake) = prefix_mistake(&prefix) {
        rules.wrong(raw.prefix.as_ref(), "prefix", mistake);
    }
    let client_id = value(&raw.client_id).unwrap_or_else(|| format!("vcp-line-{line}"));
    if client_id.is_empty() {
        let message = "is empty; leave it out for \"vcp-line-LINE\" or choose a name unique at the broker".into();
        rules.wrong(raw.client_id.as_ref(), "client_id", message);
    } else {
        rules.short_text(&raw.client_id, "client_id", MAX_CLIENT_ID);
    }
    let user = user(raw, base, &mut rules);
    let shortest = if version == Version::V5 { SHORTEST_KEEP_ALIVE_V5.as_secs() } else { 1 };
    let keep_alive = rules.bounded(&raw.keep_alive_s, "keep_alive_s", 15, shortest..=3600, " seconds");
    let keys = ["reconnect_min_ms", "reconnect_max_ms"];
    let (min, max) = rules.pauses(keys, &raw.reconnect_min_ms, &raw.reconnect_max_ms, 250);
    let max_queue = rules.bounded(&raw.max_queue, "max_queue", 10_000, 1..=1_000_000, " events");
    let BrokerUrl { host, port, tls: encrypted, .. } = address?;
    Some(MqttConfig {
        host,
        port,
        tls: encrypted.then_some(tls),
        version,
        session_expiry: Duration::from_secs(u64::from(session)),
        verdict_expiry: verdict.map(|seconds| Duration::from_secs(u64::from(seconds))),
        prefix,
        client_id,
        user,
        keep_alive: Duration::from_secs(keep_alive),
        reconnect_min: min,
        reconnect_max: max,
        max_queue,
    })
}

fn only_with<T>(rules: &mut Rules<'_>, key: &Key<T>, name: &str, condition: &str) {
    if key.is_some() {
        rules.wrong(
            key.as_ref(),
            name,
            format!("has a meaning only with {condition}; write that too, or leave it out"),
        );
    }
}

fn user(raw: &RawMqtt, base: &Path, rules: &mut Rules<'_>) -> Option<(String, Option<PathBuf>)> {
    match (value(&raw.username), value(&raw.password_file)) {
        (Some(user), _) if user.is_empty() => {
            let message = "is empty; leave it out for a broker that asks nobody".into();
            rules.wrong(raw.username.as_ref(), "username", message);
            None
        }
        (Some(user), file) => Some((user, file.map(|file| password_place(&file, base)))),
        (None, None) => None,
        (None, Some(_)) => {
            rules.wrong(raw.password_file.as_ref(), "password_file", "needs username beside it".into());
            None
        }
    }
}

fn tls(raw: &RawMqtt, encrypted: bool, base: &Path, rules: &mut Rules<'_>) -> TlsFiles {
    if !encrypted {
        for (key, name) in
            [(&raw.ca, "ca"), (&raw.client_certificate, "client_certificate"), (&raw.client_key, "client_key")]
        {
            only_with(rules, key, name, "url = \"mqtts://…\"");
        }
    }
    let place = |key: &Key<PathBuf>| value(key).map(|file| password_place(&file, base));
    let client = match (place(&raw.client_certificate), place(&raw.client_key)) {
        (Some(certificate), Some(key)) => Some(ClientFiles { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            let message = "needs client_key beside it, the private key of this certificate".into();
            rules.wrong(raw.client_certificate.as_ref(), "client_certificate", message);
            None
        }
        (None, Some(_)) => {
            rules.wrong(raw.client_key.as_ref(), "client_key", "needs client_certificate beside it".into());
            None
        }
    };
    TlsFiles { ca: place(&raw.ca), client }
}

/// What the URL says, in a message that names only what a settings file may hold.
fn broker(url: &str) -> Result<BrokerUrl, String> {
    let allowed = "allowed: mqtt://HOST or mqtt://HOST:PORT, with TLS mqtts://HOST or mqtts://HOST:PORT";
    match url.parse::<BrokerUrl>() {
        // What is no URL of ours may hold a password, so it is not shown.
        Err(UrlError::Scheme { .. }) => Err(format!("the scheme must be mqtt:// or mqtts://; {allowed}")),
        _ if url.contains('@') => Err("a user does not belong into the URL; use username and password_file".into()),
        Ok(broker) if broker.path.is_none() && !broker.host.contains(' ') => Ok(broker),
        Err(UrlError::Port { .. }) => Err(format!("\"{url}\" has no valid port; allowed: 1 to 65535")),
        Err(UrlError::Address { .. }) => {
            Err(format!("\"{url}\": certificates are checked against a name; write the broker's name"))
        }
        Ok(_) | Err(UrlError::Host { .. } | UrlError::Percent { .. } | UrlError::Password) => {
            Err(format!("\"{url}\" names no host; {allowed}"))
        }
    }
}

/// Adds a mistake for a password or certificate that cannot be used.
pub(super) fn look_for_files(raw: &RawMqtt, config: &MqttConfig, report: &mut Report) {
    let at = |key: &Key<PathBuf>| key.as_ref().map(|key| key.span().start);
    if let Some((_, Some(file))) = &config.user
        && let Err(error) = secret::read(file)
    {
        report.add(at(&raw.password_file), "mqtt.password_file", error.to_string());
    }
    let Some(Err(error)) = config.tls.as_ref().map(TlsFiles::load) else { return };
    let (key, name) = match &error {
        TlsError::Read { key: "client_certificate", .. }
        | TlsError::Empty { key: "client_certificate", .. }
        | TlsError::Damaged { key: "client_certificate", .. } => (&raw.client_certificate, "mqtt.client_certificate"),
        TlsError::Read { key: "client_key", .. }
        | TlsError::Empty { key: "client_key", .. }
        | TlsError::Damaged { key: "client_key", .. }
        | TlsError::Passphrase { .. }
        | TlsError::Mismatch { .. } => (&raw.client_key, "mqtt.client_key"),
        _ => (&raw.ca, "mqtt.ca"),
    };
    report.add(at(key), name, error.to_string());
}
