//! Text of others, made safe to print: whoever names a part or a file cannot move the cursor or add a line.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with control characters spelled out (`\n`, `\u{1b}`), in one line. Plain text comes back as it is.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut spelled = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match acts(letter) {
            true => spelled.extend(letter.escape_default()),
            false => spelled.push(letter),
        }
    }
    Cow::Owned(spelled)
}

/// The same for JSON, which stays JSON: `serde_json` leaves DEL, C1 and the marks below as they are.
pub fn printable_json(json: &str) -> String {
    let mut spelled = String::with_capacity(json.len());
    for letter in json.chars() {
        // Between values there are line feeds of a pretty form; inside of strings none is left.
        if letter != '\n' && acts(letter) {
            // Writing to a string cannot fail.
            let written = write!(spelled, "\\u{:04x}", u32::from(letter));
            debug_assert!(written.is_ok());
        } else {
            spelled.push(letter);
        }
    }
    spelled
}

/// Whether a terminal does something else than show it: C0, DEL, C1, separators of lines, marks that turn the direction.
fn acts(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_spelled_out() {
        assert_eq!(printable("A-1\u{1b}[2J\nfake\u{9b}31m\u{7f}"), "A-1\\u{1b}[2J\\nfake\\u{9b}31m\\u{7f}");
        assert_eq!(printable("\u{202e}ssap"), "\\u{202e}ssap");
        assert!(matches!(printable("Größe 38 °C ✓"), Cow::Borrowed("Größe 38 °C ✓")));
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in any::<String>()) {
            let spelled = printable(&text).into_owned();
            prop_assert!(!spelled.contains(acts));
            prop_assert_eq!(printable(&spelled), spelled.as_str());
            let value = serde_json::Value::from(text);
            let json = printable_json(&value.to_string());
            prop_assert!(!json.contains(acts));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&json).expect("still JSON"), value);
        }
    }
}
