//! What line controllers send in place of JSON, read as the JSON that is meant: strings of fixed length with their closing
//! NUL and what an earlier, longer text has left behind it, byte order marks, single quotes, other encodings.
//!
//! Strict JSON comes first, so that none of this changes what a right payload says.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

use super::id::is_id;

/// Deepest nesting that is read as JSON5, whose reader calls itself for each level; a recipe has four.
const DEEPEST: usize = 16;
/// Siemens' STRING has its greatest and its present length in two bytes before the text, WSTRING in four.
const STRING_HEAD: usize = 2;

/// Why a payload is no command, and the name it may have had for itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Unread {
    /// For people.
    pub reason: String,
    /// What stands where the correlation id would.
    pub correlation_id: Option<String>,
}

/// The fields of a command.
pub fn fields(payload: &[u8]) -> Result<Map<String, Value>, Unread> {
    let strict = match serde_json::from_slice(payload) {
        Ok(fields) => return Ok(fields),
        Err(error) => error.to_string(),
    };
    let text = text(payload);
    if text.chars().all(|c| c.is_whitespace() || c == '\0' || c == '\u{feff}') {
        return Err(Unread { reason: "it is empty".into(), correlation_id: None });
    }
    // A string ends at its NUL; where values within it were padded, it goes on behind them.
    let closed = text.split('\0').next().unwrap_or_default();
    let without = text.replace('\0', "");
    object(closed).or_else(|| object(&without)).ok_or_else(|| {
        let reason = match serde_json::from_str::<Map<String, Value>>(closed.trim()) {
            Err(error) if closed.len() != payload.len() => error.to_string(),
            _ => strict,
        };
        Unread { reason, correlation_id: salvaged(&without) }
    })
}

/// The payload as text. Every sequence of bytes is one in ISO 8859-1, which PLCs use where they do not use UTF-8.
fn text(payload: &[u8]) -> Cow<'_, str> {
    if let Some(text) = utf16(payload) {
        return text.into();
    }
    let payload = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
    let payload = match payload {
        // A blank or a brace is no length that a text behind it could have.
        [most, length, text @ ..]
            if length <= most && usize::from(*length) <= text.len() && text.first() == Some(&b'{') && *length > 1 =>
        {
            debug_assert!(payload.len() >= STRING_HEAD);
            &text[..usize::from(*length)]
        }
        _ => payload,
    };
    match std::str::from_utf8(payload) {
        Ok(text) => text.into(),
        Err(_) => payload.iter().map(|&byte| char::from(byte)).collect::<String>().into(),
    }
}

/// UTF-16 with a byte order mark, or that begins with a brace: JSON begins with ASCII.
fn utf16(payload: &[u8]) -> Option<String> {
    let (payload, little) = match payload {
        [0xff, 0xfe, rest @ ..] => (rest, true),
        [0xfe, 0xff, rest @ ..] => (rest, false),
        [m1, m0, l1, l0, text @ ..] if text.starts_with(&[0, b'{', 0]) => {
            let (most, length) = (u16::from_be_bytes([*m1, *m0]), usize::from(u16::from_be_bytes([*l1, *l0])));
            let text = text.get(..2 * length).filter(|_| length <= usize::from(most))?;
            (text, false)
        }
        [b'{', 0, ..] if payload.len() > 2 && payload[2] != 0 => (payload, true),
        [0, b'{', 0, ..] => (payload, false),
        _ => return None,
    };
    let units = payload.chunks_exact(2).map(|pair| {
        let pair = [pair[0], pair[1]];
        if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    });
    Some(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}

/// The object that this text is, as JSON or else as JSON5: single quotes, a comma after the last field.
fn object(text: &str) -> Option<Map<String, Value>> {
    let around = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{feff}' | '\u{200b}');
    // Frames of serial lines (STX, ETX), and the 0xff of an erased memory.
    let text = text.trim_matches(around).trim_end_matches('\u{ff}').trim_end_matches(around);
    // A whole text in the quotes of IEC 61131.
    let text = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(text);
    if let Ok(fields) = serde_json::from_str(text) {
        return Some(fields);
    }
    // JSON within a JSON string, as programs that encode twice send it.
    if text.starts_with('"')
        && let Ok(inner) = serde_json::from_str::<String>(text)
    {
        return serde_json::from_str(inner.trim_end_matches('\0')).ok();
    }
    (depth(text) <= DEEPEST).then(|| json5::from_str(text).ok()).flatten()
}

/// Brackets that are open at once, those within strings too: at least as many as there are levels.
fn depth(text: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The value behind the word `correlation_id` in what is no JSON, so that the refusal finds its sender.
fn salvaged(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("correlation_id")?;
    let rest = rest.strip_prefix(['"', '\'']).unwrap_or(rest).trim_start();
    let rest = rest.strip_prefix(':')?.trim_start();
    let value = match rest.chars().next()? {
        quote @ ('"' | '\'') => rest[1..].split(quote).next()?,
        _ => rest.split(|c: char| !c.is_ascii_digit()).next()?,
    };
    is_id(value).then(|| value.to_owned())
}

/// A name: a string, or a number for those who count their parts. NULs that fill a string up are not part of it.
pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text.trim_end_matches('\0').to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(D::Error::custom(format_args!("{} where a string belongs", kind(&other)))),
    }
}

/// As [`name`], or nothing.
pub fn name_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None => Ok(None),
        Some(value) => name(value).map(Some).map_err(D::Error::custom),
    }
}

/// A number, or a string that is one.
pub fn number<'de, D: Deserializer<'de>, T: FromNumber>(deserializer: D) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let found = match &value {
        Value::Number(number) => T::from_number(number),
        Value::String(text) => {
            let text = text.trim_end_matches('\0').trim();
            text.parse::<Number>().ok().and_then(|number| T::from_number(&number))
        }
        _ => None,
    };
    found.ok_or_else(|| D::Error::custom(format_args!("{} where {} belongs", Shown(&value), T::KIND)))
}

/// As [`number`], or nothing.
pub fn number_or_none<'de, D: Deserializer<'de>, T: FromNumber>(deserializer: D) -> Result<Option<T>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None => Ok(None),
        Some(value) => number(value).map(Some).map_err(D::Error::custom),
    }
}

/// A yes or no, also as the number or the string that some controllers have for it.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let found = match &value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => whole(number).filter(|number| *number < 2).map(|number| number == 1),
        Value::String(text) => match text.trim_end_matches('\0').trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    found.ok_or_else(|| D::Error::custom(format_args!("{} where true or false belongs", Shown(&value))))
}

/// Numbers that commands hold. Implemented here alone.
pub trait FromNumber: Sized {
    /// What is allowed.
    const KIND: &'static str;
    /// This number, when it is one of these.
    fn from_number(number: &Number) -> Option<Self>;
}

/// PLCs send counters as REAL too: 7.0 is 7.
fn whole(number: &Number) -> Option<u64> {
    let real = |real: f64| (real.fract() == 0.0 && (0.0..9.0e15).contains(&real)).then_some(real as u64);
    number.as_u64().or_else(|| number.as_f64().and_then(real))
}

impl FromNumber for u64 {
    const KIND: &'static str = "a whole number from 0";
    fn from_number(number: &Number) -> Option<Self> {
        whole(number)
    }
}

impl FromNumber for u32 {
    const KIND: &'static str = "a whole number from 0 to 4294967295";
    fn from_number(number: &Number) -> Option<Self> {
        whole(number)?.try_into().ok()
    }
}

impl FromNumber for f64 {
    const KIND: &'static str = "a number";
    fn from_number(number: &Number) -> Option<Self> {
        number.as_f64()
    }
}

impl FromNumber for f32 {
    const KIND: &'static str = "a number";
    fn from_number(number: &Number) -> Option<Self> {
        number.as_f64().map(|real| real as Self)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A short value as it came, a long one by its kind.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) if text.chars().count() <= 40 => write!(f, "{text:?}"),
            Value::Number(number) => number.fmt(f),
            other => f.write_str(kind(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RIGHT: &str = r#"{"part_id":"A-2","correlation_id":"2"}"#;

    fn read(payload: impl AsRef<[u8]>) -> Option<String> {
        fields(payload.as_ref()).ok().map(|fields| Value::Object(fields).to_string())
    }

    fn utf16le(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn what_controllers_send_in_place_of_json_is_read_as_it_is_meant() {
        let right = read(RIGHT).expect("JSON");
        let utf16be: Vec<u8> = RIGHT.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let head = [&[254, RIGHT.len() as u8], RIGHT.as_bytes(), b"}\"old text"].concat();
        for payload in [
            format!("{RIGHT}\0").into_bytes(),
            format!("{RIGHT}{}", "\0".repeat(40)).into_bytes(),
            format!("{RIGHT}\0an earlier, longer text\"}}").into_bytes(),
            format!("{RIGHT}    \r\n").into_bytes(),
            format!("  \u{feff}{RIGHT}").into_bytes(),
            format!("\u{feff}{RIGHT}\0").into_bytes(),
            format!("'{RIGHT}'").into_bytes(),
            RIGHT.replace('"', "'").into_bytes(),
            RIGHT.replace('}', ",}").into_bytes(),
            Value::String(RIGHT.to_owned()).to_string().into_bytes(),
            format!("\0{RIGHT}").into_bytes(),
            RIGHT.replace(',', ", // the part\r\n").into_bytes(),
            RIGHT.replace("A-2", "A-2\0\0\0\0").into_bytes(),
            [&[0xff, 0xfe][..], &utf16le(RIGHT)].concat(),
            [&[0xfe, 0xff][..], &utf16be].concat(),
            [&[0xfe, 0xff, 0, b' '][..], &utf16be].concat(),
            utf16le(&format!("{RIGHT}\0\0")),
            utf16be,
            head,
        ] {
            assert_eq!(read(&payload).as_ref(), Some(&right), "{:?}", String::from_utf8_lossy(&payload));
        }
        let units = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
        let wide = [&[0, 254, 0, RIGHT.len() as u8], &units(RIGHT)[..], &units("}old")].concat();
        for framed in [
            wide,
            [b"\x02", RIGHT.as_bytes(), b"\x03"].concat(),
            [RIGHT.as_bytes(), &[0xff; 20]].concat(),
            format!("\u{200b}{RIGHT}").into_bytes(),
        ] {
            assert_eq!(read(&framed).as_ref(), Some(&right), "{framed:?}");
        }
        let latin: Vec<u8> = "{\"part_id\":\"Müller\"}".chars().map(|c| c as u8).collect();
        assert_eq!(read(latin).as_deref(), Some("{\"part_id\":\"Müller\"}"));
    }

    #[test]
    fn what_means_nothing_is_refused_and_its_sender_found() {
        let unread = |payload: &str| fields(payload.as_bytes()).expect_err("no command");
        for empty in ["", "  ", "\0\0\0", "\u{feff}", "\r\n"] {
            assert_eq!(unread(empty), Unread { reason: "it is empty".into(), correlation_id: None }, "{empty:?}");
        }
        let id = |payload: &str| unread(payload).correlation_id;
        assert_eq!(id(r#"{"part_id":"A-2","correlation_id":"2","#).as_deref(), Some("2"));
        assert_eq!(id(r#"{"correlation_id" : 77, "part_id":A-2"#).as_deref(), Some("77"));
        assert_eq!(id("{'correlation_id':'x y',").as_deref(), Some("x y"));
        assert_eq!(id(r#"{"correlation_id":"#), None);
        assert_eq!(id("[1]"), None);
        assert_eq!(id("7"), None);
        // The strict reader's words, which know the place.
        assert!(unread(r#"{"part_id":}"#).reason.contains("column 12"));
    }

    #[test]
    fn deep_brackets_are_refused_before_a_reader_follows_them() {
        let deep = format!("{{'a':{}", "[".repeat(60_000));
        assert!(fields(deep.as_bytes()).is_err());
        assert_eq!(depth("{'regions':[[[1,2]]]}"), 4);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_fields_or_a_reason(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(unread) = fields(&bytes) {
                prop_assert!(!unread.reason.is_empty());
                prop_assert!(unread.correlation_id.is_none_or(|id| is_id(&id)));
            }
        }

        #[test]
        fn a_right_payload_is_read_by_its_own_rules(text in "\\PC{0,20}", number in any::<i64>()) {
            let payload = serde_json::json!({ "part_id": text, "n": number });
            prop_assert_eq!(read(payload.to_string()), Some(payload.to_string()));
        }
    }
}
