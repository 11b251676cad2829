//! The words of the page: a table of languages that is part of the program, and more of them from a file.

use std::fs;
use std::path::Path;

use axum::body::Bytes;
use serde_json::{Map, Value};

use super::error::WebError;

/// The table that is part of the program: language, then key and text.
const OWN: &str = include_str!("../page/texts.json");
/// Bytes of a file at most.
const MOST: u64 = 1 << 20;

/// What the page says, in every language that there is.
#[derive(Clone, Debug)]
pub struct Texts(Bytes);

impl Default for Texts {
    fn default() -> Self {
        Self(Bytes::from_static(OWN.as_bytes()))
    }
}

impl Texts {
    /// Those of the program with those of a file, JSON as `{"fr": {"now": "Maintenant"}}`, before them; what a language lacks
    /// appears in English. Errors when the file cannot be read, or is no such table.
    pub fn read(path: &Path) -> Result<Self, WebError> {
        let failed = |reason: String| WebError::Texts { path: path.to_owned(), reason };
        let length = fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if length > MOST {
            return Err(failed(format!("it has {length} bytes; at most {MOST} are read")));
        }
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        merged(&text).map(|all| Self(all.into())).map_err(failed)
    }

    pub(super) fn json(&self) -> Bytes {
        self.0.clone()
    }
}

fn merged(more: &str) -> Result<String, String> {
    let table = |text: &str| serde_json::from_str::<Map<String, Value>>(text).map_err(|error| error.to_string());
    let mut all = table(OWN)?;
    for (language, words) in table(more)? {
        if language.len() != 2 || !language.bytes().all(|letter| letter.is_ascii_lowercase()) {
            return Err(format!("\"{language}\" is no language; write two letters, as in \"fr\""));
        }
        let Value::Object(words) = words else { return Err(format!("\"{language}\" is no table of texts")) };
        if let Some((key, _)) = words.iter().find(|(_, text)| !text.is_string()) {
            return Err(format!("\"{key}\" of \"{language}\" is no text"));
        }
        match all.entry(language).or_insert_with(|| Value::Object(Map::new())) {
            Value::Object(known) => known.extend(words),
            other => *other = Value::Object(words),
        }
    }
    Ok(Value::Object(all).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_say_everything_and_a_file_says_more() {
        let of = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let own = of(OWN);
        let keys = |language: &str| own[language].as_object().expect("a table").keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys("en"), keys("de"));
        let all = of(&merged(r#"{"fr":{"now":"Maintenant"},"de":{"now":"Gerade"}}"#).expect("a table"));
        assert_eq!((&all["fr"]["now"], &all["de"]["now"]), (&"Maintenant".into(), &"Gerade".into()));
        assert_eq!(all["de"]["history"], own["de"]["history"]);
        for (wrong, said) in [
            ("[]", "invalid type: sequence"),
            (r#"{"french":{}}"#, "\"french\" is no language"),
            (r#"{"fr":1}"#, "\"fr\" is no table"),
            (r#"{"fr":{"now":1}}"#, "\"now\" of \"fr\" is no text"),
        ] {
            assert!(merged(wrong).expect_err("refused").contains(said), "{wrong}");
        }
    }
}
