//! Post-training quantisation: which numbers the vision tower's linear layers may be rounded to, found on a user's own good
//! pictures, and a gate that the maps have to pass before anything is written.

mod choose;
mod error;
mod gate;
mod outcome;
mod seen;
mod trial;

use std::path::{Path, PathBuf};

use crate::dataset::Dataset;
use crate::engine::scales::{FORMAT, Gate, Pictures, Scales, candidates};
use crate::engine::{self, EngineChoice, EngineSpec, Precision, self_test};
use crate::source::image_file;
use crate::weights::bundle::Bundle;

use gate::{Figured, Reference};
use seen::Seen;

pub use error::{LEAST, QuantizeError};
pub use gate::Distance;
pub use outcome::{Outcome, Times};

/// One of so many pictures is held out, to be compared on.
const HELD_OUT: usize = 4;

/// What to quantise, with what.
pub struct Request<'a> {
    /// Folder of the bundle.
    pub bundle: &'a Path,
    /// Good pictures as the line sees them, at least [`LEAST`].
    pub pictures: Vec<PathBuf>,
    /// A labelled data set whose figures may not fall.
    pub labelled: Option<&'a Dataset>,
    /// Allowed for the mean deviation of maps, twice for that of scores, which go to 2, and as loss of each figure; 0.005 is half a
    /// point.
    pub allowed: f32,
    /// CPU threads; `None` is all.
    pub threads: Option<usize>,
}

/// Finds the scales. `tell` hears of each step: what is done, steps done, steps in all.
pub fn run(request: &Request<'_>, tell: &mut dyn FnMut(&str, usize, usize)) -> Result<Outcome, QuantizeError> {
    if request.pictures.len() < LEAST {
        return Err(QuantizeError::TooFew { found: request.pictures.len() });
    }
    let bundle = Bundle::open(request.bundle)?;
    let spec =
        EngineSpec { engine: EngineChoice::Openvino, threads: request.threads, ..EngineSpec::new(request.bundle) };
    let (mut held_out, mut calibrating) = (Vec::new(), Vec::new());
    let mut hashes = Vec::new();
    for (at, path) in request.pictures.iter().enumerate() {
        let image = image_file::load(path)?;
        hashes.push(engine::plan::sha256(image.data()));
        if at % HELD_OUT == HELD_OUT - 1 { held_out.push(image) } else { calibrating.push(path.clone()) }
    }

    let layers = candidates(&bundle.manifest().architecture);
    let mut seen = Seen::new(calibrating.len());
    let (total, mut done) = (calibrating.len(), 0);
    let mut unreadable = None;
    let mut images = calibrating.iter().map_while(|path| {
        tell("looking at the pictures", done, total);
        done += 1;
        // Read a second time, so that hundreds of large pictures do not lie in memory.
        image_file::load(path).map_err(|error| unreadable = Some(error)).ok()
    });
    engine::trial::watch(&spec, &mut images, &mut |layer, largest, rows| seen.add(layer, largest, rows))?;
    drop(images);
    if let Some(error) = unreadable {
        return Err(error.into());
    }
    let mut chosen = std::collections::BTreeMap::new();
    for (at, name) in layers.iter().enumerate() {
        tell("choosing scales", at, layers.len());
        let (_, weight) = bundle.f32(name)?;
        chosen.extend(seen.take(name).map(|layer| (name.clone(), choose::layer(&layer, &weight))));
    }

    tell("comparing maps", 0, 1);
    let mut exact = engine::open(&EngineSpec { precision: Precision::Fp32, ..spec.clone() })?;
    let expected = self_test::expect(exact.as_mut())?;
    let reference = Reference::new(exact.as_mut(), held_out)?;
    let figured = request.labelled.map(|data| Figured::new(data, exact.as_mut())).transpose()?;
    drop(exact);
    let pictures = Pictures {
        calibrated: calibrating.len(),
        held_out: reference.len(),
        sha256: engine::plan::sha256(hashes.concat().as_bytes()),
    };
    let gate = Gate { allowed: request.allowed, map: 0.0, worst: 0.0, score: 0.0, figures: Vec::new() };
    let draft = Scales {
        format: FORMAT,
        model_sha256: bundle.sha256().to_owned(),
        pictures,
        layers: chosen,
        kept: Vec::new(),
        gate,
        fp8: None,
        expected,
    };
    drop(bundle);
    trial::search(&spec, draft, &reference, figured.as_ref(), tell)
}
