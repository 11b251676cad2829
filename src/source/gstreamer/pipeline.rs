//! From a camera's settings to a pipeline that ends in our appsink.

use std::ops::RangeInclusive;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use gstreamer_video as gst_video;

use super::super::SourceError;
use super::super::gstreamer_spec::{
    AravisSpec, EXPOSURE_US, FileSpec, GAIN, GStreamerInput, GStreamerSpec, PIXEL_FORMATS, RtspSpec, RtspTransport,
    Secret, V4l2Spec, redacted,
};
use super::super::sensor_format::{SensorFormat, Storage};
use super::arrival::{self, BAYER, anything, are_mosaics, mosaics, shallow};
use super::fault::package_of;

/// Name of the element that stands for the camera in the pipelines built here.
const CAMERA: &str = "camera";
/// Name of the filter that holds size, rate and format.
const WANTED: &str = "wanted";
/// Name of the appsink that is appended to every pipeline without one.
const SINK: &str = "vcp_line_sink";

/// A pipeline in state NULL, and the appsink that its frames arrive at.
#[derive(Debug)]
pub struct Pipeline {
    pub pipeline: gst::Pipeline,
    pub sink: AppSink,
    /// The converter before the appsink, unless the whole pipeline was written by hand.
    pub converter: Option<gst::Element>,
}

/// Builds the pipeline for a camera. Nothing is opened yet.
pub fn build(spec: &GStreamerSpec, camera: &str) -> Result<Pipeline, SourceError> {
    let build = Builder { camera };
    match &spec.input {
        GStreamerInput::V4l2(settings) => build.v4l2(settings),
        GStreamerInput::Rtsp(settings) => build.rtsp(settings),
        GStreamerInput::Aravis(settings) => build.aravis(settings),
        GStreamerInput::File(settings) => build.file(settings),
        GStreamerInput::Launch { description } => build.launch(description),
    }
}

struct Builder<'a> {
    camera: &'a str,
}

impl Builder<'_> {
    fn v4l2(&self, settings: &V4l2Spec) -> Result<Pipeline, SourceError> {
        let mjpg = settings.format.as_deref().is_some_and(|format| format.eq_ignore_ascii_case("MJPG"));
        let mosaic = settings.format.as_ref().map(|format| format.to_ascii_lowercase());
        let mosaic = mosaic.filter(|format| SensorFormat::of_gstreamer_bayer(format).is_some());
        let raw = settings.format.as_deref().filter(|_| !mjpg && mosaic.is_none());
        let raw = raw.map(|format| self.raw_format(format)).transpose()?;
        if !settings.device.exists() {
            return Err(SourceError::Lost {
                camera: self.camera.to_owned(),
                address: settings.device.display().to_string(),
                reason: "there is no such device; `v4l2-ctl --list-devices` lists those there are".to_owned(),
            });
        }
        let head = format!("v4l2src name={CAMERA} ! capsfilter name={WANTED} ! ");
        let (built, media) = match (&mosaic, mjpg) {
            (Some(_), _) => (self.unconverted(&head)?, BAYER),
            (None, true) => (self.described(&format!("{head}jpegdec ! "))?, "image/jpeg"),
            (None, false) => (self.described(&head)?, "video/x-raw"),
        };
        let mut wanted = gst::Caps::builder(media);
        if let Some(format) = raw.or(mosaic) {
            wanted = wanted.field("format", format);
        }
        self.want(&built, size(wanted, settings.width, settings.height, settings.fps).build())?;
        self.set(&built, "device", settings.device.display().to_string())?;
        Ok(built)
    }

    fn rtsp(&self, settings: &RtspSpec) -> Result<Pipeline, SourceError> {
        let (url, user, password) = settings.credentials();
        if !url.starts_with("rtsp://") && !url.starts_with("rtsps://") {
            let shown = redacted(&url);
            return Err(self.refused(format!("'{shown}' is no RTSP URL: it begins with rtsp:// or rtsps://")));
        }
        if !settings.has_a_number_for_port() {
            // The URL is not shown: what stands there may be half a password.
            let reason = "the port of the RTSP URL is no number; write / in a password as %2F";
            return Err(self.refused(reason.to_owned()));
        }
        let built = self.described(&format!("rtspsrc name={CAMERA} ! decodebin ! "))?;
        let source = self.element(&built, CAMERA)?;
        self.set(&built, "location", url)?;
        self.set(&built, "latency", settings.latency_ms)?;
        source.set_property_from_str(
            "protocols",
            match settings.transport {
                RtspTransport::Tcp => "tcp",
                RtspTransport::Udp => "udp",
            },
        );
        self.set(&built, "user-id", user)?;
        self.set(&built, "user-pw", password.as_ref().map(Secret::reveal))?;
        // Sound is not even asked for: the one link of this pipeline belongs to the pictures.
        source.connect("select-stream", false, |values| {
            let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
            let media = caps.as_ref().and_then(|caps| caps.structure(0)).and_then(|s| s.get::<String>("media").ok());
            Some((media.as_deref() == Some("video")).to_value())
        });
        Ok(built)
    }

    fn aravis(&self, settings: &AravisSpec) -> Result<Pipeline, SourceError> {
        // aravissrc cannot be told to leave the format alone: without one it writes the first that fits into the camera,
        // and a colour camera turns grey.
        let name = settings.pixel_format.as_deref().ok_or_else(|| {
            self.refused(format!("pixel_format is missing; write the one that the camera is set to: {PIXEL_FORMATS}"))
        })?;
        let (media, format) = self.aravis_format(name)?;
        let head = format!("aravissrc name={CAMERA} ! capsfilter name={WANTED} ! ");
        let built = if media == BAYER { self.unconverted(&head)? } else { self.described(&head)? };
        let wanted = gst::Caps::builder(media).field("format", format);
        self.want(&built, size(wanted, settings.width, settings.height, settings.fps).build())?;
        self.set(&built, "camera-name", settings.camera.clone())?;
        // A value beyond aravissrc's own limits would end the program.
        if let Some(exposure) = settings.exposure_us {
            self.within("exposure", exposure, EXPOSURE_US, "microseconds")?;
            self.set(&built, "exposure", exposure)?;
        }
        if let Some(gain) = settings.gain {
            self.within("gain", gain, GAIN, "decibels")?;
            self.set(&built, "gain", gain)?;
        }
        self.set(&built, "auto-packet-size", settings.auto_packet_size && settings.packet_size.is_none())?;
        if let Some(bytes) = settings.packet_size {
            let bytes = i32::try_from(bytes).ok().filter(|bytes| (36..=65_500).contains(bytes));
            let bytes = bytes.ok_or_else(|| self.refused("packet_size must be 36 to 65500 bytes".to_owned()))?;
            self.set(&built, "packet-size", bytes)?;
        }
        let mut features = Vec::new();
        if matches!(name, "Mono10" | "Mono12" | "Mono14") {
            // GRAY16_LE makes aravissrc write Mono16; this is written after it, before the stream is made.
            features.push(format!("PixelFormat={name}"));
        }
        if let Some(source) = &settings.trigger_source {
            if source.is_empty() || !source.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(self.refused(format!("trigger source '{source}': letters, digits and _ only, as in Line1")));
            }
            features.push(format!("TriggerSelector=FrameStart TriggerMode=On TriggerSource={source}"));
        }
        if !features.is_empty() {
            self.set(&built, "features", features.join(" "))?;
        }
        Ok(built)
    }

    fn file(&self, settings: &FileSpec) -> Result<Pipeline, SourceError> {
        if let Err(error) = std::fs::File::open(&settings.path) {
            return Err(SourceError::File {
                camera: self.camera.to_owned(),
                path: settings.path.clone(),
                reason: error.to_string(),
            });
        }
        let built = self.described(&format!("filesrc name={CAMERA} ! decodebin ! "))?;
        self.set(&built, "location", settings.path.display().to_string())?;
        built.sink.set_sync(settings.realtime);
        Ok(built)
    }

    fn launch(&self, description: &str) -> Result<Pipeline, SourceError> {
        let description = description.trim().trim_end_matches('!').trim_end();
        if description.is_empty() {
            return Err(self.refused("the pipeline is empty; a first try is `videotestsrc`".to_owned()));
        }
        // The word decides whether the description is complete: one that ends in caps does not parse without a sink.
        if description.split([' ', '\t', '\n', '!']).any(|word| word == "appsink") {
            let pipeline = self.parsed(description)?.downcast::<gst::Pipeline>().ok();
            let found = pipeline.and_then(|pipeline| Some((appsink_in(&pipeline)?, pipeline)));
            let (sink, pipeline) = found.ok_or_else(|| self.refused("nothing leads to the appsink".to_owned()))?;
            if sink.caps().is_none_or(|caps| caps.is_any()) {
                sink.set_caps(Some(&anything()));
            }
            return Ok(Pipeline { pipeline, sink, converter: None });
        }
        let head = format!("{description} ! ");
        if self.ends_in_a_mosaic(&head) { self.unconverted(&head) } else { self.described(&head) }
    }

    /// Whether what a description delivers can be nothing that videoconvert takes; asked of a pipeline that is made for it.
    fn ends_in_a_mosaic(&self, head: &str) -> bool {
        const END: &str = "vcp_line_end";
        // What does not parse is told when the real one is made.
        let Ok(pipeline) = self.parsed(&format!("{head}identity name={END}")) else { return false };
        let end = pipeline.downcast_ref::<gst::Pipeline>().and_then(|pipeline| pipeline.by_name(END));
        let feeding = end.as_ref().and_then(|end| end.static_pad("sink")).and_then(|pad| pad.peer());
        feeding.is_some_and(|pad| are_mosaics(&pad.query_caps(None)))
    }

    /// A pipeline whose frames reach the appsink as they come: mosaics become colours here.
    fn unconverted(&self, head: &str) -> Result<Pipeline, SourceError> {
        let pipeline = self.parsed(&format!("{head}appsink name={SINK} sync=false"))?;
        let (pipeline, sink) = self.with_sink(pipeline, head)?;
        sink.set_caps(Some(&mosaics()));
        Ok(Pipeline { pipeline, sink, converter: None })
    }

    fn with_sink(&self, pipeline: gst::Element, head: &str) -> Result<(gst::Pipeline, AppSink), SourceError> {
        let broken = || self.refused(format!("'{}' makes no pipeline", redacted(head)));
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| broken())?;
        let sink = pipeline.by_name(SINK).and_then(|sink| sink.downcast::<AppSink>().ok()).ok_or_else(broken)?;
        Ok((pipeline, sink))
    }

    /// A pipeline of a description that still lacks its end.
    fn described(&self, head: &str) -> Result<Pipeline, SourceError> {
        // No clock in between: a frame is worth most at once. Files that play in real time switch `sync` on.
        let pipeline = self.parsed(&format!("{head}videoconvert ! appsink name={SINK} sync=false"))?;
        let (pipeline, sink) = self.with_sink(pipeline, head)?;
        sink.set_caps(Some(&shallow()));
        let converter = sink.static_pad("sink").and_then(|pad| pad.peer()).and_then(|pad| pad.parent_element());
        Ok(Pipeline { pipeline, sink, converter })
    }

    fn parsed(&self, description: &str) -> Result<gst::Element, SourceError> {
        let mut context = gst::ParseContext::new();
        gst::parse::launch_full(description, Some(&mut context), gst::ParseFlags::FATAL_ERRORS).map_err(|error| {
            let missing = context.missing_elements().into_iter().next();
            match missing.filter(|_| error.matches(gst::ParseError::NoSuchElement)) {
                Some(element) => SourceError::ElementMissing {
                    camera: self.camera.to_owned(),
                    package: package_of(&element),
                    element,
                },
                None => {
                    self.refused(format!("the pipeline '{}': {}", redacted(description), redacted(error.message())))
                }
            }
        })
    }

    fn element(&self, built: &Pipeline, name: &str) -> Result<gst::Element, SourceError> {
        built.pipeline.by_name(name).ok_or_else(|| self.refused(format!("the pipeline has no element '{name}'")))
    }

    /// Sets a property of the camera's element. An element of another version may lack it.
    fn set(&self, built: &Pipeline, property: &str, value: impl Into<gst::glib::Value>) -> Result<(), SourceError> {
        let element = self.element(built, CAMERA)?;
        let kind = element.factory().map(|factory| factory.name().to_string()).unwrap_or_default();
        if element.find_property(property).is_none() {
            return Err(self.refused(format!("this version of {kind} has no setting '{property}'")));
        }
        element.set_property(property, value);
        Ok(())
    }

    fn within(&self, name: &str, value: f64, limits: RangeInclusive<f64>, unit: &str) -> Result<(), SourceError> {
        if limits.contains(&value) {
            return Ok(());
        }
        let (least, most) = limits.into_inner();
        Err(self.refused(format!("{name} {value} is not from {least} to {most} {unit}")))
    }

    fn want(&self, built: &Pipeline, caps: gst::Caps) -> Result<(), SourceError> {
        self.element(built, WANTED)?.set_property("caps", caps);
        Ok(())
    }

    fn raw_format(&self, name: &str) -> Result<String, SourceError> {
        let upper = name.to_ascii_uppercase();
        match gst_video::VideoFormat::from_string(&upper) {
            gst_video::VideoFormat::Unknown => {
                Err(self.refused(format!("format '{name}' is not known; MJPG, and {}", arrival::taken())))
            }
            _ => Ok(upper),
        }
    }

    /// GStreamer's media type and format of a GenICam pixel format.
    fn aravis_format(&self, name: &str) -> Result<(&'static str, &'static str), SourceError> {
        Ok(match name {
            "Mono8" => ("video/x-raw", "GRAY8"),
            "Mono10" | "Mono12" | "Mono14" | "Mono16" => ("video/x-raw", "GRAY16_LE"),
            "RGB8" | "RGB8Packed" => ("video/x-raw", "RGB"),
            "BGR8" | "BGR8Packed" => ("video/x-raw", "BGR"),
            "YUV422_8" | "YUV422_YUYV_Packed" => ("video/x-raw", "YUY2"),
            "YUV422_8_UYVY" | "YUV422Packed" => ("video/x-raw", "UYVY"),
            "BayerRG8" => (BAYER, "rggb"),
            "BayerGR8" => (BAYER, "grbg"),
            "BayerGB8" => (BAYER, "gbrg"),
            "BayerBG8" => (BAYER, "bggr"),
            _ => return Err(self.refused(not_handed_on(name))),
        })
    }

    fn refused(&self, reason: String) -> SourceError {
        SourceError::Pipeline { camera: self.camera.to_owned(), reason }
    }
}

/// Why a GenICam pixel format does not come through aravissrc, and what does.
fn not_handed_on(name: &str) -> String {
    let reason = match SensorFormat::of_genicam(name) {
        Some(SensorFormat { mosaic: Some(_), .. }) => "it has no caps for mosaics of more than 8 bits",
        Some(SensorFormat { storage: Storage::Pairs | Storage::Stream, .. }) => {
            "it announces packed samples as GRAY16_LE, which they are not"
        }
        _ => "it is not one that is known here",
    };
    format!(
        "pixel format '{name}' cannot be taken through {}: {reason}; set the camera to one of {PIXEL_FORMATS}",
        version_of("aravissrc")
    )
}

/// Version of the plugin that an element comes from.
fn version_of(element: &str) -> String {
    let plugin = gst::ElementFactory::find(element).and_then(|factory| factory.plugin());
    plugin.map_or_else(
        || format!("{element}, which is not installed"),
        |plugin| format!("{element} {}", plugin.version()),
    )
}

fn size(
    mut caps: gst::caps::Builder<gst::caps::NoFeature>,
    width: Option<u32>,
    height: Option<u32>,
    fps: Option<u32>,
) -> gst::caps::Builder<gst::caps::NoFeature> {
    // GStreamer's sizes are signed; a size beyond them is refused when caps are negotiated.
    let signed = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    if let Some(width) = width {
        caps = caps.field("width", signed(width));
    }
    if let Some(height) = height {
        caps = caps.field("height", signed(height));
    }
    if let Some(fps) = fps {
        caps = caps.field("framerate", gst::Fraction::new(signed(fps), 1));
    }
    caps
}

/// The appsink of a hand-written pipeline: the one named `sink`, else the first.
fn appsink_in(pipeline: &gst::Pipeline) -> Option<AppSink> {
    let named = pipeline.by_name("sink").and_then(|element| element.downcast::<AppSink>().ok());
    named.or_else(|| {
        pipeline.iterate_recurse().into_iter().flatten().find_map(|element| element.downcast::<AppSink>().ok())
    })
}
