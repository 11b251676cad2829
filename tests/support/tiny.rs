//! The tiny model of the golden numbers as a bundle, its pictures and what the released implementation makes of them.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use vcp_line::clock::{Clock, SystemClock};
use vcp_line::engine::scales::{FORMAT, Gate, LARGEST, Layer, Pictures, Scales, candidates};
use vcp_line::engine::self_test::Expected;
use vcp_line::engine::{EngineChoice, EngineSpec, Precision};
use vcp_line::frame::{Frame, Image};
use vcp_line::source::image_file;
use vcp_line::vcp_clip::Constants;
use vcp_line::vcp_clip::preprocess::Preprocessor;
use vcp_line::weights::{Bundle, ImportRequest, import};

/// Side of the model's input, pixels.
pub const SIZE: usize = 98;
/// Patches of an image, 7×7.
pub const PATCHES: usize = 49;
/// Cv and Ct.
pub const WIDTH: usize = 64;
/// Tapped layers.
pub const TAPS: [usize; 4] = [3, 6, 9, 12];
/// Pictures with golden numbers.
pub const IMAGES: [&str; 5] =
    ["img0_rgb_131x97", "img1_gray_203x157", "img2_rgb_65x113", "img3_rgb_517x389", "img4_rgb_99x97"];

/// The checkout. Where a test program runs that was compiled elsewhere, CARGO_MANIFEST_DIR names it.
pub fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).into()
}

/// A file of the reference data.
pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/oracle/tiny").join(name)
}

/// Scales for 8 bits of the tiny model, `tiny`, or of the shipped one, `vcp-demo`: what `model quantize` found on synthetic products
/// (24 and 64 good pictures of `vcp-line synth`, gates of 1 and 0.5 points). The tiny one's fp8 is allowed 5, which random numbers need.
pub fn scales(model: &str) -> PathBuf {
    root().join(format!("tests/fixtures/scales/{model}.json"))
}

/// Scales of seeded weights (`weights::random`) without pictures: such weights have no large channels, and six times the deviation that
/// a layer's input has behind its normalisation is as far as it goes. Their gates are open, as maps of such weights mean nothing: they
/// are for what a network takes, not for what it says.
pub fn scales_of_seeded_weights(bundle: &Bundle) -> Scales {
    const WIDEST: f32 = 6.0;
    let rms = |name: &str| {
        let values = bundle.f32(name).unwrap().1;
        (values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32).sqrt()
    };
    let arch = &bundle.manifest().architecture;
    let spread = (arch.vision_width as f32).sqrt();
    let deviation = |name: &str| {
        let (block, layer) = name.split_at(name.find("attn.").or_else(|| name.find("mlp.")).unwrap());
        let of = |layer: &str| rms(&format!("{block}{layer}"));
        match layer {
            "attn.in_proj_weight" => of("ln_1.weight"),
            "attn.out_proj.weight" => of("ln_1.weight") * of("attn.in_proj_weight") * spread,
            "mlp.c_fc.weight" => of("ln_2.weight"),
            _ => of("ln_2.weight") * of("mlp.c_fc.weight") * spread,
        }
    };
    let layer = |name: String| {
        let (columns, step) = (bundle.tensor(&name).unwrap().shape[1], WIDEST * deviation(&name) / LARGEST);
        (name, Layer { migration: vec![1.0; columns], step, alpha: 0.0, error: 0.0 })
    };
    let open = Gate { allowed: 1.0, map: 0.0, worst: 0.0, score: 0.0, figures: Vec::new() };
    Scales {
        format: FORMAT,
        model_sha256: bundle.sha256().to_owned(),
        pictures: Pictures { calibrated: 0, held_out: 0, sha256: String::new() },
        layers: candidates(arch).into_iter().map(layer).collect(),
        kept: Vec::new(),
        gate: open.clone(),
        fp8: Some(open),
        expected: Expected::default(),
    }
}

/// Files of the tiny sizes, to be imported to `out`.
pub fn request(clip: &Path, vcp: &Path, out: &Path) -> ImportRequest {
    ImportRequest {
        clip: clip.to_owned(),
        second_tower: None,
        vcp: vcp.to_owned(),
        image_size: SIZE,
        taps: None,
        post_heads: 8,
        name: None,
        out: out.to_owned(),
        force: false,
    }
}

/// Imports the tiny model into a new folder, which lives as long as what is returned.
pub fn bundle() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tiny");
    let request =
        ImportRequest { taps: Some(TAPS.to_vec()), ..request(&fixture("clip.pt"), &fixture("vcp.pth"), &out) };
    import(&request, &mut |_, _, _| {}).unwrap();
    (folder, out)
}

/// How to open `bundle` with an engine; two frames at most.
pub fn spec(bundle: &Path, engine: EngineChoice, precision: Precision) -> EngineSpec {
    EngineSpec { engine, precision, max_batch: 2, ..EngineSpec::new(bundle) }
}

/// A picture of the reference data.
pub fn picture(name: &str) -> Image {
    image_file::load(&fixture(&format!("images/{name}.png"))).unwrap()
}

/// A picture as a camera's frame.
pub fn frame(image: Image) -> Frame {
    Frame::alone("golden", SystemClock.now(), image)
}

/// What makes pictures into a model's input of side `size`.
pub fn preprocessor(size: usize) -> Preprocessor {
    let Constants { mean, std, .. } = Constants::default();
    Preprocessor::new(size, mean, std)
}

/// Pictures as the network takes them, one after the other.
pub fn input(names: &[&str]) -> Vec<f32> {
    let mut preprocessor = preprocessor(SIZE);
    let mut out = vec![0.0; names.len() * 3 * SIZE * SIZE];
    for (name, out) in names.iter().zip(out.chunks_exact_mut(3 * SIZE * SIZE)) {
        preprocessor.run(&picture(name), out);
    }
    out
}

/// A file of golden numbers.
pub struct Golden(Vec<u8>);

impl Golden {
    /// The float64 run of the released implementation on a picture.
    pub fn exact(image: &str) -> Self {
        Self::file(&fixture(&format!("golden/{image}.f64.safetensors")))
    }

    /// Any file of tensors.
    pub fn file(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap())
    }

    /// A tensor's values, whatever its shape.
    pub fn get(&self, name: &str) -> Vec<f64> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        let bytes = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::F32 => bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
            other => panic!("{name} holds {other:?}"),
        }
    }
}

/// Largest absolute difference. Panics when the lengths differ, and is NaN when a value is.
pub fn off(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "values");
    // `f64::max` would let a NaN pass.
    found
        .iter()
        .zip(expected)
        .map(|(f, e)| (f64::from(*f) - e).abs())
        .fold(0.0, |worst, d| if d > worst || d.is_nan() { d } else { worst })
}

/// Panics, naming `what`, unless the largest difference is within `tolerance`.
pub fn assert_near(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    let worst = off(found, expected);
    assert!(worst <= tolerance, "{what}: off by {worst:.2e}, {tolerance:.0e} are allowed");
}
