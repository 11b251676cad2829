//! What a frame of tiles costs: n tiles against n single frames, and a region of a quarter of the frame against the whole,
//! taking turns in one run. `cargo bench --bench tiles -- BUNDLE PRECISION TILE_PX ROUNDS`; the shipped model unless asked
//! otherwise.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use vcp_line::clock::{Clock, SystemClock};
use vcp_line::engine::{self, EngineChoice, EngineSpec, PlanSpec, Precision};
use vcp_line::frame::{Frame, Image, PixelFormat};
use vcp_line::look::{Asked, Looker};
use vcp_line::view::{TileSpec, ViewSpec};

/// A camera of 5 megapixels.
const FRAME: (u32, u32) = (2448, 2048);
const OVERLAP: f32 = 0.25;

fn frame((width, height): (u32, u32)) -> Frame {
    let pixel = |i: u32| {
        let (x, y) = (i % width, i / width);
        (x.wrapping_mul(y) / 97 + (x ^ y)) as u8
    };
    let image = Image::new(width, height, PixelFormat::Gray8, (0..width * height).map(pixel).collect()).unwrap();
    Frame::alone("bench", SystemClock.now(), image)
}

/// Processor time of this process so far, over all cores; Linux counts it in hundredths of a second.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // User and system time; the name before them may hold blanks, and ends with a bracket.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * ticks)
}

/// Time on the wall, and of processors.
type Times = [Duration; 2];

fn timed(work: impl FnOnce()) -> Times {
    let (begin, before) = (Instant::now(), processor());
    work();
    [begin.elapsed(), processor() - before]
}

fn sum(times: impl Iterator<Item = Times>) -> Times {
    times.fold(Times::default(), |[wall, processor], times| [wall + times[0], processor + times[1]])
}

/// Milliseconds.
fn medians(times: &[Times]) -> [f64; 2] {
    [0, 1].map(|which| {
        let mut times: Vec<Duration> = times.iter().map(|times| times[which]).collect();
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let argument = |at: usize, other: &str| arguments.get(at).cloned().unwrap_or_else(|| other.to_owned());
    let bundle = argument(0, concat!(env!("CARGO_MANIFEST_DIR"), "/engines/vcp-demo"));
    let precision = match argument(1, "bf16").as_str() {
        "fp32" => Precision::Fp32,
        "int8" => Precision::Int8,
        _ => Precision::Bf16,
    };
    let size_px: u32 = argument(2, "400").parse().unwrap();
    let rounds: usize = argument(3, "9").parse().unwrap();
    let plan = PlanSpec { file: None, rebuild: false };
    let (engine, threads, remote, scales) = (EngineChoice::Openvino, None, None, None);
    let spec = EngineSpec { bundle: bundle.into(), engine, precision, max_batch: 1, threads, plan, remote, scales };
    let mut engine = engine::open(&spec).unwrap();

    let tiles = ViewSpec { tiles: Some(TileSpec::Size { size_px, overlap: OVERLAP }), ..ViewSpec::default() };
    let (mut tiled, mut plain) = (Looker::new(tiles.clone()), Looker::new(ViewSpec::default()));
    let mut part = Looker::new(tiles);
    let (width, height) = (FRAME.0 as f32, FRAME.1 as f32);
    // In the middle, half as wide and half as high.
    let quarter = vec![[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]];
    let quarter = [quarter.into_iter().map(|[x, y]: [f32; 2]| [x * width, y * height]).collect::<Vec<_>>()];
    let all = tiled.tiles(FRAME, &[]).unwrap().unwrap().looked_at;
    let some = part.tiles(FRAME, &quarter).unwrap().unwrap().looked_at;

    let (whole, small) = (frame(FRAME), frame((size_px, size_px)));
    let mut look = |looker: &mut Looker, frame: &Frame, regions: &[Vec<[f32; 2]>]| {
        let asked = Asked { regions, ..Asked::default() };
        timed(|| drop(looker.look(engine.as_mut(), frame, asked, None).unwrap()))
    };
    let mut times: [Vec<Times>; 4] = Default::default();
    for round in 0..=rounds {
        let found = [
            look(&mut tiled, &whole, &[]),
            sum((0..all).map(|_| look(&mut plain, &whole, &[]))),
            sum((0..all).map(|_| look(&mut plain, &small, &[]))),
            look(&mut part, &whole, &quarter),
        ];
        // The first is for what is done only once.
        if round > 0 {
            times.iter_mut().zip(found).for_each(|(times, found)| times.push(found));
        }
    }
    let [tiles, frames, pieces, region] = times.map(|times| medians(&times));
    println!("{all} tiles of {size_px} px, overlap {OVERLAP}, {precision:?}, medians of {rounds}");
    println!("| what | ms | processor ms | tiles cost of it | in processor time |\n|---|---|---|---|---|");
    let row = |what: &str, [wall, processor]: [f64; 2]| {
        println!("| {what} | {wall:.0} | {processor:.0} | {:.3} | {:.3} |", tiles[0] / wall, tiles[1] / processor);
    };
    row(&format!("one frame of {all} tiles"), tiles);
    row(&format!("{all} frames of {}×{}", FRAME.0, FRAME.1), frames);
    row(&format!("{all} frames of {size_px}×{size_px}"), pieces);
    let [wall, processor] = [0, 1].map(|which| region[which] / tiles[which]);
    println!(
        "\nA region of a quarter, {some} tiles: {:.0} ms, {wall:.3} of the whole; {:.0} ms of processor time, {processor:.3}.",
        region[0], region[1]
    );
}
