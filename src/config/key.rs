//! A value of the settings with its place in the file, so that a mistake in it can be shown there.

use toml::Spanned;

/// `None` where the file does not have it.
pub type Key<T> = Option<Spanned<T>>;
