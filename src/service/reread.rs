//! The settings are to be read again: who asks, and who can do it.

use std::error::Error;

use serde_json::Value;

use super::kept::Who;
use super::recipes::Recipes;
use crate::line::control::Control;

/// Why the settings in use stay.
#[derive(Debug, thiserror::Error)]
pub enum RereadError {
    /// There are none, as in `demo`.
    #[error("this line has no settings file to read again")]
    NoFile,
    /// What is wrong with them, or cannot be used.
    #[error("nothing was changed")]
    Unusable(#[source] Box<dyn Error + Send + Sync>),
}

/// Reads the settings of a running line again, all of it or nothing.
pub trait Reread: Send {
    /// What was changed, for the one who asked, `who`.
    fn read_again(&mut self, control: &Control, recipes: &Recipes, who: &Who) -> Result<Value, RereadError>;
}
