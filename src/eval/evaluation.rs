//! What an evaluation brings, and what it tells while it runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::figures::ClassFigures;
use super::tally::Outcome;
use crate::dataset::MaskNote;

/// The result.
pub struct Evaluation {
    /// The model first, then the baseline.
    pub methods: Vec<Outcome>,
    /// Pictures that do not count.
    pub left_out: Vec<LeftOut>,
    /// Pictures that do.
    pub looked_at: usize,
    /// What a reader of the figures should know, a sentence each: which do not exist, and how masks were read.
    pub warnings: Vec<String>,
}

/// A picture that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// Its file, as far as it can be written as text.
    pub image: String,
    /// Why.
    pub reason: String,
}

/// How it goes.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A picture was looked at, or left out.
    Looked {
        /// Pictures so far.
        done: usize,
        /// Pictures in all.
        total: usize,
        /// The class it belongs to.
        class: &'a str,
    },
    /// A picture could not be read and does not count.
    LeftOut(&'a LeftOut),
}

/// What was peculiar about the masks of a class: how many, and the first.
#[derive(Default)]
pub(super) struct Peculiar(BTreeMap<(String, MaskNote), (usize, PathBuf)>);

impl Peculiar {
    /// Counts what a picture's masks are noted for.
    pub(super) fn add(&mut self, class: &str, image: &Path, mut notes: Vec<MaskNote>) {
        notes.sort_unstable();
        notes.dedup();
        for note in notes {
            self.0.entry((class.to_owned(), note)).or_insert_with(|| (0, image.to_owned())).0 += 1;
        }
    }

    /// A sentence for each kind of mask in each class.
    pub(super) fn sentences(self) -> impl Iterator<Item = String> {
        self.0.into_iter().map(|((class, note), (count, first))| {
            format!("{class}: {count} masks {}; the first is that of {}", note.text(), first.display())
        })
    }
}

/// Which figures of a class do not exist, and why.
pub(super) fn missing(figures: &ClassFigures) -> Vec<String> {
    let ClassFigures { class, good, anomalous, without_mask, .. } = figures;
    let mut sentences = Vec::new();
    match (*good, *anomalous) {
        (0, 0) => {}
        (0, _) => sentences.push(format!(
            "{class}: no good picture: the figures of whole pictures do not exist, those of pixels come from defective parts \
             alone"
        )),
        (_, 0) => sentences.push(format!("{class}: no defective picture: no figures exist")),
        _ => {}
    }
    if *without_mask > 0 {
        let none = if without_mask == anomalous { ", which do not exist" } else { "" };
        sentences.push(format!(
            "{class}: {without_mask} of {anomalous} defective pictures have no mask: they count for the figures of whole \
             pictures and not for those of pixels{none}"
        ));
    }
    sentences
}
