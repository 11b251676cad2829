//! `[self_test]` as it is written.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

/// A value with its place in the file, as in `raw`.
type Key<T> = Option<Spanned<T>>;

/// `[self_test]`: golden parts, whose right verdict is known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSelfTest {
    /// Folder with `CAMERA/test/good` and `CAMERA/test/bad`.
    pub directory: Key<PathBuf>,
    /// How often they are judged unasked, hours.
    pub every_h: Key<f64>,
}
