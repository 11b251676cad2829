//! The settings of a running line, read again: checked as a whole, then taken over at once, or refused with every reason.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::error::ServiceError;
use super::kept::Who;
use super::pictures;
use super::plan;
use super::recipes::{ChangeError, Recipes, Settings};
use super::reread::{Reread, RereadError};
use crate::config::{self, Changes, ConfigError, LineConfig};
use crate::line::control::Control;
use crate::line::{CameraPlan, Open, Reopening};
use crate::publish::{Broker, Live, OutboxBounds, PublisherSpec};

/// How long whoever asked waits for cameras to finish what they have in hand; they go on with it after that.
const GOES_ON: Duration = Duration::from_secs(10);

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

    fn again(&mut self, control: &Control, recipes: &Recipes, who: &Who) -> Result<Value, ReloadError> {
        let (mut config, text) = config::load_with_text(&self.path)?;
        let Changes { keys, cameras, mut restart } = config::changes(&self.text, &text);
        // It follows the deadlines of parts, unless it is set.
        if config.outbox.fsync != self.config.outbox.fsync {
            restart.insert("outbox.fsync".into());
        }
        if !restart.is_empty() {
            return Err(ReloadError::Restart { keys: restart.into_iter().collect() });
        }
        let publisher = plan::publisher(&config).map_err(ServiceError::from)?;
        let broker = Broker::of(&publisher);
        let (mut settings, mut reopenings) = (Vec::new(), Vec::new());
        for index in 0..config.cameras.len() {
            pictures::configure(&mut config.cameras[index], config.commands.directory.as_deref());
            let camera = &config.cameras[index];
            let CameraPlan { name, backoff_min, backoff_max, .. } = camera.plan.clone();
            let before = self.config.cameras.iter().map(|camera| &camera.plan).find(|before| before.name == name);
            let reopened = cameras.contains(&*name);
            // Another kind of camera has other defaults.
            let waits = reopened || before.is_none_or(|before| before.arrangement() != camera.plan.arrangement());
            if waits && !control.can_reopen(&name) {
                return Err(ReloadError::Ended { camera: name.to_string() });
            }
            let way = camera.plan.way();
            let way = before.is_none_or(|before| before.way() != way).then_some(way);
            let (configured, arrangement) = (camera.plan.configured(), camera.plan.arrangement());
            settings.push(Settings { camera: Arc::clone(&name), configured, way, reopened, waits });
            if waits {
                let open = || Ok::<_, ServiceError>(plan::opening(&config, camera)?.0);
                let open = reopened.then(open).transpose()?.map(|open| Open { open, backoff_min, backoff_max });
                reopenings.push((name, Reopening { open, arrangement }));
            }
        }
        // The last that can fail; from here on everything is taken over.
        let changed = recipes.read_again(control, settings, who)?;
        let mut waiting = Vec::new();
        for (camera, reopening) in reopenings {
            control.reopen(&camera, reopening).map_err(ChangeError::from)?;
            waiting.push(camera);
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
        let waiting = control.gone_on(&waiting, GOES_ON);
        for camera in &waiting {
            tracing::warn!(%camera, "still finishes what it had in hand; then it goes on by the new settings");
        }
        let mut done = json!({ "changed": keys, "recipes": changed, "cameras": cameras, "broker": moves });
        if !waiting.is_empty() {
            done["waiting"] = waiting.iter().map(|camera| Value::from(&**camera)).collect();
        }
        Ok(done)
    }
}

impl Reread for Reload {
    fn read_again(&mut self, control: &Control, recipes: &Recipes, who: &Who) -> Result<Value, RereadError> {
        Ok(self.again(control, recipes, who)?)
    }
}
