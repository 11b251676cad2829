//! Which frames do not show what was there: those that GStreamer or [`conceal`] flags, and those of JPEGs that are not
//! whole.
//!
//! Decoders of JPEG fill what is missing with grey and flag nothing, so each JPEG is looked at before it is decoded. Its
//! frame is known again by its time stamp.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::super::image_file::whole_jpeg;
use super::conceal;

/// Damaged JPEGs that may wait for their frames; more than any decoder holds.
const MOST_PENDING: usize = 64;

/// What is known of a frame that has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// It does not show what was there.
    pub damaged: bool,
    /// So many JPEGs before it were so broken that no frame came of them.
    pub lost: u64,
}

/// Damaged JPEGs on their way through a decoder.
#[derive(Clone, Debug, Default)]
pub struct Damage(Arc<Mutex<VecDeque<Option<gst::ClockTime>>>>);

impl Damage {
    /// Looks at what goes into the decoders of a pipeline, also those that it plugs later.
    pub fn watch(&self, pipeline: &gst::Pipeline) {
        for element in pipeline.iterate_recurse().into_iter().flatten() {
            self.watch_decoder(&element);
        }
        let damage = self.clone();
        pipeline.connect_deep_element_added(move |_, _, element| damage.watch_decoder(element));
    }

    fn watch_decoder(&self, element: &gst::Element) {
        let decodes =
            element.factory().and_then(|factory| factory.metadata("klass").map(|klass| klass.contains("Decoder")));
        if decodes != Some(true) || element.is::<gst::Bin>() {
            return;
        }
        if element.factory().is_some_and(|factory| factory.name().starts_with("avdec_")) {
            conceal::mark(element);
        }
        let Some(pad) = element.static_pad("sink") else { return };
        let damage = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer().filter(|_| takes_jpegs(pad)) {
                damage.look(buffer);
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn look(&self, buffer: &gst::BufferRef) {
        let Ok(bytes) = buffer.map_readable() else { return };
        if let Err(reason) = whole_jpeg(&bytes) {
            tracing::debug!(pts = ?buffer.pts(), "a JPEG {reason}");
            let mut pending = self.pending();
            if pending.len() == MOST_PENDING {
                pending.pop_front();
            }
            pending.push_back(buffer.pts());
        }
    }

    /// A frame has come out at the end of the pipeline.
    pub fn of_frame(&self, buffer: &gst::BufferRef) -> Condition {
        // A frame with a gap is one that was made up, as videorate repeats one.
        let flags = gst::BufferFlags::CORRUPTED | gst::BufferFlags::GAP | gst::BufferFlags::DECODE_ONLY;
        let mut condition = Condition { damaged: buffer.flags().intersects(flags), lost: 0 };
        let mut pending = self.pending();
        let stamp = buffer.pts();
        while let Some(&first) = pending.front() {
            match (first, stamp) {
                (Some(first), Some(stamp)) if first < stamp => condition.lost += 1,
                (first, stamp) if first == stamp => condition.damaged = true,
                _ => break,
            }
            pending.pop_front();
        }
        condition
    }

    /// The stream begins anew, and its time with it.
    pub fn forget(&self) {
        self.pending().clear();
    }

    // A panic elsewhere while the lock was held leaves the list as it was: every change is one step.
    fn pending(&self) -> MutexGuard<'_, VecDeque<Option<gst::ClockTime>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether each buffer is one JPEG: raw bytes of a file are cut anywhere.
fn takes_jpegs(pad: &gst::Pad) -> bool {
    let timed =
        pad.sticky_event::<gst::event::Segment>(0).is_some_and(|event| event.segment().format() == gst::Format::Time);
    let caps = pad.current_caps();
    timed && caps.as_ref().and_then(|caps| caps.structure(0)).is_some_and(|media| media.name() == "image/jpeg")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stamp: Option<u64>, flags: gst::BufferFlags) -> gst::Buffer {
        let mut buffer = gst::Buffer::new();
        let inner = buffer.get_mut().unwrap();
        inner.set_pts(stamp.map(gst::ClockTime::from_mseconds));
        inner.set_flags(flags);
        buffer
    }

    #[test]
    fn a_frame_is_damaged_by_its_flags_or_by_the_jpeg_of_its_time() {
        gst::init().unwrap();
        let none = gst::BufferFlags::empty();
        let damage = Damage::default();
        for stamp in [20, 30, 40] {
            damage.look(&frame(Some(stamp), none));
        }
        let seen = |stamp, flags| {
            let Condition { damaged, lost } = damage.of_frame(&frame(stamp, flags));
            (damaged, lost)
        };
        assert_eq!(seen(Some(10), none), (false, 0));
        assert_eq!(seen(Some(20), none), (true, 0));
        assert_eq!(seen(Some(10), gst::BufferFlags::CORRUPTED), (true, 0));
        assert_eq!(seen(Some(40), none), (true, 1));
        assert_eq!(seen(Some(50), gst::BufferFlags::GAP), (true, 0));
        assert_eq!(seen(Some(60), gst::BufferFlags::DISCONT), (false, 0));
        damage.look(&frame(None, none));
        assert_eq!(seen(None, none), (true, 0));
        assert_eq!(seen(None, none), (false, 0));
    }
}
