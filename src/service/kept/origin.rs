//! Who has brought a recipe into use, and when.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, SystemClock};

/// What has changed a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Command `recipe` or `threshold` with its own numbers.
    Command,
    /// Command `recipe` with the name of a prepared file.
    RecipeFile,
    /// A calibration.
    Calibration,
    /// A memory that was learnt.
    Learning,
    /// A way back.
    Rollback,
    /// The settings file, read again.
    Settings,
    /// Nobody: what came by command did not fit the frames.
    GaveWay,
}

/// Which way a command came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The broker.
    Mqtt,
    /// The API or the page.
    Http,
    /// SIGHUP, or a file that is watched.
    Service,
    /// `vcp-line calibrate`.
    CommandLine,
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Which way.
    pub via: Via,
    /// The command's `correlation_id`, where it had one.
    pub command: Option<String>,
    /// The user of this computer, where one is known.
    pub user: Option<String>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// When.
    pub at: Timestamp,
    /// What.
    pub by: By,
    /// Which way it came, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// The command's `correlation_id`, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The user of this computer, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Origin {
    /// Now.
    pub fn now(by: By, who: Option<&Who>) -> Self {
        let who = who.cloned();
        let via = who.as_ref().map(|who| who.via);
        let (command, user) = who.map(|who| (who.command, who.user)).unwrap_or_default();
        Self { at: SystemClock.now().wall, by, via, command, user }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.by {
            By::Command => "command",
            By::RecipeFile => "recipe file",
            By::Calibration => "calibration",
            By::Learning => "learnt memory",
            By::Rollback => "rollback",
            By::Settings => "settings file",
            By::GaveWay => "did not fit: settings again",
        })?;
        f.write_str(match self.via {
            Some(Via::Mqtt) => ", MQTT",
            Some(Via::Http) => ", HTTP",
            Some(Via::CommandLine) => ", command line",
            Some(Via::Service) | None => "",
        })?;
        self.user.as_ref().map_or(Ok(()), |user| write!(f, ", {user}"))?;
        self.command.as_ref().map_or(Ok(()), |id| write!(f, ", id {id}"))
    }
}
