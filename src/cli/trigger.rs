//! `vcp-line trigger`: one trigger by hand, as a line controller sends it.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::failure::wrong_arguments;
use super::terminal::say;
use super::watch::BrokerArguments;
use crate::command::{MAX_ID, is_id};
use crate::printable::printable_json;
use crate::publish::topic::{is_name, prefix_mistake};
use crate::publish::{self, BrokerUrl};

#[derive(Args)]
pub struct TriggerArguments {
    /// Broker, prefix and line: mqtt://[USER@]HOST[:PORT]/PREFIX/LINE, with TLS mqtts://.
    #[arg(value_name = "URL")]
    url: String,
    /// Which camera [default: the only one of the line]
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Name of the part.
    #[arg(long, value_name = "ID")]
    part: String,
    /// Number of the trigger, for cameras that match by counter.
    #[arg(long, value_name = "N")]
    number: Option<u64>,
    /// How long the answer may take, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
    #[command(flatten)]
    broker: BrokerArguments,
}

pub fn run(arguments: &TriggerArguments) -> anyhow::Result<()> {
    let url: BrokerUrl = arguments.url.parse()?;
    let path = url.path.as_deref().and_then(|path| path.rsplit_once('/'));
    let named = path.filter(|(prefix, line)| prefix_mistake(prefix).is_none() && is_name(line));
    let (prefix, line) =
        named.ok_or_else(|| wrong_arguments("the URL must name prefix and line: mqtt://HOST/vcp-line/LINE"))?;
    for (name, id) in [("--camera", arguments.camera.as_ref()), ("--part", Some(&arguments.part))] {
        if id.is_some_and(|id| !is_id(id)) {
            let message = format!("{name} must have 1 to {MAX_ID} characters and no control characters");
            return Err(wrong_arguments(message));
        }
    }
    let mut spec = arguments.broker.spec(&url, "trigger")?;
    (spec.prefix, spec.line) = (prefix.to_owned(), line.to_owned());
    let correlation_id = uuid::Uuid::now_v7().to_string();
    let command = json!({
        "correlation_id": correlation_id,
        "camera": arguments.camera,
        "part_id": arguments.part,
        "trigger": arguments.number,
    });
    let patience = Duration::from_secs(arguments.patience);
    let ack = publish::ask(&spec, "trigger", command.to_string().as_bytes(), &correlation_id, patience)?;
    match (ack.ok, ack.error) {
        (true, _) => say!("accepted  {}", printable_json(&ack.applied.unwrap_or_default().to_string())),
        (false, error) => anyhow::bail!("{}", error.unwrap_or_else(|| "refused without a reason".into())),
    }
    Ok(())
}
