//! Time that finding a part in a frame of five megapixels takes, and how far off it is found.
//!
//! `taskset -c 0 cargo bench --bench locate`: one core.
#![allow(clippy::print_stdout)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rayon::prelude::*;
use vcp_line::frame::{Image, PixelFormat};
use vcp_line::synth::{Class, FrameRequest, FrameSample, Motion, render_frame};
use vcp_line::view::locate::{LocateSpec, Locator, Placement, Pose};

const SIZE: (u32, u32) = (2448, 2048);
const BELT: Motion = Motion { shift_px: 40.0, turn_degrees: 5.0 };
const STILL: Motion = Motion { shift_px: 0.0, turn_degrees: 0.0 };
const CLASSES: [Class; 6] =
    [Class::Keycap, Class::Connector, Class::Gear, Class::PrintedBoard, Class::Domino, Class::TerminalBlock];
/// Parts of each class whose place is compared with the truth.
const PARTS: u64 = 8;

fn frame(class: Class, part: u64, motion: Motion) -> FrameSample {
    render_frame(&FrameRequest { class, width: SIZE.0, height: SIZE.1, product: 9, part, defect: None, motion })
}

fn image(frame: &FrameSample) -> Image {
    Image::new(frame.width, frame.height, PixelFormat::Rgb8, frame.rgb.clone()).expect("as many bytes as RGB needs")
}

fn locator(picture: Image, rectangle: [u32; 4]) -> Locator {
    let spec = LocateSpec { picture, rectangle, shift_px: 40, turn_degrees: 5.0, least_score: 0.6 };
    Locator::new(&spec).expect("a template")
}

/// Pixels at the middle of the rectangle, and degrees.
fn error(pose: Pose, [x, y, width, height]: [u32; 4], taught: &FrameSample, made: &FrameSample) -> (f64, f64) {
    let middle = [f64::from(x) + 0.5 * f64::from(width), f64::from(y) + 0.5 * f64::from(height)];
    let centre = |frame: &FrameSample| frame.part.centre.map(f64::from);
    let ([cx, cy], [fx, fy]) = (centre(taught), centre(made));
    let degrees = f64::from(made.part.turn_degrees - taught.part.turn_degrees);
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (u, v) = (middle[0] - cx, middle[1] - cy);
    let (dx, dy) = (fx + cos * u - sin * v - middle[0], fy + sin * u + cos * v - middle[1]);
    ((f64::from(pose.dx) - dx).hypot(f64::from(pose.dy) - dy), (f64::from(pose.degrees) - degrees).abs())
}

fn accuracy() {
    let (mut places, mut angles): (Vec<f64>, Vec<f64>) = Default::default();
    for class in CLASSES {
        let taught = frame(class, 1, STILL);
        let locator = locator(image(&taught), taught.part.bounds);
        let errors: Vec<(f64, f64)> = (2..2 + PARTS)
            .into_par_iter()
            .map(|part| {
                let made = frame(class, part, BELT);
                let pose = locator.find(&image(&made)).expect("looks").expect("found");
                error(pose, taught.part.bounds, &taught, &made)
            })
            .collect();
        places.extend(errors.iter().map(|error| error.0));
        angles.extend(errors.iter().map(|error| error.1));
    }
    let p95 = |errors: &mut Vec<f64>| {
        errors.sort_by(f64::total_cmp);
        errors[(errors.len() * 95).div_ceil(100) - 1]
    };
    let (place, angle, count) = (p95(&mut places), p95(&mut angles), places.len());
    println!("{count} parts: p95 {place:.3} px, {angle:.3} degrees");
}

fn locating(criterion: &mut Criterion) {
    accuracy();
    let taught = frame(Class::PrintedBoard, 1, STILL);
    let made = image(&frame(Class::PrintedBoard, 2, BELT));
    let grey = made.data().chunks_exact(3).map(|pixel| pixel[1]).collect();
    let grey = Image::new(SIZE.0, SIZE.1, PixelFormat::Gray8, grey).expect("a byte a pixel");
    let deep = made.data().iter().flat_map(|byte| (u16::from(*byte) * 16).to_le_bytes()).collect();
    let deep = Image::new(SIZE.0, SIZE.1, PixelFormat::Rgb16, deep).expect("two bytes a value");
    let [_, _, width, height] = taught.part.bounds;
    let of_part = locator(image(&taught), taught.part.bounds);
    for (name, image) in [("RGB", &made), ("grey", &grey), ("RGB of 16 bits", &deep)] {
        criterion.bench_function(&format!("find a part of {width}x{height} px, 2448x2048 {name}"), |bencher| {
            bencher.iter(|| of_part.find(black_box(image)));
        });
    }
    let of_nearly_all = locator(image(&taught), [100, 100, SIZE.0 - 200, SIZE.1 - 200]);
    criterion.bench_function("find a part of 2248x1848 px, 2448x2048 RGB", |bencher| {
        bencher.iter(|| of_nearly_all.find(black_box(&made)));
    });
    let pose = of_part.find(&made).expect("looks").expect("found");
    let placement = Placement::new(pose, taught.part.bounds, SIZE);
    criterion.bench_function("lay a frame back, 2448x2048 RGB", |bencher| {
        bencher.iter(|| of_part.laid_back(black_box(&made), &placement));
    });
}

criterion_group!(benches, locating);
criterion_main!(benches);
