//! Frames of which a decoder invented a part. libav fills in what it cannot decode and flags nothing: it says so in its
//! log, on the thread that decodes.
//!
//! What follows is built on what was invented, up to the next frame that needs no other.

use std::cell::Cell;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread::ThreadId;

use gstreamer as gst;
use gstreamer::prelude::*;

/// What libav's decoders say when a part of a frame is missing: of H.264, H.265, MPEG-4 and their older kin.
const SAID: [&str; 5] = ["concealing", "while decoding", "Could not find ref", "damaged", "missing reference"];

/// GStreamer's name for what libav says.
const CATEGORY: &str = "libav";

/// Frames after which an invented part counts as painted over, in streams that refresh their pictures bit by bit.
const MOST_TAINTED: u32 = 300;

thread_local! {
    /// How often a decoder on this thread has said so.
    static TIMES_SAID: Cell<u64> = const { Cell::new(0) };
}

/// Marks what comes out of a decoder of libav as corrupted while a part of it is invented.
pub fn mark(decoder: &gst::Element) {
    let Some((sink, source)) = decoder.static_pad("sink").zip(decoder.static_pad("src")) else { return };
    // What is said on other threads could be said of any camera.
    if decoder.find_property("max-threads").is_some() {
        decoder.set_property_from_str("max-threads", "1");
    }
    listen();
    let taint = Arc::new(Mutex::new(Taint::default()));
    let entering = Arc::clone(&taint);
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer() {
            let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
            entering.lock().unwrap_or_else(PoisonError::into_inner).enters(Heard::now(), key, buffer.pts());
        }
        gst::PadProbeReturn::Ok
    });
    source.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data
            && taint.lock().unwrap_or_else(PoisonError::into_inner).leaves(Heard::now(), buffer.pts())
        {
            buffer.make_mut().set_flags(gst::BufferFlags::CORRUPTED);
        }
        gst::PadProbeReturn::Ok
    });
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // GStreamer would print what is only listened to here, unless somebody debugs.
        if std::env::var_os("GST_DEBUG").is_none() {
            gst::log::remove_default_log_function();
        }
        gst::log::set_threshold_for_name(CATEGORY, gst::DebugLevel::Info);
        gst::log::add_log_function(|category, _, _, _, _, _, message| {
            let said = || message.get().is_some_and(|text| SAID.iter().any(|part| text.contains(part)));
            if category.name() == CATEGORY && said() {
                TIMES_SAID.set(TIMES_SAID.get() + 1);
            }
        });
    });
}

/// How often it was said on which thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard(ThreadId, u64);

impl Heard {
    fn now() -> Self {
        Self(std::thread::current().id(), TIMES_SAID.get())
    }
}

/// Whether what a decoder gives out is invented in part.
#[derive(Debug, Default)]
struct Taint {
    heard: Option<Heard>,
    /// Frames marked since it began.
    marked: Option<u32>,
    /// The time stamp of the next frame that needs no other, once it has come.
    clean_from: Option<Option<gst::ClockTime>>,
}

impl Taint {
    fn hear(&mut self, now: Heard) {
        // A stream that begins anew may do so on another thread, where more was said about others.
        let news = self.heard.is_some_and(|before| before.0 == now.0 && before.1 != now.1);
        self.heard = Some(now);
        if news {
            (self.marked, self.clean_from) = (Some(0), None);
        }
    }

    /// A coded frame goes in.
    fn enters(&mut self, now: Heard, key: bool, stamp: Option<gst::ClockTime>) {
        self.hear(now);
        if key && self.marked.is_some() {
            self.clean_from.get_or_insert(stamp);
        }
    }

    /// A frame comes out; whether a part of it is invented.
    fn leaves(&mut self, now: Heard, stamp: Option<gst::ClockTime>) -> bool {
        self.hear(now);
        let clean = match self.clean_from {
            Some(from) => stamp.zip(from).is_none_or(|(stamp, from)| stamp >= from),
            None => false,
        };
        self.marked = self.marked.filter(|&marked| !clean && marked < MOST_TAINTED).map(|marked| marked + 1);
        self.marked.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_invented_lasts_until_a_frame_that_needs_no_other() {
        let stamp = |ms| Some(gst::ClockTime::from_mseconds(ms));
        let said = |times| Heard(std::thread::current().id(), times);
        let mut taint = Taint::default();
        taint.enters(said(7), true, stamp(0));
        assert!(!taint.leaves(said(7), stamp(0)));
        // It is said while the second frame is decoded; the decoder gives frames out one later.
        taint.enters(said(7), false, stamp(40));
        assert!(taint.leaves(said(8), stamp(40)));
        taint.enters(said(8), true, stamp(80));
        assert!(taint.leaves(said(8), stamp(60)));
        assert!(!taint.leaves(said(8), stamp(80)));
        // A frame that needs no other is broken itself.
        taint.enters(said(8), true, stamp(120));
        taint.enters(said(9), true, stamp(160));
        assert!(taint.leaves(said(9), stamp(120)));
        assert!(!taint.leaves(said(9), stamp(160)));
    }

    #[test]
    fn another_thread_says_nothing_and_a_taint_does_not_last_for_ever() {
        let other = std::thread::Builder::new().name("other".into()).spawn(|| Heard::now().0).unwrap().join().unwrap();
        let own = std::thread::current().id();
        let mut taint = Taint::default();
        taint.enters(Heard(own, 1), true, None);
        assert!(!taint.leaves(Heard(other, 5), None));
        taint.enters(Heard(other, 6), false, None);
        let marked = (0..1000).filter(|_| taint.leaves(Heard(other, 6), None)).count();
        assert_eq!(marked, MOST_TAINTED as usize);
    }
}
