//! Rules and defaults of `[model.remote]`: the servers that look for this line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::Report;
use super::raw::{Key, RawModel};
use super::rules::{Rules, password_place, value};
use crate::engine::EngineChoice;
use crate::engine::remote::{Address, RemoteSpec, TIMEOUT};
use crate::publish::{ClientFiles, TlsFiles};

/// Servers that are kept connected at most.
const MOST: usize = 16;

/// The servers; `None` for another engine.
pub fn resolve(model: &RawModel, engine: EngineChoice, base: &Path, report: &mut Report) -> Option<RemoteSpec> {
    let mut rules = Rules { section: "model".into(), report };
    let Some(raw) = &model.remote else {
        if engine == EngineChoice::Remote {
            let message = "\"remote\" needs [model.remote] with endpoints = [\"grpc://HOST:PORT\"]".into();
            rules.wrong(model.engine.as_ref(), "engine", message);
        }
        return None;
    };
    rules.section = "model.remote".into();
    let written = rules.required(&raw.endpoints, "endpoints", "name the servers: [\"grpc://HOST:PORT\", …]");
    let written = written.unwrap_or_default();
    let mut endpoints: Vec<Address> = Vec::with_capacity(written.len());
    for text in &written {
        match text.parse::<Address>() {
            Ok(address) if endpoints.contains(&address) => {
                rules.wrong(raw.endpoints.as_ref(), "endpoints", format!("{address} is named twice"));
            }
            Ok(address) => endpoints.push(address),
            Err(error) => rules.wrong(raw.endpoints.as_ref(), "endpoints", error.to_string()),
        }
    }
    if raw.endpoints.is_some() && !(1..=MOST).contains(&written.len()) {
        let message = format!("{} servers; allowed: 1 to {MOST}", written.len());
        rules.wrong(raw.endpoints.as_ref(), "endpoints", message);
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
    let timeout =
        rules.bounded(&raw.timeout_ms, "timeout_ms", TIMEOUT.as_millis() as u64, 10..=60_000, " milliseconds");
    let fallback = match value(&raw.fallback).as_deref() {
        None | Some("none") => None,
        Some("local") => Some(EngineChoice::Auto),
        Some(other) => {
            rules.wrong(raw.fallback.as_ref(), "fallback", format!("\"{other}\" is unknown; allowed: none, local"));
            None
        }
    };
    Some(RemoteSpec {
        endpoints,
        tls: TlsFiles { ca: place(&raw.ca), client },
        token_file: place(&raw.token_file),
        timeout: Duration::from_millis(timeout),
        map: value(&raw.map).unwrap_or_default(),
        fallback,
    })
}
