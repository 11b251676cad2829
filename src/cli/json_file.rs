//! A result as a file of JSON.

use std::path::Path;

use anyhow::Context;

use crate::output;

/// Whole or not at all, and readable.
pub fn write(path: &Path, json: &serde_json::Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(json)? + "\n";
    output::write(path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}
