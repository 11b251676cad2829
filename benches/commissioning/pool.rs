//! Good parts of a synthetic line as the shipped model sees them, looked at once and kept in the target folder.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use vcp_line::anomaly::{AnomalyMap, Prediction, StageTimes};
use vcp_line::clock::{Clock, SystemClock};
use vcp_line::engine::{self, EngineChoice, EngineSpec, PlanSpec, Precision};
use vcp_line::event::ModelInfo;
use vcp_line::frame::{Frame, Image, PixelFormat};
use vcp_line::line::recipe::Statistics;
use vcp_line::synth::{Class, Conveyor, DefectKind, render};
use vcp_line::tokens::PatchTokens;

use crate::recipe;

pub const POOL: usize = 1000;
/// Side of the line's frames, pixels.
pub const SIDE: u32 = 128;
const BUNDLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/vcp-demo");

/// One part.
pub struct Pooled {
    /// Without a memory.
    pub statistics: Statistics,
    /// The model's own.
    pub map: Vec<f32>,
    /// Per tapped layer: rows of length 1.
    pub taps: Vec<Vec<f16>>,
}

/// All of them, and the model's sizes.
pub struct Pool {
    pub parts: Vec<Pooled>,
    pub grid: usize,
    pub width: usize,
    pub size: usize,
    pub sigma: f32,
}

/// Where something of so many parts is kept.
pub fn file(parts: usize, name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("commissioning-{parts}.{name}"))
}

/// Of no file: nothing that is kept depends on it.
pub fn model() -> ModelInfo {
    let text = |text: &str| text.to_owned();
    let (name, sha256, engine) = (text("vcp-demo"), text("00"), text("openvino"));
    ModelInfo { name, sha256, engine, precision: text("fp32"), memory: None }
}

impl Pool {
    pub fn patches(&self) -> usize {
        self.grid * self.grid
    }

    /// What the engine said of it.
    pub fn prediction(&self, part: usize) -> Prediction {
        let part = &self.parts[part];
        let map = AnomalyMap::new(self.size, part.map.clone());
        let taps = part.taps.iter().map(|tap| tap.to_f32_vec()).collect();
        let tokens = Some(PatchTokens::new(self.grid, self.width, taps));
        Prediction { map, score: part.statistics.score, times: StageTimes::default(), tokens }
    }

    pub fn open() -> Self {
        let file = file(POOL, "pool");
        if !file.exists() {
            let partial = file.with_extension("partial");
            look(&partial);
            std::fs::rename(&partial, &file).unwrap();
        }
        read(&file)
    }
}

fn read(path: &Path) -> Pool {
    let mut file = std::io::BufReader::new(File::open(path).unwrap());
    let mut head = [0.0f32; 5];
    file.read_exact(bytemuck::cast_slice_mut(&mut head)).unwrap();
    let [grid, width, size, sigma, taps] = head;
    let (grid, width, size, taps) = (grid as usize, width as usize, size as usize, taps as usize);
    let halves = |file: &mut dyn Read, count: usize| {
        let mut values = vec![f16::ZERO; count];
        file.read_exact(bytemuck::cast_slice_mut(&mut values)).unwrap();
        values
    };
    let parts = (0..POOL).map(|_| {
        let mut said = [0.0f32; 2];
        file.read_exact(bytemuck::cast_slice_mut(&mut said)).unwrap();
        let [defect, score] = said;
        let map = halves(&mut file, size * size).to_f32_vec();
        let taps = (0..taps).map(|_| halves(&mut file, grid * grid * width)).collect();
        Pooled { statistics: Statistics { defect, score }, map, taps }
    });
    Pool { parts: parts.collect(), grid, width, size, sigma }
}

/// The good parts of the line in `pipelines/synthetic.toml`.
fn look(path: &Path) {
    let conveyor = Conveyor {
        frames: None,
        classes: vec![Class::Ring, Class::Leather, Class::PrintedBoard],
        kinds: vec![DefectKind::ALL[0]],
        defective: 0.0,
        difficulty: (0.0, 0.0),
        size: SIDE,
        pool: POOL as u32,
        seed: 14,
    };
    let plan = PlanSpec { file: None, rebuild: false };
    let (engine, precision) = (EngineChoice::Auto, Precision::default());
    let spec = EngineSpec {
        bundle: Path::new(BUNDLE).into(),
        engine,
        precision,
        max_batch: 1,
        threads: None,
        plan,
        remote: None,
        scales: None,
    };
    let mut engine = engine::open(&spec).unwrap();
    engine.hand_out_tokens(true);
    let mut recipe = recipe();
    let mut file = BufWriter::new(File::create(path).unwrap());
    let triggers: Vec<u64> = (1..=POOL as u64).collect();
    for (done, some) in triggers.chunks(50).enumerate() {
        let pictures: Vec<Image> = some
            .par_iter()
            .map(|trigger| Image::new(SIDE, SIDE, PixelFormat::Rgb8, render(&conveyor.part(*trigger)).rgb).unwrap())
            .collect();
        for (at, image) in pictures.into_iter().enumerate() {
            let frame = Frame::alone("pool", SystemClock.now(), image);
            let prediction = engine.infer(&[&frame]).unwrap().remove(0);
            let tokens = prediction.tokens.as_ref().unwrap();
            if (done, at) == (0, 0) {
                let (size, sigma) = (engine.info().image_size as f32, engine.info().sigma);
                let head = [tokens.grid() as f32, tokens.width() as f32, size, sigma, tokens.taps().len() as f32];
                file.write_all(bytemuck::cast_slice(&head)).unwrap();
            }
            let Statistics { defect, score } = recipe.statistics(&prediction, SIDE, SIDE).unwrap();
            file.write_all(bytemuck::cast_slice(&[defect, score])).unwrap();
            let map: Vec<f16> = prediction.map.values().iter().map(|value| f16::from_f32(*value)).collect();
            file.write_all(bytemuck::cast_slice(&map)).unwrap();
            for tap in tokens.taps() {
                let row = |token: &[f32]| {
                    let length = token.iter().map(|value| value * value).sum::<f32>().sqrt();
                    token.iter().map(|value| f16::from_f32(value / length)).collect::<Vec<_>>()
                };
                let rows: Vec<f16> = tap.chunks_exact(tokens.width()).flat_map(row).collect();
                file.write_all(bytemuck::cast_slice(&rows)).unwrap();
            }
        }
        eprintln!("{} of {POOL} parts looked at", (done + 1) * 50);
    }
    file.flush().unwrap();
}
