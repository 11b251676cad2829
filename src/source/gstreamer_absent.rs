//! The GStreamer source of a build without GStreamer: it says which feature is missing.

use super::gstreamer_spec::{GStreamerSpec, Probe};
use super::{Source, SourceContext, SourceError};

/// Always [`SourceError::NotBuilt`].
pub fn open(_spec: GStreamerSpec, context: SourceContext) -> Result<Box<dyn Source>, SourceError> {
    Err(SourceError::NotBuilt { camera: context.camera.to_string() })
}

/// Always [`SourceError::NotBuilt`].
pub fn probe(_spec: GStreamerSpec, context: SourceContext) -> Result<Probe, SourceError> {
    Err(SourceError::NotBuilt { camera: context.camera.to_string() })
}
