//! Pictures for pages: drawn only while a page asks, once for all pages, small enough for a screen.

use std::collections::{BTreeMap, VecDeque};
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageError, Rgb, RgbImage};
use tokio::sync::Semaphore;

use crate::anomaly::AnomalyMap;
use crate::frame::{Frame, Image};
use crate::overlay;

/// A picture is drawn anew at most this often, whatever the number of pages.
const FRESH: Duration = Duration::from_millis(250);
/// Drawn pictures that are kept of each camera, so that a page gets the map of the picture that it has.
const KEPT: usize = 3;
/// Largest side of a picture on a page, pixels.
const SIDE: u32 = 1280;
/// Largest side of a map on a page, pixels; the browser smooths it.
const MAP_SIDE: u32 = 320;
/// JPEG quality for the eye; the archive keeps every bit.
const QUALITY: u8 = 85;
/// Levels that say that the sensor saw nothing more, of 255.
const DARK: f32 = 4.0;
const BRIGHT: f32 = 251.0;
/// Pixels at most whose sharpness is measured.
const MEASURED: u32 = 1 << 20;

/// A part that has been inspected, with its anomaly map.
pub struct Shown {
    /// The picture.
    pub frame: Frame,
    /// Where it is how anomalous.
    pub map: AnomalyMap,
    /// From here on the map shows a defect.
    pub defect_threshold: f32,
}

/// How good the picture is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures {
    /// Mean level, 0 to 100 %.
    pub brightness: f32,
    /// Share of pixels at either end of the scale, 0 to 100 %.
    pub clipped: f32,
    /// Standard deviation of the Laplacian, in levels of 255: larger is sharper.
    pub sharpness: f32,
}

/// A picture as pages get it.
pub(super) struct Drawn {
    pub seq: u64,
    pub size: (u32, u32),
    pub captured: String,
    pub figures: Figures,
    pub jpeg: Bytes,
    pub map: Bytes,
}

struct Kept {
    at: Instant,
    drawn: VecDeque<Arc<Drawn>>,
}

/// The drawn ones of all cameras.
pub(super) struct Pictures {
    kept: Mutex<BTreeMap<String, Kept>>,
    /// One core at most is busy with drawing.
    pub one: Semaphore,
}

impl Default for Pictures {
    fn default() -> Self {
        Self { kept: Mutex::default(), one: Semaphore::new(1) }
    }
}

impl Pictures {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn fresh(&self, camera: &str) -> Option<Arc<Drawn>> {
        let kept = self.kept();
        kept.get(camera).filter(|kept| kept.at.elapsed() < FRESH).and_then(|kept| kept.drawn.back().cloned())
    }

    pub fn of_frame(&self, camera: &str, seq: u64) -> Option<Arc<Drawn>> {
        self.kept().get(camera)?.drawn.iter().find(|drawn| drawn.seq == seq).cloned()
    }

    pub fn newest(&self, camera: &str) -> Option<Arc<Drawn>> {
        self.kept().get(camera)?.drawn.back().cloned()
    }

    pub fn keep(&self, camera: &str, drawn: Arc<Drawn>) {
        let mut all = self.kept();
        let kept = all.entry(camera.to_owned()).or_insert_with(|| Kept { at: Instant::now(), drawn: VecDeque::new() });
        kept.at = Instant::now();
        if kept.drawn.back().is_none_or(|last| last.seq != drawn.seq) {
            if kept.drawn.len() == KEPT {
                kept.drawn.pop_front();
            }
            kept.drawn.push_back(drawn);
        }
    }
}

pub(super) fn draw(shown: &Shown) -> Result<Drawn, ImageError> {
    let Shown { frame, map, defect_threshold } = shown;
    let (mut jpeg, mut png) = (Vec::new(), Cursor::new(Vec::new()));
    let small = small(&frame.image);
    small.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY))?;
    let (width, height) = (frame.image.width, frame.image.height);
    let (across, down) = fitted((width, height), MAP_SIDE);
    overlay::veil(map, *defect_threshold, (width, height), (across, down))
        .write_to(&mut png, image::ImageFormat::Png)?;
    Ok(Drawn {
        seq: frame.seq,
        size: (width, height),
        captured: frame.captured.wall.to_string(),
        figures: figures(&small, &frame.image),
        jpeg: jpeg.into(),
        map: png.into_inner().into(),
    })
}

/// The size with its larger side at most `side`, its shape kept.
fn fitted((width, height): (u32, u32), side: u32) -> (u32, u32) {
    let larger = width.max(height).max(1);
    if larger <= side {
        return (width, height);
    }
    let of = |length: u32| (u64::from(length) * u64::from(side) / u64::from(larger)).max(1) as u32;
    (of(width), of(height))
}

/// Four pixels of the frame for each of the page: enough for the eye, and the cost has a bound.
fn small(image: &Image) -> RgbImage {
    let (width, height) = fitted((image.width, image.height), SIDE);
    let at = |place: u32, quarter: u32, of: u32, to: u32| {
        let at = (u64::from(place) * 4 + u64::from(quarter)) * u64::from(of) / (u64::from(to) * 4);
        (at as u32).min(of - 1)
    };
    if (width, height) == (image.width, image.height) {
        return RgbImage::from_fn(width, height, |x, y| Rgb(image.rgb_at(x, y)));
    }
    RgbImage::from_fn(width, height, |x, y| {
        let corners = [(1, 1), (3, 1), (1, 3), (3, 3)];
        let sums = corners.into_iter().fold([0u16; 3], |sums, (right, down)| {
            let pixel = image.rgb_at(at(x, right, image.width, width), at(y, down, image.height, height));
            std::array::from_fn(|c| sums[c] + u16::from(pixel[c]))
        });
        Rgb(sums.map(|sum| ((sum + 2) / 4) as u8))
    })
}

fn level([red, green, blue]: [u8; 3]) -> f32 {
    0.299 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue)
}

/// Levels from the small picture, sharpness from the middle of the frame in full resolution.
fn figures(small: &RgbImage, image: &Image) -> Figures {
    let count = (small.width() * small.height()).max(1) as f32;
    let (mut sum, mut ends) = (0.0f64, 0u32);
    for pixel in small.pixels() {
        let level = level(pixel.0);
        sum += f64::from(level);
        ends += u32::from(!(DARK..=BRIGHT).contains(&level));
    }
    Figures {
        brightness: (sum / f64::from(count) / 2.55) as f32,
        clipped: ends as f32 / count * 100.0,
        sharpness: sharpness(image),
    }
}

fn sharpness(image: &Image) -> f32 {
    let side = MEASURED.isqrt();
    let (width, height) = (image.width.min(side), image.height.min(side));
    if width < 3 || height < 3 {
        return 0.0;
    }
    let (left, top) = ((image.width - width) / 2, (image.height - height) / 2);
    let row = |y: u32| -> Vec<f32> { (0..width).map(|x| level(image.rgb_at(left + x, top + y))).collect() };
    let (mut above, mut here) = (row(0), row(1));
    let (mut sum, mut squares) = (0.0f64, 0.0f64);
    for y in 2..height {
        let below = row(y);
        for x in 1..here.len() - 1 {
            let laplacian = f64::from(above[x] + below[x] + here[x - 1] + here[x + 1] - 4.0 * here[x]);
            sum += laplacian;
            squares += laplacian * laplacian;
        }
        (above, here) = (here, below);
    }
    let count = f64::from((width - 2) * (height - 2));
    (squares / count - (sum / count).powi(2)).max(0.0).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::frame::PixelFormat;

    fn image(width: u32, height: u32, level: impl Fn(u32, u32) -> u8) -> Image {
        let data = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| level(x, y)).collect();
        Image::new(width, height, PixelFormat::Gray8, data).expect("valid")
    }

    #[test]
    fn a_large_frame_is_drawn_small_in_its_own_shape() {
        let frame =
            Frame { seq: 7, ..Frame::alone("top", SystemClock.now(), image(2560, 1000, |x, _| (x / 10) as u8)) };
        let map = AnomalyMap::new(2, vec![0.0, 0.9, 0.0, 0.0]);
        let drawn = draw(&Shown { frame, map, defect_threshold: 0.5 }).expect("drawn");
        assert_eq!((drawn.seq, drawn.size), (7, (2560, 1000)));
        let picture = image::load_from_memory(&drawn.jpeg).expect("a JPEG");
        assert_eq!((picture.width(), picture.height()), (1280, 500));
        let map = image::load_from_memory(&drawn.map).expect("a PNG").to_rgba8();
        assert_eq!(map.dimensions(), (320, 125));
        assert_eq!(map.get_pixel(2, 120).0[3], 0, "clear where nothing is found");
        assert!(map.get_pixel(315, 5).0[3] > 60, "coloured where something is");
    }

    #[test]
    fn a_map_of_a_part_of_the_frame_lies_where_that_part_is() {
        let frame = Frame::alone("top", SystemClock.now(), image(1600, 800, |_, _| 90));
        // Wider than high, as what tiles were stitched to is, over the right half.
        let map = AnomalyMap::sized(3, 2, vec![0.0, 0.0, 0.9, 0.0, 0.0, 0.9]).over(Some([800, 200, 600, 400]));
        let drawn = draw(&Shown { frame, map, defect_threshold: 0.5 }).expect("drawn");
        let map = image::load_from_memory(&drawn.map).expect("a PNG").to_rgba8();
        assert_eq!(map.dimensions(), (320, 160));
        let alpha = |x: u32, y: u32| map.get_pixel(x, y).0[3];
        assert!(alpha(275, 80) > 60, "its right end, at 1375 of 1600");
        assert_eq!([alpha(285, 80), alpha(275, 30), alpha(275, 130), alpha(165, 80), alpha(50, 80)], [0; 5]);
    }

    #[test]
    fn figures_tell_dark_from_bright_and_sharp_from_soft() {
        let of = |image: Image| figures(&small(&image), &image);
        let bright = of(image(64, 64, |_, _| 255));
        assert_eq!((bright.brightness.round(), bright.clipped, bright.sharpness), (100.0, 100.0, 0.0));
        let edges = of(image(64, 64, |x, _| if x % 8 < 4 { 60 } else { 180 }));
        let soft = of(image(64, 64, |x, _| 120 + (60.0 * (f64::from(x) / 8.0).sin()) as u8));
        assert!(edges.sharpness > 10.0 * soft.sharpness, "{edges:?} {soft:?}");
        assert_eq!(edges.clipped, 0.0);
    }
}
