//! `[self_test]` as it is written.

use std::path::PathBuf;

use serde::Deserialize;

use super::key::Key;

/// `[self_test]`: golden parts, whose right verdict is known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSelfTest {
    /// Folder with `CAMERA/test/good` and `CAMERA/test/bad`.
    pub directory: Key<PathBuf>,
    /// How often they are judged unasked, hours.
    pub every_h: Key<f64>,
}
