//! Which pictures are worth a look, and how they are shown: as they are, with the truth outlined, with the maps over them.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::error::{ReportError, io};
use crate::anomaly::AnomalyMap;
use crate::dataset::Item;
use crate::eval::metrics::{Labelled, pixel};
use crate::eval::tally::Tally;
use crate::frame::{Image, PixelFormat};
use crate::overlay;
use crate::source::image_file;

/// Examples of each sort.
const BEST: usize = 3;
const WORST: usize = 3;
const ALARMS: usize = 2;
/// Longer side of a picture in the report, pixels.
const LONGEST: u32 = 440;
/// Of the JPEG encoder, 1 … 100.
const QUALITY: u8 = 86;
/// The truth's outline: cyan stands out on grey parts and beside the overlay's yellow to magenta.
const TRUTH: Rgb<u8> = Rgb([0, 229, 255]);

/// Why a picture is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// Anomalous, among the largest per-picture AP.
    Best,
    /// Anomalous, among the smallest.
    Worst,
    /// Good, among the largest scores.
    Alarm,
}

/// One picture of the report.
pub(super) struct Example {
    pub(super) sort: Sort,
    /// File name, and its kind of anomaly.
    pub(super) name: String,
    pub(super) kind: Option<String>,
    /// AP of the model's map in this picture alone, where something is anomalous.
    pub(super) ap: Option<f64>,
    /// The model's raw score.
    pub(super) score: f32,
    /// Caption and path below the report's folder.
    pub(super) panels: Vec<(String, String)>,
}

/// Draws the examples of one class into `folder`. A picture that has become unreadable since is passed over.
pub(super) fn draw(
    folder: &Path,
    class: usize,
    items: &[&Item],
    size: usize,
    masks: &[Option<Vec<bool>>],
    tallies: &[Tally],
) -> Result<Vec<Example>, ReportError> {
    let Some(model) = tallies.first() else { return Ok(Vec::new()) };
    let (maps, _, score) = model.normalised();
    let own = format!("pictures/{class:03}");
    fs::create_dir_all(folder.join(&own)).map_err(io(folder))?;
    let mut examples = Vec::new();
    for (sort, picture, ap) in choose(size, maps, masks, items, &score) {
        let item = items[picture];
        let Ok(image) = image_file::load(&item.image) else { continue };
        let small = shrunk(&image);
        let mut panels = vec![("picture".to_owned(), as_rgb(&small))];
        let mask = masks[picture].as_deref().unwrap_or_default();
        if item.anomalous {
            let mut truth = as_rgb(&small);
            outline(&mut truth, mask, size);
            panels.push(("truth".to_owned(), truth));
        }
        for tally in tallies {
            let (maps, threshold, _) = tally.normalised();
            // A class without anomalies has no threshold; half of the range shows where the map is high.
            let from = if threshold.is_finite() { threshold } else { 0.5 };
            let mut over = overlay::draw(&small, &AnomalyMap::new(size, maps[picture].clone()), from);
            outline(&mut over, mask, size);
            panels.push((tally.method().to_owned(), over));
        }
        let number = examples.len();
        let save = |(caption, picture): (String, RgbImage)| {
            let path = format!("{own}/{number}-{caption}.jpg");
            write_jpeg(&folder.join(&path), &picture)?;
            Ok((caption, path))
        };
        examples.push(Example {
            sort,
            name: with_folder(&item.image),
            kind: item.kind.clone(),
            ap,
            score: score(picture),
            panels: panels.into_iter().map(save).collect::<Result<_, ReportError>>()?,
        });
    }
    Ok(examples)
}

/// A picture's name with its folder: `000.png` is there once for each kind of defect.
fn with_folder(image: &Path) -> String {
    let name = image.file_name().unwrap_or_default();
    let folder = image.parent().and_then(Path::file_name);
    folder.map_or_else(|| Path::new(name).to_owned(), |folder| Path::new(folder).join(name)).display().to_string()
}

/// The pictures to show: best first, then worst, then the good ones that look most anomalous; none twice.
fn choose(
    size: usize,
    maps: &[Vec<f32>],
    masks: &[Option<Vec<bool>>],
    items: &[&Item],
    score: &dyn Fn(usize) -> f32,
) -> Vec<(Sort, usize, Option<f64>)> {
    let ap = |picture: usize| {
        let mask = masks[picture].as_deref().unwrap_or_default();
        pixel(&[Labelled { width: size, map: &maps[picture], mask }]).map_or(f64::NAN, |found| found.ap)
    };
    // An anomaly may be too thin to survive the resizing of its mask: such a picture has no AP.
    let marked = |picture: usize| masks[picture].as_ref().is_some_and(|mask| mask.contains(&true));
    let visible = |picture: &usize| items[*picture].anomalous && marked(*picture);
    let mut anomalous: Vec<(usize, f64)> = (0..items.len()).filter(visible).map(|i| (i, ap(i))).collect();
    anomalous.sort_by(|a, b| b.1.total_cmp(&a.1));
    let best = BEST.min(anomalous.len().div_ceil(2));
    let worst = WORST.min(anomalous.len() - best);
    let mut good: Vec<usize> = (0..items.len()).filter(|&i| !items[i].anomalous).collect();
    good.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
    let shown = |sort, chosen: &[(usize, f64)]| chosen.iter().map(|&(i, ap)| (sort, i, Some(ap))).collect::<Vec<_>>();
    let mut chosen = shown(Sort::Best, &anomalous[..best]);
    anomalous.reverse();
    chosen.extend(shown(Sort::Worst, &anomalous[..worst]));
    chosen.extend(good.into_iter().take(ALARMS).map(|i| (Sort::Alarm, i, None)));
    chosen
}

/// The picture in colour, its longer side at most [`LONGEST`].
fn shrunk(image: &Image) -> Image {
    let longer = image.width.max(image.height);
    let full = RgbImage::from_fn(image.width, image.height, |x, y| Rgb(image.rgb_at(x, y)));
    let scaled = |side: u32| ((u64::from(side) * u64::from(LONGEST) / u64::from(longer)) as u32).max(1);
    let small = if longer > LONGEST {
        imageops::resize(&full, scaled(image.width), scaled(image.height), FilterType::Triangle)
    } else {
        full
    };
    let (width, height) = small.dimensions();
    Image::new(width, height, PixelFormat::Rgb8, small.into_raw()).unwrap_or_else(|_| image.clone())
}

fn as_rgb(image: &Image) -> RgbImage {
    RgbImage::from_fn(image.width, image.height, |x, y| Rgb(image.rgb_at(x, y)))
}

/// Outlines the truth from outside: a thin scratch stays visible within. An empty mask has no outline.
fn outline(picture: &mut RgbImage, mask: &[bool], size: usize) {
    let (width, height) = picture.dimensions();
    if mask.is_empty() {
        return;
    }
    let place = |at: u32, of: u32| (at as usize * size / of as usize).min(size - 1);
    let inside = |x: u32, y: u32| mask[place(y, height) * size + place(x, width)];
    overlay::draw_outline(picture, TRUTH, |x, y| {
        inside(x, y)
            || inside(x.saturating_sub(1), y)
            || inside(x, y.saturating_sub(1))
            || inside((x + 1).min(width - 1), y)
            || inside(x, (y + 1).min(height - 1))
    });
}

fn write_jpeg(path: &Path, picture: &RgbImage) -> Result<(), ReportError> {
    let mut file = BufWriter::new(File::create(path).map_err(io(path))?);
    JpegEncoder::new_with_quality(&mut file, QUALITY)
        .encode_image(picture)
        .map_err(|source| ReportError::Picture { path: path.to_owned(), source })
}
