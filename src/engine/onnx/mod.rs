//! The network as an ONNX graph (opset 17; 19 where it has floats of 8 bits), recorded from the one description in `vcp_clip`.
//!
//! Input `image` `[batch, 3, S, S]`; outputs `tokens.L` `[batch, N, Cv]` and `raw.L` `[batch, N, 2]` for every tapped
//! layer L, and `text` `[batch, 2, Ct]`. Post-VCP and the maps are not in the graph: they are our own code.

use std::io;
use std::path::{Path, PathBuf};

use crate::output::{self, NewFile};
use crate::vcp_clip::network::{self, TextConstants};
use crate::weights::bundle::{Bundle, BundleError};

mod attention;
pub mod expanded;
mod file;
mod int8;
mod names;
mod placement;
pub mod proto;
mod recorder;
pub mod serving;
pub mod triton;
pub mod typed;

pub use names::{FEATURE, OutputNames, is_in_graph};
pub use recorder::Storage;

use super::eight_bits::EightBits;
use super::scales::Scales;
use file::{file, file_with, unbatched, value_info};
use names::INPUT;
use proto::FLOAT;
use recorder::Recorder;

/// Weights up to this many bytes go into the `.onnx` file itself; protocol buffers end at 2 GiB.
pub const INLINE_LIMIT: u64 = 64 << 20;

/// What a graph has that the plain one in float32 has not.
#[derive(Clone, Copy, Default)]
pub struct Extras<'a> {
    /// Layers that these scales have are computed in 8 bits.
    pub scales: Option<&'a Scales>,
    /// Which 8 bits.
    pub eight_bits: EightBits,
    /// Layers that may be computed in 8 bits are watched: outputs beside the others, see [`Watched`](super::scales::Watched).
    pub watched: bool,
}

/// Records the network of `bundle`; the bytes of an `.onnx` file. An error when a weight cannot be read any more.
pub fn encode(
    bundle: &Bundle,
    constants: &TextConstants,
    storage: Storage<'_>,
    extras: Extras<'_>,
) -> Result<Vec<u8>, BundleError> {
    let manifest = bundle.manifest();
    let arch = &manifest.architecture;
    let mut recorder = Recorder::new(bundle, storage);
    recorder.compute_in(extras.scales, extras.eight_bits);
    let operators = recorder.operators;
    recorder.watched = extras.watched.then(Vec::new);
    let outputs = network::forward(&mut recorder, arch, constants);
    let names = OutputNames::new(&arch.taps);
    for (value, name) in outputs.tokens.iter().zip(&names.tokens) {
        recorder.name(value, name);
    }
    recorder.name(&outputs.text, &names.text);
    for (value, name) in outputs.raw.iter().zip(&names.raw) {
        recorder.name(value, name);
    }

    let watched = recorder.watched.take().unwrap_or_default();
    let mut graph = recorder.into_graph()?;
    graph.input = vec![value_info(INPUT, FLOAT, &[3, arch.image_size, arch.image_size])];
    graph.output = names.tokens.iter().map(|n| value_info(n, FLOAT, &[arch.patches(), arch.vision_width])).collect();
    graph.output.push(value_info(&names.text, FLOAT, &[2, arch.text_width]));
    graph.output.extend(names.raw.iter().map(|n| value_info(n, FLOAT, &[arch.patches(), 2])));
    graph.output.extend(watched.iter().map(|(name, [rows, columns])| unbatched(name, FLOAT, &[*rows, *columns])));

    Ok(file_with(operators, bundle, graph))
}

/// The network behind the vision tower alone, from `feature` `[batch, 1, Ct]` and `tokens.L`: what `bench` times.
pub fn encode_tail(bundle: &Bundle, constants: &TextConstants) -> Result<Vec<u8>, BundleError> {
    let arch = &bundle.manifest().architecture;
    let names = OutputNames::new(&arch.taps);
    let mut recorder = Recorder::new(bundle, Storage::Inline);
    let tokens = names.tokens.iter().map(|n| recorder.input(n, arch.patches(), arch.vision_width)).collect();
    let feature = recorder.input(FEATURE, 1, arch.text_width);
    let outputs = network::behind_vision(&mut recorder, arch, constants, network::Vision { tokens, feature });
    for (value, name) in outputs.raw.iter().zip(&names.raw) {
        recorder.name(value, name);
    }
    let mut graph = recorder.into_graph()?;
    graph.input = names.tokens.iter().map(|n| value_info(n, FLOAT, &[arch.patches(), arch.vision_width])).collect();
    graph.input.push(value_info(FEATURE, FLOAT, &[1, arch.text_width]));
    graph.output = names.raw.iter().map(|n| value_info(n, FLOAT, &[arch.patches(), 2])).collect();
    Ok(file(bundle, graph))
}

/// Writes `path` and, when the weights file has more than `inline_limit` bytes ([`INLINE_LIMIT`]), `path` + `.data`
/// beside it. Returns the files written. Both are complete when they appear under their names.
pub fn export(bundle: &Bundle, constants: &TextConstants, path: &Path, inline_limit: u64) -> io::Result<Vec<PathBuf>> {
    written(bundle, path, inline_limit, &|storage| encode(bundle, constants, storage, Extras::default()))
}

/// The same for the whole model, [`serving`].
pub fn export_serving(
    bundle: &Bundle,
    constants: &TextConstants,
    path: &Path,
    inline_limit: u64,
) -> io::Result<Vec<PathBuf>> {
    written(bundle, path, inline_limit, &|storage| serving::encode(bundle, constants, storage))
}

fn written(
    bundle: &Bundle,
    path: &Path,
    inline_limit: u64,
    encode: &dyn Fn(Storage<'_>) -> Result<Vec<u8>, BundleError>,
) -> io::Result<Vec<PathBuf>> {
    let file_name = path
        .file_name()
        .and_then(|n| n.to_str())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the output needs a file name"))?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let large = bundle.manifest().weights.bytes > inline_limit;
    let data_name = format!("{file_name}.data");
    let mut written = vec![];
    if large {
        let path = folder.join(&data_name);
        let mut data = NewFile::beside(&path)?;
        bundle.copy_weights(&mut data).map_err(io::Error::other)?;
        data.put()?;
        written.push(path);
    }
    let storage = if large { Storage::Beside(&data_name) } else { Storage::Inline };
    output::write(path, &encode(storage).map_err(io::Error::other)?)?;
    written.push(path.to_owned());
    Ok(written)
}
