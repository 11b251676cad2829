//! Layouts in which a file lists the pictures: VisA's split CSV, and the JSON of the released VCP-CLIP code.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{ClassItems, DatasetError, Item, Split, words};

/// VisA's split for one class at a time.
pub(super) const VISA_LIST: &str = "split_csv/1cls.csv";
const VISA_COLUMNS: [&str; 5] = ["object", "split", "label", "image", "mask"];

/// What a folder without a list is told.
const NO_META: &str = "holds neither meta.json nor meta_NAME.json";

/// One line of VisA's list.
#[derive(Deserialize)]
struct VisaLine {
    object: String,
    split: String,
    label: String,
    image: String,
    mask: Option<String>,
}

pub(super) fn visa(root: &Path, split: Split) -> Result<Vec<ClassItems>, DatasetError> {
    let list = root.join(VISA_LIST);
    let text = read(&list, "visa")?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_slice());
    let broken = |error: csv::Error| DatasetError::Entry {
        list: list.clone(),
        place: error.position().map_or("line 1".to_owned(), |position| format!("line {}", position.line())),
        reason: error.to_string(),
    };
    let header = reader.headers().map_err(broken)?.clone();
    if header.iter().map(|name| name.trim_start_matches('\u{feff}')).ne(VISA_COLUMNS) {
        let reason = format!("the columns must be {}", VISA_COLUMNS.join(","));
        return Err(DatasetError::Entry { list, place: "line 1".to_owned(), reason });
    }
    let mut classes = BTreeMap::<String, Vec<Item>>::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(broken)? {
        let place = format!("line {}", record.position().map_or(0, csv::Position::line));
        let refuse = |reason: String| DatasetError::Entry { list: list.clone(), place: place.clone(), reason };
        let VisaLine { object, split: part, label, image, mask } = record.deserialize(None).map_err(broken)?;
        if ![Split::Train.name(), Split::Test.name()].contains(&part.as_str()) {
            return Err(refuse(format!("split '{part}' must be train or test")));
        }
        let anomalous = match (words::is_good(&label), words::is_bad(&label)) {
            (true, _) => false,
            (_, true) => true,
            _ => return Err(refuse(format!("label '{label}' must be normal or anomaly"))),
        };
        if part != split.name() {
            continue;
        }
        let kind = if anomalous { None } else { Some("good".to_owned()) };
        let item = item(root, &image, &mask.unwrap_or_default(), anomalous, kind).map_err(refuse)?;
        classes.entry(object).or_default().push(item);
    }
    Ok(classes.into_iter().map(|(name, items)| ClassItems::new(name, items)).collect())
}

/// Split → class → entries.
type Meta = BTreeMap<String, BTreeMap<String, Vec<MetaEntry>>>;

/// One picture of the JSON list; what else stands there is not needed.
#[derive(Deserialize)]
struct MetaEntry {
    img_path: String,
    #[serde(default)]
    mask_path: Option<String>,
    #[serde(default)]
    specie_name: Option<String>,
    anomaly: u8,
}

/// The classes, and the folder of the list, below which its paths lie.
pub(super) fn meta(root: &Path, split: Split) -> Result<(PathBuf, Vec<ClassItems>), DatasetError> {
    let list = meta_file(root)?;
    let root = list.parent().map(Path::to_owned).unwrap_or_default();
    let unreadable = |reason: String| DatasetError::List { list: list.clone(), reason };
    let mut meta: Meta =
        serde_json::from_slice(&read(&list, "meta")?).map_err(|error| unreadable(error.to_string()))?;
    let entries = meta.remove(split.name()).ok_or_else(|| {
        unreadable(format!("has no '{}'; expected {{\"train\": {{CLASS: […]}}, \"test\": {{…}}}}", split.name()))
    })?;
    let mut classes = Vec::new();
    for (name, entries) in entries {
        let mut items = Vec::new();
        // The released code writes an entry without a picture for a class without training pictures.
        for (number, entry) in entries.into_iter().enumerate().filter(|(_, entry)| !entry.img_path.is_empty()) {
            let kind = entry.specie_name.filter(|kind| !kind.is_empty());
            let item =
                item(&root, &entry.img_path, entry.mask_path.as_deref().unwrap_or_default(), entry.anomaly != 0, kind)
                    .map_err(|reason| {
                        let place = format!("'{}', class '{name}', entry {}", split.name(), number + 1);
                        DatasetError::Entry { list: list.clone(), place, reason }
                    })?;
            items.push(item);
        }
        classes.push(ClassItems::new(name, items));
    }
    Ok((root, classes))
}

/// Does a list of the released code lie in a folder? A file of the same name may be something else.
pub(super) fn has_meta(root: &Path) -> bool {
    match meta_file(root) {
        Ok(list) => std::fs::read(list).is_ok_and(|text| serde_json::from_slice::<Meta>(&text).is_ok()),
        Err(DatasetError::List { reason, .. }) => !reason.starts_with(NO_META),
        Err(_) => false,
    }
}

/// The root itself when it is a file, else the one `meta.json` or `meta_NAME.json` in it.
fn meta_file(root: &Path) -> Result<PathBuf, DatasetError> {
    if root.is_file() {
        return Ok(root.to_owned());
    }
    let missing = |source| DatasetError::Missing { path: root.to_owned(), layout: "meta", source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).map_err(missing)? {
        let path = entry.map_err(missing)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name == "meta.json" || (name.starts_with("meta_") && name.ends_with(".json")) {
            found.push((name, path));
        }
    }
    found.sort();
    match found.as_slice() {
        [(_, path)] => Ok(path.clone()),
        [] => Err(DatasetError::List {
            list: root.to_owned(),
            reason: format!("{NO_META}, which the layout 'meta' needs"),
        }),
        several => {
            let names = several.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            let reason = format!("holds {names}: give the one that is meant as the root");
            Err(DatasetError::List { list: root.to_owned(), reason })
        }
    }
}

/// A mask that is not named, or not there, is not known.
fn item(root: &Path, image: &str, mask: &str, anomalous: bool, kind: Option<String>) -> Result<Item, String> {
    let place = |path: &str| below(root, path).ok_or_else(|| format!("'{path}' does not stay below the root"));
    if image.is_empty() {
        return Err("names no image".to_owned());
    }
    let image_path = place(image)?;
    let mask = if anomalous && !mask.is_empty() { Some(place(mask)?) } else { None };
    let masks = mask.filter(|mask| mask.is_file()).into_iter().collect();
    Ok(Item { image: image_path, masks, anomalous, kind })
}

/// `path` below `root`; `None` when it is absolute or climbs out.
pub(super) fn below(root: &Path, path: &str) -> Option<PathBuf> {
    // Lists written on Windows separate with backslashes.
    let path = path.replace('\\', "/");
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    Path::new(&path).components().all(inside).then(|| root.join(&path))
}

pub(super) fn read(list: &Path, layout: &'static str) -> Result<Vec<u8>, DatasetError> {
    std::fs::read(list).map_err(|source| DatasetError::Missing { path: list.to_owned(), layout, source })
}
