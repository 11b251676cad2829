//! The line as the API shows it.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::activity::{Activities, give_way};
use super::commands::Inbox;
use super::kept::Via;
use super::metrics::{self, Sources};
use super::self_test::SelfTests;
use super::voice::Voice;
use crate::archive::Archive;
use crate::command::Ack;
use crate::line::control::Control;
use crate::publish::OutboxSpec;
use crate::web::{Api, News, Shown, runbook};

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
    /// Knows golden parts.
    pub self_tests: Arc<SelfTests>,
    /// The line, once it is there.
    pub control: Arc<OnceLock<Control>>,
    /// What is kept of every part, if anything.
    pub archive: Option<Archive>,
    /// How much may wait for the broker on disk.
    pub outbox: Option<OutboxSpec>,
}

impl Api for LineApi {
    fn command(&self, name: &str, payload: &[u8], answer: oneshot::Sender<Ack>) {
        self.inbox.ask(Via::Http, name, payload, move |ack| {
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
                let used = self.control.get().and_then(|control| control.used(Some(&camera.camera)).ok());
                let limits = used.map(|(_, used)| {
                    let recipe = &used.recipe;
                    json!({
                        "threshold": recipe.threshold,
                        "defect_threshold": recipe.defect_threshold,
                        "min_area_px": recipe.min_area_px,
                        "regions": recipe.regions,
                        "calibrated": used.found_with.is_some(),
                    })
                });
                json!({
                    "camera": camera.camera,
                    "state": word,
                    "trigger": camera.trigger,
                    "paused": camera.paused,
                    "recipe": camera.recipe,
                    "limits": limits,
                    "memory": camera.memory,
                    "parts": camera.parts,
                    "damaged": camera.damaged,
                    "activity": activity,
                    "last_activity": ended,
                    "self_test": self.self_tests.of(&camera.camera),
                })
            })
            .collect();
        let alarms: Vec<Value> = self
            .voice
            .standing()
            .into_iter()
            .map(|(camera, alarm)| {
                let help = runbook::help(&alarm.message);
                json!({
                    "camera": camera, "kind": alarm.kind, "message": alarm.message, "since": alarm.since, "help": help,
                })
            })
            .collect();
        let outbox = self.voice.outbox_status().map(|outbox| {
            json!({
                "bytes": outbox.bytes, "fill": outbox.fill, "age": outbox.age, "failing": outbox.failing,
                "deleted": outbox.deleted,
            })
        });
        json!({
            "line": self.line,
            "session": self.session,
            "version": env!("CARGO_PKG_VERSION"),
            "state": state.state,
            "since": state.since,
            "model": state.model,
            "activity": state.activity,
            "alarms": alarms,
            "outbox": outbox,
            "archive": self.archive.as_ref().map(Archive::counters),
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

    fn news(&self) -> Option<&News> {
        Some(self.voice.news())
    }

    fn shown(&self, camera: &str) -> Option<Shown> {
        let seen = self.control.get()?.glimpse(camera)?;
        Some(Shown { frame: seen.frame.clone(), map: seen.map.clone(), defect_threshold: seen.defect_threshold })
    }

    fn give_way(&self) {
        give_way();
    }
}
