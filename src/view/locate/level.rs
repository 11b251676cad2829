//! One level of a pyramid: a window of a picture in grey, shrunk, and the template on it with what alignment needs.

use opencv::core::{BORDER_REPLICATE, CV_8U, CV_32F, Mat, MatTraitConst, MatTraitConstManual, Rect, Scalar, Size};
use opencv::imgproc::{
    COLOR_BGR2GRAY, COLOR_RGB2GRAY, COLOR_RGBA2GRAY, INTER_AREA, INTER_LINEAR, INTER_NEAREST, WARP_INVERSE_MAP,
    cvt_color_def, resize, warp_affine,
};

use super::placement::Placement;
use crate::frame::{Image, PixelFormat, Resampling};

/// Values of one channel in 32-bit floating point, and which part of the picture they show.
pub struct Level {
    pub values: Mat,
    /// Upper left corner of the first value, pixels of the picture.
    pub left: f64,
    /// See `left`.
    pub top: f64,
    /// Pixels of the picture across one value.
    pub step: f64,
}

/// A rigid motion: a point at `u` from the template's middle lies at `middle + R(radians) u`, in pixels of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Motion {
    pub x: f64,
    pub y: f64,
    pub radians: f64,
}

impl Level {
    /// A window of the picture, halved `halvings` times; its sides are multiples of 2 to that power.
    pub fn of(image: &Image, window: Rect, halvings: u32) -> opencv::Result<Self> {
        let mut values = grey(image, window)?;
        for _ in 0..halvings {
            values = halved(&values)?;
        }
        let mut real = Mat::default();
        values.convert_to_def(&mut real, CV_32F)?;
        let step = f64::from(1 << halvings);
        Ok(Self { values: real, left: f64::from(window.x), top: f64::from(window.y), step })
    }

    /// Half as fine; sides that are odd lose their last value.
    pub fn halved(&self) -> opencv::Result<Self> {
        let (columns, rows) = (self.values.cols() & !1, self.values.rows() & !1);
        let even = self.values.roi(Rect::new(0, 0, columns, rows))?.try_clone()?;
        Ok(Self { values: halved(&even)?, step: 2.0 * self.step, ..*self })
    }

    /// What lies under a template of `size` values that has moved so.
    pub fn under(&self, motion: Motion, size: Size) -> opencv::Result<Mat> {
        let (sin, cos) = motion.radians.sin_cos();
        let middle = (0.5 * f64::from(size.width - 1), 0.5 * f64::from(size.height - 1));
        let (x, y) = self.at(motion.x, motion.y);
        let rows = [[cos, -sin, x - cos * middle.0 + sin * middle.1], [sin, cos, y - sin * middle.0 - cos * middle.1]];
        let map = Mat::from_slice_2d(&rows)?;
        let mut under = Mat::default();
        let flags = INTER_LINEAR | WARP_INVERSE_MAP;
        warp_affine(&self.values, &mut under, &map, size, flags, BORDER_REPLICATE, Scalar::default())?;
        Ok(under)
    }

    /// A place of the picture in this level's columns and rows, whose first value has its middle at 0, 0.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        ((x - self.left) / self.step - 0.5, (y - self.top) / self.step - 0.5)
    }

    /// The place of the picture at a column and row.
    pub fn place(&self, column: f64, row: f64) -> (f64, f64) {
        ((column + 0.5) * self.step + self.left, (row + 0.5) * self.step + self.top)
    }
}

fn halved(values: &Mat) -> opencv::Result<Mat> {
    let mut half = Mat::default();
    let size = Size::new((values.cols() / 2).max(1), (values.rows() / 2).max(1));
    resize(values, &mut half, size, 0.0, 0.0, INTER_AREA)?;
    Ok(half)
}

/// The window's luminance, in the depth of the picture.
fn grey(image: &Image, window: Rect) -> opencv::Result<Mat> {
    let rows = image.height as i32;
    let row = Mat::from_slice(image.data())?;
    let channels = image.format.bytes_per_pixel() as i32;
    let code = match image.format {
        PixelFormat::Rgb8 => COLOR_RGB2GRAY,
        PixelFormat::Bgr8 => COLOR_BGR2GRAY,
        PixelFormat::Rgba8 => COLOR_RGBA2GRAY,
        PixelFormat::Gray8 => return row.reshape(1, rows)?.roi(window)?.try_clone(),
        PixelFormat::GrayAlpha8 => {
            let mut luminance = Mat::default();
            opencv::core::extract_channel(&row.reshape(channels, rows)?.roi(window)?, &mut luminance, 0)?;
            return Ok(luminance);
        }
        PixelFormat::Gray16 | PixelFormat::Rgb16 => return sixteen_bits(image, window),
    };
    let mut luminance = Mat::default();
    cvt_color_def(&row.reshape(channels, rows)?.roi(window)?, &mut luminance, code)?;
    debug_assert_eq!(luminance.depth(), CV_8U);
    Ok(luminance)
}

fn sixteen_bits(image: &Image, window: Rect) -> opencv::Result<Mat> {
    let step = image.format.bytes_per_pixel();
    let row = |y: i32| {
        let from = step * (y as usize * image.width as usize + window.x as usize);
        image.data()[from..from + step * window.width as usize].chunks_exact(step)
    };
    let value = |at: &[u8]| f32::from(u16::from_le_bytes([at[0], at[1]]));
    // The weights of ITU-R BT.601, as of the 8-bit formats.
    let luminance = |pixel: &[u8]| match pixel {
        [_, _] => value(pixel),
        _ => 0.299 * value(pixel) + 0.587 * value(&pixel[2..]) + 0.114 * value(&pixel[4..]),
    };
    let values: Vec<u16> =
        (window.y..window.y + window.height).flat_map(row).map(|pixel| luminance(pixel).round() as u16).collect();
    Mat::new_rows_cols_with_data(window.height, window.width, &values)?.try_clone()
}

/// The frame moved and turned so that its part lies as it was taught; format and everything else known about it stays.
pub fn laid_back(image: &Image, placement: &Placement) -> opencv::Result<Image> {
    let (columns, rows) = (image.width as i32, image.height as i32);
    let map = Mat::from_slice_2d(&placement.rows())?;
    let nearest = image.resampling == Resampling::Nearest;
    let flags = if nearest { INTER_NEAREST } else { INTER_LINEAR } | WARP_INVERSE_MAP;
    let mut moved = Mat::default();
    let size = Size::new(columns, rows);
    let data = if image.format.is_deep() {
        let values: Vec<u16> =
            image.data().chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        let row = Mat::from_slice(&values)?;
        let values = row.reshape(image.format.bytes_per_pixel() as i32 / 2, rows)?;
        warp_affine(&values, &mut moved, &map, size, flags, BORDER_REPLICATE, Scalar::default())?;
        moved
            .data_bytes()?
            .chunks_exact(2)
            .flat_map(|pair| u16::from_ne_bytes([pair[0], pair[1]]).to_le_bytes())
            .collect()
    } else {
        let row = Mat::from_slice(image.data())?;
        let values = row.reshape(image.format.bytes_per_pixel() as i32, rows)?;
        warp_affine(&values, &mut moved, &map, size, flags, BORDER_REPLICATE, Scalar::default())?;
        moved.data_bytes()?.to_vec()
    };
    image
        .with_pixels(image.width, image.height, data)
        .map_err(|error| opencv::Error::new(opencv::core::StsUnmatchedSizes, error.to_string()))
}

/// A template on one level, at mean 0 and deviation 1, with its steepest ascents.
pub struct Template {
    pub values: Mat,
    /// How it changes per value of shift to the right, of shift down, and per radian of turn.
    ascents: [Mat; 3],
    /// Sums of the ascents, and of their products with the template.
    sums: [f64; 3],
    products: [f64; 3],
    inverse: [[f64; 3]; 3],
}

/// Below this deviation, in the sensor's levels of 255 or of its full depth, nothing is to be seen.
const LEAST_DEVIATION: f64 = 1.0;

impl Template {
    /// What a level shows of `size` values around a place; `None` where that is flat.
    pub fn of(level: &Level, middle: Motion, size: Size) -> opencv::Result<Option<Self>> {
        let raw = level.under(middle, size)?;
        let (mean, deviation) = spread(&raw)?;
        if deviation < LEAST_DEVIATION {
            return Ok(None);
        }
        let (columns, rows) = (size.width as usize, size.height as usize);
        let data: Vec<f32> =
            raw.data_typed::<f32>()?.iter().map(|value| ((f64::from(*value) - mean) / deviation) as f32).collect();
        let mut ascents = [vec![0.0f32; data.len()], vec![0.0f32; data.len()], vec![0.0f32; data.len()]];
        for y in 0..rows {
            for x in 0..columns {
                let value = |x: usize, y: usize| data[y * columns + x];
                let across = (value((x + 1).min(columns - 1), y) - value(x.saturating_sub(1), y)) * 0.5;
                let down = (value(x, (y + 1).min(rows - 1)) - value(x, y.saturating_sub(1))) * 0.5;
                let from_middle = (x as f32 - 0.5 * (columns - 1) as f32, y as f32 - 0.5 * (rows - 1) as f32);
                let turn = down * from_middle.0 - across * from_middle.1;
                let index = y * columns + x;
                (ascents[0][index], ascents[1][index], ascents[2][index]) = (across, down, turn);
            }
        }
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let mut hessian = [[0.0; 3]; 3];
        for i in 0..3 {
            for j in 0..3 {
                hessian[i][j] = dot(&ascents[i], &ascents[j]);
            }
        }
        // A round part says nothing about its turn: it stays as it was found, instead of wandering with the noise.
        let reach = 0.5 * f64::from(size.width.max(size.height));
        hessian[2][2] += 1e-3 * (hessian[0][0] + hessian[1][1]) * reach * reach;
        let Some(inverse) = inverse(hessian) else { return Ok(None) };
        let sums = [0, 1, 2].map(|i: usize| ascents[i].iter().copied().map(f64::from).sum());
        let products = [0, 1, 2].map(|i: usize| dot(&ascents[i], &data));
        let mat = |values: &[f32]| Mat::new_rows_cols_with_data(size.height, size.width, values)?.try_clone();
        let [across, down, turn] = &ascents;
        let ascents = [mat(across)?, mat(down)?, mat(turn)?];
        Ok(Some(Self { values: mat(&data)?, ascents, sums, products, inverse }))
    }

    /// The size in values.
    pub fn size(&self) -> Size {
        Size::new(self.values.cols(), self.values.rows())
    }

    /// Correlation with what lies under it.
    pub fn score(&self, under: &Mat) -> opencv::Result<f64> {
        let (_, deviation) = spread(under)?;
        if deviation < 1e-6 {
            return Ok(0.0);
        }
        // The template's own mean is 0, so that of what lies under it drops out.
        Ok(self.values.dot(under)? / (deviation * under.total() as f64))
    }

    /// Moves on by Gauss-Newton steps until they are small, with the template's ascents computed once (the inverse compositional
    /// algorithm of Baker and Matthews, IJCV 2004), over brightness and contrast as they are found.
    pub fn align(&self, level: &Level, mut motion: Motion, steps: usize) -> opencv::Result<Motion> {
        let reach = 0.5 * f64::from(self.values.cols().max(self.values.rows()));
        for _ in 0..steps {
            let under = level.under(motion, self.size())?;
            let (mean, deviation) = spread(&under)?;
            if deviation < 1e-6 {
                break;
            }
            let mut error = [0.0; 3];
            for (i, error) in error.iter_mut().enumerate() {
                *error = (self.ascents[i].dot(&under)? - mean * self.sums[i]) / deviation - self.products[i];
            }
            let step = self.inverse.map(|row| row[0] * error[0] + row[1] * error[1] + row[2] * error[2]);
            // A step further than a value and a half has left the place where it means anything.
            let far = step[0].abs().max(step[1].abs()).max(step[2].abs() * reach);
            let share = if far > 1.5 { 1.5 / far } else { 1.0 };
            let [across, down, turn] = step.map(|value| value * share);
            motion.radians -= turn;
            let (sin, cos) = motion.radians.sin_cos();
            motion.x -= (cos * across - sin * down) * level.step;
            motion.y -= (sin * across + cos * down) * level.step;
            if far < 0.01 {
                break;
            }
        }
        Ok(motion)
    }
}

/// Mean and deviation.
fn spread(values: &Mat) -> opencv::Result<(f64, f64)> {
    let (mut mean, mut deviation) = (Scalar::default(), Scalar::default());
    opencv::core::mean_std_dev_def(values, &mut mean, &mut deviation)?;
    Ok((mean[0], deviation[0]))
}

fn inverse(m: [[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let minor = |r: usize, c: usize| {
        let (r0, r1) = ((r + 1) % 3, (r + 2) % 3);
        let (c0, c1) = ((c + 1) % 3, (c + 2) % 3);
        m[r0][c0] * m[r1][c1] - m[r0][c1] * m[r1][c0]
    };
    let determinant = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
    let scale = m[0][0] * m[1][1] * m[2][2];
    // Also where it is not a number.
    if determinant.partial_cmp(&(1e-9 * scale)) != Some(std::cmp::Ordering::Greater) {
        return None;
    }
    Some([0, 1, 2].map(|r: usize| [0, 1, 2].map(|c: usize| minor(c, r) / determinant)))
}
