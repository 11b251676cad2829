//! Layouts whose folders say what a picture is: MVTec-AD and its followers, and plain folders of good and defective parts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::LeftOut;
use super::files::{count, folders, is_foreign, is_picture, list, pictures, stems};
use super::masks::{MaskFolder, beside};
use super::words::{self, name_of};
use super::{ClassItems, DatasetError, Item, Split};

/// Classes, and what else lies at the root.
pub(super) type Found = (Vec<ClassItems>, Vec<String>);

/// `CLASS/SPLIT/KIND/NAME.png`; the root may be a class itself.
pub(super) fn mvtec(root: &Path, split: Split) -> Result<Found, DatasetError> {
    const LAYOUT: &str = "mvtec";
    let (mut classes, mut remarks) = classes(root, LAYOUT, "'train' or 'test'", is_mvtec)?;
    if classes.iter().any(|(_, folder)| split_folder(folder, split).is_some()) {
        // Other classes have pictures for this split.
        classes.retain(|(name, folder)| {
            let there = split_folder(folder, split).is_some();
            if !there {
                remarks.push(format!("{name}: has no folder '{}', its pictures are not used", split.name()));
            }
            there
        });
    }
    let class = |(name, folder): (String, PathBuf)| -> Result<ClassItems, DatasetError> {
        let part = split_folder(&folder, split).unwrap_or_else(|| folder.join(split.name()));
        let truth = mask_folders(&[&part, &folder]);
        let mut reading = Reading::new(name, LAYOUT, &folder);
        let entries = list(&part, LAYOUT)?;
        let kinds: Vec<PathBuf> =
            entries.iter().filter(|path| path.is_dir() && !words::is_masks(&name_of(path))).cloned().collect();
        reading.stray(&entries, "lies beside the folders that say what is good");
        let bad = kinds.iter().filter(|path| !words::is_good(&name_of(path))).count();
        for folder in kinds {
            let kind = name_of(&folder);
            if words::is_unknown(&kind) {
                reading.whole(&folder, "does not say whether its pictures are good");
            } else if words::is_good(&kind) {
                reading.good(&folder, &kind)?;
            } else {
                reading.defective(&folder, Some(&kind), &below(&truth, &[&kind], bad == 1))?;
            }
        }
        Ok(reading.end(split))
    };
    Ok((classes.into_iter().map(class).collect::<Result<_, _>>()?, remarks))
}

/// `CLASS/good/NAME.png`, `CLASS/defect/[KIND/]NAME.png`, in any of the words for them; the root may be a class itself.
pub(super) fn plain(root: &Path) -> Result<Found, DatasetError> {
    const LAYOUT: &str = "folders";
    let (classes, remarks) = classes(root, LAYOUT, "'good' or 'defect'", is_plain)?;
    let class = |(name, folder): (String, PathBuf)| -> Result<ClassItems, DatasetError> {
        let data = data_folder(&folder);
        let mut truth = mask_folders(&[&data, &folder, &folder.join("Data")]);
        if let Some(parent) = folder.parent().filter(|_| words::is_split(&name)) {
            // A split was given for the data set: its masks lie beside it.
            truth.extend(mask_folders(&[parent]));
        }
        let entries = list(&data, LAYOUT)?;
        let mut inner: Vec<&PathBuf> = entries.iter().filter(|path| path.is_dir()).collect();
        inner.sort_by_key(|path| !words::is_good(&name_of(path)));
        let any = |is: fn(&str) -> bool| inner.iter().any(|path| is(&name_of(path)));
        // Without a folder for all that are not good, what lies beside the good ones are kinds of defects.
        let only_good = any(words::is_good) && !any(words::is_all_bad);
        let mut reading = Reading::new(name, LAYOUT, &folder);
        reading.stray(&entries, "lies beside the folders that say what is good");
        let is_kind = |name: &str| {
            !words::is_masks(name) && !words::is_good(name) && !words::is_unknown(name) && !words::is_split(name)
        };
        let bad = inner.iter().filter(|path| is_kind(&name_of(path))).count();
        for folder in inner {
            let kind = name_of(folder);
            if words::is_good(&kind) {
                reading.good(folder, &kind)?;
            } else if words::is_bad(&kind) && !(only_good && bad > 1) {
                // Masks may lie in a folder of the same name, of another word for it, or of none.
                let own = below(&truth, &[&kind], bad == 1);
                let own = if own.is_empty() { truth.clone() } else { own };
                reading.pictures(folder, Some(&own), None)?;
                let beside = mask_folders(&[folder]);
                for sort in folders(folder).into_iter().filter(|path| !words::is_masks(&name_of(path))) {
                    let called = name_of(&sort);
                    let within = below(&[&beside, own.as_slice(), &truth].concat(), &[&called], false);
                    let kind = Some(called.as_str()).filter(|called| !words::is_noun(called));
                    reading.defective(&sort, kind, if within.is_empty() { &own } else { &within })?;
                }
            } else if words::is_masks(&kind) {
                // Looked into above.
            } else if only_good && is_kind(&kind) {
                reading.defective(folder, Some(&kind), &below(&truth, &[&kind], bad == 1))?;
            } else {
                reading.whole(folder, "is called neither good nor defective");
            }
        }
        Ok(reading.end(Split::Test))
    };
    Ok((classes.into_iter().map(class).collect::<Result<_, _>>()?, remarks))
}

/// Has a folder a split with folders for kinds in it?
pub(super) fn is_mvtec(folder: &Path) -> bool {
    [Split::Train, Split::Test].iter().any(|&split| split_folder(folder, split).is_some())
}

/// Has a split of it folders for kinds?
pub(super) fn has_kinds(folder: &Path) -> bool {
    let kinds = |split| {
        split_folder(folder, split).is_some_and(|part| folders(&part).iter().any(|f| !words::is_masks(&name_of(f))))
    };
    kinds(Split::Train) || kinds(Split::Test)
}

/// Has a folder one for good parts or one for others?
pub(super) fn is_plain(folder: &Path) -> bool {
    let names = |folder: &Path| folders(folder).iter().map(|path| name_of(path)).collect::<Vec<_>>();
    names(&data_folder(folder)).iter().any(|name| words::is_good(name) || words::is_bad(name))
}

/// VisA, as it is published, has `Data/Images` between a class and its kinds; others have `images` beside `masks`.
fn data_folder(folder: &Path) -> PathBuf {
    let images = ["Data/Images", "images", "Images"].map(|name| folder.join(name));
    images.into_iter().find(|path| path.is_dir()).unwrap_or_else(|| folder.to_owned())
}

fn split_folder(folder: &Path, split: Split) -> Option<PathBuf> {
    let ranked =
        folders(folder).into_iter().filter_map(|path| Some((words::split_rank(&name_of(&path), split)?, path)));
    ranked.min().map(|(_, path)| path)
}

/// Is it a link to a folder that it lies in, on whatever way?
fn leads_up(folder: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let own = real(folder);
    folder.ancestors().skip(1).any(|outer| real(outer).starts_with(&own))
}

/// Folders for masks in any of these, and those for a split in them.
fn mask_folders(places: &[&Path]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for path in places.iter().flat_map(|place| folders(place)).filter(|path| words::is_masks(&name_of(path))) {
        let inner = folders(&path).into_iter().filter(|inner| words::is_split(&name_of(inner)));
        for path in inner.chain([path.clone()]) {
            if !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// Folders in folders for masks that belong to a kind: those with its name; if it is the only kind, also the only folder that
/// is not for good parts; else the folders themselves when they hold files.
fn below(truth: &[PathBuf], kind: &[&str], only: bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in truth {
        let inner = folders(place);
        let exact = inner.iter().find(|path| kind.contains(&name_of(path).as_str()));
        let called =
            exact.or_else(|| inner.iter().find(|path| kind.iter().any(|kind| words::same(kind, &name_of(path)))));
        let others: Vec<&PathBuf> = inner.iter().filter(|path| !words::is_good(&name_of(path))).collect();
        match (called, others.as_slice()) {
            (Some(path), _) => found.push(path.clone()),
            // A folder with a picture's name belongs to the picture; such a place is taken as it is.
            (None, [one]) if only && pictures(place).is_empty() && words::is_bad(&name_of(one)) => {
                found.push((*one).clone());
            }
            (None, _) => found.push(place.clone()),
        }
    }
    found
}

/// Name and folder of each class: the root when it is one, else the folders in it that are. Others with pictures are told.
#[allow(clippy::type_complexity, reason = "names and folders, and what is told")]
fn classes(
    root: &Path,
    layout: &'static str,
    needed: &'static str,
    is_class: impl Fn(&Path) -> bool,
) -> Result<(Vec<(String, PathBuf)>, Vec<String>), DatasetError> {
    let all = list(root, layout)?;
    if is_class(root) {
        // `data/.` and `..` have no name of their own.
        let resolved = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        return Ok((vec![(name_of(&resolved), root.to_owned())], Vec::new()));
    }
    let (found, others): (Vec<PathBuf>, Vec<PathBuf>) = all.into_iter().partition(|folder| is_class(folder));
    if found.is_empty() {
        return Err(DatasetError::NoClass { root: root.to_owned(), layout, needed });
    }
    let told = |folder: PathBuf| {
        let pictures = if folder.is_dir() { count(&folder) } else { 0 };
        let text =
            format!("{}: no class, holds no folder {needed}; its {pictures} pictures are not used", folder.display());
        (pictures > 0).then_some(text)
    };
    let remarks = others.into_iter().filter_map(told).collect();
    Ok((found.into_iter().map(|folder| (name_of(&folder), folder)).collect(), remarks))
}

/// A class in the making.
struct Reading {
    class: ClassItems,
    layout: &'static str,
    /// Names of all pictures in the class's folder.
    known: BTreeSet<Vec<u8>>,
}

impl Reading {
    fn new(name: String, layout: &'static str, folder: &Path) -> Self {
        Self { class: ClassItems::new(name, Vec::new()), layout, known: stems(folder, words::is_masks) }
    }

    fn good(&mut self, folder: &Path, kind: &str) -> Result<(), DatasetError> {
        self.deep(folder, None, Some(kind))
    }

    fn defective(&mut self, folder: &Path, kind: Option<&str>, masks: &[PathBuf]) -> Result<(), DatasetError> {
        // MVTec 3D-AD has the colour pictures and masks of a kind in folders of their own.
        let (colour, truth) = (folder.join("rgb"), folder.join("gt"));
        if colour.is_dir() {
            let masks = if truth.is_dir() { vec![truth] } else { masks.to_vec() };
            return self.pictures(&colour, Some(&masks), kind);
        }
        self.deep(folder, Some(masks), kind)
    }

    /// The pictures in a folder and in the folders of it.
    fn deep(&mut self, folder: &Path, masks: Option<&[PathBuf]>, kind: Option<&str>) -> Result<(), DatasetError> {
        let colour = folder.join("rgb");
        if masks.is_none() && colour.is_dir() {
            return self.pictures(&colour, None, kind);
        }
        self.pictures(folder, masks, kind)?;
        let beside = mask_folders(&[folder]);
        for inner in folders(folder).into_iter().filter(|path| !words::is_masks(&name_of(path)) && !leads_up(path)) {
            let own = masks.map(|masks| below(&[&beside, masks].concat(), &[&name_of(&inner)], false));
            self.deep(&inner, own.as_deref(), kind)?;
        }
        Ok(())
    }

    /// The pictures directly in `folder`; those with folders for masks are anomalous.
    fn pictures(&mut self, folder: &Path, masks: Option<&[PathBuf]>, kind: Option<&str>) -> Result<(), DatasetError> {
        let entries = list(folder, self.layout)?;
        self.class.left_out.extend(entries.iter().filter(|path| is_foreign(path)).map(|path| LeftOut::foreign(path)));
        let (images, near) = beside(entries.into_iter().filter(|path| is_picture(path)).collect());
        if let Some(first) = near.first() {
            let (count, first) = (near.len(), first.display());
            self.class
                .remarks
                .push(format!("{count} files such as {first} are taken for masks of the pictures beside them"));
        }
        let Some(masks) = masks else {
            let item = |image| Item { image, masks: Vec::new(), anomalous: false, kind: kind.map(str::to_owned) };
            self.class.items.extend(images.into_iter().map(item));
            return Ok(());
        };
        let inner = folders(folder).into_iter().filter(|path| words::is_masks(&name_of(path)));
        let mut places: Vec<MaskFolder> =
            masks.iter().cloned().chain(inner).map(|path| MaskFolder::open(&path)).collect();
        places.push(MaskFolder::of(near));
        let found = |(place, masks): (usize, &mut MaskFolder), image: &Path| (place, masks.of_picture(image));
        let mut masks: Vec<(usize, Vec<PathBuf>)> = Vec::new();
        for image in &images {
            let own = places.iter_mut().enumerate().map(|place| found(place, image)).find(|(_, own)| !own.is_empty());
            masks.push(own.unwrap_or_default());
        }
        let mut others = Vec::new();
        for (place, folder) in places.iter_mut().enumerate() {
            for (image, mask) in folder.of_beginnings(&images, &self.known) {
                let (of, own) = &mut masks[image];
                // Where a picture has masks in one place, those of another are the same once more.
                if own.is_empty() {
                    *of = place;
                }
                if *of == place {
                    others.push(mask.clone());
                    own.push(mask);
                }
            }
        }
        if let Some(first) = others.first() {
            let (count, first) = (others.len(), first.display());
            self.class.remarks.push(format!("{count} masks such as {first} are told by how their names begin"));
        }
        let without = masks.iter().filter(|(_, own)| own.is_empty()).count();
        for (image, (_, masks)) in images.into_iter().zip(masks) {
            self.class.items.push(Item { image, masks, anomalous: true, kind: kind.map(str::to_owned) });
        }
        let unused: Vec<PathBuf> = places.iter().flat_map(MaskFolder::unused).collect();
        if let (true, Some(first)) = (without > 0, unused.first()) {
            self.class.remarks.push(format!(
                "{without} pictures in {} have no mask, and {} belongs to none of them: a mask is called as its picture, or \
                 with _mask behind, and is PNG, BMP, TIFF, WebP or JPEG",
                folder.display(),
                first.display()
            ));
        }
        Ok(())
    }

    /// A folder that is not used.
    fn whole(&mut self, folder: &Path, reason: &str) {
        let pictures = count(folder);
        if pictures > 0 {
            self.class.left_out.push(LeftOut { path: folder.to_owned(), pictures, reason: reason.to_owned() });
        }
    }

    /// Pictures that lie where none belong.
    fn stray(&mut self, entries: &[PathBuf], reason: &str) {
        for path in entries.iter().filter(|path| is_picture(path) || is_foreign(path)) {
            self.class.left_out.push(LeftOut { path: path.clone(), pictures: 1, reason: reason.to_owned() });
        }
    }

    fn end(mut self, split: Split) -> ClassItems {
        if self.class.good() == 0 && self.class.defective() > 0 && split == Split::Test {
            let remark = "no folder here is called good (or ok, normal, …): every picture counts as defective";
            self.class.remarks.push(remark.to_owned());
        }
        self.class
    }
}
