//! The rules a single value must follow, each with the sentence that says what is allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::problem::Report;
use super::raw::Key;
use super::secret;
use crate::command::MAX_ID;
use crate::publish::topic::is_name;

/// Longest pause that a setting may ask for, milliseconds: an hour.
const LONGEST_PAUSE: u64 = 3_600_000;
/// Longest pause when none is given.
const USUAL_PAUSE: u64 = 30_000;

/// What is written, if anything.
pub fn value<T: Clone>(key: &Key<T>) -> Option<T> {
    key.as_ref().map(|value| value.get_ref().clone())
}

/// Where the file of a password, token or certificate is.
pub fn password_place(file: &Path, base: &Path) -> PathBuf {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    secret::place(file, credentials.as_deref(), base)
}

/// A key within its section, for messages.
pub struct Rules<'a> {
    /// The section, such as `mqtt` or `camera 'top'`.
    pub section: String,
    /// Where mistakes go.
    pub report: &'a mut Report,
}

impl Rules<'_> {
    /// Adds a mistake about `key`.
    pub fn wrong<T>(&mut self, value: Option<&Spanned<T>>, key: &str, message: String) {
        let key = if self.section.is_empty() { key.to_owned() } else { format!("{}.{key}", self.section) };
        self.report.add(value.map(|value| value.span().start), &key, message);
    }

    /// The value, or a mistake with what to write.
    pub fn required<T: Clone>(&mut self, value: &Key<T>, key: &str, what: &str) -> Option<T> {
        if value.is_none() {
            self.wrong::<T>(None, key, format!("missing; {what}"));
        }
        value.as_ref().map(|value| value.get_ref().clone())
    }

    /// The value or its default, within the bounds; NaN is within none.
    pub fn bounded<T: Copy + PartialOrd + Display>(
        &mut self,
        value: &Key<T>,
        key: &str,
        default: T,
        allowed: RangeInclusive<T>,
        unit: &str,
    ) -> T {
        self.bounded_option(value, key, allowed, unit).unwrap_or(default)
    }

    /// Like [`Rules::bounded`] for a key without default.
    pub fn bounded_option<T: Copy + PartialOrd + Display>(
        &mut self,
        value: &Key<T>,
        key: &str,
        allowed: RangeInclusive<T>,
        unit: &str,
    ) -> Option<T> {
        let found = *value.as_ref()?.get_ref();
        if allowed.contains(&found) {
            return Some(found);
        }
        let (low, high) = allowed.into_inner();
        self.wrong(value.as_ref(), key, format!("{found} is out of range; allowed: {low} to {high}{unit}"));
        None
    }

    /// The pause after a first failure and the one it grows to.
    pub fn pauses(&mut self, keys: [&str; 2], min: &Key<u64>, max: &Key<u64>, default: u64) -> (Duration, Duration) {
        let shortest = self.bounded(min, keys[0], default, 10..=LONGEST_PAUSE, " milliseconds");
        let longest = self.bounded(max, keys[1], USUAL_PAUSE.max(shortest), 10..=LONGEST_PAUSE, " milliseconds");
        if longest < shortest {
            self.wrong(max.as_ref(), keys[1], format!("{longest} is less than {} = {shortest}", keys[0]));
        }
        (Duration::from_millis(shortest), Duration::from_millis(longest))
    }

    /// The value when it is made of letters, digits, `_` and `-`.
    pub fn name(&mut self, value: &Key<String>, key: &str, what: &str) -> Option<String> {
        let name = self.required(value, key, what)?;
        if !is_name(&name) {
            let message = match name.chars().count() {
                length if length > MAX_ID => format!("has {length} characters; allowed: 1 to {MAX_ID}"),
                _ => format!("\"{name}\" is no name; allowed: letters, digits, '_' and '-', at least one"),
            };
            self.wrong(value.as_ref(), key, message);
            return None;
        }
        Some(name)
    }

    /// Adds a mistake for a text that is empty, longer than `most` characters, or holds control characters.
    pub fn short_text(&mut self, value: &Key<String>, key: &str, most: usize) {
        let Some(text) = value.as_ref().map(|value| value.get_ref()) else { return };
        let length = text.chars().count();
        if !(1..=most).contains(&length) || text.chars().any(char::is_control) {
            let message = format!("has {length} characters; allowed: 1 to {most}, none of them a control character");
            self.wrong(value.as_ref(), key, message);
        }
    }
}
