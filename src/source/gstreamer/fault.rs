//! What GStreamer reports, in the words of [`SourceError`].

use gstreamer as gst;

use super::super::SourceError;
use super::super::gstreamer_spec::{GStreamerInput, GStreamerSpec, redacted};

/// Why a pipeline delivers no more frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The stream came to its end.
    EndOfStream,
    /// A decoder or another element is not installed; what it is for.
    Missing(String),
    /// The settings and the camera do not fit.
    Unfit(String),
    /// The camera, the network or the file failed.
    Failed(String),
    /// The camera's element gave up its stream, without saying why: aravissrc does when a triggered line pauses.
    StreamStopped(String),
}

impl Fault {
    /// What a message on the bus means; `None` for messages that end nothing. [`Fault::Missing`] alone ends nothing
    /// either: the track that lacks its decoder may be one that nobody uses.
    pub fn from_message(message: &gst::Message) -> Option<Self> {
        match message.view() {
            gst::MessageView::Eos(_) => Some(Self::EndOfStream),
            gst::MessageView::Element(element) => {
                let structure = element.structure().filter(|structure| structure.name() == "missing-plugin")?;
                // No line needs to hear its camera.
                let wanted = structure.get::<gst::Caps>("detail").ok();
                let media = wanted.as_ref().and_then(|caps| caps.structure(0)).map(|caps| caps.name());
                if media.is_some_and(|media| media.starts_with("audio/")) {
                    return None;
                }
                Some(Self::Missing(structure.get::<String>("name").unwrap_or_else(|_| "a decoder".to_owned())))
            }
            gst::MessageView::Error(error) => Some(Self::from_error(&error.error(), error.debug().as_deref())),
            _ => None,
        }
    }

    fn from_error(error: &gst::glib::Error, debug: Option<&str>) -> Self {
        // After the place in GStreamer's source comes, on its own lines, what the element has to add.
        let detail = debug.and_then(|debug| debug.split_once('\n')).map_or("", |(_, detail)| detail.trim());
        let mut said = error.message().to_owned();
        if !detail.is_empty() {
            said = format!("{said} {}", detail.replace('\n', " "));
        }
        let said = redacted(&said);
        if detail.contains("not-negotiated") || error.matches(gst::StreamError::Format) {
            Self::Unfit(said)
        } else if detail.contains("streaming stopped, reason error") {
            Self::StreamStopped(said)
        } else if error.matches(gst::StreamError::TypeNotFound) || error.matches(gst::StreamError::WrongType) {
            Self::Unfit(said)
        } else {
            Self::Failed(said)
        }
    }

    /// The error for the line.
    pub fn into_error(self, spec: &GStreamerSpec, camera: &str) -> SourceError {
        let camera = camera.to_owned();
        let file = match &spec.input {
            GStreamerInput::File(file) => Some(file.path.clone()),
            _ => None,
        };
        match (self, file) {
            (Self::EndOfStream, Some(_)) => SourceError::Ended { camera },
            (Self::EndOfStream, None) => {
                SourceError::Lost { camera, address: spec.address(), reason: "the stream ended".to_owned() }
            }
            (Self::Missing(element), _) => {
                SourceError::ElementMissing { camera, package: package_of(&element), element }
            }
            (Self::Unfit(said) | Self::Failed(said) | Self::StreamStopped(said), Some(path)) => {
                SourceError::File { camera, path, reason: said }
            }
            (Self::Unfit(said), None) => SourceError::Pipeline {
                camera,
                reason: format!(
                    "{} does not deliver what the settings ask for: {said}; check size, rate and format",
                    spec.address()
                ),
            },
            (Self::StreamStopped(said), None) if matches!(spec.input, GStreamerInput::Aravis(_)) => SourceError::Lost {
                camera,
                address: spec.address(),
                reason: format!(
                    "it stopped delivering ({said}); check cable and power, and that no other program controls it"
                ),
            },
            (Self::Failed(said) | Self::StreamStopped(said), None) => {
                SourceError::Lost { camera, address: spec.address(), reason: said }
            }
        }
    }
}

/// The Debian package of a GStreamer element, or of what a missing decoder is called.
pub fn package_of(element: &str) -> &'static str {
    match element {
        "aravissrc" => "libaravis-0.8-0",
        "appsink" | "videoconvert" | "decodebin" | "decodebin3" | "uridecodebin" | "videotestsrc" | "videorate"
        | "videoscale" | "tcpclientsrc" => "gstreamer1.0-plugins-base",
        "filesrc" | "capsfilter" | "queue" | "tee" | "identity" | "fakesink" => "libgstreamer1.0-0",
        "bayer2rgb" | "h264parse" | "h265parse" | "openh264dec" | "srtsrc" | "rtmpsrc" => "gstreamer1.0-plugins-bad",
        "x264enc" => "gstreamer1.0-plugins-ugly",
        "rtspsrc" | "v4l2src" | "jpegdec" | "udpsrc" | "avidemux" | "qtdemux" | "matroskademux" | "multifilesrc" => {
            "gstreamer1.0-plugins-good"
        }
        name if name.starts_with("av") || name.contains("decoder") => "gstreamer1.0-libav",
        name if name.starts_with("rtp") => "gstreamer1.0-plugins-good",
        _ => "that contains it (`apt-file search`, or gstreamer1.0-plugins-bad and -ugly to begin with)",
    }
}
