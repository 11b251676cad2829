//! From a sample at the end of a pipeline to a picture: grey, colours and mosaics of 8 to 16 bits, byte for byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gstreamer as gst;
use gstreamer_app::AppSink;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::super::sensor_format::{SensorFormat, Storage};
use crate::frame::{Image, Levels, PixelFormat};

/// Media type of mosaics.
pub const BAYER: &str = "video/x-bayer";
/// Media type, ours, of what GStreamer has no name for: `format` is GenICam's name, such as `Mono12p` or `BayerRG12`.
pub const GENICAM: &str = "video/x-genicam";

/// What the appsink takes of 8 bits. Grey, RGB and BGR stay as they are; of everything else videoconvert makes what loses
/// least: RGB or BGR (both lose the same, it prefers BGR).
pub fn shallow() -> gst::Caps {
    raw(&["RGB", "BGR", "GRAY8"])
}

/// What it takes behind no converter: 8 bits first, then what has more of them, and mosaics.
pub fn anything() -> gst::Caps {
    let mut caps = shallow();
    {
        let caps = caps.make_mut();
        caps.append(raw(&["GRAY16_LE", "GRAY16_BE", "ARGB64"]));
        caps.append(mosaics());
    }
    caps
}

/// What it takes where colours come as a mosaic, or in a format that only GenICam names.
pub fn mosaics() -> gst::Caps {
    let mut caps = gst::Caps::new_empty_simple(BAYER);
    caps.make_mut().append(gst::Caps::new_empty_simple(GENICAM));
    caps
}

/// Whether what comes can be nothing but [`mosaics`].
pub fn are_mosaics(caps: &gst::Caps) -> bool {
    !caps.is_any() && !caps.is_empty() && caps.iter().all(|media| [BAYER, GENICAM].contains(&media.name().as_str()))
}

fn raw(formats: &[&str]) -> gst::Caps {
    gst::Caps::builder("video/x-raw").field("format", gst::List::new(formats.iter().copied())).build()
}

/// Keeps the depth of what comes through a converter: of formats of more than 8 bits it makes 16, never 8.
#[derive(Clone, Debug, Default)]
pub struct Depth(Arc<AtomicU32>);

impl Depth {
    /// A converter gets these frames now; the appsink behind it asks for their depth.
    pub fn follow(&self, caps: &gst::CapsRef, sink: &AppSink) {
        let Ok(info) = gst_video::VideoInfo::from_caps(caps) else { return };
        let format = info.format_info();
        let bits = format.depth().iter().max().copied().unwrap_or(8);
        self.0.store(bits, Ordering::Relaxed);
        let wanted = match bits {
            0..=8 => shallow(),
            _ if format.is_gray() => raw(&["GRAY16_LE"]),
            _ => raw(&["ARGB64"]),
        };
        if sink.caps().is_none_or(|caps| caps != wanted) {
            sink.set_caps(Some(&wanted));
        }
    }

    /// Bits of the converter's result that are used, where that is known: it spreads 10 and 12 bits over all 16, and leaves
    /// 16 as they are, of which the sensor may use any number.
    fn spread(&self) -> Option<u32> {
        (9..16).contains(&self.0.load(Ordering::Relaxed)).then_some(16)
    }
}

/// The pixels of a sample, without its padding. `bits` are those that the settings say are significant.
pub fn picture(sample: &gst::Sample, depth: &Depth, bits: Option<u32>) -> Result<Image, String> {
    let caps = sample.caps().ok_or("a buffer without caps arrived")?;
    let buffer = sample.buffer().ok_or("a sample without a buffer arrived")?;
    let media = caps.structure(0).ok_or("a buffer without caps arrived")?;
    let mut image = match media.name().as_str() {
        BAYER | GENICAM => of_sensor(media, buffer)?,
        _ => of_video(caps, buffer)?,
    };
    if image.format.is_deep() && image.levels.is_none() {
        image.levels = bits.or(depth.spread()).map(|bits| Arc::new(Levels::of_bits(bits)));
    }
    Ok(image)
}

fn of_sensor(media: &gst::StructureRef, buffer: &gst::BufferRef) -> Result<Image, String> {
    let name = media.get::<&str>("format").map_err(|_| format!("{media} lacks the format"))?;
    let known = match media.name().as_str() {
        BAYER => SensorFormat::of_gstreamer_bayer(name),
        _ => SensorFormat::of_genicam(name),
    };
    let format = known.ok_or_else(|| format!("{} '{name}' is not taken; {}", media.name(), taken()))?;
    let side = |key| media.get::<i32>(key).ok().and_then(|side| u32::try_from(side).ok()).unwrap_or(0);
    let bytes = buffer.map_readable().map_err(|error| error.to_string())?;
    format.picture(side("width"), side("height"), None, &bytes)
}

fn of_video(caps: &gst::CapsRef, buffer: &gst::BufferRef) -> Result<Image, String> {
    let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| format!("{caps} is no raw video; {}", taken()))?;
    let words = |big_endian| SensorFormat { mosaic: None, bits: 16, storage: Storage::Words { big_endian } };
    let (width, height) = (info.width(), info.height());
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)
        .map_err(|_| too_short(caps, (width as usize, height as usize), buffer.size()))?;
    let stride = frame.plane_stride().first().and_then(|&stride| usize::try_from(stride).ok());
    let stride = stride.ok_or("frames with negative strides are not supported")?;
    let pixels = frame.plane_data(0).map_err(|error| error.to_string())?;
    let format = match info.format() {
        gst_video::VideoFormat::Gray8 => PixelFormat::Gray8,
        gst_video::VideoFormat::Rgb => PixelFormat::Rgb8,
        gst_video::VideoFormat::Bgr => PixelFormat::Bgr8,
        gst_video::VideoFormat::Gray16Le => return words(false).picture(width, height, Some(stride), pixels),
        gst_video::VideoFormat::Gray16Be => return words(true).picture(width, height, Some(stride), pixels),
        gst_video::VideoFormat::Argb64 => {
            let rows = pixels.chunks(stride).take(height as usize);
            let colours = rows.flat_map(|row| row[..width as usize * 8].chunks_exact(8)).flat_map(|pixel| &pixel[2..]);
            let word = |pair: &[u8]| u16::from_ne_bytes([pair[0], pair[1]]).to_le_bytes();
            let data: Vec<u8> = colours.copied().collect();
            let data =
                if cfg!(target_endian = "little") { data } else { data.chunks_exact(2).flat_map(word).collect() };
            return Image::new(width, height, PixelFormat::Rgb16, data).map_err(|error| error.to_string());
        }
        other => {
            return Err(format!(
                "the appsink receives {other}; put `videoconvert` before it, or deliver what is taken: {}",
                taken()
            ));
        }
    };
    Image::from_strided(width, height, format, stride, pixels).map_err(|error| error.to_string())
}

/// Aravis 0.8.26 announces Mono12Packed as GRAY16_LE.
fn too_short(caps: &gst::CapsRef, (width, height): (usize, usize), size: usize) -> String {
    let packed = SensorFormat { mosaic: None, bits: 12, storage: Storage::Pairs }.bytes(width, height);
    let hint = if (packed..=packed + 8).contains(&size) {
        "; as many as 12 packed bits have: the driver announces another format than it hands on, set the camera to Mono12 or \
         Mono16"
    } else {
        ""
    };
    format!("a buffer of {size} bytes does not hold a frame of {caps}{hint}")
}

/// What is taken, and from which GStreamer.
pub fn taken() -> String {
    let (major, minor, micro, _) = gst::version();
    format!(
        "taken are all raw formats of GStreamer {major}.{minor}.{micro} (GRAY8, GRAY16_LE, GRAY16_BE, RGB, YUY2, …), \
         {BAYER} as rggb, grbg, gbrg, bggr with nothing or 10le, 12le, 14le, 16le behind it (or be), and {GENICAM} with \
         GenICam's names: Mono and BayerRG, GR, GB, BG with 8, 10, 12, 14, 16, 10p, 12p, 14p, 10Packed, 12Packed"
    )
}
