//! Where the anomaly is, pixel by pixel, and at the model's size as the released code brings it there.

/// Fraction bits of a weight in Pillow's 8-bit path.
const FRACTION_BITS: u32 = 32 - 8 - 2;
/// From here on an 8-bit level lies above one half: 127 / 255 < 0.5 < 128 / 255.
const HALF: u8 = 128;

/// Anomalous pixels of one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Row by row, true where anomalous.
    pub anomalous: Vec<bool>,
}

impl Mask {
    /// The rectangle `[x, y, width, height]` of it; `None` where that does not lie inside.
    pub fn cut(&self, [x, y, width, height]: [u32; 4]) -> Option<Self> {
        let fits = |at: u32, length: u32, of: u32| length > 0 && at.checked_add(length).is_some_and(|end| end <= of);
        if !fits(x, width, self.width) || !fits(y, height, self.height) {
            return None;
        }
        let row = |row: u32| {
            let first = row as usize * self.width as usize + x as usize;
            self.anomalous[first..first + width as usize].iter().copied()
        };
        Some(Self { width, height, anomalous: (y..y + height).flat_map(row).collect() })
    }

    /// Marks what another mask of the same size marks.
    pub(super) fn add(&mut self, other: &Self) {
        self.anomalous.iter_mut().zip(&other.anomalous).for_each(|(own, &other)| *own |= other);
    }

    /// At the model's size, S×S: black and white are resized with Pillow's antialiased bilinear filter, 8 bits a pass,
    /// and what lies above one half is anomalous.
    ///
    /// This is what the released evaluation and training do (commit 4dd96ec, `utils/dataset.py` with the transform of
    /// `test.py`: torchvision's `Resize((S, S))`, whose default is bilinear, `ToTensor`, then `> 0.5`). It is not
    /// nearest neighbour: thin anomalies of large pictures shrink, and may vanish.
    pub fn resized(&self, size: usize) -> Vec<bool> {
        let (width, height) = (self.width as usize, self.height as usize);
        let pixels: Vec<u8> = self.anomalous.iter().map(|&anomalous| if anomalous { u8::MAX } else { 0 }).collect();
        // Pillow 13 shrinks the height first when that takes away more than twice as many rows as columns.
        let (rows_lost, columns_lost) = (height as i64 - size as i64, width as i64 - size as i64);
        let resized = if rows_lost > 0 && rows_lost > 2 * columns_lost {
            across(&down(&pixels, width, height, size), width, size)
        } else {
            down(&across(&pixels, width, size), size, height, size)
        };
        resized.into_iter().map(|level| level >= HALF).collect()
    }
}

/// Resizes every row of `width` pixels to `target`.
fn across(pixels: &[u8], width: usize, target: usize) -> Vec<u8> {
    if width == target {
        return pixels.to_vec();
    }
    let taps = taps(width, target);
    let rows = pixels.chunks_exact(width);
    rows.flat_map(|row| taps.iter().map(|(first, weights)| weigh(weights, row[*first..].iter().copied()))).collect()
}

/// Resizes every column of `height` pixels to `target`.
fn down(pixels: &[u8], width: usize, height: usize, target: usize) -> Vec<u8> {
    if height == target {
        return pixels.to_vec();
    }
    let column = |first: usize, x: usize| pixels[first * width + x..].iter().copied().step_by(width);
    let taps = taps(height, target);
    taps.iter().flat_map(|(first, weights)| (0..width).map(|x| weigh(weights, column(*first, x)))).collect()
}

fn weigh(weights: &[i32], levels: impl Iterator<Item = u8>) -> u8 {
    let sum: i32 = weights.iter().zip(levels).map(|(weight, level)| weight * i32::from(level)).sum();
    ((sum + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS).clamp(0, 255) as u8
}

/// Per target pixel the first source pixel and the fixed-point weights: a triangle that widens when shrinking.
fn taps(source: usize, target: usize) -> Vec<(usize, Vec<i32>)> {
    let scale = source as f64 / target as f64;
    let reach = scale.max(1.0);
    let pixel = |pixel: usize| {
        let centre = (pixel as f64 + 0.5) * scale;
        // Cutting off after adding a half; below zero both give the border, as `as usize` saturates.
        let first = (centre - reach + 0.5) as usize;
        let end = ((centre + reach + 0.5) as usize).min(source);
        let triangle = |x: usize| (1.0 - ((x as f64 - centre + 0.5) / reach).abs()).max(0.0);
        let exact: Vec<f64> = (first..end).map(triangle).collect();
        let sum: f64 = exact.iter().sum();
        let one = f64::from(1u32 << FRACTION_BITS);
        (first, exact.iter().map(|weight| (weight / sum * one + 0.5) as i32).collect())
    };
    (0..target).map(pixel).collect()
}
