//! Post-VCP: difference maps are those of plain Rust, from float32 features and from halves.

use half::f16;
use vcp_line::cuda::{Buffer, Dtype, PostVcp, PostVcpShape, Values};
use vcp_line::vcp_clip::post_vcp::PostVcp as PlainPostVcp;

use super::{Place, Random, TOLERANCE, assert_close};

/// Sizes of the module and of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub heads: usize,
    /// Cv. With float16, multiples of 128 up to 1024 take the tensor cores.
    pub width: usize,
    /// Ct.
    pub text_width: usize,
    /// N.
    pub patches: usize,
    pub layers: usize,
    pub batch: usize,
    pub class_token: bool,
    /// Shared memory of a block where that is less than the machine has, bytes.
    pub shared: Option<usize>,
}

const fn case(
    [heads, width, text_width, patches, layers, batch]: [usize; 6],
    class_token: bool,
    shared: Option<usize>,
) -> Case {
    Case { heads, width, text_width, patches, layers, batch, class_token, shared }
}

/// What a block may have on SM 8.6, 8.9 and 12.0, bytes.
const SMALL_CARD: usize = 99 * 1024;

/// Every path: heads whose rows are no multiple of 8, both depths of the pipeline on tensor cores, tiles of more than
/// 48 KiB with and without them, one patch, more heads and layers than parts.
pub const CASES: [Case; 9] = [
    case([8, 64, 64, 49, 4, 2], true, None),
    case([3, 24, 12, 1, 1, 1], false, None),
    case([2, 24, 8, 9, 2, 2], true, None),
    case([1, 40, 20, 10, 8, 1], true, None),
    case([8, 40, 12, 19, 1, 2], false, None),
    case([8, 256, 32, 37, 2, 3], true, None),
    case([4, 128, 64, 67, 1, 1], false, None),
    case([8, 1024, 64, 35, 1, 1], false, Some(SMALL_CARD)),
    case([6, 1536, 16, 17, 1, 1], true, Some(SMALL_CARD)),
];

/// The published size, with and without the class token, and as on a small card.
pub const FULL: [Case; 3] = [
    case([8, 1024, 768, 1369, 4, 1], false, None),
    case([8, 1024, 768, 1369, 4, 3], true, None),
    case([8, 1024, 768, 1369, 4, 1], false, Some(SMALL_CARD)),
];

/// Any sizes, widths up to 512.
pub fn random(random: &mut Random, count: usize) -> Vec<Case> {
    let mut one = || {
        let heads = random.between(1, 8);
        // A multiple of 8 and of the heads; every other case one of 128 too.
        let unit = [8, 128][random.between(0, 1)];
        let widths: Vec<usize> = (1..=512 / unit).map(|n| n * unit).filter(|width| width % heads == 0).collect();
        let width = widths.get(random.between(0, widths.len().max(1) - 1)).copied().unwrap_or(heads * 8);
        let sizes = [
            heads,
            width,
            4 * random.between(1, 40),
            random.between(1, 90),
            random.between(1, 8),
            random.between(1, 3),
        ];
        case(sizes, random.between(0, 1) == 1, None)
    };
    (0..count).map(|_| one()).collect()
}

/// Runs every case in both types; float16 tokens may be off by `half_tolerance`.
pub fn check(place: &Place, cases: &[Case], half_tolerance: f32) {
    let mut random = Random(8);
    for case in cases {
        match case.shared {
            Some(bytes) => check_one(&place.with_shared(bytes), &mut random, case, half_tolerance),
            None => check_one(place, &mut random, case, half_tolerance),
        }
    }
}

fn plain(random: &mut Random, case: &Case) -> PlainPostVcp {
    let &Case { heads, width, text_width, .. } = case;
    let matrix = |random: &mut Random, columns: usize| random.numbers(width * columns, 2.0 / (columns as f32).sqrt());
    PlainPostVcp {
        heads,
        vision_width: width,
        text_width,
        query: matrix(random, text_width),
        query_bias: random.numbers(width, 0.5),
        key: matrix(random, width),
        value: matrix(random, width),
        value_bias: random.numbers(width, 0.1),
        out: matrix(random, width),
        out_bias: random.numbers(width, 0.1),
        temperature: 2.5,
    }
}

fn check_one(place: &Place, random: &mut Random, case: &Case, half_tolerance: f32) {
    let &Case { width, text_width, patches, layers, batch, class_token, .. } = case;
    let plain = plain(random, case);
    let rows = patches + usize::from(class_token);
    let tokens: Vec<Vec<f32>> = (0..layers).map(|_| random.halves(batch * rows * width, 3.0)).collect();
    let text = random.halves(batch * 2 * text_width, 1.0);
    let singles: Vec<Buffer<f32>> = tokens.iter().map(|layer| place.put(layer)).collect();
    let halves: Vec<Buffer<f16>> = tokens.iter().map(|layer| place.put_halves(layer)).collect();
    let (text_single, text_half) = (place.put(&text), place.put_halves(&text));
    for (dtype, tolerance) in [(Dtype::F32, TOLERANCE), (Dtype::F16, half_tolerance)] {
        let shape = PostVcpShape { layers, patches, class_token, max_batch: batch, tokens: dtype };
        let mut post = PostVcp::new(&place.machine, &plain, shape).unwrap();
        let (on_tokens, on_text): (Vec<Values<'_>>, _) = match dtype {
            Dtype::F32 => (singles.iter().map(|b| Values::F32(b.view())).collect(), Values::F32(text_single.view())),
            Dtype::F16 => (halves.iter().map(|b| Values::F16(b.view())).collect(), Values::F16(text_half.view())),
        };
        let mut maps = place.poisoned(batch * layers * patches);
        post.run(&place.stream, &on_tokens, on_text, batch, maps.view_mut()).unwrap();
        let maps = maps.read().unwrap();
        for image in 0..batch {
            let own: Vec<&[f32]> = tokens
                .iter()
                .map(|layer| &layer[(image * rows + rows - patches) * width..][..patches * width])
                .collect();
            let wanted = plain.difference_maps(&own, &text[image * 2 * text_width..][..2 * text_width]).concat();
            let got = &maps[image * layers * patches..][..layers * patches];
            assert_close(&format!("{}: {dtype:?} {case:?}, image {image}", place.name), got, &wanted, tolerance);
        }
    }
}
