//! Reads the file key by key, so that one look shows every mistake with its line.

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use strsim::levenshtein;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::problem::Report;
use super::raw::{
    RawCamera, RawKind, RawLevels, RawLine, RawLocate, RawModel, RawRecipe, RawRemote, RawTrigger, RawView, TOP_LEVEL,
};

type Table<'i> = DeTable<'i>;
type Pair<'i> = (Spanned<DeString<'i>>, Spanned<DeValue<'i>>);

/// The kinds of camera, as written in `source`.
pub const KINDS: &[&str] = &["directory", "v4l2", "rtsp", "aravis", "file", "launch", "synthetic"];

/// The names of the keys that `T` knows, as serde knows them.
pub fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Probe<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = de::value::Error;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("only structures have keys"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            Err(de::Error::custom("the keys are all that was asked for"))
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut keys: &'static [&'static str] = &[];
    // The probe never yields a value: its answer is what it leaves behind.
    match T::deserialize(Probe(&mut keys)) {
        Ok(_) | Err(_) => keys,
    }
}

/// A file of nothing but these keys.
pub fn keys<T: DeserializeOwned + Default>(text: &str, report: &mut Report) -> T {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.add(error.span().map(|span| span.start), "", error.message().to_owned());
    }
    match errors.is_empty() {
        true => pairs(table.into_inner().into_iter().collect(), "", keys_of::<T>(), report),
        false => T::default(),
    }
}

/// The file, as far as it can be read; mistakes go into the report.
pub fn read(text: &str, report: &mut Report) -> RawLine {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.add(error.span().map(|span| span.start), "", error.message().to_owned());
    }
    let mut raw = RawLine::default();
    if !errors.is_empty() {
        return raw;
    }
    for (key, value) in table.into_inner() {
        match key.get_ref().as_ref() {
            "line" => match value.get_ref().as_str() {
                Some(name) => raw.line = Some(Spanned::new(value.span(), name.to_owned())),
                None => wrong_type(&value, "line", "a string", report),
            },
            "model" => raw.model = model(value, report),
            "recipe" => raw.recipe = section(value, "recipe", report),
            "mqtt" => raw.mqtt = section(value, "mqtt", report),
            "commands" => raw.commands = section(value, "commands", report),
            "http" => raw.http = section(value, "http", report),
            "sparkplug" => raw.sparkplug = Some(section(value, "sparkplug", report)),
            "outbox" => raw.outbox = section(value, "outbox", report),
            "archive" => raw.archive = Some(section(value, "archive", report)),
            "self_test" => raw.self_test = Some(section(value, "self_test", report)),
            "traces" => raw.traces = Some(section(value, "traces", report)),
            "stop" => raw.stop = section(value, "stop", report),
            "camera" => match value.get_ref().as_array() {
                Some(cameras) => {
                    for (index, value) in cameras.iter().enumerate() {
                        raw.cameras.push(camera(value.clone(), index, report));
                    }
                }
                None => wrong_type(&value, "camera", "one [[camera]] table (two brackets) per camera", report),
            },
            _ => unknown(&key, "", TOP_LEVEL, report),
        }
    }
    raw
}

fn model(value: Spanned<DeValue<'_>>, report: &mut Report) -> RawModel {
    let Some(table) = table(value, "model", report) else { return RawModel::default() };
    let (mut own, mut remote) = (Vec::new(), None);
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "remote" => remote = Some(value),
            _ => own.push((key, value)),
        }
    }
    let known: Vec<&str> = keys_of::<RawModel>().iter().copied().chain(["remote"]).collect();
    let mut model: RawModel = pairs(own, "model", &known, report);
    model.remote = remote.map(|value| section::<RawRemote>(value, "model.remote", report));
    model
}

fn camera(value: Spanned<DeValue<'_>>, index: usize, report: &mut Report) -> RawCamera {
    let path = match value.get_ref().get("name").and_then(|name| name.get_ref().as_str()) {
        Some(name) => format!("camera '{name}'"),
        None => format!("camera[{index}]"),
    };
    let at = value.span().start;
    let Some(table) = table(value, &path, report) else { return RawCamera { at, ..RawCamera::default() } };
    let kind = table.get("source").and_then(|kind| kind.get_ref().as_str()).map(str::to_owned);
    let common = keys_of::<RawCamera>();
    let (mut shared, mut own) = (Vec::new(), Vec::new());
    let (mut recipe, mut trigger, mut view, mut levels, mut locate) = (None, None, None, None, None);
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "recipe" => recipe = Some(value),
            "trigger" => trigger = Some(value),
            "view" => view = Some(value),
            "locate" => locate = Some(value),
            "levels" => levels = Some(value),
            name if common.contains(&name) => shared.push((key, value)),
            _ => own.push((key, value)),
        }
    }
    let mut camera: RawCamera = pairs(shared, &path, common, report);
    camera.at = at;
    if let Some(value) = recipe {
        camera.recipe = section::<RawRecipe>(value, &format!("{path}.recipe"), report);
    }
    if let Some(value) = trigger {
        camera.trigger = section::<RawTrigger>(value, &format!("{path}.trigger"), report);
    }
    if let Some(value) = view {
        camera.view = section::<RawView>(value, &format!("{path}.view"), report);
    }
    camera.locate = locate.map(|value| section::<RawLocate>(value, &format!("{path}.locate"), report));
    camera.levels = levels.map(|value| section::<RawLevels>(value, &format!("{path}.levels"), report));
    let path = kind.as_ref().map_or(path.clone(), |kind| format!("{path} (source = \"{kind}\")"));
    camera.kind = match kind.as_deref() {
        Some("directory") => Some(RawKind::Directory(kind_keys(own, &path, report))),
        Some("v4l2") => Some(RawKind::V4l2(kind_keys(own, &path, report))),
        Some("rtsp") => Some(RawKind::Rtsp(kind_keys(own, &path, report))),
        Some("aravis") => Some(RawKind::Aravis(kind_keys(own, &path, report))),
        Some("file") => Some(RawKind::File(kind_keys(own, &path, report))),
        Some("launch") => Some(RawKind::Launch(kind_keys(own, &path, report))),
        Some("synthetic") => Some(RawKind::Synthetic(kind_keys(own, &path, report))),
        // `resolve` says what is wrong with the kind; its keys cannot be judged.
        _ => None,
    };
    camera
}

fn kind_keys<T: DeserializeOwned + Default>(own: Vec<Pair<'_>>, path: &str, report: &mut Report) -> T {
    let valid: Vec<&str> = keys_of::<T>()
        .iter()
        .chain(keys_of::<RawCamera>())
        .copied()
        .chain(["recipe", "trigger", "view", "levels", "locate"])
        .collect();
    pairs(own, path, &valid, report)
}

fn section<T: DeserializeOwned + Default>(value: Spanned<DeValue<'_>>, path: &str, report: &mut Report) -> T {
    table(value, path, report)
        .map_or_else(T::default, |table| pairs(table.into_iter().collect(), path, keys_of::<T>(), report))
}

fn table<'i>(value: Spanned<DeValue<'i>>, path: &str, report: &mut Report) -> Option<Table<'i>> {
    if !value.get_ref().is_table() {
        wrong_type(&value, path, "a table", report);
        return None;
    }
    match value.into_inner() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// Every key is tried alone, then those that passed together.
fn pairs<T: DeserializeOwned + Default>(pairs: Vec<Pair<'_>>, path: &str, valid: &[&str], report: &mut Report) -> T {
    let mut good = Table::new();
    for (key, value) in pairs {
        if !keys_of::<T>().contains(&key.get_ref().as_ref()) {
            unknown(&key, path, valid, report);
            continue;
        }
        let alone: Table<'_> = [(key.clone(), value.clone())].into_iter().collect();
        match T::deserialize(toml::de::Deserializer::from(Spanned::new(value.span(), alone))) {
            Ok(_) => {
                good.insert(key, value);
            }
            Err(error) => {
                let at = error.span().unwrap_or(value.span()).start;
                report.add(Some(at), &join(path, key.get_ref()), error.message().trim().to_owned());
            }
        }
    }
    match T::deserialize(toml::de::Deserializer::from(Spanned::new(0..0, good))) {
        Ok(read) => read,
        Err(error) => {
            report.add(None, path, error.message().to_owned());
            T::default()
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn wrong_type(value: &Spanned<DeValue<'_>>, path: &str, wanted: &str, report: &mut Report) {
    report.add(Some(value.span().start), path, format!("found {}, expected {wanted}", value.get_ref().type_str()));
}

fn unknown(key: &Spanned<DeString<'_>>, path: &str, valid: &[&str], report: &mut Report) {
    let name = key.get_ref().as_ref();
    let nearest = valid.iter().map(|&candidate| (levenshtein(name, candidate), candidate)).min();
    let hint = match nearest {
        // A third of the letters wrong is a slip; more is another word.
        Some((slips, candidate)) if slips * 3 <= candidate.len().max(3) => format!("did you mean '{candidate}'? "),
        _ => String::new(),
    };
    report.add(Some(key.span().start), &join(path, name), format!("unknown key; {hint}allowed: {}", valid.join(", ")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::RawStop;

    #[test]
    fn keys_come_from_serde() {
        assert_eq!(keys_of::<RawStop>(), ["deadline_s"]);
        assert!(keys_of::<RawCamera>().contains(&"when_full") && !keys_of::<RawCamera>().contains(&"kind"));
    }

    #[test]
    fn slips_are_counted() {
        assert_eq!(levenshtein("treshold", "threshold"), 1);
        assert_eq!(levenshtein("", "abc"), 3);
    }
}
