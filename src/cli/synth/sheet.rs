//! Contact sheet of synthetic products: what there is, at one look.

use std::path::Path;

use anyhow::Context;
use rayon::prelude::*;

use super::png_file;
use crate::cli::failure::wrong_arguments;
use crate::synth::{Class, Defect, DefectKind, Request, Sample, render};

/// Pixels between the pictures.
const GAP: usize = 4;
/// A larger sheet is more than viewers open and memory should hold.
const MOST_PIXELS: usize = 200_000_000;

/// A row for each class: good, then every kind of defect on the very same product.
pub fn write(
    file: &Path,
    classes: &[Class],
    kinds: &[DefectKind],
    size: u32,
    difficulty: f32,
    seed: u64,
) -> anyhow::Result<()> {
    let side = size as usize + GAP;
    let (width, height) = ((kinds.len() + 1) * side + GAP, classes.len() * side + GAP);
    if width * height > MOST_PIXELS {
        return Err(wrong_arguments(format!(
            "a contact sheet of {width}x{height} pixels is too large; choose a smaller --size or fewer --classes"
        )));
    }
    let cells: Vec<(usize, usize, Request)> = classes
        .iter()
        .enumerate()
        .flat_map(|(row, &class)| {
            let defects = std::iter::once(None).chain(kinds.iter().map(|&kind| Some(Defect { kind, difficulty })));
            defects.enumerate().map(move |(column, defect)| (row, column, Request { class, size, defect, seed }))
        })
        .collect();
    let samples: Vec<(usize, usize, Sample)> =
        cells.par_iter().map(|(row, column, request)| (*row, *column, render(request))).collect();
    let mut sheet = vec![u8::MAX; width * height * 3];
    for (row, column, sample) in &samples {
        let (left, top) = (GAP + column * side, GAP + row * side);
        for (y, line) in sample.rgb.chunks_exact(size as usize * 3).enumerate() {
            let at = ((top + y) * width + left) * 3;
            sheet[at..at + line.len()].copy_from_slice(line);
        }
    }
    let bytes = png_file::encode(&sheet, width as u32, png::ColorType::Rgb)?;
    std::fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
}
