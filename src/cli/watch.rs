//! `vcp-line watch`: verdicts as they come, readable.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::failure::wrong_arguments;
use super::terminal::{self, Colour, note, say};
use crate::config;
use crate::event::VerdictWord;
use crate::publish::topic::prefix_mistake;
use crate::publish::watch::Heard;
use crate::publish::{self, BrokerUrl, ClientFiles, Credentials, PublisherSpec, TlsFiles};
use crate::service;

/// What is watched when the URL names no prefix.
const DEFAULT_PREFIX: &str = "vcp-line";

#[derive(Args)]
pub struct WatchArguments {
    /// Broker and prefix: mqtt://[USER@]HOST[:PORT][/PREFIX[/LINE]], with TLS mqtts://; the prefix defaults to vcp-line.
    #[arg(value_name = "URL")]
    url: String,
    /// One JSON object a line, {"topic", "message"}, as when nobody looks: standard output is no terminal.
    #[arg(long, conflicts_with = "text")]
    json: bool,
    /// Readable lines, in local time, also when standard output is no terminal.
    #[arg(long)]
    text: bool,
    /// Only verdicts other than pass.
    #[arg(long)]
    fails: bool,
    #[command(flatten)]
    broker: BrokerArguments,
}

/// What a client shows to the broker besides its URL.
#[derive(Args)]
pub struct BrokerArguments {
    /// File whose first line is the user's password.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Authorities that may have signed the broker's certificate (PEM); absent: those of the system.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate to show to the broker (PEM).
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
}

impl BrokerArguments {
    /// A client of the broker at `url`, one of several of this kind; the path of the URL is left to the caller.
    pub fn spec(&self, url: &BrokerUrl, kind: &str) -> anyhow::Result<PublisherSpec> {
        let mut spec = PublisherSpec::new(&url.host, url.port, kind);
        let client = self.client_certificate.clone().zip(self.client_key.clone());
        let files =
            TlsFiles { ca: self.ca.clone(), client: client.map(|(certificate, key)| ClientFiles { certificate, key }) };
        if url.tls {
            files.load().map_err(wrong_arguments)?;
        } else if files != TlsFiles::default() {
            return Err(wrong_arguments("certificates need a URL that begins with mqtts://"));
        }
        spec.tls = url.tls.then_some(files);
        spec.client_id = format!("vcp-line-{kind}-{}", uuid::Uuid::now_v7().simple());
        match (&url.user, &self.password_file) {
            (Some(user), file) => {
                let password = file.as_deref().map(config::secret::read).transpose().map_err(wrong_arguments)?;
                spec.credentials = Some(Credentials { user: user.clone(), password });
            }
            (None, None) => {}
            (None, Some(_)) => {
                let message = format!("--password-file needs a user in the URL: mqtt://USER@{}", url.host);
                return Err(wrong_arguments(message));
            }
        }
        Ok(spec)
    }
}

pub fn run(arguments: &WatchArguments) -> anyhow::Result<()> {
    // Parsed here, not by clap, which would show a rejected URL and with it a password.
    let url: BrokerUrl = arguments.url.parse()?;
    let prefix = url.path.as_deref().unwrap_or(DEFAULT_PREFIX);
    // Whole levels may be `+`: the same line in every plant.
    let named: Vec<&str> = prefix.split('/').map(|level| if level == "+" { "x" } else { level }).collect();
    if let Some(mistake) = prefix_mistake(&named.join("/")) {
        let form = "write mqtt://HOST/PREFIX or mqtt://HOST/PREFIX/LINE, with %25 for a '%'";
        return Err(wrong_arguments(format!("the prefix \"{prefix}\" {mistake}; {form}")));
    }
    let spec = arguments.broker.spec(&url, "watch")?;
    let stop = service::stop_on_signal()?;
    let filter = format!("{prefix}/#");
    let json = arguments.json || !(arguments.text || terminal::is_terminal());
    let mut day = None;
    let mut failed = Ok(());
    let done = publish::watch::watch(&spec, &filter, &stop, |heard| {
        let event = heard.event();
        let of_interest = event.as_ref().is_some_and(|event| event.verdict != VerdictWord::Pass);
        if arguments.fails && !of_interest && !matches!(heard, Heard::Trouble(_)) {
            return;
        }
        if json {
            failed = std::mem::replace(&mut failed, Ok(())).and_then(|()| as_json(&heard));
            return;
        }
        let text = heard.readable();
        let Some(event) = event else { return say!("{text}") };
        // Lines show the time alone.
        let today = event.time.captured.to_zoned_datetime(TimeZone::system()).date();
        if day.replace(today) != Some(today) {
            say!("{today}, local time");
        }
        let word = publish::watch::word(event.verdict);
        let colour = match event.verdict {
            VerdictWord::Pass => Colour::Green,
            VerdictWord::Fail => Colour::Red,
            VerdictWord::NoVerdict => Colour::Yellow,
        };
        terminal::line_with(&text, word, colour);
    });
    done.context("watching").and(failed.context("writing JSON"))
}

/// What is no JSON comes as a string; trouble of the connection is no message.
fn as_json(heard: &Heard<'_>) -> serde_json::Result<()> {
    let (topic, payload) = match heard {
        Heard::Trouble(reason) => {
            note!("{reason}");
            return Ok(());
        }
        Heard::Message { topic, payload } => (topic, payload),
    };
    let text = || Value::from(String::from_utf8_lossy(payload));
    let message = match payload.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(payload).unwrap_or_else(|_| text()),
    };
    terminal::json(&json!({"topic": topic, "message": message}), false)
}
