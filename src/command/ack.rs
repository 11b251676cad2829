//! What is answered to a command.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// That of the command.
    pub correlation_id: Option<String>,
    /// Whether it was carried out.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Value>,
    /// `memory`: the part is accepted, and only this process knows it, because the disk takes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// The same command was carried out a moment ago, and was not carried out again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// It has begun; a second answer with the same correlation id follows at its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
}

impl Ack {
    /// It was carried out.
    pub fn done(correlation_id: Option<String>, applied: Value) -> Self {
        let (error, kept) = (None, None);
        Self { correlation_id, ok: true, error, applied: Some(applied), kept, repeated: false, pending: false }
    }

    /// It has begun.
    pub fn begun(correlation_id: Option<String>, applied: Value) -> Self {
        Self { pending: true, ..Self::done(correlation_id, applied) }
    }

    /// It was not.
    pub fn refused(correlation_id: Option<String>, error: impl ToString) -> Self {
        let (error, kept) = (Some(error.to_string()), None);
        Self { correlation_id, ok: false, error, applied: None, kept, repeated: false, pending: false }
    }
}
