//! Layouts whose folders say what a picture is: MVTec-AD, and plain `good` and `defect`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{ClassItems, DatasetError, Item, Split};
use crate::source::image_file::EXTENSIONS;

/// Folder, and kind, of pictures without an anomaly.
const GOOD: &str = "good";
const DEFECT: &str = "defect";
const GROUND_TRUTH: &str = "ground_truth";

/// `CLASS/SPLIT/KIND/NAME.png`; the root may be a class itself.
pub(super) fn mvtec(root: &Path, split: Split) -> Result<Vec<ClassItems>, DatasetError> {
    const LAYOUT: &str = "mvtec";
    let is_class = |folder: &Path| [Split::Train, Split::Test].iter().any(|split| folder.join(split.name()).is_dir());
    let classes = classes(root, LAYOUT, "'train' or 'test'", is_class)?;
    let class = |(name, folder): (String, PathBuf)| {
        let mut items = Vec::new();
        for kind_folder in list(&folder.join(split.name()), LAYOUT)?.into_iter().filter(|path| path.is_dir()) {
            let kind = name_of(&kind_folder);
            let masks = (kind != GOOD).then(|| folder.join(GROUND_TRUTH).join(&kind));
            items.extend(pictures(&kind_folder, masks.as_deref(), Some(&kind), LAYOUT)?);
        }
        Ok(ClassItems { name, items })
    };
    classes.into_iter().map(class).collect()
}

/// `CLASS/good/NAME.png`, `CLASS/defect/[KIND/]NAME.png`; the root may be a class itself.
pub(super) fn plain(root: &Path) -> Result<Vec<ClassItems>, DatasetError> {
    const LAYOUT: &str = "folders";
    let is_class = |folder: &Path| [GOOD, DEFECT].iter().any(|kind| folder.join(kind).is_dir());
    let classes = classes(root, LAYOUT, "'good' or 'defect'", is_class)?;
    let class = |(name, folder): (String, PathBuf)| {
        let (good, defect, masks) = (folder.join(GOOD), folder.join(DEFECT), folder.join(GROUND_TRUTH));
        let mut items = Vec::new();
        if good.is_dir() {
            items.extend(pictures(&good, None, Some(GOOD), LAYOUT)?);
        }
        if defect.is_dir() {
            items.extend(pictures(&defect, Some(&masks), None, LAYOUT)?);
            for kind_folder in list(&defect, LAYOUT)?.into_iter().filter(|path| path.is_dir()) {
                let kind = name_of(&kind_folder);
                items.extend(pictures(&kind_folder, Some(&masks.join(&kind)), Some(&kind), LAYOUT)?);
            }
        }
        Ok(ClassItems { name, items })
    };
    classes.into_iter().map(class).collect()
}

/// Name and folder of each class: the root when it is one, else the folders in it that are.
fn classes(
    root: &Path,
    layout: &'static str,
    needed: &'static str,
    is_class: impl Fn(&Path) -> bool,
) -> Result<Vec<(String, PathBuf)>, DatasetError> {
    let folders = list(root, layout)?;
    if is_class(root) {
        // `data/.` and `..` have no name of their own.
        let resolved = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        return Ok(vec![(name_of(&resolved), root.to_owned())]);
    }
    let found: Vec<_> =
        folders.into_iter().filter(|folder| is_class(folder)).map(|folder| (name_of(&folder), folder)).collect();
    if found.is_empty() {
        return Err(DatasetError::NoClass { root: root.to_owned(), layout, needed });
    }
    Ok(found)
}

/// The pictures directly in `folder`; those with a folder of masks are anomalous.
fn pictures(
    folder: &Path,
    masks: Option<&Path>,
    kind: Option<&str>,
    layout: &'static str,
) -> Result<Vec<Item>, DatasetError> {
    let item = |image: PathBuf| {
        let mask = masks.map(|masks| mask_of(&image, masks));
        Item { image, mask, anomalous: masks.is_some(), kind: kind.map(str::to_owned) }
    };
    Ok(list(folder, layout)?.into_iter().filter(|path| is_picture(path)).map(item).collect())
}

/// `NAME_mask.png`, as MVTec-AD has it, or `NAME.png`, as the released conversion writes it; other endings do as well.
/// Where there is none, the place of the first.
fn mask_of(image: &Path, masks: &Path) -> PathBuf {
    let stem = image.file_stem().unwrap_or_default().to_string_lossy();
    let names = [format!("{stem}_mask"), stem.into_owned()];
    let mut candidates = names.iter().flat_map(|name| EXTENSIONS.map(|ending| masks.join(format!("{name}.{ending}"))));
    let missing = || masks.join(format!("{}.png", names[0]));
    candidates.find(|path| path.is_file()).unwrap_or_else(missing)
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.contains(&ending.as_str()) && path.is_file()
}

/// What is in a folder, sorted by name, hidden files left out.
fn list(folder: &Path, layout: &'static str) -> Result<Vec<PathBuf>, DatasetError> {
    let missing = |source| DatasetError::Missing { path: folder.to_owned(), layout, source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(missing)? {
        let path = entry.map_err(missing)?.path();
        if !name_of(&path).starts_with('.') {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
