//! `source = "aravis"`: what is written into a GigE Vision or USB3 Vision camera.

use std::ops::RangeInclusive;

use super::raw::RawAravis;
use super::rules::{Rules, value};
use crate::source::gstreamer_spec::{AravisSpec, EXPOSURE_US, GAIN, PIXEL_FORMATS};

/// GenICam's trigger source for a signal that a program sends, and why it is refused.
const SOFTWARE: &str = "Software";
const NOBODY_SENDS: &str = "\"Software\" waits for a signal that this program does not send; write the input that the sensor \
     is wired to, such as Line1, or leave it out and let commands choose frames with mode = \"software\"";

/// `None` after a mistake. `side` is what width and height may be.
pub fn resolve(raw: &RawAravis, side: RangeInclusive<u32>, rules: &mut Rules<'_>) -> Option<AravisSpec> {
    let trigger_source = value(&raw.trigger_source);
    if trigger_source.as_deref() == Some(SOFTWARE) {
        rules.wrong(raw.trigger_source.as_ref(), "trigger_source", NOBODY_SENDS.into());
    }
    let what = format!("write the one that the camera is set to: {PIXEL_FORMATS}");
    let pixel_format = rules.required(&raw.pixel_format, "pixel_format", &what);
    Some(AravisSpec {
        camera: value(&raw.camera),
        width: rules.bounded_option(&raw.width, "width", side.clone(), " pixels"),
        height: rules.bounded_option(&raw.height, "height", side, " pixels"),
        fps: rules.bounded_option(&raw.fps, "fps", 1..=1000, " frames per second"),
        exposure_us: rules.bounded_option(&raw.exposure_us, "exposure_us", EXPOSURE_US, " microseconds"),
        gain: rules.bounded_option(&raw.gain, "gain", GAIN, " decibels"),
        pixel_format: Some(pixel_format?),
        packet_size: rules.bounded_option(&raw.packet_size, "packet_size", 576..=16_384, " bytes"),
        auto_packet_size: value(&raw.auto_packet_size).unwrap_or(raw.packet_size.is_none()),
        trigger_source,
    })
}
