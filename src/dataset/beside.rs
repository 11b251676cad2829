//! Layouts whose masks lie beside the pictures and say what is good: KolektorSDD, KolektorSDD2 and DAGM.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::LeftOut;
use super::files::{folders, is_foreign, is_picture, list, pictures};
use super::masks::{MaskFolder, beside as apart};
use super::words::{self, name_of};
use super::{ClassItems, DatasetError, Item, Mask, Split};

const LAYOUT: &str = "beside";

/// `[CLASS/]SPLIT/NAME.png` or, without splits, `[GROUP/]NAME.png`; masks are `NAME_GT.png`, `NAME_label.bmp` and the like in
/// the same folder or in `Label`. A picture whose mask is black, or missing where only defects have one, is good.
pub(super) fn beside(root: &Path, split: Split) -> Result<Vec<ClassItems>, DatasetError> {
    list(root, LAYOUT)?;
    let named = |folder: &Path| name_of(&folder.canonicalize().unwrap_or_else(|_| folder.to_owned()));
    if let Some(part) = split_folder(root, split) {
        return Ok(vec![class(named(root), &[part])?]);
    }
    let classes: Vec<(String, PathBuf)> = folders(root)
        .into_iter()
        .filter_map(|folder| Some((name_of(&folder), split_folder(&folder, split)?)))
        .collect();
    if !classes.is_empty() {
        return classes.into_iter().map(|(name, part)| class(name, &[part])).collect();
    }
    let groups: Vec<PathBuf> =
        [root.to_owned()].into_iter().chain(folders(root)).filter(|folder| has_masks(folder)).collect();
    if groups.is_empty() {
        let needed = "pictures with masks such as NAME_GT.png beside them";
        return Err(DatasetError::NoClass { root: root.to_owned(), layout: LAYOUT, needed });
    }
    Ok(vec![class(named(root), &groups)?])
}

/// Does a folder, or its splits, look like one of this layout?
pub(super) fn fits(folder: &Path) -> bool {
    [Split::Train, Split::Test].iter().any(|&split| split_folder(folder, split).is_some()) || has_masks(folder)
}

fn split_folder(folder: &Path, split: Split) -> Option<PathBuf> {
    let ranked =
        folders(folder).into_iter().filter_map(|path| Some((words::split_rank(&name_of(&path), split)?, path)));
    ranked.min().map(|(_, path)| path).filter(|path| has_masks(path))
}

/// Pictures lie here, and masks beside them or in a folder for masks.
fn has_masks(folder: &Path) -> bool {
    let (images, masks) = apart(pictures(folder));
    !images.is_empty() && (!masks.is_empty() || folders(folder).iter().any(|inner| words::is_masks(&name_of(inner))))
}

fn class(name: String, groups: &[PathBuf]) -> Result<ClassItems, DatasetError> {
    let mut class = ClassItems::new(name, Vec::new());
    let mut found: Vec<(PathBuf, Vec<PathBuf>)> = Vec::new();
    for group in groups {
        let entries = list(group, LAYOUT)?;
        let foreign = entries.iter().filter(|path| is_foreign(path)).map(|path| LeftOut::foreign(path));
        class.left_out.extend(foreign);
        let (images, mut masks) = apart(entries.into_iter().filter(|path| is_picture(path)).collect());
        for inner in folders(group).into_iter().filter(|inner| words::is_masks(&name_of(inner))) {
            masks.extend(list(&inner, LAYOUT)?);
        }
        let mut masks = MaskFolder::of(masks);
        found.extend(images.into_iter().map(|image| {
            let own = masks.of_picture(&image);
            (image, own)
        }));
        let unused = masks.unused().into_iter().filter(|path| is_picture(path)).count();
        if unused > 0 {
            class.remarks.push(format!("{unused} masks in {} belong to no picture", group.display()));
        }
    }
    let marks: Vec<Option<bool>> = found.par_iter().map(|(_, masks)| marks(masks)).collect();
    // Black masks are there to say that a picture is good: one without a mask is not labelled then.
    let all_have_one = marks.contains(&Some(false));
    for ((image, masks), marks) in found.into_iter().zip(marks) {
        match marks {
            Some(true) => class.items.push(Item { image, masks, anomalous: true, kind: None }),
            None if all_have_one => {
                let reason = "has no mask, though good pictures here have a black one".to_owned();
                class.left_out.push(LeftOut { path: image, pictures: 1, reason });
            }
            Some(false) | None => {
                class.items.push(Item { image, masks: Vec::new(), anomalous: false, kind: Some("good".to_owned()) });
            }
        }
    }
    Ok(class)
}

/// Does any of the masks mark something? `None` without masks. What cannot be read is said when the picture is looked at.
fn marks(masks: &[PathBuf]) -> Option<bool> {
    let marks = |path: &PathBuf| Mask::load(path).map_or(true, |mask| mask.anomalous.contains(&true));
    (!masks.is_empty()).then(|| masks.iter().any(marks))
}
