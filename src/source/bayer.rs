//! Mosaics of colours: which of red, green and blue each pixel of a sensor measures.

/// Where the colours lie in a mosaic: the first two pixels of the first two rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BayerOrder {
    /// Red, green; green, blue.
    Rggb,
    /// Green, red; blue, green.
    Grbg,
    /// Green, blue; red, green.
    Gbrg,
    /// Blue, green; green, red.
    Bggr,
}

impl BayerOrder {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Rggb, Self::Grbg, Self::Gbrg, Self::Bggr];

    /// As GStreamer writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rggb => "rggb",
            Self::Grbg => "grbg",
            Self::Gbrg => "gbrg",
            Self::Bggr => "bggr",
        }
    }

    /// As GenICam writes it: the first row.
    pub fn genicam(self) -> &'static str {
        match self {
            Self::Rggb => "RG",
            Self::Grbg => "GR",
            Self::Gbrg => "GB",
            Self::Bggr => "BG",
        }
    }

    /// Which of red (0), green (1) and blue (2) the pixel there measures.
    pub fn colour(self, x: usize, y: usize) -> usize {
        let [red_x, red_y] = match self {
            Self::Rggb => [0, 0],
            Self::Grbg => [1, 0],
            Self::Gbrg => [0, 1],
            Self::Bggr => [1, 1],
        };
        usize::from(x % 2 != red_x) + usize::from(y % 2 != red_y)
    }
}

/// What the sensor under this mosaic measures of a picture of three channels.
pub fn mosaic<T: Copy>(order: BayerOrder, width: usize, rgb: &[T]) -> Vec<T> {
    rgb.chunks_exact(3).enumerate().map(|(at, pixel)| pixel[order.colour(at % width, at / width)]).collect()
}
