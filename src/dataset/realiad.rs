//! Real-IAD: one JSON file a class says which pictures are good and where the masks of the others lie.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::LeftOut;
use super::files::{self, ending};
use super::listed::{below, read};
use super::words::{self, name_of};
use super::{ClassItems, DatasetError, Item, Split};

const LAYOUT: &str = "realiad";
/// Where the lists lie below the root of the data set, besides the root itself.
const LISTS: [&str; 2] = ["realiad_jsons", "realiad_jsons/realiad_jsons"];
/// Where the pictures lie, the published resolutions from small to large.
const PICTURES: [&str; 5] = ["", "realiad_256", "realiad_512", "realiad_1024", "realiad_raw"];
/// What the published lists call good parts.
const GOOD: &str = "OK";

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    meta: Meta,
    train: Vec<Entry>,
    test: Vec<Entry>,
}

/// What holds for all entries.
#[derive(Default, Deserialize)]
struct Meta {
    normal_class: Option<String>,
    prefix: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    category: Option<String>,
    anomaly_class: String,
    image_path: String,
    mask_path: Option<String>,
}

/// The lists of a data set: the root itself, or what lies in it, as far as its content is such a list.
pub(super) fn lists(root: &Path) -> Vec<PathBuf> {
    let folders = [root.to_owned()].into_iter().chain(LISTS.map(|folder| root.join(folder)));
    let entries = folders.flat_map(|folder| files::list(&folder, LAYOUT).unwrap_or_default());
    let all: Vec<PathBuf> = if root.is_file() { vec![root.to_owned()] } else { entries.collect() };
    let is_list = |path: &PathBuf| {
        let text = || std::fs::read(path).unwrap_or_default();
        ending(path) == "json" && path.is_file() && serde_json::from_slice::<List>(&text()).is_ok()
    };
    all.into_iter().filter(is_list).collect()
}

/// `CLASS.json` and the pictures below `CLASS` beside it, or below the folder of a resolution.
pub(super) fn realiad(root: &Path, split: Split) -> Result<(PathBuf, Vec<ClassItems>), DatasetError> {
    let found = if root.is_file() { vec![root.to_owned()] } else { lists(root) };
    if found.is_empty() {
        let reason = "holds no CLASS.json with 'train' and 'test', which the layout 'realiad' needs".to_owned();
        return Err(DatasetError::List { list: root.to_owned(), reason });
    }
    let base = if root.is_file() { root.parent().map(Path::to_owned).unwrap_or_default() } else { root.to_owned() };
    let classes = found.iter().map(|list| class(&base, list, split)).collect::<Result<_, _>>()?;
    Ok((base, classes))
}

fn class(root: &Path, list: &Path, split: Split) -> Result<ClassItems, DatasetError> {
    let unreadable = |reason: String| DatasetError::List { list: list.to_owned(), reason };
    let List { meta, train, test } =
        serde_json::from_slice(&read(list, LAYOUT)?).map_err(|error| unreadable(error.to_string()))?;
    let entries = match split {
        Split::Train => train,
        Split::Test => test,
    };
    let file = list.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let name = entries.iter().find_map(|entry| entry.category.clone()).unwrap_or(file);
    let prefix = meta.prefix.unwrap_or_else(|| name.clone());
    let base = base(root, list, &prefix, &entries);
    let mut class = ClassItems::new(name, Vec::new());
    for (number, entry) in entries.into_iter().enumerate() {
        let place = |path: &str| {
            below(&base, path).ok_or_else(|| DatasetError::Entry {
                list: list.to_owned(),
                place: format!("'{}', entry {}", split.name(), number + 1),
                reason: format!("'{path}' does not stay below the root"),
            })
        };
        let image = place(&entry.image_path)?;
        if !image.is_file() {
            class.left_out.push(LeftOut { path: image, pictures: 1, reason: "is listed and not there".to_owned() });
            continue;
        }
        let kind = entry.anomaly_class;
        let good = meta.normal_class.as_deref().map_or(kind == GOOD || words::is_good(&kind), |normal| kind == normal);
        let mask = entry.mask_path.filter(|path| !good && !path.is_empty()).map(|path| place(&path)).transpose()?;
        let masks = mask.filter(|mask| mask.is_file()).into_iter().collect();
        class.items.push(Item { image, masks, anomalous: !good, kind: Some(kind) });
    }
    Ok(class)
}

/// The folder that paths of the list begin at: the one that has most of the first pictures.
fn base(root: &Path, list: &Path, prefix: &str, entries: &[Entry]) -> PathBuf {
    let beside = list.parent().map(Path::to_owned).unwrap_or_default();
    let mut roots: Vec<PathBuf> = Vec::new();
    for start in [beside.as_path(), root].into_iter().chain(beside.ancestors().skip(1).take(2)) {
        roots.extend(PICTURES.map(|folder| start.join(folder)));
    }
    let prefix = prefix.trim_matches('/');
    let all = roots.iter().flat_map(|root| [root.join(prefix), root.clone()]);
    // A prefix that climbs out is none.
    let all = all.filter(|base| !name_of(base).is_empty() && !prefix.split('/').any(|part| part == ".."));
    let has = |base: &PathBuf| {
        entries.iter().take(20).filter(|e| below(base, &e.image_path).is_some_and(|path| path.is_file())).count()
    };
    let mut best = (0, root.join(prefix));
    for base in all {
        let found = has(&base);
        if found > best.0 {
            best = (found, base);
        }
    }
    best.1
}
