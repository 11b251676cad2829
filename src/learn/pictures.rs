//! The pictures that are learned from: read, changed at random, and brought to the model's size with their masks.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::LearnError;
use super::augment::{self, Augmentation, Picture};
use super::tiles::{Opened, Tile, TilePlan};
use crate::dataset::{Dataset, DatasetError, Item, Layout, Mask, Split, most_left_out};
use crate::dice::Dice;
use crate::frame::Image;
use crate::vcp_clip::preprocess::Preprocessor;

/// What the hold-out's dice are for; tells them from others of the same seed.
const HOLD_OUT: u64 = u64::from_le_bytes(*b"holdout ");

/// Labelled pictures of some classes.
#[derive(Clone, Debug)]
pub struct Pictures {
    items: Vec<Labelled>,
    found: Vec<String>,
}

#[derive(Clone, Debug)]
struct Labelled {
    class: String,
    item: Item,
    /// The tile of it that is learned from, and whether that shows a defect; without one it is the whole picture.
    tile: Option<Tile>,
}

impl Labelled {
    fn anomalous(&self) -> bool {
        self.tile.map_or(self.item.anomalous, |tile| tile.anomalous)
    }

    fn load(&self, opened: &mut Opened) -> Result<(Image, Option<Mask>), LearnError> {
        match self.tile {
            Some(tile) => opened.tile(&self.item, tile.rect),
            None => Ok(self.item.load()?),
        }
    }
}

/// A picture as the network takes it.
pub struct Input {
    /// Normalised planes 3×S×S.
    pub planes: Vec<f32>,
    /// S×S: 1 on defects.
    pub mask: Vec<u8>,
}

impl Pictures {
    /// Lists the pictures of the named classes (none named: all) in some splits. Defective pictures without a mask cannot
    /// be learned from; when more than a tenth of all is left out, that is an error unless `allow_missing`.
    pub fn open(
        root: &Path,
        layout: Layout,
        splits: &[Split],
        classes: &[String],
        allow_missing: bool,
    ) -> Result<Self, LearnError> {
        let (mut items, mut found, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
        let mut left_out = 0;
        // Layouts without splits give everything for each of them.
        let mut seen = BTreeSet::new();
        for &split in splits {
            let dataset = Dataset::open(root, layout, split)?.only(classes)?;
            found.extend(dataset.lines());
            for class in dataset.classes {
                left_out += class.left_out();
                reasons.extend(class.left_out.iter().map(|left| format!("{} {}", left.path.display(), left.reason)));
                let new = class.items.into_iter().filter(|item| seen.insert(item.image.clone()));
                let (known, unknown): (Vec<_>, Vec<_>) = new.partition(Item::has_truth);
                if let Some(first) = unknown.first() {
                    let (count, first) = (unknown.len(), first.image.display());
                    let reason =
                        format!("{count} defective pictures of '{}' have no mask, such as {first}", class.name);
                    found.push(format!("{reason}: they cannot be learned from"));
                    reasons.push(reason);
                    left_out += count;
                }
                items.extend(known.into_iter().map(|item| Labelled { class: class.name.clone(), item, tile: None }));
            }
        }
        let total = items.len() + left_out;
        if !allow_missing && left_out > most_left_out(total) {
            return Err(DatasetError::too_many_left_out(left_out, total, reasons).into());
        }
        items.sort_by(|a, b| a.class.cmp(&b.class));
        Ok(Self { items, found })
    }

    /// What was found, a line each, for whoever started the training.
    pub fn found(&self) -> &[String] {
        &self.found
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many of them are anomalous.
    pub fn anomalous(&self) -> usize {
        self.items.iter().filter(|labelled| labelled.anomalous()).count()
    }

    /// Class names, each once.
    pub fn classes(&self) -> Vec<&str> {
        let mut classes: Vec<&str> = self.items.iter().map(|labelled| labelled.class.as_str()).collect();
        classes.dedup();
        classes
    }

    /// Class of a picture, and whether it is anomalous.
    pub fn label(&self, at: usize) -> (&str, bool) {
        (&self.items[at].class, self.items[at].anomalous())
    }

    /// Takes a share of the good and of the anomalous pictures of every class away, at random by `seed`; returns what
    /// is left and what was taken.
    pub fn hold_out(self, share: f64, seed: u64) -> (Self, Self) {
        let mut groups: Vec<(String, bool, Vec<Labelled>)> = Vec::new();
        for labelled in self.items {
            let anomalous = labelled.anomalous();
            match groups.iter_mut().find(|(class, other, _)| *class == labelled.class && *other == anomalous) {
                Some((_, _, group)) => group.push(labelled),
                None => groups.push((labelled.class.clone(), anomalous, vec![labelled])),
            }
        }
        let (mut left, mut taken) = (Vec::new(), Vec::new());
        for (number, (_, _, group)) in groups.into_iter().enumerate() {
            let count = (share * group.len() as f64).round() as usize;
            let order = augment::order(group.len(), &mut Dice::new(seed, [HOLD_OUT, number as u64, 0]));
            for (at, labelled) in group.into_iter().enumerate() {
                if order[..count].contains(&at) { taken.push(labelled) } else { left.push(labelled) }
            }
        }
        (Self { items: left, found: self.found }, Self { items: taken, found: Vec::new() })
    }

    /// The tiles of every picture that `plan` learns from, in place of the whole pictures, for a model of this side. Those of one
    /// picture follow each other.
    pub fn tiled(self, plan: &TilePlan, image_size: usize, seed: u64) -> Result<Self, LearnError> {
        let cut = |(number, labelled): (usize, &Labelled)| {
            let tiles = plan.tiles(&labelled.item, image_size, seed, number as u64)?;
            Ok(tiles.into_iter().map(|tile| Labelled { tile: Some(tile), ..labelled.clone() }).collect())
        };
        let items: Result<Vec<Vec<Labelled>>, LearnError> = self.items.par_iter().enumerate().map(cut).collect();
        Ok(Self { items: items?.concat(), found: self.found })
    }

    /// These and others, class by class.
    pub fn with(mut self, other: Self) -> Self {
        self.items.extend(other.items);
        self.items.sort_by(|a, b| a.class.cmp(&b.class));
        self.found.extend(other.found);
        self
    }

    /// SHA-256 over classes, labels and files: names below `root`, and lengths. Before pictures are cut into tiles.
    pub fn identity(&self, root: &Path) -> String {
        // With the list itself as root, paths lie beside it.
        let root = if root.is_file() { root.parent().unwrap_or(root) } else { root };
        let mut hasher = Sha256::new();
        for Labelled { class, item, .. } in &self.items {
            let file = |path: &Path| {
                let length = std::fs::metadata(path).map_or(0, |data| data.len());
                format!("{}:{length}", path.strip_prefix(root).unwrap_or(path).display())
            };
            let mask = item.masks.iter().map(|mask| file(mask)).collect::<Vec<_>>().join(",");
            hasher.update(format!("{class}\n{}\n{}\n{mask}\n", item.anomalous, file(&item.image)));
        }
        hex::encode(hasher.finalize())
    }

    /// Reads a picture, changes it and brings it to the size of `preprocessor`.
    pub fn input(
        &self,
        at: usize,
        augmentation: &Augmentation,
        dice: &mut Dice,
        preprocessor: &mut Preprocessor,
        opened: &mut Opened,
    ) -> Result<Input, LearnError> {
        let size = preprocessor.size();
        let mut planes = vec![0.0; 3 * size * size];
        if augmentation.is_none() {
            // As it is, in its own mode, as the engines take it.
            let (image, mask) = self.items[at].load(opened)?;
            preprocessor.run(&image, &mut planes);
            let mask = mask.map_or_else(|| vec![0; size * size], |mask| bytes(&mask.resized(size)));
            return Ok(Input { planes, mask });
        }
        let picture = match self.mosaic(at, augmentation, dice, opened)? {
            Some(mosaic) => mosaic,
            None => self.picture(at, opened)?,
        };
        let (image, mask) = augmentation.apply(picture, dice).into_parts();
        preprocessor.run(&image, &mut planes);
        Ok(Input { planes, mask: bytes(&mask.resized(size)) })
    }

    fn picture(&self, at: usize, opened: &mut Opened) -> Result<Picture, LearnError> {
        let (image, mask) = self.items[at].load(opened)?;
        Ok(Picture::new(&image, mask))
    }

    /// With its probability, four anomalous pictures of the same class; a class without any has no mosaics.
    fn mosaic(
        &self,
        at: usize,
        augmentation: &Augmentation,
        dice: &mut Dice,
        opened: &mut Opened,
    ) -> Result<Option<Picture>, LearnError> {
        if !dice.chance(augmentation.mosaic) {
            return Ok(None);
        }
        let class = &self.items[at].class;
        let same = |other: &usize| self.items[*other].anomalous() && self.items[*other].class == *class;
        let candidates: Vec<usize> = (0..self.items.len()).filter(same).collect();
        if candidates.is_empty() {
            return Ok(None);
        }
        let mut one = || self.picture(candidates[dice.below(candidates.len())], opened);
        Ok(Some(augment::mosaic(&[one()?, one()?, one()?, one()?])))
    }
}

fn bytes(mask: &[bool]) -> Vec<u8> {
    mask.iter().map(|&anomalous| u8::from(anomalous)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_out_takes_its_share_of_every_class_and_label() {
        let labelled = |class: &str, anomalous: bool, at: usize| Labelled {
            class: class.to_owned(),
            item: Item {
                image: format!("{class}/{anomalous}/{at}.png").into(),
                masks: Vec::new(),
                anomalous,
                kind: None,
            },
            tile: None,
        };
        let mut items: Vec<_> = (0..10).map(|at| labelled("bolt", false, at)).collect();
        items.extend((0..5).map(|at| labelled("bolt", true, at)));
        items.extend((0..4).map(|at| labelled("nut", false, at)));
        let split = |seed| Pictures { items: items.clone(), found: Vec::new() }.hold_out(0.2, seed);
        let (left, taken) = split(1);
        assert_eq!((left.len(), taken.len()), (15, 4));
        assert_eq!((taken.anomalous(), taken.classes()), (1, vec!["bolt", "nut"]));
        assert_eq!(split(1).1.identity(Path::new("")), taken.identity(Path::new("")));
        assert_ne!(split(2).1.identity(Path::new("")), taken.identity(Path::new("")));
    }
}
