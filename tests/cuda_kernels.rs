//! The CUDA kernels' own sources, executed on the CPU, against plain Rust.
#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/executor/mod.rs"]
mod executor;

use executor::{Executor, ORDERS, stream};
use half::f16;
use vcp_line::cuda::{
    Buffer, Dtype, FrameFormat, Maps, PostVcp, PostVcpShape, Preprocess, RawSummary, TILES, Threshold, Values,
    ValuesMut, YuvMatrix, nv12_to_rgb,
};
use vcp_line::frame::{Image, PixelFormat};
use vcp_line::vcp_clip::maps::MapFusion;
use vcp_line::vcp_clip::post_vcp::PostVcp as PlainPostVcp;
use vcp_line::vcp_clip::preprocess::Preprocessor;
use vcp_line::vcp_clip::{Architecture, Constants};

/// Numbers between −1 and 1, the same on every machine.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn number(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    fn numbers(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.number() * scale).collect()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.bits() >> 24) as u8).collect()
    }
}

#[track_caller]
fn assert_close(what: &str, got: &[f32], wanted: &[f32], tolerance: f32) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(wanted).enumerate() {
        // A NaN is not close to anything.
        assert!((g - w).abs() <= tolerance, "{what}: number {i} is {g}, and plain Rust says {w}");
    }
}

#[test]
fn thresholds_are_exact() {
    for order in ORDERS {
        let machine = Executor::machine(order);
        let stream = stream(&machine);
        let mut random = Random(5);
        for (size, batch) in [(1, 1), (7, 2), (33, 3), (70, 2)] {
            let pixels = size * size;
            let mut maps = random.numbers(batch * pixels, 1.0);
            // Equal peaks: the first counts.
            let last = maps.len() - 1;
            maps[last] = 2.0;
            maps[batch * pixels - pixels / 2 - 1] = 2.0;
            // Nothing above, one value exactly at the threshold, most above.
            let thresholds: Vec<f32> = [3.0, maps[pixels.min(last)], -0.5][..batch].to_vec();
            let scores = random.numbers(batch, 1.0);
            let threshold = Threshold::new(&machine, size).unwrap();
            let words = threshold.row_words();
            let mut mask = Buffer::from_slice(&machine, &vec![u32::MAX; batch * size * words]).unwrap();
            let mut summaries = Buffer::<RawSummary>::zeros(&machine, batch).unwrap();
            let [on_maps, on_scores, on_limits] =
                [&maps, &scores, &thresholds].map(|values| Buffer::from_slice(&machine, values).unwrap());
            threshold
                .run(
                    &stream,
                    on_maps.view(),
                    on_scores.view(),
                    on_limits.view(),
                    batch,
                    mask.view_mut(),
                    summaries.view_mut(),
                )
                .unwrap();
            let (mask, summaries) = (mask.read().unwrap(), summaries.read().unwrap());
            for image in 0..batch {
                let map = &maps[image * pixels..][..pixels];
                let (limit, summary) = (thresholds[image], summaries[image].decode(size));
                let above: Vec<usize> = (0..pixels).filter(|&i| map[i] >= limit).collect();
                for y in 0..size {
                    for x in 0..words * 32 {
                        let bit = mask[(image * size + y) * words + x / 32] >> (x % 32) & 1;
                        assert_eq!(bit == 1, x < size && map[y * size + x] >= limit, "{order:?} {size} {x} {y}");
                    }
                }
                let (xs, ys) = (above.iter().map(|i| i % size), above.iter().map(|i| i / size));
                let bounds = xs
                    .clone()
                    .min()
                    .zip(ys.clone().min())
                    .map(|(left, top)| [left, top, xs.max().unwrap() + 1 - left, ys.max().unwrap() + 1 - top]);
                let peak = map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let at = map.iter().position(|&value| value == peak).unwrap();
                let side = size.div_ceil(TILES);
                let mut tiles = [f32::NEG_INFINITY; TILES * TILES];
                for (i, &value) in map.iter().enumerate() {
                    let tile = &mut tiles[i / size / side * TILES + i % size / side];
                    *tile = tile.max(value);
                }
                assert_eq!((summary.above, summary.bounds), (above.len(), bounds), "{order:?} {size}");
                assert_eq!((summary.peak, summary.peak_at), (peak, [at % size, at / size]), "{order:?} {size}");
                assert_eq!((summary.tiles, summary.score), (tiles, scores[image]), "{order:?} {size}");
            }
        }
    }
}

/// Sizes of pictures around a model of side 28: larger, smaller, equal in one or both, odd, tall enough for the
/// other order of passes.
const PICTURES: [(usize, usize); 9] =
    [(61, 45), (17, 11), (28, 28), (28, 53), (47, 28), (1, 1), (3, 700), (900, 5), (131, 97)];

#[test]
fn preprocessing_equals_plain_rust_to_the_bit() {
    let constants = Constants::default();
    let size = 28;
    let formats = [
        (FrameFormat::Gray8, PixelFormat::Gray8, 1),
        (FrameFormat::Rgb8, PixelFormat::Rgb8, 3),
        (FrameFormat::Bgr8, PixelFormat::Bgr8, 3),
    ];
    for order in ORDERS {
        let machine = Executor::machine(order);
        let stream = stream(&machine);
        let mut random = Random(6);
        let preprocess = Preprocess::new(&machine, size, constants.mean, constants.std).unwrap();
        let mut plain = Preprocessor::new(size, constants.mean, constants.std);
        for (width, height) in PICTURES {
            for (format, pixel_format, step) in formats {
                for padding in [0, 5] {
                    let row = width * step;
                    let stride = row + padding;
                    let frame = random.bytes(stride * (height - 1) + row);
                    let tight: Vec<u8> = frame.chunks(stride).flat_map(|line| &line[..row]).copied().collect();
                    let image = Image::new(width as u32, height as u32, pixel_format, tight).unwrap();
                    let prepared = preprocess.prepare(format, width, height, stride).unwrap();
                    let frame = Buffer::from_slice(&machine, &frame).unwrap();
                    check_input(&machine, &stream, &prepared, &frame, &mut plain, &image);
                }
            }
        }
        for (width, height) in [(62, 46), (28, 28), (30, 2)] {
            for matrix in [YuvMatrix::Bt601, YuvMatrix::Bt709] {
                let stride = width + 3;
                let frame = random.bytes(stride * (height + height / 2 - 1) + width);
                let rgb: Vec<u8> = (0..height * width)
                    .flat_map(|i| {
                        let (x, y) = (i % width, i / width);
                        let pair = (height + y / 2) * stride + x / 2 * 2;
                        nv12_to_rgb(matrix, frame[y * stride + x], frame[pair], frame[pair + 1])
                    })
                    .collect();
                let image = Image::new(width as u32, height as u32, PixelFormat::Rgb8, rgb).unwrap();
                let prepared = preprocess.prepare(FrameFormat::Nv12(matrix), width, height, stride).unwrap();
                let frame = Buffer::from_slice(&machine, &frame).unwrap();
                check_input(&machine, &stream, &prepared, &frame, &mut plain, &image);
            }
        }
    }
}

/// Slot 1 of 2, in both types; the other slot stays as it is.
fn check_input(
    machine: &std::sync::Arc<dyn vcp_line::cuda::Machine>,
    stream: &vcp_line::cuda::Stream,
    prepared: &vcp_line::cuda::Prepared,
    frame: &Buffer<u8>,
    plain: &mut Preprocessor,
    image: &Image,
) {
    let pixels = 3 * plain.size() * plain.size();
    let mut wanted = vec![0.0; pixels];
    plain.run(image, &mut wanted);
    let what = format!("{}x{} {:?}", image.width, image.height, image.format);

    let mut single = Buffer::<f32>::zeros(machine, 2 * pixels).unwrap();
    prepared.run(stream, frame.view(), &ValuesMut::F32(single.view_mut()), 1).unwrap();
    let got = single.read().unwrap();
    assert!(got[..pixels].iter().all(|&value| value == 0.0), "{what}");
    assert!(got[pixels..] == wanted, "{what}: float32");

    let mut half = Buffer::<f16>::zeros(machine, 2 * pixels).unwrap();
    prepared.run(stream, frame.view(), &ValuesMut::F16(half.view_mut()), 1).unwrap();
    let wanted: Vec<f16> = wanted.iter().map(|&value| f16::from_f32(value)).collect();
    assert!(half.read().unwrap()[pixels..] == wanted, "{what}: float16");
}

#[test]
fn maps_and_scores_are_those_of_plain_rust() {
    for order in ORDERS {
        let machine = Executor::machine(order);
        let stream = stream(&machine);
        let mut random = Random(7);
        // Grid, side, layers, batch, top k, sigma: a Gaussian wider than the map, none at all, every pixel in the score.
        for (grid, size, layers, batch, top_k, sigma) in
            [(7, 98, 4, 2, 2000, 8.0), (3, 21, 1, 1, 1, 8.0), (1, 5, 8, 3, 25, 0.0), (5, 35, 2, 2, 600, 1.3)]
        {
            let arch = Architecture {
                image_size: size,
                patch: size / grid,
                taps: (1..=layers).collect(),
                ..Architecture::vit_l_14_336_at_518()
            };
            let constants = Constants { top_k, sigma, ..Constants::default() };
            let patches = grid * grid;
            let logits: Vec<Vec<f32>> = (0..layers)
                .map(|_| random.numbers(batch * patches * 2, 4.0).iter().map(|&x| f16::from_f32(x).to_f32()).collect())
                .collect();
            let mut new = random.numbers(batch * layers * patches, 6.0);
            // A plateau: the k-th largest value has ties.
            new[..layers * patches].fill(1.5);
            let fusion = MapFusion::new(&arch, &constants);
            for dtype in [Dtype::F32, Dtype::F16] {
                let mut maps = Maps::new(&machine, &arch, &constants, batch).unwrap();
                let singles: Vec<Buffer<f32>> =
                    logits.iter().map(|l| Buffer::from_slice(&machine, l).unwrap()).collect();
                let halves: Vec<Buffer<f16>> = logits.iter().map(|l| to_half(&machine, l)).collect();
                let raw: Vec<Values<'_>> = match dtype {
                    Dtype::F32 => singles.iter().map(|b| Values::F32(b.view())).collect(),
                    Dtype::F16 => halves.iter().map(|b| Values::F16(b.view())).collect(),
                };
                let on_new = Buffer::from_slice(&machine, &new).unwrap();
                let mut map = Buffer::<f32>::zeros(&machine, batch * size * size).unwrap();
                let mut scores = Buffer::<f32>::zeros(&machine, batch).unwrap();
                // Twice: the counts start anew.
                for _ in 0..2 {
                    maps.run(&stream, &raw, on_new.view(), batch, map.view_mut(), scores.view_mut()).unwrap();
                }
                let (map, scores) = (map.read().unwrap(), scores.read().unwrap());
                for image in 0..batch {
                    let raw: Vec<Vec<f32>> = logits
                        .iter()
                        .map(|l| {
                            l[image * patches * 2..][..patches * 2].chunks(2).map(|pair| pair[1] - pair[0]).collect()
                        })
                        .collect();
                    let own = &new[image * layers * patches..][..layers * patches];
                    let own: Vec<Vec<f32>> = own.chunks(patches).map(<[f32]>::to_vec).collect();
                    let fused = fusion.fuse(&raw, &own);
                    let what = format!("{order:?} {dtype:?} grid {grid}");
                    assert_close(&what, &map[image * size * size..][..size * size], &fused.map, 1e-5);
                    assert_close(&what, &scores[image..=image], &[fused.score], 1e-5);
                }
            }
        }
    }
}

fn to_half(machine: &std::sync::Arc<dyn vcp_line::cuda::Machine>, values: &[f32]) -> Buffer<f16> {
    let halves: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
    Buffer::from_slice(machine, &halves).unwrap()
}

#[test]
fn post_vcp_is_that_of_plain_rust() {
    for order in ORDERS {
        let machine = Executor::machine(order);
        let stream = stream(&machine);
        let mut random = Random(8);
        // Heads, Cv, Ct, patches, layers, batch, class token. With float16, widths of 128 and 256 take the tensor cores.
        for (heads, width, text_width, patches, layers, batch, class_token) in [
            (8, 64, 64, 49, 4, 2, true),
            (3, 24, 12, 1, 1, 1, false),
            (1, 40, 20, 10, 8, 1, true),
            (8, 256, 32, 37, 2, 3, true),
            (4, 128, 64, 67, 1, 1, false),
        ] {
            let matrix =
                |random: &mut Random, columns: usize| random.numbers(width * columns, 2.0 / (columns as f32).sqrt());
            let plain = PlainPostVcp {
                heads,
                vision_width: width,
                text_width,
                query: matrix(&mut random, text_width),
                query_bias: random.numbers(width, 0.5),
                key: matrix(&mut random, width),
                value: matrix(&mut random, width),
                value_bias: random.numbers(width, 0.1),
                out: matrix(&mut random, width),
                out_bias: random.numbers(width, 0.1),
                temperature: 2.5,
            };
            let rows = patches + usize::from(class_token);
            // Halves, so that both types hold the same numbers.
            let tokens: Vec<Vec<f32>> = (0..layers)
                .map(|_| random.numbers(batch * rows * width, 3.0).iter().map(|&x| f16::from_f32(x).to_f32()).collect())
                .collect();
            let text: Vec<f32> =
                random.numbers(batch * 2 * text_width, 1.0).iter().map(|&x| f16::from_f32(x).to_f32()).collect();
            for dtype in [Dtype::F32, Dtype::F16] {
                let shape = PostVcpShape { layers, patches, class_token, max_batch: batch, tokens: dtype };
                let mut post = PostVcp::new(&machine, &plain, shape).unwrap();
                let singles: Vec<Buffer<f32>> =
                    tokens.iter().map(|t| Buffer::from_slice(&machine, t).unwrap()).collect();
                let halves: Vec<Buffer<f16>> = tokens.iter().map(|t| to_half(&machine, t)).collect();
                let (text_single, text_half) = (Buffer::from_slice(&machine, &text).unwrap(), to_half(&machine, &text));
                let (on_tokens, on_text): (Vec<Values<'_>>, _) = match dtype {
                    Dtype::F32 => {
                        (singles.iter().map(|b| Values::F32(b.view())).collect(), Values::F32(text_single.view()))
                    }
                    Dtype::F16 => {
                        (halves.iter().map(|b| Values::F16(b.view())).collect(), Values::F16(text_half.view()))
                    }
                };
                let mut maps = Buffer::<f32>::zeros(&machine, batch * layers * patches).unwrap();
                post.run(&stream, &on_tokens, on_text, batch, maps.view_mut()).unwrap();
                let maps = maps.read().unwrap();
                for image in 0..batch {
                    let own: Vec<&[f32]> = tokens
                        .iter()
                        .map(|layer| &layer[(image * rows + rows - patches) * width..][..patches * width])
                        .collect();
                    let wanted =
                        plain.difference_maps(&own, &text[image * 2 * text_width..][..2 * text_width]).concat();
                    let got = &maps[image * layers * patches..][..layers * patches];
                    assert_close(&format!("{order:?} {dtype:?} width {width}"), got, &wanted, 1e-5);
                }
            }
        }
    }
}
