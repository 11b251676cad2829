//! A line whose camera delivers 12 bits or a mosaic gives the verdicts of the line that sees the same parts in 8-bit RGB: the
//! shipped model, end to end through GStreamer, and from files of 16 bits.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use image::{ImageBuffer, Rgb};
use rayon::prelude::*;
use vcp_line::clock::SystemClock;
use vcp_line::engine::{self, Engine, EngineSpec};
use vcp_line::event::RecipeInfo;
use vcp_line::line::recipe::{Recipe, RecipeSpec};
use vcp_line::source::directory::{DirectorySource, DirectorySpec};
use vcp_line::source::gstreamer::GStreamerSource;
use vcp_line::source::gstreamer_spec::{GStreamerInput, GStreamerSpec};
use vcp_line::source::levels::{First, Levelled, LevelsSpec};
use vcp_line::source::sensor_format::BayerOrder;
use vcp_line::source::synthetic::{Conveyor, DefectKind, SyntheticFormat};
use vcp_line::source::{Source, SourceContext};
use vcp_line::synth::{Class, render};
use vcp_line::verdict::Verdict;

/// One in a hundred may differ.
const PARTS: u32 = 100;
/// More than twice the side of the model's input: what a mosaic lacks is smaller than what the model sees.
const SIDE: u32 = 512;

fn context() -> SourceContext {
    SourceContext { camera: "top".into(), clock: Arc::new(SystemClock) }
}

/// What the RGB camera sees of each part.
fn parts() -> Vec<Vec<u8>> {
    let conveyor = Conveyor {
        frames: None,
        classes: vec![Class::Ring, Class::Tile, Class::Pill, Class::Leather],
        kinds: DefectKind::ALL.to_vec(),
        defective: 0.5,
        difficulty: (0.0, 0.5),
        size: SIDE,
        pool: PARTS,
        seed: 5,
    };
    (1..=u64::from(PARTS)).into_par_iter().map(|trigger| render(&conveyor.part(trigger)).rgb).collect()
}

fn caps(format: SyntheticFormat) -> String {
    let format = match format {
        SyntheticFormat::Rgb8 => "video/x-raw,format=RGB".to_owned(),
        SyntheticFormat::Gray(8) => "video/x-raw,format=GRAY8".to_owned(),
        SyntheticFormat::Gray(_) => "video/x-raw,format=GRAY16_LE".to_owned(),
        SyntheticFormat::Bayer(order, 8) => format!("video/x-bayer,format={}", order.name()),
        SyntheticFormat::Bayer(order, bits) => format!("video/x-bayer,format={}{bits}le", order.name()),
    };
    format!("{format},width={SIDE},height={SIDE},framerate=(fraction)30/1")
}

/// The parts as the driver of such a camera hands them on, through a pipeline.
fn camera(folder: &Path, format: SyntheticFormat, parts: &[Vec<u8>]) -> Levelled {
    for (at, rgb) in parts.iter().enumerate() {
        fs::write(folder.join(format!("{at:03}.raw")), format.exposed(SIDE as usize, rgb)).unwrap();
    }
    let description = format!(
        "multifilesrc location={}/%03d.raw stop-index={} caps=\"{}\"",
        folder.display(),
        parts.len() - 1,
        caps(format)
    );
    let spec = GStreamerSpec::new(GStreamerInput::Launch { description });
    let source = GStreamerSource::open(spec, context()).unwrap();
    Levelled::over(Box::new(source), LevelsSpec::default(), &context(), First::AsTheyCome).unwrap()
}

/// The parts as files of 12 bits in 16.
fn files(folder: &Path, parts: &[Vec<u8>]) -> Levelled {
    for (at, rgb) in parts.iter().enumerate() {
        let values = rgb.iter().map(|byte| ((u32::from(*byte) * 4095 + 127) / 255) as u16).collect();
        let picture: ImageBuffer<Rgb<u16>, Vec<u16>> = ImageBuffer::from_raw(SIDE, SIDE, values).unwrap();
        picture.save(folder.join(format!("{at:03}.png"))).unwrap();
    }
    let open = || {
        let spec =
            DirectorySpec { path: folder.to_owned(), extensions: vec!["png".into()], ..DirectorySpec::default() };
        Box::new(DirectorySource::open(spec, context()).unwrap())
    };
    Levelled::over(open(), LevelsSpec::default(), &context(), First::Beforehand(Some(open()))).unwrap()
}

fn verdicts(engine: &mut dyn Engine, mut camera: Levelled) -> Vec<Verdict> {
    let info = RecipeInfo { id: "parts".into(), version: 1 };
    let (threshold, regions) = (Some(0.5), vec![]);
    let mut recipe = Recipe::new(RecipeSpec { info, threshold, defect_threshold: 0.9, min_area_px: 25, regions });
    let mut verdicts = Vec::new();
    while let Ok(Some(frame)) = camera.next(Duration::from_secs(20)) {
        assert!(!frame.image.damaged);
        let prediction = engine.infer(&[&frame]).unwrap().remove(0);
        verdicts.push(recipe.inspect(&prediction, SIDE, SIDE).unwrap().verdict);
    }
    assert_eq!(verdicts.len(), PARTS as usize);
    verdicts
}

#[test]
fn every_format_gives_the_verdicts_of_8_bit_rgb() {
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/vcp-demo");
    let mut engine = engine::open(&EngineSpec::new(bundle)).unwrap();
    let parts = parts();
    // A grey sensor sees no colours: the line that it is compared with sees the same grey.
    let grey: Vec<Vec<u8>> = parts
        .iter()
        .map(|rgb| {
            SyntheticFormat::Gray(8).exposed(SIDE as usize, rgb).into_iter().flat_map(|level| [level; 3]).collect()
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let colour = verdicts(&mut *engine, camera(folder, SyntheticFormat::Rgb8, &parts));
    let of_grey = verdicts(&mut *engine, camera(folder, SyntheticFormat::Rgb8, &grey));
    for expected in [&colour, &of_grey] {
        let failed = expected.iter().filter(|verdict| **verdict == Verdict::Fail).count();
        assert!((25..=75).contains(&failed), "{failed} of {PARTS} fail: the comparison says nothing");
    }
    let mut same = |name: &str, camera: Levelled, expected: &[Verdict]| {
        let found = verdicts(&mut *engine, camera);
        let same = found.iter().zip(expected).filter(|(a, b)| a == b).count();
        println!("{name}: {same} of {PARTS} verdicts are those of 8-bit RGB");
        assert!(same * 100 >= 99 * PARTS as usize, "{name}: {same} of {PARTS}");
    };
    same("gray12", camera(folder, SyntheticFormat::Gray(12), &parts), &of_grey);
    for (order, bits) in [(BayerOrder::Rggb, 8), (BayerOrder::Gbrg, 12)] {
        let format = SyntheticFormat::Bayer(order, bits);
        same(&format.to_string(), camera(folder, format, &parts), &colour);
    }
    same("files of 12 bits in 16", files(folder, &parts), &colour);
}
