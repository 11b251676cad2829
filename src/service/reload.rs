//! The settings of a running line, read again: checked as a whole, then taken over at once, or refused with every reason.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::error::ServiceError;
use super::pictures;
use super::plan;
use super::recipes::{ChangeError, Recipes};
use super::reread::{Reread, RereadError};
use crate::config::{self, Changes, ConfigError, LineConfig};
use crate::line::Reopening;
use crate::line::control::Control;
use crate::publish::{Broker, Live, OutboxBounds, PublisherSpec};

/// The settings cannot be taken over.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    /// As `check` says it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{} cannot change while the line runs; restart the service, or take the change back", keys.join(", "))]
    Restart { keys: Vec<String> },
    #[error("camera '{camera}' has shown its last picture and is not opened again; restart the service")]
    Ended { camera: String },
    /// A secret or a memory that cannot be read.
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error(transparent)]
    Change(#[from] ChangeError),
}

impl From<ReloadError> for RereadError {
    fn from(error: ReloadError) -> Self {
        Self::Unusable(error.into())
    }
}

/// See the module.
pub struct Reload {
    path: PathBuf,
    /// As it was read last.
    text: String,
    config: LineConfig,
    broker: Broker,
    live: Live,
}

impl Reload {
    /// Of a line that was started with these settings, of this file and text.
    pub fn new(path: PathBuf, text: String, config: LineConfig, publisher: &PublisherSpec) -> Self {
        Self { path, text, config, broker: Broker::of(publisher), live: publisher.live.clone() }
    }

    fn again(&mut self, control: &Control, recipes: &Recipes) -> Result<Value, ReloadError> {
        let (mut config, text) = config::load_with_text(&self.path)?;
        let Changes { keys, cameras, mut restart } = config::changes(&self.text, &text);
        for (before, after) in self.config.cameras.iter().zip(&config.cameras) {
            let (before, after) = (&before.plan, &after.plan);
            // Another kind of camera has other defaults.
            let built = |plan: &crate::line::CameraPlan| (plan.trigger, plan.queue, plan.when_full);
            if before.name == after.name && built(before) != built(after) {
                restart.insert(format!("camera '{}'.trigger", after.name));
            }
        }
        if !restart.is_empty() {
            return Err(ReloadError::Restart { keys: restart.into_iter().collect() });
        }
        if let Some(camera) = cameras.iter().find(|camera| !control.can_reopen(camera)) {
            return Err(ReloadError::Ended { camera: camera.clone() });
        }
        let publisher = plan::publisher(&config).map_err(ServiceError::from)?;
        let broker = Broker::of(&publisher);
        let (mut settings, mut reopenings) = (Vec::new(), Vec::new());
        for index in 0..config.cameras.len() {
            pictures::configure(&mut config.cameras[index], config.commands.directory.as_deref());
            let camera = &config.cameras[index];
            let reopened = cameras.contains(&*camera.plan.name);
            settings.push((Arc::clone(&camera.plan.name), camera.plan.configured(), reopened));
            if reopened {
                let (open, (backoff_min, backoff_max)) =
                    (plan::opening(&config, camera)?.0, (camera.plan.backoff_min, camera.plan.backoff_max));
                reopenings.push((Arc::clone(&camera.plan.name), Reopening { open, backoff_min, backoff_max }));
            }
        }
        // The last that can fail; from here on everything is taken over.
        let changed = recipes.read_again(control, settings)?;
        for (camera, reopening) in reopenings {
            control.reopen(&camera, reopening).map_err(ChangeError::from)?;
        }
        self.live.bound(OutboxBounds::of(&config.outbox));
        if let Some(archive) = config.archive.clone() {
            control.bound_archive(archive);
        }
        let moves = broker != self.broker;
        if moves {
            self.live.move_to(broker.clone());
        }
        (self.text, self.config, self.broker) = (text, config, broker);
        Ok(json!({ "changed": keys, "recipes": changed, "cameras": cameras, "broker": moves }))
    }
}

impl Reread for Reload {
    fn read_again(&mut self, control: &Control, recipes: &Recipes) -> Result<Value, RereadError> {
        Ok(self.again(control, recipes)?)
    }
}
