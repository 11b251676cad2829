//! From a mosaic of colours to red, green and blue for every pixel, with OpenCV: bilinear, for 8 and 16 bits.
//!
//! OpenCV names a mosaic by the second and third pixel of its *second* row, GStreamer and GenICam by the first ones of the
//! first row: what they call RGGB is its `BayerBG`.

use opencv::core::{Mat, MatTraitConstManual, Vec3w};
use opencv::imgproc::{COLOR_BayerBG2RGB, COLOR_BayerGB2RGB, COLOR_BayerGR2RGB, COLOR_BayerRG2RGB, cvt_color_def};

use super::bayer::BayerOrder;

/// Tight rows of red, green, blue.
pub fn demosaic_8(order: BayerOrder, width: usize, height: usize, seen: &[u8]) -> Result<Vec<u8>, String> {
    let all = || -> opencv::Result<Vec<u8>> {
        let seen = Mat::new_rows_cols_with_data(height as i32, width as i32, seen)?;
        let mut colours = Mat::default();
        cvt_color_def(&seen, &mut colours, code(order))?;
        Ok(colours.data_bytes()?.to_vec())
    };
    all().map_err(|error| failed(width, height, &error))
}

/// The same, two bytes a channel, little endian.
pub fn demosaic_16(order: BayerOrder, width: usize, height: usize, seen: &[u16]) -> Result<Vec<u8>, String> {
    let all = || -> opencv::Result<Vec<u8>> {
        let seen = Mat::new_rows_cols_with_data(height as i32, width as i32, seen)?;
        let mut colours = Mat::default();
        cvt_color_def(&seen, &mut colours, code(order))?;
        Ok(colours.data_typed::<Vec3w>()?.iter().flat_map(|pixel| pixel.0).flat_map(u16::to_le_bytes).collect())
    };
    all().map_err(|error| failed(width, height, &error))
}

fn code(order: BayerOrder) -> i32 {
    match order {
        BayerOrder::Rggb => COLOR_BayerBG2RGB,
        BayerOrder::Grbg => COLOR_BayerGB2RGB,
        BayerOrder::Gbrg => COLOR_BayerGR2RGB,
        BayerOrder::Bggr => COLOR_BayerRG2RGB,
    }
}

fn failed(width: usize, height: usize, error: &opencv::Error) -> String {
    format!("OpenCV makes no colours of a mosaic of {width}x{height} pixels: {error}")
}
