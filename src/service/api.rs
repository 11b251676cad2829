//! The line as the API shows it.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::activity::Activities;
use super::commands::Inbox;
use super::metrics::{self, Sources};
use super::voice::Voice;
use crate::archive::Archive;
use crate::command::Ack;
use crate::line::control::Control;
use crate::publish::OutboxSpec;
use crate::web::Api;

/// Answers the API's questions and hands its commands on.
pub struct LineApi {
    /// Configured name.
    pub line: String,
    /// This service start.
    pub session: Uuid,
    /// Knows the state.
    pub voice: Arc<Voice>,
    /// Takes commands.
    pub inbox: Inbox,
    /// Knows what takes many parts.
    pub activities: Arc<Activities>,
    /// The line, once it is there.
    pub control: Arc<OnceLock<Control>>,
    /// What is kept of every part, if anything.
    pub archive: Option<Archive>,
    /// How much may wait for the broker on disk.
    pub outbox: Option<OutboxSpec>,
}

impl Api for LineApi {
    fn command(&self, name: &str, payload: &[u8], answer: oneshot::Sender<Ack>) {
        self.inbox.ask(name, payload, move |ack| {
            if answer.send(ack).is_err() {
                tracing::debug!("whoever asked has gone away");
            }
        });
    }

    fn state(&self) -> Value {
        let (state, publishing) = self.voice.report();
        let cameras = self.control.get().map(Control::cameras).unwrap_or_default();
        let cameras: Vec<Value> = cameras
            .into_iter()
            .map(|camera| {
                let word = state.cameras.get(&*camera.camera);
                let (activity, ended) = self.activities.of(&camera.camera);
                json!({
                    "camera": camera.camera,
                    "state": word,
                    "trigger": camera.trigger,
                    "paused": camera.paused,
                    "recipe": camera.recipe,
                    "parts": camera.parts,
                    "damaged": camera.damaged,
                    "activity": activity,
                    "last_activity": ended,
                })
            })
            .collect();
        json!({
            "line": self.line,
            "session": self.session,
            "version": env!("CARGO_PKG_VERSION"),
            "state": state.state,
            "since": state.since,
            "model": state.model,
            "cameras": cameras,
            "commands": self.inbox.counts(),
            "mqtt": {
                "connected": publishing.connected,
                "queued": publishing.queued,
                "acked": publishing.acked,
                "refused": publishing.dropped,
                "reconnects": publishing.reconnects,
            },
        })
    }

    fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    fn metrics(&self) -> String {
        metrics::text(&Sources {
            line: &self.line,
            voice: &self.voice,
            control: self.control.get(),
            archive: self.archive.as_ref().map(Archive::counters),
            outbox: self.outbox.as_ref(),
        })
    }

    fn health(&self) -> Result<(), String> {
        self.voice.health()
    }
}
