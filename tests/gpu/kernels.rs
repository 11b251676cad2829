//! Every kernel on a card against plain Rust, with the cases of `tests/compute/cuda_kernels.rs` and with sizes of real models.
//! Tests whose names begin with `small_` are those that compute-sanitizer can follow in reasonable time.

use std::sync::Arc;

use half::f16;
use vcp_line::cuda::{
    Buffer, CudaError, Dtype, FrameFormat, Gpu, Graph, HostBuffer, Machine, Maps, PostVcp, PostVcpShape, Prepared,
    Preprocess, RawSummary, Stream, Threshold, Values, ValuesMut, YuvMatrix,
};
use vcp_line::vcp_clip::post_vcp::PostVcp as PlainPostVcp;
use vcp_line::vcp_clip::{Architecture, Constants};

use crate::cases::{
    Place, Random, TENSOR_CORE_TOLERANCE, TENSOR_CORE_WHOLE_TOLERANCE, maps, memory as remembered, post_vcp,
    preprocess, threshold,
};
use crate::memory;

/// Random shapes of each kind.
const RANDOM: usize = 40;
/// Side of the published model's input.
const FULL: usize = 518;

fn place() -> Place {
    let gpu = Gpu::open(0).unwrap();
    let name = Machine::properties(&*gpu).name.clone();
    Place::new(name, gpu.machine(), gpu.stream().unwrap())
}

#[test]
fn small_thresholds_are_exact() {
    threshold::check(&place(), &threshold::CASES);
}

#[test]
fn small_pictures_are_preprocessed_to_the_bit() {
    let place = place();
    preprocess::check(&place, preprocess::SIZE, &preprocess::CASES, &preprocess::NV12);
    place.assert_reached("preprocess");
}

#[test]
fn small_maps_and_scores_are_those_of_plain_rust() {
    maps::check(&place(), &maps::CASES);
}

#[test]
fn small_post_vcp_is_that_of_plain_rust() {
    let place = place();
    // On a card with more shared memory than the small ones, the two cases that say so take the other paths.
    post_vcp::check(&place, &post_vcp::CASES, TENSOR_CORE_TOLERANCE);
    place.assert_reached("post_vcp");
}

#[test]
fn small_memories_are_looked_up_and_joined_as_in_plain_rust() {
    let place = place();
    remembered::check_look_up(&place, &remembered::cases(), TENSOR_CORE_TOLERANCE);
    remembered::check_join(&place, &remembered::JOINED);
    remembered::check_whole(&place, 20, TENSOR_CORE_WHOLE_TOLERANCE);
}

#[test]
fn random_shapes_of_every_kernel() {
    let place = place();
    threshold::check(&place, &threshold::random(&mut Random(11), RANDOM, 600));
    preprocess::check(&place, 77, &preprocess::random(&mut Random(12), RANDOM, 900), &[]);
    maps::check(&place, &maps::random(&mut Random(13), RANDOM));
    post_vcp::check(&place, &post_vcp::random(&mut Random(14), RANDOM), TENSOR_CORE_TOLERANCE);
    remembered::check_look_up(&place, &remembered::random(&mut Random(17), RANDOM), TENSOR_CORE_TOLERANCE);
    remembered::check_join(&place, &remembered::random_joined(&mut Random(18), RANDOM));
}

#[test]
fn full_size_of_every_kernel() {
    let place = place();
    threshold::check(&place, &[(FULL, 3), (1024, 1)]);
    let pictures = [(1920, 1080), (2048, 2048), (640, 480), (FULL, FULL), (519, 517)];
    preprocess::check(&place, FULL, &pictures, &[(1920, 1080)]);
    maps::check(&place, &maps::FULL);
    post_vcp::check(&place, &post_vcp::FULL, TENSOR_CORE_TOLERANCE);
    remembered::check_look_up(&place, &remembered::full(), TENSOR_CORE_TOLERANCE);
    remembered::check_join(&place, &remembered::JOINED_FULL);
}

/// Frames of the run that looks for leaks, and before memory is looked at.
const MANY: usize = 10_000;
const WARM: usize = 200;
/// Largest batch there, and the sizes of a small model.
const BATCH: usize = 4;
const GRID: usize = 7;
const SIDE: usize = 98;
const LAYERS: usize = 4;
const HEADS: usize = 8;
/// Wide enough for the tensor cores.
const WIDTH: usize = 128;
const TEXT: usize = 64;
/// Columns and rows of a frame, NV12 as from a camera.
const FRAME: (usize, usize) = (160, 120);

/// All kernels in the order of a frame, with random numbers where TensorRT's answers would be.
struct Line {
    prepared: Prepared,
    post: PostVcp,
    maps: Maps,
    threshold: Threshold,
    frame: Buffer<u8>,
    input: Buffer<f16>,
    tokens: Vec<Buffer<f16>>,
    raw: Vec<Buffer<f32>>,
    text: Buffer<f32>,
    new: Buffer<f32>,
    map: Buffer<f32>,
    scores: Buffer<f32>,
    thresholds: Buffer<f32>,
    mask: Buffer<u32>,
    summaries: Buffer<RawSummary>,
}

impl Line {
    fn new(machine: &Arc<dyn Machine>) -> Self {
        let mut random = Random(15);
        let arch = Architecture {
            image_size: SIDE,
            patch: SIDE / GRID,
            taps: (1..=LAYERS).collect(),
            ..Architecture::vit_l_14_336_at_518()
        };
        let constants = Constants::default();
        let weights = PlainPostVcp {
            heads: HEADS,
            vision_width: WIDTH,
            text_width: TEXT,
            query: random.numbers(WIDTH * TEXT, 0.2),
            query_bias: random.numbers(WIDTH, 0.5),
            key: random.numbers(WIDTH * WIDTH, 0.2),
            value: random.numbers(WIDTH * WIDTH, 0.2),
            value_bias: random.numbers(WIDTH, 0.1),
            out: random.numbers(WIDTH * WIDTH, 0.2),
            out_bias: random.numbers(WIDTH, 0.1),
            temperature: 2.5,
        };
        let patches = GRID * GRID;
        let shape = PostVcpShape { layers: LAYERS, patches, class_token: false, max_batch: BATCH, tokens: Dtype::F16 };
        let (width, height) = FRAME;
        let format = FrameFormat::Nv12(YuvMatrix::Bt709);
        let preprocess = Preprocess::new(machine, SIDE, constants.mean, constants.std).unwrap();
        let prepared = preprocess.prepare(format, width, height, width).unwrap();
        let threshold = Threshold::new(machine, SIDE).unwrap();
        let put = |values: &[f32]| Buffer::from_slice(machine, values).unwrap();
        let zeros = |len: usize| Buffer::<f32>::zeros(machine, len).unwrap();
        let halves = |values: Vec<f32>| -> Vec<f16> { values.into_iter().map(f16::from_f32).collect() };
        let tokens = (0..LAYERS)
            .map(|_| Buffer::from_slice(machine, &halves(random.numbers(BATCH * patches * WIDTH, 3.0))).unwrap());
        let tokens = tokens.collect();
        let raw = (0..LAYERS).map(|_| put(&random.numbers(BATCH * patches * 2, 4.0))).collect();
        Self {
            post: PostVcp::new(machine, &weights, shape).unwrap(),
            maps: Maps::new(machine, &arch, &constants, BATCH).unwrap(),
            frame: Buffer::zeros(machine, prepared.frame_bytes()).unwrap(),
            input: Buffer::zeros(machine, BATCH * 3 * SIDE * SIDE).unwrap(),
            tokens,
            raw,
            text: put(&random.numbers(BATCH * 2 * TEXT, 1.0)),
            new: zeros(BATCH * LAYERS * patches),
            map: zeros(BATCH * SIDE * SIDE),
            scores: zeros(BATCH),
            thresholds: put(&[0.5; BATCH]),
            mask: Buffer::zeros(machine, BATCH * SIDE * threshold.row_words()).unwrap(),
            summaries: Buffer::zeros(machine, BATCH).unwrap(),
            prepared,
            threshold,
        }
    }

    fn enqueue(&mut self, stream: &Stream, batch: usize) -> Result<(), CudaError> {
        for slot in 0..batch {
            self.prepared.run(stream, self.frame.view(), &ValuesMut::F16(self.input.view_mut()), slot)?;
        }
        let tokens: Vec<Values<'_>> = self.tokens.iter().map(|layer| Values::F16(layer.view())).collect();
        let raw: Vec<Values<'_>> = self.raw.iter().map(|layer| Values::F32(layer.view())).collect();
        self.post.run(stream, &tokens, Values::F32(self.text.view()), batch, self.new.view_mut())?;
        self.maps.run(stream, &raw, self.new.view(), batch, self.map.view_mut(), self.scores.view_mut())?;
        self.threshold.run(
            stream,
            self.map.view(),
            self.scores.view(),
            self.thresholds.view(),
            batch,
            self.mask.view_mut(),
            self.summaries.view_mut(),
        )
    }
}

#[test]
fn ten_thousand_frames_of_kernels_need_no_more_memory_than_two_hundred() {
    let gpu = Gpu::open(0).unwrap();
    let stream = gpu.stream().unwrap();
    let mut line = Line::new(&gpu.machine());
    let mut host: HostBuffer<u8> = gpu.host_buffer(line.prepared.frame_bytes()).unwrap();
    host.as_mut_slice().copy_from_slice(&Random(16).bytes(line.prepared.frame_bytes()));
    let mut told: HostBuffer<RawSummary> = gpu.host_buffer(BATCH).unwrap();
    let graphs: Vec<Graph> =
        (1..=BATCH).map(|batch| gpu.capture(&stream, || line.enqueue(&stream, batch)).unwrap()).collect();
    let mut batch_of = |line: &mut Line, batch: usize, captured: bool| {
        // SAFETY: both copies are waited for below, before anybody touches their memory again.
        unsafe { gpu.upload(&stream, host.as_slice(), line.frame.view_mut()) }.unwrap();
        if captured {
            graphs[batch - 1].launch().unwrap()
        } else {
            line.enqueue(&stream, batch).unwrap()
        }
        // SAFETY: as above.
        unsafe { gpu.download(&stream, line.summaries.view().slice(0..batch), &mut told.as_mut_slice()[..batch]) }
            .unwrap();
        gpu.synchronize(&stream).unwrap();
        told.as_slice()[..batch].to_vec()
    };
    // What is launched piece by piece says what every graph must say ever after.
    let expected: Vec<Vec<RawSummary>> = (1..=BATCH).map(|batch| batch_of(&mut line, batch, false)).collect();
    let mut run = |frames: usize| {
        let mut done = 0;
        for batch in (1..=BATCH).cycle() {
            if done >= frames {
                break;
            }
            assert_eq!(batch_of(&mut line, batch, true), expected[batch - 1], "frame {done}");
            done += batch;
        }
    };
    run(WARM);
    let before = memory::now(&gpu);
    run(MANY);
    memory::assert_no_more("kernels", &before, &memory::now(&gpu));
}
