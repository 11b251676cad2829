//! Every camera that GStreamer can open: V4L2, RTSP, GigE Vision and USB3 Vision, video files, hand-written pipelines.
//!
//! The only module that names GStreamer. Pixels are copied where they arrive, on GStreamer's streaming thread, because
//! a driver may fill its buffer again as soon as that thread moves on; this is also when a frame is stamped.

mod arrival;
mod conceal;
mod damage;
mod fault;
mod mailbox;
mod pipeline;

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use gstreamer_video as gst_video;

use self::arrival::Depth;
use self::damage::Damage;
use self::fault::Fault;
use self::mailbox::{Mailbox, Overflow, Taken};
use self::pipeline::Pipeline;
use super::gstreamer_spec::{GStreamerInput, GStreamerSpec, Probe};
use super::levels::Glance;
use super::{Source, SourceContext, SourceError};
use crate::clock::ClockSource;
use crate::frame::Frame;

/// How long a pipeline may take to give its camera back.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a probe waits for the pictures that tell the levels of deep ones.
const MORE_PICTURES: Duration = Duration::from_secs(1);

/// GStreamer's "this buffer has no offset".
const NO_OFFSET: u64 = u64::MAX;

/// Opens a camera.
pub fn open(spec: GStreamerSpec, context: SourceContext) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(GStreamerSource::open(spec, context)?))
}

/// Opens a camera, waits for one frame, gives it back and says what it delivers.
/// A triggered camera that stays silent is described as open and waiting.
pub fn probe(spec: GStreamerSpec, context: SourceContext) -> Result<Probe, SourceError> {
    let patience = spec.start_timeout;
    let silence_is_fine = spec.max_silence.is_none();
    let address = spec.address();
    let mut source = GStreamerSource::open(spec, context)?;
    match source.next(patience)? {
        Some(frame) => {
            let image = &frame.image;
            let description = format!("{}x{} {:?}{}", image.width, image.height, image.format, source.rate());
            let mut glance = Glance::default();
            glance.add(image);
            glance.look(&mut source, MORE_PICTURES);
            Ok(Probe { size: Some((image.width, image.height)), description, glance })
        }
        None if silence_is_fine => {
            let description = format!("open, no frame within {} s: waiting for a trigger", patience.as_secs());
            Ok(Probe { size: None, description, glance: Glance::default() })
        }
        None => Err(SourceError::Lost {
            camera: source.context.camera.to_string(),
            address,
            reason: format!("no frame within {} s", patience.as_secs()),
        }),
    }
}

/// One open camera.
pub struct GStreamerSource {
    spec: GStreamerSpec,
    context: SourceContext,
    parts: Pipeline,
    mailbox: Arc<Mailbox<Fault>>,
    damage: Damage,
    /// What GStreamer missed first; matters only when no frame comes.
    missing: Arc<OnceLock<String>>,
    live: bool,
    last_frame: Instant,
    /// Frames delivered when the file was last rewound; a round without any ends the repetition.
    delivered_before_round: u64,
    stopped: bool,
}

impl GStreamerSource {
    /// Builds the pipeline, starts it and, unless frames wait for a trigger, waits for the first frame;
    /// all within [`GStreamerSpec::start_timeout`].
    pub fn open(spec: GStreamerSpec, context: SourceContext) -> Result<Self, SourceError> {
        let camera = context.camera.to_string();
        if HANGING.holds(&camera, &spec.address()) {
            // One more attempt would be one more thread that hangs in the driver.
            let reason = "its driver has not answered the last request yet; unplug the camera or restart the service";
            return Err(SourceError::Lost { camera, address: spec.address(), reason: reason.to_owned() });
        }
        gst::init().map_err(|error| SourceError::Pipeline {
            camera: camera.clone(),
            reason: format!("GStreamer does not start: {error}; run `gst-inspect-1.0` to see why"),
        })?;
        let parts = pipeline::build(&spec, &camera)?;
        let file = matches!(spec.input, GStreamerInput::File(_));
        let mailbox = Arc::new(Mailbox::new(if file { Overflow::Wait } else { Overflow::DropOldest }));
        let damage = Damage::default();
        damage.watch(&parts.pipeline);
        let depth = Depth::default();
        keep_depth(&parts, &depth);
        receive(&parts.sink, Arc::clone(&mailbox), (damage.clone(), depth), &context, &spec);
        let missing = Arc::new(OnceLock::new());
        listen(&parts.pipeline, Arc::clone(&mailbox), Arc::clone(&missing));
        let mut source = Self {
            spec,
            context,
            parts,
            mailbox,
            damage,
            missing,
            live: !file,
            last_frame: Instant::now(),
            delivered_before_round: 0,
            stopped: false,
        };
        source.start()?;
        Ok(source)
    }

    fn start(&mut self) -> Result<(), SourceError> {
        let deadline = Instant::now() + self.spec.start_timeout;
        let outcome = self.set_state(gst::State::Paused, self.spec.start_timeout);
        if matches!(self.spec.input, GStreamerInput::Launch { .. }) {
            self.live = outcome == StateChange::Done(gst::StateChangeSuccess::NoPreroll);
            self.mailbox.set_overflow(if self.live { Overflow::DropOldest } else { Overflow::Wait });
        }
        let outcome = match outcome {
            StateChange::Done(_) => {
                self.set_state(gst::State::Playing, deadline.saturating_duration_since(Instant::now()))
            }
            other => other,
        };
        match outcome {
            StateChange::Done(_) => {}
            StateChange::Refused => {
                let fault = self.mailbox.ended().unwrap_or_else(|| Fault::Failed("it does not start".to_owned()));
                return Err(self.error(fault));
            }
            StateChange::Late => return Err(self.silent(self.spec.start_timeout)),
        }
        let triggered = matches!(&self.spec.input, GStreamerInput::Aravis(camera) if camera.trigger_source.is_some());
        let patience = if triggered { Duration::ZERO } else { deadline.saturating_duration_since(Instant::now()) };
        let may_be_silent = triggered || matches!(self.spec.input, GStreamerInput::Launch { .. });
        match self.mailbox.wait(patience) {
            Ok(arrived) if arrived || may_be_silent => {
                self.last_frame = Instant::now();
                Ok(())
            }
            Ok(_) => Err(self.silent(self.spec.start_timeout)),
            Err(Fault::EndOfStream) if !self.live => {
                Err(self.error(Fault::Failed("there are no pictures in it".to_owned())))
            }
            Err(fault) => Err(self.error(fault)),
        }
    }

    /// Changes the pipeline's state on a thread of its own, because a driver may block in it for as long as it likes.
    fn set_state(&self, state: gst::State, timeout: Duration) -> StateChange {
        let pipeline = self.parts.pipeline.clone();
        let (done, outcome) = crossbeam_channel::bounded(1);
        let running = Arc::new(());
        let change = Arc::downgrade(&running);
        let spawned = std::thread::Builder::new().name(format!("gst-{}", self.context.camera)).spawn(move || {
            let _running = running;
            if done.send(pipeline.set_state(state)).is_err() {
                tracing::debug!("the state change to {state:?} ended after its deadline");
            }
        });
        match spawned {
            Ok(_) => match outcome.recv_timeout(timeout) {
                Ok(Ok(success)) => StateChange::Done(success),
                Ok(Err(_)) => StateChange::Refused,
                Err(_) => {
                    HANGING.remember(&self.context.camera, &self.spec.address(), change);
                    StateChange::Late
                }
            },
            Err(_) => StateChange::Refused,
        }
    }

    /// What to do when the pipeline has no more frames: rewind, restart, or report.
    fn after(&mut self, fault: Fault) -> Result<(), SourceError> {
        match (&self.spec.input, &fault) {
            (GStreamerInput::File(file), Fault::EndOfStream) if file.repeat => self.rewind(),
            (GStreamerInput::Aravis(camera), Fault::StreamStopped(_)) if camera.trigger_source.is_some() => {
                self.ask_the_camera(fault)
            }
            (GStreamerInput::Launch { .. }, Fault::EndOfStream) if !self.live => {
                Err(SourceError::Ended { camera: self.context.camera.to_string() })
            }
            _ => Err(self.error(fault)),
        }
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        let delivered = self.mailbox.delivered();
        if delivered == self.delivered_before_round {
            return Err(self.error(Fault::Failed("there are no pictures in it".to_owned())));
        }
        self.delivered_before_round = delivered;
        self.mailbox.reopen();
        self.damage.forget();
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT;
        self.parts
            .pipeline
            .seek_simple(flags, gst::ClockTime::ZERO)
            .map_err(|_| self.error(Fault::Failed("it cannot be rewound, so it cannot be repeated".to_owned())))
    }

    /// aravissrc ends its stream when no trigger comes for a few seconds, and when the camera is gone. Opening it again
    /// tells which: a camera that answers was idle by right. Triggers within these moments are missed.
    fn ask_the_camera(&mut self, fault: Fault) -> Result<(), SourceError> {
        if self.set_state(gst::State::Null, STOP_TIMEOUT) == StateChange::Late {
            return Err(self.error(fault));
        }
        self.mailbox.reopen();
        self.damage.forget();
        self.start()?;
        tracing::debug!(camera = %self.context.camera, "no trigger for a while; the camera answers and was opened again");
        Ok(())
    }

    fn error(&self, fault: Fault) -> SourceError {
        let fault = match (fault, self.missing.get()) {
            (fault @ Fault::Unfit(_), _) => fault,
            (_, Some(missing)) if self.mailbox.delivered() == 0 => Fault::Missing(missing.clone()),
            (fault, _) => fault,
        };
        fault.into_error(&self.spec, &self.context.camera)
    }

    fn silent(&self, waited: Duration) -> SourceError {
        self.error(Fault::Failed(format!("no frame for {:.0} s", waited.as_secs_f64())))
    }

    /// The negotiated frame rate, for people.
    fn rate(&self) -> String {
        let caps = self.parts.sink.static_pad("sink").and_then(|pad| pad.current_caps());
        match caps.and_then(|caps| gst_video::VideoInfo::from_caps(&caps).ok()).map(|info| info.fps()) {
            Some(fps) if fps.numer() > 0 => format!(" at {}/{} fps", fps.numer(), fps.denom()),
            _ => " at no fixed rate".to_owned(),
        }
    }
}

impl Source for GStreamerSource {
    fn next(&mut self, timeout: Duration) -> Result<Option<Frame>, SourceError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let allowed = self.spec.max_silence.map(|silence| silence.saturating_sub(self.last_frame.elapsed()));
            match self.mailbox.take(allowed.map_or(left, |allowed| allowed.min(left))) {
                Taken::Frame(frame) => {
                    self.last_frame = Instant::now();
                    return Ok(Some(frame));
                }
                Taken::Ended(fault) => self.after(fault)?,
                Taken::Nothing => {
                    if let Some(silence) = self.spec.max_silence
                        && self.last_frame.elapsed() >= silence
                        && !self.stopped
                    {
                        return Err(self.silent(silence));
                    }
                    if self.stopped || Instant::now() >= deadline {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        self.mailbox.close();
        if self.set_state(gst::State::Null, STOP_TIMEOUT) == StateChange::Late {
            tracing::warn!(camera = %self.context.camera, "the pipeline has not stopped within {STOP_TIMEOUT:?}");
        }
    }
}

impl Drop for GStreamerSource {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StateChange {
    Done(gst::StateChangeSuccess),
    Refused,
    Late,
}

/// True when the buffers of this kind of camera carry the driver's own frame counter. Those of aravissrc 0.8 carry none,
/// nor do those of a decoder.
fn counts_its_frames(spec: &GStreamerSpec) -> bool {
    matches!(spec.input, GStreamerInput::V4l2(_))
}

/// Copies every sample that reaches the appsink into the mailbox.
fn receive(
    sink: &AppSink,
    mailbox: Arc<Mailbox<Fault>>,
    (damage, depth): (Damage, Depth),
    context: &SourceContext,
    spec: &GStreamerSpec,
) {
    let context = context.clone();
    let (counted, bits) = (counts_its_frames(spec), spec.significant_bits());
    let mut numbers = Numbers::default();
    let callbacks = AppSinkCallbacks::builder().new_sample(move |sink| {
        let captured = context.clock.now();
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let condition = sample.buffer().map(|buffer| damage.of_frame(buffer)).unwrap_or_default();
        numbers.skip(condition.lost);
        let seq = numbers.next(sample.buffer().map(|buffer| buffer.offset()).filter(|_| counted));
        let mut image = match arrival::picture(&sample, &depth, bits) {
            Ok(image) => image,
            Err(reason) => {
                mailbox.end(Fault::Unfit(reason));
                return Err(gst::FlowError::NotSupported);
            }
        };
        image.damaged = condition.damaged;
        let camera = Arc::clone(&context.camera);
        let frame = Frame { camera, seq, part: None, captured, clock: ClockSource::System, file: None, image };
        if mailbox.put(frame) { Ok(gst::FlowSuccess::Ok) } else { Err(gst::FlowError::Flushing) }
    });
    sink.set_callbacks(callbacks.build());
}

/// Lets the appsink behind a converter of ours ask for the depth of what comes.
fn keep_depth(parts: &Pipeline, depth: &Depth) {
    let Some(pad) = parts.converter.as_ref().and_then(|converter| converter.static_pad("sink")) else { return };
    let (sink, depth) = (parts.sink.downgrade(), depth.clone());
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::EventView::Caps(event)) = info.event().map(|event| event.view())
            && let Some(sink) = sink.upgrade()
        {
            depth.follow(event.caps(), &sink);
        }
        gst::PadProbeReturn::Ok
    });
}

/// State changes that did not return in time: whose camera, where it is, and whether they still run.
struct Hanging(Mutex<Vec<(String, String, Weak<()>)>>);

static HANGING: Hanging = Hanging(Mutex::new(Vec::new()));

impl Hanging {
    fn remember(&self, camera: &str, address: &str, change: Weak<()>) {
        let mut changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changes.push((camera.to_owned(), address.to_owned(), change));
    }

    fn holds(&self, camera: &str, address: &str) -> bool {
        let mut changes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        changes.retain(|(_, _, change)| change.strong_count() > 0);
        changes.iter().any(|(name, place, _)| name == camera && place == address)
    }
}

/// Puts what ends the stream into the mailbox, after its frames, and what GStreamer misses into `missing`.
fn listen(pipeline: &gst::Pipeline, mailbox: Arc<Mailbox<Fault>>, missing: Arc<OnceLock<String>>) {
    let Some(bus) = pipeline.bus() else { return };
    bus.set_sync_handler(move |_, message| {
        match Fault::from_message(message) {
            Some(Fault::Missing(element)) => {
                missing.get_or_init(|| element);
            }
            Some(fault) => mailbox.end(fault),
            None => {}
        }
        // Nobody reads the bus: what is not wanted here must not pile up there.
        gst::BusSyncReply::Drop
    });
}

/// Sequence numbers: one more for every frame, and as many more as the driver's own counter says were lost on the way.
#[derive(Debug, Default)]
struct Numbers {
    next: u64,
    last_offset: Option<u64>,
}

impl Numbers {
    /// So many frames are missing that no counter of a driver knows of.
    fn skip(&mut self, lost: u64) {
        self.next += lost;
    }

    fn next(&mut self, offset: Option<u64>) -> u64 {
        let offset = offset.filter(|&offset| offset != NO_OFFSET);
        // A counter that stands or runs backwards was restarted, and says nothing about what was lost.
        let lost = match (self.last_offset, offset) {
            (Some(last), Some(now)) if now > last => now - last - 1,
            _ => 0,
        };
        self.last_offset = offset.or(self.last_offset);
        let seq = self.next + lost;
        self.next = seq + 1;
        seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_decoder_alone_ends_nothing() {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let (mailbox, missing) = (Arc::new(Mailbox::new(Overflow::Wait)), Arc::new(OnceLock::new()));
        listen(&pipeline, Arc::clone(&mailbox), Arc::clone(&missing));
        let post = |name: &str, media: &str| {
            let lacks = gst::Structure::builder("missing-plugin")
                .field("name", name)
                .field("detail", gst::Caps::new_empty_simple(media));
            pipeline.post_message(gst::message::Element::new(lacks.build())).unwrap();
        };
        post("sound", "audio/x-ac3");
        assert_eq!((mailbox.ended(), missing.get()), (None, None));
        post("H.264 decoder", "video/x-h264");
        assert_eq!((mailbox.ended(), missing.get().map(String::as_str)), (None, Some("H.264 decoder")));
    }

    #[test]
    fn a_camera_whose_driver_hangs_is_known_until_it_returns() {
        let hanging = Hanging(Mutex::new(Vec::new()));
        let change = Arc::new(());
        hanging.remember("top", "/dev/video0", Arc::downgrade(&change));
        assert!(hanging.holds("top", "/dev/video0"));
        assert!(!hanging.holds("top", "/dev/video1") && !hanging.holds("side", "/dev/video0"));
        drop(change);
        assert!(!hanging.holds("top", "/dev/video0"));
    }

    #[test]
    fn lost_frames_leave_a_gap() {
        let mut numbers = Numbers::default();
        let seqs: Vec<_> =
            [Some(7), Some(8), Some(11), None, Some(12), Some(0), Some(1)].map(|o| numbers.next(o)).into();
        assert_eq!(seqs, [0, 1, 4, 5, 6, 7, 8]);
    }
}
