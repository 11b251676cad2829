//! A picture with its mask, in the form that changes of both are written for.

use crate::dataset::Mask;
use crate::frame::{Image, PixelFormat};

/// 8-bit grey or colour, and which pixels are defective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue), interleaved.
    pub channels: usize,
    /// Levels, row by row.
    pub data: Vec<u8>,
    /// Row by row, true on defects.
    pub defect: Vec<bool>,
}

impl Picture {
    /// Takes a picture and its mask; a good part has none. Alpha is dropped, levels are applied, and 16-bit grey without any
    /// is cut off at 255 as on the way into the model.
    pub fn new(image: &Image, mask: Option<Mask>) -> Self {
        let (width, height) = (image.width as usize, image.height as usize);
        let pixels = image.data().chunks_exact(image.format.bytes_per_pixel());
        let defect = mask.map_or_else(|| vec![false; width * height], |mask| mask.anomalous);
        if image.levels_in_use().is_some() {
            let places = (0..image.height).flat_map(|y| (0..image.width).map(move |x| (x, y)));
            let data = places.flat_map(|(x, y)| image.rgb_at(x, y)).collect();
            return Self { width, height, channels: 3, data, defect };
        }
        let (channels, data) = match image.format {
            PixelFormat::Gray8 => (1, image.data().to_vec()),
            PixelFormat::GrayAlpha8 => (1, pixels.map(|pixel| pixel[0]).collect()),
            PixelFormat::Gray16 => (1, pixels.map(|pixel| if pixel[1] == 0 { pixel[0] } else { u8::MAX }).collect()),
            PixelFormat::Rgb8 => (3, image.data().to_vec()),
            PixelFormat::Rgba8 => (3, pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()),
            PixelFormat::Bgr8 => (3, pixels.flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect()),
            PixelFormat::Rgb16 => (3, pixels.flat_map(|pixel| [pixel[1], pixel[3], pixel[5]]).collect()),
        };
        Self { width, height, channels, data, defect }
    }

    /// The picture as the model's preprocessing takes it, and its mask.
    ///
    /// # Panics
    /// When `data` does not fill the size: a mistake of the code that made it.
    pub fn into_parts(self) -> (Image, Mask) {
        let format = if self.channels == 1 { PixelFormat::Gray8 } else { PixelFormat::Rgb8 };
        let (width, height) = (self.width as u32, self.height as u32);
        let image = Image::new(width, height, format, self.data).expect("every change fills the picture's size");
        (image, Mask { width, height, anomalous: self.defect })
    }
}
