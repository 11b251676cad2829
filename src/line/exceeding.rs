//! The pixels of a captured frame whose anomaly reaches the threshold, as far as the regions of interest let them count.

use crate::anomaly::AnomalyMap;

/// Which pixels of a frame count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    height: usize,
    /// One byte per pixel, 0 or 1; `None` when every pixel counts.
    inside: Option<Vec<u8>>,
}

impl Mask {
    /// Pixels whose centre lies in one of the polygons (corners in pixels, origin at the top left corner of the top
    /// left pixel); no polygon is the whole frame.
    pub fn new(width: u32, height: u32, polygons: &[Vec<[f32; 2]>]) -> Self {
        let (width, height) = (width as usize, height as usize);
        if polygons.is_empty() {
            return Self { width, height, inside: None };
        }
        let mut inside = vec![0; width * height];
        let mut crossings = Vec::new();
        for polygon in polygons {
            for (y, row) in inside.chunks_exact_mut(width).enumerate() {
                let centre = y as f32 + 0.5;
                crossings.clear();
                for (i, a) in polygon.iter().enumerate() {
                    let b = &polygon[(i + 1) % polygon.len()];
                    if (a[1] <= centre) != (b[1] <= centre) {
                        crossings.push(a[0] + (centre - a[1]) / (b[1] - a[1]) * (b[0] - a[0]));
                    }
                }
                crossings.sort_by(f32::total_cmp);
                for pair in crossings.chunks_exact(2) {
                    // A pixel belongs to the span when its centre x + 0.5 does.
                    let from = (pair[0] - 0.5).ceil().max(0.0) as usize;
                    let to = ((pair[1] - 0.5).ceil().max(0.0) as usize).min(width);
                    if from < to {
                        row[from..to].fill(1);
                    }
                }
            }
        }
        Self { width, height, inside: Some(inside) }
    }

    /// Columns and rows of the frame this was made for.
    pub fn size(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    /// Number of pixels that count.
    pub fn pixels(&self) -> usize {
        self.inside.as_ref().map_or(self.width * self.height, |bits| bits.iter().map(|&bit| usize::from(bit)).sum())
    }
}

/// The rows of a frame in which something exceeds the threshold.
pub struct Exceeding {
    /// Columns of the frame.
    pub width: usize,
    /// Rows from the first to the last that has such a pixel.
    pub height: usize,
    /// Row of the frame that comes first here.
    pub top: usize,
    /// 1 where the pixel counts and is at or above the threshold.
    pub bits: Vec<u8>,
    /// The map at the frame's size; meaningful where `bits` is 1.
    pub values: Vec<f32>,
}

/// One 8-connected region, before it is judged. Coordinates are those of [`Exceeding`].
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// `[x, y, width, height]`
    pub bounds: [usize; 4],
    /// Number of pixels.
    pub area: usize,
    /// Mean of the pixels' indices.
    pub centroid: [f64; 2],
    /// Largest value.
    pub peak: f32,
    /// Mean value.
    pub mean: f32,
    /// Corners of the outer border, pixel indices.
    pub contour: Vec<[usize; 2]>,
}

/// Regions could not be found.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {reason}; the frame gets no verdict")]
pub struct RegionError {
    /// What was being done.
    pub step: &'static str,
    /// What the library said.
    pub reason: String,
}

/// Scales the map to the frame (bilinear, half-pixel centres) and compares. An interpolated value never exceeds its
/// neighbours, so rows without anything at the threshold are not computed; `None` when there is nothing at all.
pub fn exceeding(map: &AnomalyMap, mask: &Mask, threshold: f32) -> Option<Exceeding> {
    let (size, width) = (map.width(), mask.width);
    // The rectangle of the frame that the map lies over: the whole, unless a part of it was looked at.
    let Place { left, top: above, columns, rows } = Place::of(map, mask)?;
    // Counting has no order to keep, so it compiles to vector code; finding the first or the largest does not.
    let reaches = |row: &[f32]| row.iter().map(|&value| u32::from(value >= threshold)).sum::<u32>() > 0;
    let reached: Vec<bool> = map.values().chunks_exact(size).map(reaches).collect();
    let rows = taps(map.height(), rows);
    let hot = |tap: &Tap| reached[tap.low] || reached[tap.high];
    let first = rows.iter().position(hot)?;
    let last = rows.iter().rposition(hot)?;
    let top = above + first;
    let columns = taps(size, columns);
    let count = (last - first + 1) * width;
    let (mut bits, mut values) = (vec![0; count], vec![0.0; count]);
    let mut blended = vec![0.0; size];
    let mut any = false;
    for (index, row) in rows[first..=last].iter().enumerate().filter(|(_, row)| hot(row)) {
        let (low, high) = (&map.values()[row.low * size..][..size], &map.values()[row.high * size..][..size]);
        for ((out, a), b) in blended.iter_mut().zip(low).zip(high) {
            *out = a + row.weight * (b - a);
        }
        let at = index * width + left;
        let here = at..at + columns.len();
        for ((value, bit), column) in values[here.clone()].iter_mut().zip(&mut bits[here.clone()]).zip(&columns) {
            let (a, b) = (blended[column.low], blended[column.high]);
            *value = a + column.weight * (b - a);
            *bit = u8::from(*value >= threshold);
        }
        if let Some(inside) = &mask.inside {
            let inside = &inside[(top + index) * width + left..][..columns.len()];
            bits[here.clone()].iter_mut().zip(inside).for_each(|(bit, inside)| *bit &= inside);
        }
        any |= bits[here].contains(&1);
    }
    any.then_some(Exceeding { width, height: last - first + 1, top, bits, values })
}

/// The rectangle of the frame that a map lies over.
struct Place {
    left: usize,
    top: usize,
    columns: usize,
    rows: usize,
}

impl Place {
    /// `None` where the map lies beside the frame, which is of another size then.
    fn of(map: &AnomalyMap, mask: &Mask) -> Option<Self> {
        let [left, top, columns, rows] = map.place_in(mask.size()).map(|v| v as usize);
        (left + columns <= mask.width && top + rows <= mask.height).then_some(Self { left, top, columns, rows })
    }
}

/// For every row of the frame the largest value of the map's rows it lies between: [`exceeding`] looks at the row when
/// that reaches the threshold.
pub(super) fn row_peaks(map: &AnomalyMap, mask: &Mask) -> Vec<f32> {
    let peak = |row: &[f32]| row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let peaks: Vec<f32> = map.values().chunks_exact(map.width()).map(peak).collect();
    let mut all = vec![f32::NEG_INFINITY; mask.height];
    if let Some(place) = Place::of(map, mask) {
        let rows = taps(map.height(), place.rows);
        all[place.top..].iter_mut().zip(&rows).for_each(|(all, tap)| *all = peaks[tap.low].max(peaks[tap.high]));
    }
    all
}

/// Where an output pixel lies between two input pixels.
struct Tap {
    low: usize,
    high: usize,
    weight: f32,
}

fn taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f64 / to as f64;
    let last = from - 1;
    let tap = |i| {
        let centre = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
        let low = centre as usize;
        Tap { low, high: (low + 1).min(last), weight: (centre - low as f64) as f32 }
    };
    (0..to).map(tap).collect()
}
