//! A batch's way over the card: staging, pre-processing, network, Post-VCP, maps and threshold, on one stream.

use std::collections::HashMap;
use std::sync::Arc;

use half::f16;

use super::super::finish::Finish;
use super::super::prepare::preprocessor;
use super::super::{Coming, EngineError};
use super::ahead::Ahead;
use super::answers::{Answers, Turn};
use super::failure::{ENGINE, card};
use super::network::Network;
use crate::cuda::{
    Buffer, CudaError, Dtype, Event, FrameFormat, Gpu, Graph, HostBuffer, Maps, PostVcp, PostVcpShape, Prepared,
    Preprocess, RawSummary, Stream, Summary, Threshold, ValuesMut,
};
use crate::frame::{Image, PixelFormat, Resampling};
use crate::vcp_clip::preprocess::Preprocessor;
use crate::weights::bundle::Bundle;

/// Different batches (sizes and layouts of their frames) whose work is kept as a graph. A line has a few cameras; a
/// folder of pictures has any number of sizes, and no use for graphs.
const MOST_GRAPHS: usize = 32;
/// Kinds of frames whose tables are kept on the card.
const MOST_KINDS: usize = 64;

/// What the tables of pre-processing depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// Pre-processed on the card.
    Card { gray: bool, bgr: bool, width: u32, height: u32 },
    /// What our kernel does not read (16 bits, levels, alpha, palettes): pre-processed by the CPU, which keeps the depth to
    /// the end and costs what it costs on the OpenVINO engine.
    Host,
}

impl Kind {
    fn of(image: &Image) -> Self {
        let (width, height) = (image.width, image.height);
        if image.levels.is_some() {
            return Self::Host;
        }
        match (image.format, image.resampling) {
            (PixelFormat::Gray8, Resampling::Bicubic) => Self::Card { gray: true, bgr: false, width, height },
            (PixelFormat::Rgb8, Resampling::Bicubic) => Self::Card { gray: false, bgr: false, width, height },
            (PixelFormat::Bgr8, Resampling::Bicubic) => Self::Card { gray: false, bgr: true, width, height },
            _ => Self::Host,
        }
    }
}

/// Page-locked memory for one place in the batch, and its counterpart on the card.
struct Slot {
    host: HostBuffer<u8>,
    device: Buffer<u8>,
}

/// GPU time of one batch, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GpuTimes {
    /// From the end of the upload to the summaries.
    pub total: f32,
}

/// Everything between frames in host memory and summaries there.
pub struct Pipeline {
    network: Network,
    preprocess: Preprocess,
    post_vcp: PostVcp,
    fusion: Maps,
    threshold: Threshold,
    kinds: HashMap<Kind, Prepared>,
    graphs: HashMap<Vec<Kind>, Graph>,
    /// Batches that have run once without a graph: TensorRT allocates and compiles in the first run.
    seen: HashMap<Vec<Kind>, ()>,
    captures: bool,
    slots: Vec<Slot>,
    new_maps: Buffer<f32>,
    thresholds: Buffer<f32>,
    mask: Buffer<u32>,
    summaries: Buffer<RawSummary>,
    told: HostBuffer<RawSummary>,
    answers: Arc<Answers>,
    on_host: Preprocessor,
    staged: Vec<f32>,
    /// Until it fails once: frames are sent when their turn comes then.
    ahead: Option<Ahead>,
    uploads: Stream,
    uploaded: Event,
    begun: Event,
    done: Event,
    side: usize,
    // Last: everything above lies in this card's memory.
    stream: Stream,
    gpu: Arc<Gpu>,
}

impl Pipeline {
    /// Makes room for batches of up to `max_batch`.
    pub fn new(gpu: &Arc<Gpu>, bundle: &Bundle, network: Network, max_batch: usize) -> Result<Self, EngineError> {
        let manifest = bundle.manifest();
        let (arch, constants) = (&manifest.architecture, &manifest.constants);
        let machine = gpu.machine();
        let side = arch.image_size;
        let Finish { post_vcp, .. } = Finish::new(bundle)?;
        let shape = PostVcpShape {
            layers: arch.taps.len(),
            patches: arch.patches(),
            class_token: false,
            max_batch,
            tokens: network.tokens().first().map_or(Dtype::F32, |tokens| tokens.dtype()),
        };
        let threshold = Threshold::new(&machine, side).map_err(card)?;
        let stream = gpu.stream().map_err(card)?;
        let uploads = gpu.stream().map_err(card)?;
        let slot = |_| -> Result<Slot, EngineError> {
            Ok(Slot { host: gpu.host_buffer(0).map_err(card)?, device: Buffer::zeros(&machine, 0).map_err(card)? })
        };
        let answers = Answers::new(gpu, &stream, arch, network.shared_tokens(), max_batch).map_err(card)?;
        Ok(Self {
            preprocess: Preprocess::new(&machine, side, constants.mean, constants.std).map_err(card)?,
            post_vcp: PostVcp::new(&machine, &post_vcp, shape).map_err(card)?,
            fusion: Maps::new(&machine, arch, constants, max_batch).map_err(card)?,
            kinds: HashMap::new(),
            graphs: HashMap::new(),
            seen: HashMap::new(),
            captures: true,
            slots: (0..max_batch).map(slot).collect::<Result<_, _>>()?,
            new_maps: Buffer::zeros(&machine, max_batch * arch.taps.len() * arch.patches()).map_err(card)?,
            thresholds: Buffer::zeros(&machine, max_batch).map_err(card)?,
            mask: Buffer::zeros(&machine, max_batch * side * threshold.row_words()).map_err(card)?,
            summaries: Buffer::zeros(&machine, max_batch).map_err(card)?,
            told: gpu.host_buffer(max_batch).map_err(card)?,
            answers: Arc::new(answers),
            on_host: preprocessor(bundle),
            staged: Vec::new(),
            ahead: Some(Ahead::new(gpu, &uploads, max_batch).map_err(card)?),
            uploads,
            uploaded: gpu.event().map_err(card)?,
            begun: gpu.event().map_err(card)?,
            done: gpu.event().map_err(card)?,
            threshold,
            network,
            side,
            stream,
            gpu: Arc::clone(gpu),
        })
    }

    /// Runs the batch whose turn it is and waits for it: a summary per frame; the rest stays on the card, with
    /// [`Self::answers`], until the next batch. While the card computes, what `coming` names is sent ahead.
    pub fn run(
        &mut self,
        _turn: &mut Turn,
        images: &[&Image],
        coming: &Coming<'_>,
    ) -> Result<Vec<Summary>, EngineError> {
        let batch = images.len();
        let kinds: Vec<Kind> = images.iter().map(|image| Kind::of(image)).collect();
        self.network.prepare(batch)?;
        // Before any frame of this batch is staged, so that none loses its tables again.
        if self.kinds.len() + batch > MOST_KINDS {
            // Graphs hold addresses of the tables that go.
            self.graphs.clear();
            self.kinds.clear();
        }
        if let Err(error) = self.begin(images, &kinds) {
            // What was enqueued before the failure may still read memory that the next batch writes.
            self.settle();
            return Err(error);
        }
        self.send_ahead(coming);
        self.done.synchronize().map_err(card)?;
        Ok(self.told.as_slice()[..batch].iter().map(|summary| summary.decode(self.side)).collect())
    }

    /// Enqueues a batch, from its upload to its summaries; waits for nothing.
    fn begin(&mut self, images: &[&Image], kinds: &Vec<Kind>) -> Result<(), EngineError> {
        let batch = images.len();
        for (slot, (image, &kind)) in images.iter().zip(kinds).enumerate() {
            self.stage(slot, image, kind)?;
        }
        self.uploaded.record(&self.uploads).map_err(card)?;
        self.uploaded.hold(&self.stream).map_err(card)?;
        self.begun.record(&self.stream).map_err(card)?;
        self.take_what_was_sent(images).map_err(card)?;
        self.work(kinds)?;
        // SAFETY: `run` waits for the copy before anybody looks at `told`.
        let copied = unsafe {
            let summaries = self.summaries.view().slice(0..batch);
            self.gpu.download(&self.stream, summaries, &mut self.told.as_mut_slice()[..batch])
        };
        copied.map_err(card)?;
        self.done.record(&self.stream).map_err(card)
    }

    /// Waits for everything that was enqueued, as far as the card still answers.
    fn settle(&self) {
        for stream in [&self.stream, &self.uploads] {
            if let Err(error) = self.gpu.synchronize(stream) {
                tracing::warn!(engine = %ENGINE, %error, "waiting for the card");
            }
        }
    }

    /// Time that the card spent on the last batch, without uploads.
    pub fn times(&self) -> Result<GpuTimes, EngineError> {
        Ok(GpuTimes { total: self.begun.milliseconds_to(&self.done).map_err(card)? })
    }

    /// Whether the last batch of this kind ran as one graph.
    pub fn has_graphs(&self) -> bool {
        !self.graphs.is_empty()
    }

    /// What the last batch left on the card.
    pub fn answers(&self) -> &Arc<Answers> {
        &self.answers
    }

    /// Keeps what TensorRT compiled on this card.
    pub fn save_compiled(&mut self) {
        self.network.save_compiled();
    }

    /// Sends one frame to its place. While it travels, the next is copied into page-locked memory.
    fn stage(&mut self, slot: usize, image: &Image, kind: Kind) -> Result<(), EngineError> {
        let Kind::Card { gray, bgr, width, height } = kind else { return self.stage_on_host(slot, image) };
        if !self.kinds.contains_key(&kind) {
            let (width, height) = (width as usize, height as usize);
            let (format, stride) = match (gray, bgr) {
                (true, _) => (FrameFormat::Gray8, width),
                (false, true) => (FrameFormat::Bgr8, 3 * width),
                (false, false) => (FrameFormat::Rgb8, 3 * width),
            };
            let prepared = self.preprocess.prepare(format, width, height, stride).map_err(card)?;
            self.kinds.insert(kind, prepared);
        }
        let bytes = image.data();
        self.room(slot, bytes.len())?;
        if self.ahead.as_ref().is_some_and(|ahead| ahead.has(image)) {
            return Ok(());
        }
        let place = &mut self.slots[slot];
        place.host.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        let to = place.device.view_mut().slice(0..bytes.len());
        // SAFETY: the slot is written again only after this batch has been waited for.
        unsafe { self.gpu.upload(&self.uploads, &place.host.as_slice()[..bytes.len()], to) }.map_err(card)
    }

    /// Moves frames that were sent ahead to their places; the stream has waited for the uploads.
    fn take_what_was_sent(&mut self, images: &[&Image]) -> Result<(), CudaError> {
        let Some(ahead) = &self.ahead else { return Ok(()) };
        for (slot, image) in self.slots.iter_mut().zip(images) {
            // One that the CPU pre-processed was never sent.
            if ahead.has(image) {
                ahead.take(&self.stream, image, slot.device.view_mut())?;
            }
        }
        ahead.release(&self.stream)
    }

    /// Sends frames that our kernels read. A failure is none of the present batch's.
    fn send_ahead(&mut self, coming: &Coming<'_>) {
        let Some(ahead) = &mut self.ahead else { return };
        let images = coming(self.slots.len()).into_iter().filter(|image| Kind::of(image) != Kind::Host).collect();
        if let Err(error) = ahead.send(images) {
            tracing::warn!(%error, "frames are not sent ahead any more");
            self.ahead = None;
        }
    }

    fn stage_on_host(&mut self, slot: usize, image: &Image) -> Result<(), EngineError> {
        let values = 3 * self.side * self.side;
        self.staged.resize(values, 0.0);
        self.on_host.run(image, &mut self.staged);
        self.room(slot, values * size_of::<f32>())?;
        let place = &mut self.slots[slot];
        let range = slot * values..(slot + 1) * values;
        // SAFETY: as above; the input was read by the batch before, which has been waited for.
        unsafe {
            match self.network.image() {
                ValuesMut::F32(input) => {
                    let host: &mut [f32] = bytemuck::cast_slice_mut(&mut place.host.as_mut_slice()[..values * 4]);
                    host.copy_from_slice(&self.staged);
                    self.gpu.upload(&self.uploads, host, input.slice(range))
                }
                ValuesMut::F16(input) => {
                    let host: &mut [f16] = bytemuck::cast_slice_mut(&mut place.host.as_mut_slice()[..values * 2]);
                    host.iter_mut().zip(&self.staged).for_each(|(to, &from)| *to = f16::from_f32(from));
                    self.gpu.upload(&self.uploads, host, input.slice(range))
                }
            }
        }
        .map_err(card)
    }

    /// Makes a slot hold `bytes`.
    fn room(&mut self, slot: usize, bytes: usize) -> Result<(), EngineError> {
        if self.slots[slot].device.len() >= bytes {
            return Ok(());
        }
        // Graphs hold the address of the memory that goes.
        self.graphs.clear();
        let device = Buffer::zeros(&self.gpu.machine(), bytes).map_err(card)?;
        self.slots[slot] = Slot { host: self.gpu.host_buffer(bytes).map_err(card)?, device };
        Ok(())
    }

    /// Everything on the card, as one graph from the second time on.
    fn work(&mut self, kinds: &Vec<Kind>) -> Result<(), EngineError> {
        if let Some(graph) = self.graphs.get(kinds) {
            return graph.launch().map_err(card);
        }
        let first = self.seen.len() >= MOST_GRAPHS || self.seen.insert(kinds.clone(), ()).is_none();
        if first || !self.captures || self.graphs.len() >= MOST_GRAPHS {
            return self.enqueue(kinds);
        }
        let (gpu, stream) = (Arc::clone(&self.gpu), self.stream.clone());
        match gpu.capture(&stream, || self.enqueue(kinds).map_err(Refused::from)) {
            Ok(graph) => {
                graph.launch().map_err(card)?;
                self.graphs.insert(kinds.clone(), graph);
                Ok(())
            }
            Err(Refused(error)) => {
                tracing::warn!(%error, "the work of a batch cannot be captured as a graph; it is launched piece by piece");
                self.captures = false;
                self.enqueue(kinds)
            }
        }
    }

    fn enqueue(&mut self, kinds: &[Kind]) -> Result<(), EngineError> {
        let (batch, stream) = (kinds.len(), &self.stream);
        for (slot, kind) in kinds.iter().enumerate() {
            if let Some(prepared) = self.kinds.get(kind) {
                let frame = self.slots[slot].device.view().slice(0..prepared.frame_bytes());
                prepared.run(stream, frame, &self.network.image(), slot).map_err(card)?;
            }
        }
        self.network.enqueue(stream, batch)?;
        let (tokens, text, raw) = (self.network.tokens(), self.network.text(), self.network.raw());
        self.post_vcp.run(stream, &tokens, text, batch, self.new_maps.view_mut()).map_err(card)?;
        // SAFETY: `run` was given the turn, and its caller has fetched what somebody still wants of the last batch.
        let (map, scores) = unsafe { self.answers.written(batch) };
        self.fusion.run(stream, &raw, self.new_maps.view(), batch, map, scores).map_err(card)?;
        let ((maps, scores), thresholds) = (self.answers.read(batch), self.thresholds.view());
        let (mask, summaries) = (self.mask.view_mut(), self.summaries.view_mut());
        self.threshold.run(stream, maps, scores, thresholds, batch, mask, summaries).map_err(card)
    }
}

/// Any reason why a batch was not captured.
struct Refused(EngineError);

impl From<EngineError> for Refused {
    fn from(error: EngineError) -> Self {
        Self(error)
    }
}

impl From<CudaError> for Refused {
    fn from(error: CudaError) -> Self {
        Self(card(error))
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Graphs, buffers and contexts are freed next; nothing may still run on them. Joined maps hold the answers, which
        // hold the maps: whoever still wants one gets its values now.
        drop(self.answers.begin());
        self.settle();
    }
}
