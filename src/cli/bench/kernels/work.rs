//! What is timed: each launcher with memory of its own, at the sizes of ViT-L/14-336 at 518 and on frames of 1920×1080.
//!
//! Where a frame's data would come from memory in real work, a work has several sets of it and takes them in turn, so
//! that the card's cache holds nothing of a set when its turn comes. Maps and threshold read what was written a moment
//! before, in real work too, and have one set.

use std::sync::Arc;

use half::f16;

use crate::cuda::{
    Buffer, CudaError, Dtype, FrameFormat, Gpu, Join, LookUp, LookUpShape, Machine, Maps, PostVcp, PostVcpShape,
    Prepared, Preprocess, RawSummary, Remembered, Stream, Threshold, Values, ValuesMut, YuvMatrix,
};
use crate::tokens::Joining;
use crate::vcp_clip::post_vcp::PostVcp as Weights;
use crate::vcp_clip::{Architecture, Constants};

/// Bytes of all sets together: more than twice the second-level cache of any card so far (126 MB).
const ROTATED: usize = 256 << 20;
/// Bytes that the copy reads, and writes as many.
const COPIED: usize = 512 << 20;
/// Frame columns and rows.
const FRAME: (usize, usize) = (1920, 1080);
/// Pictures whose tokens a memory holds.
const REMEMBERED: usize = 4;
/// Batches that are measured.
const BATCHES: [usize; 2] = [1, 8];

/// What a time is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// One run takes at most so long.
    Microseconds(f64),
    /// One run takes at most so long for each image of its batch.
    MicrosecondsPerImage(f64),
    /// Bytes that must move, per time, are at least this share of what a copy moves.
    ShareOfCopy(f64),
}

/// Enqueues one run on a set of memory.
type Run = Box<dyn FnMut(&Stream, usize) -> Result<(), CudaError>>;

/// Something to time.
pub struct Work {
    pub name: String,
    pub batch: usize,
    /// What one run reads and writes when nothing is read or written twice.
    pub bytes: usize,
    /// Sets of memory, used in turn.
    pub sets: usize,
    pub target: Option<Target>,
    run: Run,
}

impl Work {
    /// Enqueues one run on set `set`.
    pub fn run(&mut self, stream: &Stream, set: usize) -> Result<(), CudaError> {
        (self.run)(stream, set)
    }
}

/// Makes a work when its turn comes.
pub type Make = Box<dyn Fn(&Arc<dyn Machine>) -> Result<Work, CudaError>>;

/// Every kernel at every batch.
pub fn all() -> Vec<Make> {
    let formats = [("RGB", FrameFormat::Rgb8), ("NV12", FrameFormat::Nv12(YuvMatrix::Bt709))];
    let mut all: Vec<Make> = Vec::new();
    for (name, format) in formats {
        all.push(Box::new(move |machine| preprocess(machine, name, format)));
    }
    all.push(Box::new(memory));
    for batch in BATCHES {
        all.push(Box::new(move |machine| post_vcp(machine, batch)));
        all.push(Box::new(move |machine| maps(machine, batch)));
        all.push(Box::new(move |machine| threshold(machine, batch)));
    }
    all
}

/// A copy from device memory to device memory, bytes read and bytes written counted.
pub fn copy(gpu: &Arc<Gpu>) -> Result<Work, CudaError> {
    // On a card that is nearly full, what fits.
    let bytes = COPIED.min(gpu.memory()?.0 / 4);
    let machine = gpu.machine();
    let from = Buffer::from_slice(&machine, &Noise(1).bytes(bytes))?;
    let mut to = Buffer::<u8>::zeros(&machine, bytes)?;
    let gpu = Arc::clone(gpu);
    let run: Run = Box::new(move |stream, _| gpu.copy(stream, from.view(), to.view_mut()));
    Ok(Work { name: "copy".to_owned(), batch: 1, bytes: 2 * bytes, sets: 1, target: None, run })
}

/// How many sets of `bytes` are rotated.
fn sets_of(bytes: usize) -> usize {
    ROTATED.div_ceil(bytes).max(2)
}

fn preprocess(machine: &Arc<dyn Machine>, name: &str, format: FrameFormat) -> Result<Work, CudaError> {
    struct Set {
        prepared: Prepared,
        frame: Buffer<u8>,
    }
    let size = Architecture::vit_l_14_336_at_518().image_size;
    let constants = Constants::default();
    let (width, height) = FRAME;
    let preprocess = Preprocess::new(machine, size, constants.mean, constants.std)?;
    let stride = if matches!(format, FrameFormat::Nv12(_)) { width } else { 3 * width };
    let prepare = || preprocess.prepare(format, width, height, stride);
    let read = prepare()?.frame_bytes();
    let pixels = Noise(2).bytes(read);
    let sets = sets_of(read);
    let sets = (0..sets)
        .map(|_| Ok(Set { prepared: prepare()?, frame: Buffer::from_slice(machine, &pixels)? }))
        .collect::<Result<Vec<_>, CudaError>>()?;
    let mut input = Buffer::<f16>::zeros(machine, 3 * size * size)?;
    let bytes = read + input.len() * size_of::<f16>();
    let count = sets.len();
    let run: Run = Box::new(move |stream, set| {
        let Set { prepared, frame } = &sets[set];
        prepared.run(stream, frame.view(), &ValuesMut::F16(input.view_mut()), 0)
    });
    let name = format!("pre-processing of {width}×{height} {name}");
    Ok(Work { name, batch: 1, bytes, sets: count, target: Some(Target::Microseconds(30.0)), run })
}

fn post_vcp(machine: &Arc<dyn Machine>, batch: usize) -> Result<Work, CudaError> {
    struct Set {
        post: PostVcp,
        tokens: Vec<Buffer<f16>>,
    }
    let arch = Architecture::vit_l_14_336_at_518();
    let mut noise = Noise(3);
    let weights = random_weights(&arch, &mut noise);
    let (layers, patches, width) = (arch.taps.len(), arch.patches(), arch.vision_width);
    let shape = PostVcpShape { layers, patches, class_token: false, max_batch: batch, tokens: Dtype::F16 };
    let halves: Vec<f16> = noise.numbers(batch * patches * width, 3.0).into_iter().map(f16::from_f32).collect();
    let text = Buffer::from_slice(machine, &noise.numbers(batch * 2 * arch.text_width, 0.05))?;
    let mut maps = Buffer::<f32>::zeros(machine, batch * layers * patches)?;
    let tokens = layers * halves.len() * size_of::<f16>();
    let matrices = [&weights.query, &weights.key, &weights.value, &weights.out];
    let matrices = matrices.iter().map(|matrix| matrix.len() * size_of::<f32>()).sum::<usize>();
    let bytes = tokens + matrices;
    let sets = (0..sets_of(bytes))
        .map(|_| {
            let tokens = (0..layers).map(|_| Buffer::from_slice(machine, &halves)).collect::<Result<_, _>>()?;
            Ok(Set { post: PostVcp::new(machine, &weights, shape)?, tokens })
        })
        .collect::<Result<Vec<_>, CudaError>>()?;
    let (count, mut sets) = (sets.len(), sets);
    let run: Run = Box::new(move |stream, set| {
        let Set { post, tokens } = &mut sets[set];
        let tokens: Vec<Values<'_>> = tokens.iter().map(|layer| Values::F16(layer.view())).collect();
        post.run(stream, &tokens, Values::F32(text.view()), batch, maps.view_mut())
    });
    let target = if batch == 1 { Target::Microseconds(30.0) } else { Target::ShareOfCopy(0.5) };
    let name = format!("Post-VCP of {layers} layers");
    Ok(Work { name, batch, bytes, sets: count, target: Some(target), run })
}

/// From the tokens of one picture to the map and score joined with what a memory of four says: 61 GFLOP.
fn memory(machine: &Arc<dyn Machine>) -> Result<Work, CudaError> {
    struct Set {
        rows: Remembered,
        tokens: Vec<Buffer<f16>>,
    }
    let arch = Architecture::vit_l_14_336_at_518();
    let (layers, patches, width) = (arch.taps.len(), arch.patches(), arch.vision_width);
    let mut noise = Noise(6);
    let mut halves = |count: usize, scale: f32| -> Vec<f16> {
        noise.numbers(count * width, scale).into_iter().map(f16::from_f32).collect()
    };
    // Numbers between −√(3 / Cv) and as much: rows of length 1.
    let rows = halves(REMEMBERED * patches, (3.0 / width as f32).sqrt());
    let tokens = halves(patches, 3.0);
    let mut look_up = LookUp::new(machine, LookUpShape { layers, patches, width, tokens: Dtype::F16 })?;
    let joining = Joining {
        means: &vec![0.9; layers],
        sigma: Constants::default().sigma / 2.0,
        middle: 1.0,
        reach: 0.1,
        neutral: 1.5,
        floor: 0.05,
        top: 295,
        map_exponent: 0.15,
        alone: 0.02,
        score_exponent: 0.2,
        own: 0.2,
    };
    let mut join = Join::new(machine, &joining, arch.grid(), arch.image_size)?;
    let pixels = arch.image_size * arch.image_size;
    let model = Buffer::from_slice(machine, &noise.numbers(pixels, 1.0))?;
    let score = Buffer::from_slice(machine, &[0.5_f32])?;
    let mut distances = Buffer::<f32>::zeros(machine, layers * patches)?;
    let (mut fused, mut joined) = (Buffer::<f32>::zeros(machine, pixels)?, Buffer::<f32>::zeros(machine, 1)?);
    let bytes = layers * (rows.len() + tokens.len()) * size_of::<f16>() + 2 * pixels * size_of::<f32>();
    let sets = (0..sets_of(bytes))
        .map(|_| {
            let tokens = (0..layers).map(|_| Buffer::from_slice(machine, &tokens)).collect::<Result<_, _>>()?;
            Ok(Set { rows: Remembered::new(machine, &vec![&rows[..]; layers], width)?, tokens })
        })
        .collect::<Result<Vec<_>, CudaError>>()?;
    let count = sets.len();
    let run: Run = Box::new(move |stream, set| {
        let Set { rows, tokens } = &sets[set];
        let tokens: Vec<Values<'_>> = tokens.iter().map(|layer| Values::F16(layer.view())).collect();
        look_up.run(stream, &tokens, rows, distances.view_mut())?;
        join.run(stream, distances.view(), model.view(), score.view(), fused.view_mut(), joined.view_mut())
    });
    let name = format!("memory of {layers} × {} tokens", REMEMBERED * patches);
    Ok(Work { name, batch: 1, bytes, sets: count, target: Some(Target::Microseconds(400.0)), run })
}

fn maps(machine: &Arc<dyn Machine>, batch: usize) -> Result<Work, CudaError> {
    let arch = Architecture::vit_l_14_336_at_518();
    let (size, layers, patches) = (arch.image_size, arch.taps.len(), arch.patches());
    let mut noise = Noise(4);
    let mut maps = Maps::new(machine, &arch, &Constants::default(), batch)?;
    let raw = (0..layers)
        .map(|_| Buffer::from_slice(machine, &noise.numbers(batch * patches * 2, 4.0)))
        .collect::<Result<Vec<_>, _>>()?;
    let new = Buffer::from_slice(machine, &noise.numbers(batch * layers * patches, 6.0))?;
    let mut map = Buffer::<f32>::zeros(machine, batch * size * size)?;
    let mut scores = Buffer::<f32>::zeros(machine, batch)?;
    let bytes = (layers * batch * patches * 3 + map.len()) * size_of::<f32>();
    let run: Run = Box::new(move |stream, _| {
        let raw: Vec<Values<'_>> = raw.iter().map(|layer| Values::F32(layer.view())).collect();
        maps.run(stream, &raw, new.view(), batch, map.view_mut(), scores.view_mut())
    });
    let target = Some(Target::MicrosecondsPerImage(40.0));
    Ok(Work { name: "maps and score".to_owned(), batch, bytes, sets: 1, target, run })
}

fn threshold(machine: &Arc<dyn Machine>, batch: usize) -> Result<Work, CudaError> {
    let size = Architecture::vit_l_14_336_at_518().image_size;
    let mut noise = Noise(5);
    let threshold = Threshold::new(machine, size)?;
    let maps = Buffer::from_slice(machine, &noise.numbers(batch * size * size, 1.0))?;
    let scores = Buffer::from_slice(machine, &noise.numbers(batch, 1.0))?;
    let thresholds = Buffer::from_slice(machine, &vec![0.9_f32; batch])?;
    let mut mask = Buffer::<u32>::zeros(machine, batch * size * threshold.row_words())?;
    let mut summaries = Buffer::<RawSummary>::zeros(machine, batch)?;
    let bytes = (maps.len() + mask.len()) * size_of::<f32>() + batch * size_of::<RawSummary>();
    let run: Run = Box::new(move |stream, _| {
        let (mask, summaries) = (mask.view_mut(), summaries.view_mut());
        threshold.run(stream, maps.view(), scores.view(), thresholds.view(), batch, mask, summaries)
    });
    Ok(Work { name: "threshold and summary".to_owned(), batch, bytes, sets: 1, target: None, run })
}

fn random_weights(arch: &Architecture, noise: &mut Noise) -> Weights {
    let (width, text_width) = (arch.vision_width, arch.text_width);
    let mut matrix = |columns: usize| noise.numbers(width * columns, 2.0 / (columns as f32).sqrt());
    let (query, key, value, out) = (matrix(text_width), matrix(width), matrix(width), matrix(width));
    Weights {
        heads: arch.post_heads,
        vision_width: width,
        text_width,
        query,
        query_bias: noise.numbers(width, 0.5),
        key,
        value,
        value_bias: noise.numbers(width, 0.1),
        out,
        out_bias: noise.numbers(width, 0.1),
        temperature: 14.0,
    }
}

/// Numbers without a pattern, the same each time. Times on zeros would be others.
struct Noise(u64);

impl Noise {
    fn bits(&mut self) -> u32 {
        // Knuth's linear congruential generator (MMIX); the upper bits are the good ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.bits() >> 24) as u8).collect()
    }

    /// Between −`scale` and `scale`.
    fn numbers(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| ((self.bits() >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(unsafe_code, reason = "a machine is asked for memory by address")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::cuda::{Kernel, Launch, Program, Properties, StreamHandle};

    /// Has memory without end, runs nothing and counts.
    #[derive(Debug)]
    struct Idle {
        properties: Properties,
        launched: AtomicUsize,
    }

    impl Machine for Idle {
        fn properties(&self) -> &Properties {
            &self.properties
        }

        fn allocate(&self, _: usize) -> Result<u64, CudaError> {
            Ok(256)
        }

        fn release(&self, _: u64) {}

        unsafe fn write(&self, _: u64, _: &[u8]) -> Result<(), CudaError> {
            Ok(())
        }

        unsafe fn read(&self, _: u64, _: &mut [u8]) -> Result<(), CudaError> {
            Ok(())
        }

        fn load(&self, program: &Program) -> Result<Vec<Kernel>, CudaError> {
            Ok(program.kernels.iter().map(|&name| Kernel { name, handle: 0 }).collect())
        }

        unsafe fn launch(&self, _: StreamHandle, _: &Launch<'_>) -> Result<(), CudaError> {
            self.launched.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        unsafe fn clear(&self, _: StreamHandle, _: u64, _: usize) -> Result<(), CudaError> {
            Ok(())
        }
    }

    #[test]
    fn every_work_has_memory_of_the_sizes_that_its_kernels_need() {
        let properties = Properties {
            name: "idle".to_owned(),
            sm: 90,
            multiprocessors: 132,
            shared_per_block: 227 * 1024,
            memory: 80 << 30,
            driver: 13_000,
        };
        let idle = Arc::new(Idle { properties, launched: AtomicUsize::new(0) });
        let machine: Arc<dyn Machine> = Arc::clone(&idle) as Arc<dyn Machine>;
        let stream = Stream::new(Arc::clone(&machine), StreamHandle(0), None);
        let mut seen = Vec::new();
        for make in all() {
            let mut work = make(&machine).expect("memory");
            let before = idle.launched.load(Ordering::Relaxed);
            for set in 0..work.sets {
                work.run(&stream, set).expect("sizes that fit");
            }
            let launched = idle.launched.load(Ordering::Relaxed) - before;
            assert!(launched >= work.sets, "{} launched nothing", work.name);
            assert!(work.sets == 1 || work.sets * work.bytes >= ROTATED, "{}", work.name);
            seen.push((work.name, work.batch, work.bytes));
        }
        // 4 layers × 1369 tokens × 1024 halves, and 3 · 1024² + 1024 · 768 weights of 4 bytes.
        let post = ("Post-VCP of 4 layers".to_owned(), 8, 8 * 11_214_848 + 15_728_640);
        assert!(seen.contains(&post), "{seen:?}");
        // 4 layers × (5476 + 1369) tokens × 1024 halves, one map read and one written.
        let memory = ("memory of 4 × 5476 tokens".to_owned(), 1, 56_074_240 + 2_146_592);
        assert!(seen.contains(&memory), "{seen:?}");
    }
}
