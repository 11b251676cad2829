//! Contact sheet of synthetic products: what there is, at one look.

use std::path::Path;

use anyhow::Context;
use image::{Rgb, RgbImage};
use rayon::prelude::*;

use super::png_file;
use crate::cli::failure::wrong_arguments;
use crate::lettering;
use crate::synth::{Class, Defect, DefectKind, Request, Sample, render};

/// Pixels between the pictures.
const GAP: usize = 4;
/// Rows above each for its name.
const NAME: usize = lettering::SIDE as usize + 2;
/// A larger sheet is more than viewers open and memory should hold.
const MOST_PIXELS: usize = 200_000_000;

/// A row for each class: good, under its name, then every kind of defect on the very same product.
pub fn write(
    file: &Path,
    classes: &[Class],
    kinds: &[DefectKind],
    size: u32,
    difficulty: f32,
    seed: u64,
) -> anyhow::Result<()> {
    let side = size as usize + GAP;
    let (width, height) = ((kinds.len() + 1) * side + GAP, classes.len() * (side + NAME) + GAP);
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
    let mut sheet = RgbImage::from_pixel(width as u32, height as u32, Rgb([u8::MAX; 3]));
    for (row, column, sample) in &samples {
        let (left, top) = ((GAP + column * side) as u32, (GAP + row * (side + NAME)) as u32);
        let name = column.checked_sub(1).map_or(classes[*row].name(), |defect| kinds[defect].name());
        let fits = size as usize / lettering::SIDE as usize;
        let name: String = name.chars().take(fits).collect();
        lettering::write(&mut sheet, &name, (left, top), 1, Rgb([0; 3]));
        for (pixel, rgb) in sample.rgb.as_chunks::<3>().0.iter().enumerate() {
            let (x, y) = ((pixel % size as usize) as u32, (pixel / size as usize + NAME) as u32);
            sheet.put_pixel(left + x, top + y, Rgb(*rgb));
        }
    }
    let bytes = png_file::encode(&sheet, width as u32, png::ColorType::Rgb)?;
    std::fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
}
